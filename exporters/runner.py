"""The loop: each source is read in a thread of its own, and what it brings is counted and committed."""

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from exporters.aggregate import Aggregate
from exporters.budgets.account import Reading
from exporters.budgets.keeper import Keeper
from exporters.committed import RETRY_SECONDS, Committed
from exporters.declarations import Declaration
from exporters.exposition import page
from exporters.health import Health
from exporters.lock import StateError
from exporters.objectives import Objectives
from exporters.objectives import tell as tell_objectives
from exporters.reconcile import Reconciliation
from exporters.slices import FairLock, slices
from exporters.sources import Batch, Source, Translated
from exporters.span import Span
from exporters.standing import Standing
from exporters.trace import OpenTrace

POLL_SECONDS = 5.0
# How often what waits for its trace is looked at.
SETTLE_SECONDS = 0.5
# How often the budgets are held against the ledger.
JUDGE_SECONDS = 5.0

log = logging.getLogger("agentgauge")


class Runner:
    """Counts what sources bring, and serves the page of what is committed.

    One lock guards everything that is counted: a batch is counted and committed under it, a slice at a time, and
    the page is rendered under it, so a page shows committed totals only. Sources are read and their records
    translated outside of it.
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
        self.health = Health()
        self.standing = Standing(self.health)
        self.committed = Committed(
            sources, directory, aggregate, self.health,
            idle=idle, now=now, durable=durable, lasting=lasting, zone=zone, counted=counted,
        )  # fmt: skip
        self.ledger = self.committed.ledger
        self._objectives = objectives
        self._now = now
        self._lock = FairLock()
        # One source opens the state for all.
        self._opening = threading.Lock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._reconciliation = Reconciliation(directory)
        for source in sources:
            self.health.set("agentgauge_source_up", 0, source.name)
            self.health.set("agentgauge_source_caught_up", 0, source.name)
        aggregate.share(len(sources))
        self.health.set("agentgauge_series_limit", aggregate.room)
        self.committed.open(self.committed.read_state(), first=True)
        try:
            self.budgets = Keeper(budgets, "" if self.committed.state is None else self.ledger.zone.key)
        except BaseException:
            self.stop()
            raise

    @property
    def problem(self) -> str:
        """Why nothing can be committed; empty while it can."""
        return self.committed.problem

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
        self.committed.close()

    def page(self, scraper: str, *, openmetrics: bool, created: bool = False) -> bytes:
        """Return the page of committed totals, for a scraper named by its address and agent.

        A scraper sees a new series at 0 first and at its value from its next scrape. Before that,
        it is committed that the value may be shown: a crash in between shows 0 once more.
        """
        with self._lock:
            seen = self.committed.seen_by(scraper)
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
                if source.name not in self.committed.caught_up or not self._reconciliation.due(source, self._now()):
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
        if not self.committed.generation:
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

    def read_to_end(self, progress: Callable[[Source, int], None]) -> None:
        """Read every source to its end in this thread; `progress` is told after each batch.

        Where a part of a store cannot be read, the rest is; see `standing`. Raises SourceError,
        OSError or StateError: nobody waits for it to be mended.
        """
        self.committed.state_or_raise()
        for source in self.sources:
            source.reader.seek(self.committed.cursors[source.name])
            more = True
            while more:
                batch = source.reader.poll()
                found = source.spans(batch.records)
                with self._lock:
                    self.committed.commit(source, batch, found, last=not batch.more)
                    self._tell(source, batch)
                progress(source, batch.size)
                more = batch.more

    def open_traces(self, source: str) -> Mapping[str, OpenTrace]:
        """Return the traces of a source that have not ended."""
        return self.committed.counting.runs[source].traces.open

    def _follow(self, source: Source) -> None:
        """Read one source on and on; no trouble with it ends this, or reaches another source."""
        generation = 0
        while not self._stop.is_set():
            try:
                self._open()
                with self._lock:
                    usable, current = self.committed.state is not None, self.committed.generation
                if not usable:
                    self._stop.wait(RETRY_SECONDS)
                    continue
                if generation != current:
                    source.reader.seek(self.committed.cursors[source.name])
                    generation = current
                more = self._step(source, generation)
                # After a failed commit there is something to read, whatever the store says.
                if not more and self.committed.state is not None and generation == self.committed.generation:
                    self._wait(source, generation)
            # A source is other people's data and clients: whatever it raises costs this source one
            # attempt and is told, and the others go on.
            except Exception as error:  # noqa: BLE001
                self.standing.troubled(source, error)
                self._stop.wait(RETRY_SECONDS)
                generation = 0

    def _open(self) -> None:
        """Open the state if it is not; a page is answered meanwhile with what was committed before."""
        if self.committed.state is not None:
            return
        with self._opening:
            if self.committed.due:
                opened = self.committed.read_state()
                with self._lock:
                    self.committed.open(opened)

    def _wait(self, source: Source, generation: int) -> None:
        """Wait until there may be something to read; what waits for its trace is settled meanwhile."""
        settling, left = self.committed.counting.settling.get(source.name), POLL_SECONDS
        while settling is not None and settling.waiting and left > SETTLE_SECONDS:
            began = time.monotonic()
            source.reader.wait(SETTLE_SECONDS)
            waited = time.monotonic() - began
            if waited < 0.9 * SETTLE_SECONDS or not self._settle(source, generation):
                return
            left -= waited
        source.reader.wait(left)

    def _settle(self, source: Source, generation: int, *, more: bool = False) -> bool:
        """Settle what is due; return whether that could be done. `more` says that a backlog is still being read."""
        settling, done = self.committed.counting.settling.get(source.name), True
        while done:
            done = self._take(source, generation, Batch([], {}, more=more), Translated([], 0, {}))
            if settling is None or not settling.more:
                break
        return done

    def _step(self, source: Source, generation: int) -> bool:
        """Read, count and commit one batch; return whether there is more to read right now."""
        began = time.perf_counter()
        batch, now = source.reader.poll(), self._now()
        for part, found in slices(batch, source.spans(batch.records)):
            if not self._take(source, generation, part, found, now):
                return False
        settling = self.committed.counting.settling.get(source.name)
        if settling is not None and settling.more and not self._settle(source, generation, more=batch.more):
            return False
        self.standing.warn(source, batch)
        with self._lock:
            self._tell(source, batch)
        self.health.took("agentgauge_poll_duration_seconds", time.perf_counter() - began, source.name)
        return batch.more

    def _take(self, source: Source, generation: int, batch: Batch, found: Translated, now: float | None = None) -> bool:
        """Count and commit a batch that came at a Unix time, or now; return whether that could be done."""
        with self._lock:
            if generation != self.committed.generation or self.committed.state is None:
                return False
            try:
                self.committed.commit(source, batch, found, now=now)
            except StateError as error:
                self.committed.fail(error, source.name)
                return False
            except Exception:
                # Counted in part: back to what is committed before anybody sees it.
                self.committed.let_go()
                raise
            self._tell_open(source.name)
        return True

    def _tell(self, source: Source, batch: Batch) -> None:
        """Say on the page how a source is doing."""
        newest = self.committed.counting.runs[source.name].traces.newest
        self.standing.tell(source, batch, newest=newest, now=self._now())
        self._tell_open(source.name)

    def _tell_open(self, name: str) -> None:
        """Say on the page whether a source's totals are on it, and what of it has not ended, or waits."""
        self.health.set("agentgauge_source_caught_up", int(name in self.aggregate.caught_up), name)
        self.health.set("agentgauge_open_runs", len(self.committed.counting.runs[name].traces.open), name)
        if name in self.committed.counting.settling:
            self.health.set("agentgauge_waiting_spans", self.committed.counting.settling[name].spans, name)
