"""The loop: each source is read in a thread of its own, and what it brings is counted and committed."""

import logging
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from exporters.aggregate import Aggregate
from exporters.database import DATABASE, damaged
from exporters.days import month_before, zone_of
from exporters.exposition import page
from exporters.health import Health
from exporters.ledger import Ledger
from exporters.lock import StateError, StateInUseError
from exporters.pricing import Prices
from exporters.reconcile import Reconciliation
from exporters.runs import Runs
from exporters.scrapers import Scrapers
from exporters.settling import Settling
from exporters.sources import Batch, Source, SourceError, Translated
from exporters.span import Span
from exporters.state import Change, State, ZoneChangedError
from exporters.trace import OpenTrace, Outcome

POLL_SECONDS = 5.0
# How often what waits for its trace is looked at.
SETTLE_SECONDS = 0.5
RETRY_SECONDS = 2.0
_NOTHING = Batch([], {})

log = logging.getLogger("agentgauge")


class Runner:
    """Counts what sources bring, and serves the page of what is committed.

    One lock guards everything that is counted: a batch is counted and committed under it, and the
    page is rendered under it, so a page shows committed totals only. Sources are read and their
    records translated outside of it.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        directory: Path,
        aggregate: Aggregate,
        *,
        idle: float,
        now: Callable[[], float] = time.time,
        durable: bool = True,
        lasting: bool = True,
        zone: str = "",
        counted: Callable[[str, Sequence[Span]], None] | None = None,
    ) -> None:
        """Open the state.

        A state that is not `durable` survives a kill but no power cut; one that is not `lasting`
        survives nothing, and is faster. `zone` is that of the ledger's days; without it the state's own,
        else UTC. `counted` is told the spans that are being counted, before the commit, and may be told
        them again after a failed one. Raises StateInUseError and ZoneChangedError; any other trouble with
        the state is told on the page, and tried again, because a supervisor that restarts us would not
        mend it.
        """
        self.sources = sources
        self.aggregate = aggregate
        self.ledger = Ledger()
        self.health = Health()
        self.problem = ""
        self._directory = directory
        self._durable = durable
        self._lasting = lasting
        self._zone = zone
        self._now = now
        self._counted = counted
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._state: State | None = None
        self._scrapers = Scrapers()
        self._reconciliation = Reconciliation(directory)
        self._runs = {
            source.name: Runs(source.price or Prices(source.name), self._recall(source.name), idle=idle)
            for source in sources
        }
        self._settling = {
            source.name: Settling(source.settles, self._runs[source.name].traces.awaited)
            for source in sources
            if source.settles is not None
        }
        # The sources that were read to their end since the state was opened.
        self._live: set[str] = set()
        # Of each source, as the log says it and as the page may.
        self._problems: dict[str, str] = {}
        self._shown: dict[str, str] = {}
        # Raised whenever the state was opened anew: readers then go back to the committed cursor.
        self._generation = 0
        self._cursors: dict[str, dict[str, bytes]] = {}
        self._next_try = 0.0
        # The source whose commit failed: until one succeeds, that the state can be opened says little.
        self._blamed = ""
        # When each source was last read without a problem.
        self._read: dict[str, float] = {}
        # The sources that are committed to have been caught up.
        self._caught_up: set[str] = set()
        for source in sources:
            self.health.set("agentgauge_source_up", 0, source.name)
            self.health.set("agentgauge_source_caught_up", 0, source.name)
        aggregate.share(len(sources))
        self.health.set("agentgauge_series_limit", aggregate.room)
        with self._lock:
            self._open_state(first=True)

    @property
    def ready(self) -> bool:
        """Whether the state works and every source's backlog has been read."""
        return not self.problem and all(source.name in self.aggregate.caught_up for source in self.sources)

    def start(self) -> None:
        """Follow every source until `stop`."""
        for source in self.sources:
            thread = threading.Thread(target=self._follow, args=(source,), name=source.name, daemon=True)
            self._threads.append(thread)
            thread.start()
        # Not waited for at the end: a store may take long over its sums, and nothing is lost with them.
        threading.Thread(target=self._reconcile, name="reconcile", daemon=True).start()

    def stop(self) -> None:
        """Stop reading and close the state; what was counted is committed already."""
        self._stop.set()
        for source in self.sources:
            source.reader.close()
        for thread in self._threads:
            thread.join()
        if self._state is not None:
            self._state.close()

    def page(self, scraper: str, *, openmetrics: bool, created: bool = False) -> bytes:
        """Return the page of committed totals, for a scraper named by its address and agent.

        A scraper sees a new series at 0 first and at its value from its next scrape. Before that,
        it is committed that the value may be shown: a crash in between shows 0 once more.
        """
        with self._lock:
            seen = self._seen_by(scraper)
            self.health.set("agentgauge_series", self.aggregate.series)
            self._tell_spend()
            self._reconciliation.tell(self.health)
            return page(self.aggregate, self.health.registry, openmetrics=openmetrics, seen=seen, created=created)

    def _reconcile(self) -> None:
        """Hold the sources against their stores, each hour from when they are caught up; beside the reading, which
        goes on."""
        while not self._stop.wait(POLL_SECONDS):
            for source in self.sources:
                if source.name not in self._caught_up or not self._reconciliation.due(source, self._now()):
                    continue
                try:
                    self._reconciliation.compare(source, self._now())
                # As with the reading: whatever a store's client raises costs one attempt, and is told.
                except Exception as error:  # noqa: BLE001
                    self.health.failed(source.name, name="agentgauge_reconcile_errors")
                    log.error("source=%s cannot be summed: %s: %s", source.name, type(error).__name__, error)

    def _tell_spend(self) -> None:
        """Say what today and this month have cost so far, of the sources whose totals are shown."""
        read = {name: at for name, at in self._read.items() if name in self.aggregate.caught_up}
        rows = [((period, *who), took) for period, who, took in self.ledger.spend(self._now(), read)]
        self.health.replace("agentgauge_spend_usd", {labels: took.cost for labels, took in rows})
        self.health.replace("agentgauge_spend_tokens", {labels: took.tokens for labels, took in rows})

    def _seen_by(self, scraper: str) -> int:
        try:
            if self._state is not None:
                return self._scrapers.scrape(scraper, self.aggregate.born, self._state.show)
        except StateError as error:
            self._fail(error)
        return self._scrapers.scrape(scraper, self.aggregate.born, None)

    def read_to_end(self, progress: Callable[[Source, int], None]) -> None:
        """Read every source to its end in this thread; `progress` is told after each batch.

        Where a part of a store cannot be read, the rest is; see `problem_of`. Raises SourceError,
        OSError or StateError: nobody waits for it to be mended.
        """
        self._open_or_raise()
        for source in self.sources:
            source.reader.seek(self._cursors[source.name])
            more = True
            while more:
                batch = source.reader.poll()
                found = source.spans(batch.records)
                with self._lock:
                    self._commit(source, batch, found, last=not batch.more)
                    self._tell(source, batch)
                progress(source, batch.size)
                more = batch.more

    def problem_of(self, source: str) -> str:
        """Return why a source, or a part of it, could not be read at the last attempt; empty if it could."""
        return self._shown.get(source, "")

    def open_traces(self, source: str) -> Mapping[str, OpenTrace]:
        """Return the traces of a source that have not ended."""
        return self._runs[source].traces.open

    def _follow(self, source: Source) -> None:
        """Read one source on and on; no trouble with it ends this, or reaches another source."""
        generation = 0
        while not self._stop.is_set():
            with self._lock:
                self._open_state()
                usable, current = self._state is not None, self._generation
            if not usable:
                self._stop.wait(RETRY_SECONDS)
                continue
            try:
                if generation != current:
                    source.reader.seek(self._cursors[source.name])
                    generation = current
                more = self._step(source, generation)
                # After a failed commit there is something to read, whatever the store says.
                if not more and self._state is not None and generation == self._generation:
                    self._wait(source, generation)
            # A source is other people's data and clients: whatever it raises costs this source one
            # attempt and is told, and the others go on.
            except Exception as error:  # noqa: BLE001
                self._troubled(source, error)
                self._stop.wait(RETRY_SECONDS)
                generation = 0

    def _wait(self, source: Source, generation: int) -> None:
        """Wait until there may be something to read; what waits for its trace is settled meanwhile."""
        settling, left = self._settling.get(source.name), POLL_SECONDS
        while settling is not None and settling.waiting and left > SETTLE_SECONDS:
            began = time.monotonic()
            source.reader.wait(SETTLE_SECONDS)
            waited = time.monotonic() - began
            if waited < 0.9 * SETTLE_SECONDS or not self._take(source, generation, _NOTHING, Translated([], 0, {})):
                return
            left -= waited
        source.reader.wait(left)

    def _step(self, source: Source, generation: int) -> bool:
        """Read, count and commit one batch; return whether there is more to read right now."""
        began = time.perf_counter()
        batch = source.reader.poll()
        if not self._take(source, generation, batch, source.spans(batch.records)):
            return False
        if batch.problem and self._problems.get(source.name) != batch.problem:
            log.warning("source=%s cannot read all of it: %s", source.name, batch.problem)
        with self._lock:
            self._tell(source, batch)
        self.health.took("agentgauge_poll_duration_seconds", time.perf_counter() - began, source.name)
        return batch.more

    def _take(self, source: Source, generation: int, batch: Batch, found: Translated) -> bool:
        """Count and commit a batch; return whether that could be done."""
        with self._lock:
            if generation != self._generation or self._state is None:
                return False
            try:
                self._commit(source, batch, found)
            except StateError as error:
                self._fail(error, source.name)
                return False
            except Exception:
                # Counted in part: back to what is committed before anybody sees it.
                self._let_go()
                raise
            if self._blamed == source.name:
                self._works()
            self._tell_open(source.name)
        return True

    def _commit(self, source: Source, batch: Batch, found: Translated, *, last: bool = False) -> None:
        """Count a batch and commit it; `last` says that no other will come. Raises StateError."""
        name, traces, totals = source.name, self._runs[source.name].traces, self.aggregate
        now, settling = self._now(), self._settling.get(source.name)
        self._pair(name, batch, found.spans, now, last=last)
        if found.records:
            totals.count(name, "agentgauge_records", by=found.records)
        if batch.late:
            totals.count(name, "agentgauge_late_updates", by=batch.late)
        for reasons in (batch.bad, found.bad):
            for reason, count in reasons.items():
                totals.count(name, "agentgauge_bad_records", reason, count)
        catches_up = not batch.more and name not in totals.caught_up
        if catches_up:
            totals.catch_up(name)
        waits = settling is not None and settling.changed
        if not (batch.cursor or traces.changed or totals.changed or catches_up or waits):
            return
        began = time.perf_counter()
        # What does not outlive the process is not even written out.
        blobs = totals.blobs() if self._lasting else []
        change = Change(
            source=name,
            cursor=batch.cursor,
            open=traces.changes() if self._lasting else {},
            closed=traces.closed,
            caught_up=name in totals.caught_up,
            newest=traces.newest,
            ledger=self.ledger.changes() if self._lasting else (),
            since=now - source.since if source.since else 0.0,
            waiting=settling.changes() if settling is not None else None,
        )
        self._open_or_raise().commit(change, blobs)
        totals.committed(blobs)
        self.ledger.committed()
        traces.committed()
        # Where this source goes back to after a trouble of its own.
        for part, value in batch.cursor.items():
            if value:
                self._cursors[name][part] = value
            else:
                self._cursors[name].pop(part, None)
        self._caught_up = set(totals.caught_up)
        self.health.took("agentgauge_commit_duration_seconds", time.perf_counter() - began)

    def _pair(self, name: str, batch: Batch, spans: list[Span], now: float, *, last: bool) -> None:
        """Count the spans that are complete now."""
        runs, settling, live = self._runs[name], self._settling.get(name), name in self._live
        if not batch.more:
            self._live.add(name)
        if settling is None:
            self._count(name, runs.add(spans, now, live=live))
        else:
            groups = settling.add(spans, now, live=name in self._live)
            self._count(name, runs.settle(groups + settling.settle_all() if last else groups, now))
        self._count(name, runs.sweep_behind(spans) if batch.more else runs.sweep(now))

    def _count(self, name: str, outcome: Outcome) -> None:
        if self._counted is not None:
            self._counted(name, outcome.ended)
        for day, spans in self.ledger.by_day(outcome.ended):
            self.aggregate.add(name, spans)
            if day:
                self.ledger.take(day, self.aggregate.changed)
        kinds = Counter(span.kind for span in outcome.ended if not span.usage_only)
        for kind, count in kinds.items():
            self.aggregate.count(name, "agentgauge_spans", kind, count)
        for metric, count in (
            ("agentgauge_repeated_spans", outcome.repeated),
            ("agentgauge_wrapper_spans", outcome.wrappers),
            ("agentgauge_spans_without_ancestor", outcome.adrift),
        ):
            if count:
                self.aggregate.count(name, metric, by=count)

    def _tell(self, source: Source, batch: Batch) -> None:
        """Say on the page how a source is doing."""
        name, now, newest = source.name, self._now(), self._runs[source.name].traces.newest
        self._problems[name] = self._shown[name] = batch.problem
        tell = self.health.set
        self.health.failed(name, batch.retries)
        for gauge, value in source.gauges().items() if source.gauges is not None else ():
            tell(gauge, value, name)
        tell("agentgauge_source_up", 0 if batch.problem else 1, name)
        tell(f"agentgauge_source_backlog_{source.reader.unit}", source.reader.backlog(), name)
        tell("agentgauge_source_lag_seconds", max(0.0, now - newest) if batch.more and newest else 0, name)
        self._tell_open(name)
        if newest:
            tell("agentgauge_source_newest_record_timestamp_seconds", newest, name)
        if not batch.problem:
            self._read[name] = now
            tell("agentgauge_source_last_success_timestamp_seconds", now, name)

    def _tell_open(self, name: str) -> None:
        """Say on the page whether a source's totals are on it, and what of it has not ended, or waits."""
        self.health.set("agentgauge_source_caught_up", int(name in self.aggregate.caught_up), name)
        self.health.set("agentgauge_open_runs", len(self._runs[name].traces.open), name)
        if name in self._settling:
            self.health.set("agentgauge_waiting_spans", self._settling[name].spans, name)

    def _troubled(self, source: Source, error: Exception) -> None:
        """Say that a source could not be read, once for each reason."""
        self.health.set("agentgauge_source_up", 0, source.name)
        self.health.failed(source.name)
        expected = isinstance(error, SourceError | OSError)
        said = str(error) if expected else f"{type(error).__name__}: {error}"
        if self._problems.get(source.name) != said:
            log.error("source=%s cannot be read: %s", source.name, said, exc_info=None if expected else error)
        self._problems[source.name] = said
        # What other people's clients say may quote what they sent, which not everybody is to see.
        own = isinstance(error, SourceError) or (isinstance(error, OSError) and error.strerror is not None)
        self._shown[source.name] = said if own else f"{type(error).__name__}; the exporter's log says more"

    def _recall(self, name: str) -> Callable[[str], list[str] | None]:
        return lambda trace: self._open_or_raise().counted(name, trace)

    def _open_or_raise(self) -> State:
        if self._state is None:
            raise StateError(self.problem)
        return self._state

    def _fail(self, error: StateError, source: str = "") -> None:
        """Go on with the last committed totals; the state is opened anew before anything is counted,
        because after a failed sync a handle can no longer be trusted."""
        if str(error) != self.problem:
            log.error("state: %s; totals stand still until it works again", error)
        self.problem, self._blamed = str(error), source
        self.health.set("agentgauge_state_up", 0)
        self._let_go()
        self._next_try = time.monotonic() + RETRY_SECONDS

    def _let_go(self) -> None:
        """Close the state and go back to what is known to be committed in it."""
        if self._state is None:
            return
        with suppress(sqlite3.Error):
            self._state.close()
        self._state = None
        self.aggregate.restore()
        self.ledger.go_back(self.aggregate.cells)
        self.aggregate.caught_up = set(self._caught_up)

    def _open_state(self, *, first: bool = False) -> None:
        """Open the state if it is not, and go back to what is committed in it."""
        if self._state is not None or time.monotonic() < self._next_try:
            return
        state = None
        try:
            state = State(self._directory, durable=self._durable, lasting=self._lasting)
            found = {source.name: state.source(source.name) for source in self.sources}
            promised, to_any = state.scrapers()
            zone = state.zone(self._zone)
            since = month_before(self._now(), zone_of(zone))
            days = state.days(since)
            self.aggregate.restore(state.cells())
            self.ledger.restore(zone, days, self.aggregate.cells, since)
        except (StateError, ValueError) as error:
            if first and isinstance(error, StateInUseError | ZoneChangedError):
                if state is not None:
                    state.close()
                raise
            if state is not None:
                state.close()
            if not isinstance(error, StateError):
                error = StateError(damaged(self._directory / DATABASE, str(error)))
            self._fail(error, self._blamed)
            return
        self.aggregate.born = max(self.aggregate.born, to_any)
        self._scrapers.restore(promised, to_any, self.aggregate.born)
        self._caught_up = {name for name, committed in found.items() if committed.caught_up}
        self._live = set()
        self.aggregate.caught_up = set(self._caught_up)
        for name, committed in found.items():
            self._runs[name].traces.restore(committed.open, committed.newest)
            if name in self._settling:
                self._settling[name].restore(committed.waiting)
            self._cursors[name] = committed.cursor
            self.health.set("agentgauge_source_caught_up", int(committed.caught_up), name)
        if state.created:
            log.info("state: %s is new; every store is counted from its beginning", self._directory)
        self._state = state
        self._generation += 1
        if not self._blamed:
            self._works()

    def _works(self) -> None:
        """Say that the state can be written, which a commit has shown."""
        if self.problem:
            log.warning("state: %s can be used again", self._directory)
        self.problem, self._blamed = "", ""
        self.health.set("agentgauge_state_up", 1)
