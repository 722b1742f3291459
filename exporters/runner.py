"""The loop: each source is read in a thread of its own, and what it brings is counted and committed."""

import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from exporters.aggregate import Aggregate
from exporters.budgets.account import Reading
from exporters.budgets.keeper import Keeper
from exporters.counting import Counting
from exporters.database import DATABASE, damaged
from exporters.days import month_before, zone_of
from exporters.declarations import Declaration
from exporters.exposition import page
from exporters.health import Health
from exporters.ledger import Ledger
from exporters.lock import StateError, StateInUseError
from exporters.objectives import Objectives
from exporters.objectives import tell as tell_objectives
from exporters.reconcile import Reconciliation
from exporters.scrapers import Scrapers
from exporters.sources import Batch, Source, Translated
from exporters.span import Span
from exporters.standing import Standing
from exporters.state import State, ZoneChangedError
from exporters.trace import OpenTrace

POLL_SECONDS = 5.0
# How often what waits for its trace is looked at.
SETTLE_SECONDS = 0.5
# How often the budgets are held against the ledger.
JUDGE_SECONDS = 5.0
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
        budgets: Path | None = None,
        objectives: Declaration[Objectives] | None = None,
        counted: Callable[[str, Sequence[Span]], None] | None = None,
    ) -> None:
        """Open the state.

        A state that is not `durable` survives a kill but no power cut; one that is not `lasting`
        survives nothing, and is faster. `zone` is that of the ledger's days; without it the state's own,
        else UTC. `budgets` is a file of them, `objectives` are told on the page. `counted` is told the spans
        that are being counted, before the commit, and may be told them again after a failed one. Raises
        StateInUseError, ZoneChangedError, and SourceError for the file; any other trouble with the state is
        told on the page, and tried again, because a supervisor that restarts us would not mend it.
        """
        self.sources = sources
        self.aggregate = aggregate
        self.ledger = Ledger()
        self.health = Health()
        self.standing = Standing(self.health)
        self.problem = ""
        self._objectives = objectives
        self._directory = directory
        self._durable = durable
        self._lasting = lasting
        self._zone = zone
        self._now = now
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._state: State | None = None
        self._scrapers = Scrapers()
        self._reconciliation = Reconciliation(directory)
        self._counting = Counting(sources, aggregate, self.ledger, self._recall, idle=idle, counted=counted)
        # Raised whenever the state was opened anew: readers then go back to the committed cursor.
        self._generation = 0
        self._cursors: dict[str, dict[str, bytes]] = {}
        self._next_try = 0.0
        # The source whose commit failed: until one succeeds, that the state can be opened says little.
        self._blamed = ""
        # The sources that are committed to have been caught up.
        self._caught_up: set[str] = set()
        for source in sources:
            self.health.set("agentgauge_source_up", 0, source.name)
            self.health.set("agentgauge_source_caught_up", 0, source.name)
        aggregate.share(len(sources))
        self.health.set("agentgauge_series_limit", aggregate.room)
        with self._lock:
            self._open_state(first=True)
        try:
            self.budgets = Keeper(budgets, "" if self._state is None else self.ledger.zone.key)
        except BaseException:
            self.stop()
            raise

    @property
    def ready(self) -> bool:
        """Whether the state works and every source's backlog has been read."""
        return not self.problem and all(source.name in self.aggregate.caught_up for source in self.sources)

    @property
    def broken_files(self) -> list[str]:
        """Why files that are followed cannot be used as they are now; what they said before holds."""
        return [one.problem for one in (self.budgets, self._objectives) if one is not None and one.problem]

    def start(self) -> None:
        """Follow every source until `stop`."""
        for source in self.sources:
            thread = threading.Thread(target=self._follow, args=(source,), name=source.name, daemon=True)
            self._threads.append(thread)
            thread.start()
        # Not waited for at the end: a store may take long over its sums, and nothing is lost with them.
        threading.Thread(target=self._reconcile, name="reconcile", daemon=True).start()
        threading.Thread(target=self._judge, name="budgets", daemon=True).start()

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
            if self._objectives is not None:
                tell_objectives(self.health, self._objectives, self.aggregate)
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

    def _judge(self) -> None:
        """Hold the budgets against the ledger, again and again; a page shows what was last found."""
        while not self._stop.wait(JUDGE_SECONDS):
            try:
                self.judge()
            # Whatever is wrong costs one look, and shows as the age of the last one.
            except Exception:
                log.exception("budgets: cannot be judged")

    def judge(self) -> None:
        """Hold the budgets against what is committed, and say on the page how they stand, once a state was opened."""
        if not self._generation:
            return
        self.budgets.refresh(self.ledger.zone)
        with self._lock:
            now, zone = self._now(), self.ledger.zone
            anew, days = self.ledger.news(anew=self.budgets.anew)
            readings = {source.name: self._reading(source.name) for source in self.sources}
        self.budgets.take(days, anew=anew)
        found = self.budgets.judge(now, zone, readings)
        with self._lock:
            self.budgets.tell(self.health, found, now)

    def _reading(self, name: str) -> Reading:
        # Without a state to write to, totals stand still, whatever is read.
        behind = math.inf if self.problem else self.standing.behind.get(name, 0.0)
        return Reading(name in self.aggregate.caught_up, self.standing.read.get(name, 0.0), behind)

    def _tell_spend(self) -> None:
        """Say what today and this month have cost so far, of the sources whose totals are shown."""
        read = {name: at for name, at in self.standing.read.items() if name in self.aggregate.caught_up}
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

        Where a part of a store cannot be read, the rest is; see `standing`. Raises SourceError,
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

    def open_traces(self, source: str) -> Mapping[str, OpenTrace]:
        """Return the traces of a source that have not ended."""
        return self._counting.runs[source].traces.open

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
                self.standing.troubled(source, error)
                self._stop.wait(RETRY_SECONDS)
                generation = 0

    def _wait(self, source: Source, generation: int) -> None:
        """Wait until there may be something to read; what waits for its trace is settled meanwhile."""
        settling, left = self._counting.settling.get(source.name), POLL_SECONDS
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
        self.standing.warn(source, batch)
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
        now = self._now()
        if not self._counting.take(source, batch, found, now, last=last):
            return
        began = time.perf_counter()
        change, blobs = self._counting.changes(source, batch, now, lasting=self._lasting)
        self._open_or_raise().commit(change, blobs)
        self._counting.committed(source.name, blobs)
        # Where this source goes back to after a trouble of its own.
        for part, value in batch.cursor.items():
            if value:
                self._cursors[source.name][part] = value
            else:
                self._cursors[source.name].pop(part, None)
        self._caught_up = set(self.aggregate.caught_up)
        self.health.took("agentgauge_commit_duration_seconds", time.perf_counter() - began)

    def _tell(self, source: Source, batch: Batch) -> None:
        """Say on the page how a source is doing."""
        newest = self._counting.runs[source.name].traces.newest
        self.standing.tell(source, batch, newest=newest, now=self._now())
        self._tell_open(source.name)

    def _tell_open(self, name: str) -> None:
        """Say on the page whether a source's totals are on it, and what of it has not ended, or waits."""
        self.health.set("agentgauge_source_caught_up", int(name in self.aggregate.caught_up), name)
        self.health.set("agentgauge_open_runs", len(self._counting.runs[name].traces.open), name)
        if name in self._counting.settling:
            self.health.set("agentgauge_waiting_spans", self._counting.settling[name].spans, name)

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
        self.aggregate.caught_up = set(self._caught_up)
        self._counting.restore(found)
        for name, committed in found.items():
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
