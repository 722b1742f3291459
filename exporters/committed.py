"""What is counted and committed: totals, ledger and open traces, together with the state that keeps them."""

import logging
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from exporters.aggregate import Aggregate, Key
from exporters.counting import Counting
from exporters.database import DATABASE, damaged
from exporters.days import month_before, zone_of
from exporters.health import Health
from exporters.ledger import Ledger, Rows
from exporters.lock import StateError, StateInUseError
from exporters.scrapers import Scrapers
from exporters.sources import Batch, Source, Translated
from exporters.span import Span
from exporters.state import SourceState, State, ZoneChangedError

RETRY_SECONDS = 2.0

log = logging.getLogger("agentgauge")


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A state that was opened, and what is committed in it."""

    state: State
    sources: Mapping[str, SourceState]
    scrapers: tuple[dict[str, int], int]
    zone: str
    since: str
    days: Rows
    cells: list[tuple[Key, bytes]]


class Committed:
    """Counts batches into the totals and commits both, or goes back to what is committed.

    Whoever calls holds one lock around all of it.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        directory: Path,
        aggregate: Aggregate,
        health: Health,
        *,
        idle: float,
        now: Callable[[], float],
        durable: bool,
        lasting: bool,
        zone: str,
        counted: Callable[[str, Sequence[Span]], None] | None,
    ) -> None:
        self.sources = sources
        self.aggregate = aggregate
        self.ledger = Ledger()
        # Why nothing can be committed; empty while it can.
        self.problem = ""
        self.state: State | None = None
        self.counting = Counting(sources, aggregate, self.ledger, self._recall, idle=idle, counted=counted)
        # Raised whenever the state was opened anew: readers then go back to the committed cursor.
        self.generation = 0
        self.cursors: dict[str, dict[str, bytes]] = {}
        # The sources that are committed to have been caught up.
        self.caught_up: set[str] = set()
        self._health = health
        self._directory = directory
        self._durable = durable
        self._lasting = lasting
        self._zone = zone
        self._now = now
        self._scrapers = Scrapers()
        self._next_try = 0.0
        # The source whose commit failed: until one succeeds, that the state can be opened says little.
        self._blamed = ""

    @property
    def due(self) -> bool:
        """Whether the state is to be opened now."""
        return self.state is None and time.monotonic() >= self._next_try

    def read_state(self) -> Opened | StateError:
        """Open the state and read what is committed in it, or return why that cannot be. Nothing here is changed, so
        that no lock is needed: a large state is checked for seconds."""
        state = None
        try:
            state = State(self._directory, durable=self._durable, lasting=self._lasting)
            zone = state.zone(self._zone)
            since = month_before(self._now(), zone_of(zone))
            return Opened(
                state=state,
                sources={source.name: state.source(source.name) for source in self.sources},
                scrapers=state.scrapers(),
                zone=zone,
                since=since,
                days=state.days(since),
                cells=state.cells(),
            )
        except (StateError, ValueError) as error:
            if state is not None:
                state.close()
            return error if isinstance(error, StateError) else self._damaged(error)

    def open(self, opened: Opened | StateError, *, first: bool = False) -> None:
        """Go back to what is committed in a state that was opened. Raises StateInUseError or ZoneChangedError if it
        is the first; any other trouble is told, and tried again."""
        error = self._restore(opened) if isinstance(opened, Opened) else opened
        if error is not None:
            if first and isinstance(error, StateInUseError | ZoneChangedError):
                raise error
            self.fail(error, self._blamed)
        elif not self._blamed:
            self._works()

    def _restore(self, opened: Opened) -> StateError | None:
        try:
            self.aggregate.restore(opened.cells)
            self.ledger.restore(opened.zone, opened.days, self.aggregate.cells, opened.since)
        except ValueError as error:
            opened.state.close()
            return self._damaged(error)
        promised, to_any = opened.scrapers
        self.aggregate.born = max(self.aggregate.born, to_any)
        self._scrapers.restore(promised, to_any, self.aggregate.born)
        self.caught_up = {name for name, committed in opened.sources.items() if committed.caught_up}
        self.aggregate.caught_up = set(self.caught_up)
        self.counting.restore(opened.sources)
        for name, committed in opened.sources.items():
            self.cursors[name] = committed.cursor
            self._health.set("agentgauge_source_caught_up", int(committed.caught_up), name)
        if opened.state.created:
            log.info("state: %s is new; every store is counted from its beginning", self._directory)
        self.state = opened.state
        self.generation += 1
        return None

    def _damaged(self, error: ValueError) -> StateError:
        return StateError(damaged(self._directory / DATABASE, str(error)))

    def commit(
        self, source: Source, batch: Batch, found: Translated, *, last: bool = False, now: float | None = None
    ) -> None:
        """Count a batch and commit it; `last` says that no other will come, `now` when it came, if that is not now.

        Raises StateError. After any error `fail` or `let_go` has to be called: it may be counted in part.
        """
        now = self._now() if now is None else now
        if self.counting.take(source, batch, found, now, last=last):
            self._write(source, batch, now)
        if self._blamed == source.name:
            self._works()

    def _write(self, source: Source, batch: Batch, now: float) -> None:
        began = time.perf_counter()
        change, blobs = self.counting.changes(source, batch, now, lasting=self._lasting)
        self.state_or_raise().commit(change, blobs)
        self.counting.committed(source.name, blobs)
        # Where this source goes back to after a trouble of its own.
        for part, value in batch.cursor.items():
            if value:
                self.cursors[source.name][part] = value
            else:
                self.cursors[source.name].pop(part, None)
        self.caught_up = set(self.aggregate.caught_up)
        self._health.took("agentgauge_commit_duration_seconds", time.perf_counter() - began)

    def seen_by(self, scraper: str) -> int:
        """Return the birth up to which a scraper is shown values, and remember that it has been here."""
        try:
            if self.state is not None:
                return self._scrapers.scrape(scraper, self.aggregate.born, self.state.show)
        except StateError as error:
            self.fail(error)
        return self._scrapers.scrape(scraper, self.aggregate.born, None)

    def state_or_raise(self) -> State:
        """Return the open state. Raises StateError when there is none."""
        if self.state is None:
            raise StateError(self.problem)
        return self.state

    def fail(self, error: StateError, source: str = "") -> None:
        """Go on with the last committed totals; the state is opened anew before anything is counted,
        because after a failed sync a handle can no longer be trusted."""
        if str(error) != self.problem:
            log.error("state: %s; totals stand still until it works again", error)
        self.problem, self._blamed = str(error), source
        self._health.set("agentgauge_state_up", 0)
        self.let_go()
        self._next_try = time.monotonic() + RETRY_SECONDS

    def let_go(self) -> None:
        """Close the state and go back to what is known to be committed in it."""
        if self.state is None:
            return
        with suppress(sqlite3.Error):
            self.state.close()
        self.state = None
        self.aggregate.restore()
        self.ledger.go_back(self.aggregate.cells)
        self.aggregate.caught_up = set(self.caught_up)

    def close(self) -> None:
        """Close the state; what was counted is committed already."""
        if self.state is not None:
            self.state.close()

    def _works(self) -> None:
        """Say that the state can be written, which a commit has shown."""
        if self.problem:
            log.warning("state: %s can be used again", self._directory)
        self.problem, self._blamed = "", ""
        self._health.set("agentgauge_state_up", 1)

    def _recall(self, name: str) -> Callable[[str], list[str] | None]:
        return lambda trace: self.state_or_raise().counted(name, trace)
