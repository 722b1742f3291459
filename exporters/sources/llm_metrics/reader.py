"""Reading on: pages of new rows, and behind them, now and then, what was written late or again."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from threading import Event, Lock
from typing import Any, Protocol

import msgspec
from sqlalchemy import Column, ColumnElement, Select, Table

from exporters.sources import Batch
from exporters.sources.llm_metrics.generations import Page, unit_of
from exporters.sources.llm_metrics.layout import BATCH_ROWS, Layout, layout_of
from exporters.sources.llm_metrics.rows import FIELDS, LATENCY
from exporters.sources.llm_metrics.traces import Traces

# Between two looks behind, and between two thorough ones where a database does not tell what changed.
LOOK_SECONDS = 60.0
THOROUGH_SECONDS = 3600.0
# How far behind a look for what ripened goes: a stamp may be of another time zone.
_DAY = 86400.0
# Latencies that make it certain which unit they are in.
_ENOUGH = 50


class Database(Protocol):
    """What this room needs of a database, besides the words of a `Dialect`."""

    tells_changes: bool
    page_rows: int

    def fetch(self, statement: Any, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]: ...
    def columns(self) -> dict[str, list[Column[Any]]]: ...
    def identity(self) -> str: ...
    def mark(self) -> str: ...
    def outdated(self, before: str, now: str) -> bool: ...
    def changes(self, mark: str, *, thorough: bool) -> str | int: ...
    def beginning(self, calls: Table, day: str) -> list[Any]: ...
    def text(self, column: ColumnElement[Any]) -> ColumnElement[Any]: ...
    def number(self, column: ColumnElement[Any]) -> ColumnElement[Any]: ...
    def moment(self, column: ColumnElement[Any]) -> ColumnElement[Any]: ...
    def instant(self, name: str) -> ColumnElement[Any]: ...
    def key(self, calls: Table) -> tuple[ColumnElement[Any], ...]: ...
    def after(self, calls: Table) -> ColumnElement[bool]: ...
    def place_of(self, traces: Table) -> ColumnElement[int] | None: ...
    def remaining(self, calls: Table) -> Select[Any]: ...
    def changed(self) -> ColumnElement[bool]: ...
    def close(self) -> None: ...


Connect = Callable[[], Database]
_Rows = list[tuple[Any, ...]]


class Place(msgspec.Struct, omit_defaults=True):
    """How far the table has been read: the cursor."""

    # Of the table; in another one, `after` means nothing.
    identity: str = ""
    # The key of the last row.
    after: list[Any] = []
    # What the database showed before the last look behind, and until when rows had ripened then.
    mark: str = ""
    ripe: float = 0.0
    # How many of `latency_ms` make a second, once it is certain.
    unit: float | None = None


class Look(msgspec.Struct):
    """A look behind that is under way: its parameters, and what is so once it is done."""

    parameters: dict[str, Any]
    mark: str
    ripe: float
    thorough: bool


class Rows:
    """Reads the rows of `generations`, each after the trace that it is of.

    A row may be given again, never lost: ids tell what was counted. What is under way, as far as the
    row says, is left until it is written again or is `settle` seconds old. `made_of` says what a page becomes
    as soon as it is read, as a record of the batch.
    """

    unit = "records"

    def __init__(
        self,
        connect: Connect,
        made_of: Callable[[Page], Any],
        *,
        since: float | None,
        lookback: float,
        settle: float,
        unit: float | None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._connect = connect
        self._made_of = made_of
        self._now = now
        self._since = None if since is None else now() - since
        self._lookback = lookback
        self._settle = settle
        self._unit = unit
        self._closed = Event()
        # A connection is not closed under a poll.
        self._polls = Lock()
        self._database: Database | None = None
        self._layout: Layout | None = None
        self._identity = ""
        self.seek({})

    def seek(self, cursor: Mapping[str, bytes]) -> None:
        """Go to a committed cursor; one that a later version wrote is the beginning."""
        try:
            self._place = _decode(cursor.get("place", b"{}"))
        except msgspec.MsgspecError:
            self._place = Place()
        self._told = cursor.get("place", b"")
        self._look: Look | None = None
        # What the database showed before the stretch that is read now, and before the last that was read ahead.
        self._mark = self._seen = ""
        self._full = False
        self._traces = Traces()
        self._remaining = -1
        # What changed while nobody looked is looked for at once.
        resumes = bool(self._place.after)
        self._next_look = 0.0 if resumes else self._now() + LOOK_SECONDS
        self._next_thorough = 0.0 if resumes else self._now() + THOROUGH_SECONDS

    def poll(self) -> Batch:
        """Read a page. Raises SourceError when the database cannot be read; the next poll connects anew."""
        with self._polls:
            try:
                return self._poll(self._now())
            except Exception:
                self._let_go()
                raise

    def _poll(self, now: float) -> Batch:
        database, layout = self._ready(now)
        if self._look is None and self._mark != self._seen:
            return self._ahead(database, layout, now)
        if self._look is None and now >= self._next_look:
            self._look = self._look_behind(database, now)
        return Batch([], {}) if self._look is None else self._behind(database, layout, self._look)

    def _ready(self, now: float) -> tuple[Database, Layout]:
        """Connect if need be, and see whether this is the table that was read and what it shows; within
        a stretch of full pages this is not asked again."""
        if self._database is not None and self._layout is not None and self._full:
            return self._database, self._layout
        if self._database is None:
            self._database = self._connect()
        database, place = self._database, self._place
        identity, self._mark = database.identity(), database.mark()
        if self._layout is None or identity != self._identity:
            self._layout = layout_of(database.columns(), database, bounded=self._since is not None)
            self._identity = identity
        if place.identity != identity or database.outdated(place.mark, self._mark):
            # Read for the first time, or not the one that was read: from the beginning.
            after = database.beginning(self._layout.calls, "" if self._since is None else day_of(self._since - _DAY))
            self._place = Place(identity, after, self._mark, now - self._settle, place.unit)
            self._look, self._seen, self._remaining = None, "", -1
        return database, self._layout

    def _ahead(self, database: Database, layout: Layout, now: float) -> Batch:
        place = self._place
        if self._remaining < 0:
            [(remaining,)] = database.fetch(layout.remaining, _after(place.after))
            self._remaining = remaining or 0
        bounds = self._bounds(now - self._settle)
        pages: list[Any] = []
        size = 0
        while not size or (self._full and size < BATCH_ROWS):
            rows, traces = self._page(database, layout, bounds | _after(place.after))
            self._full = len(rows) == database.page_rows
            if not rows:
                break
            place.after = list(rows[-1][-len(place.after) :])
            pages.append(self._made_of(self._told_by(rows, layout, traces)))
            size += len(rows)
        self._remaining = max(0, self._remaining - size) if self._full else 0
        if not self._full:
            self._seen = self._mark
        return self._batch(pages, size, more=self._full or now >= self._next_look)

    def _page(
        self, database: Database, layout: Layout, parameters: dict[str, Any]
    ) -> tuple[_Rows, Mapping[Any, Any] | None]:
        """Return rows that lie ahead; within a stretch of full pages without their traces and these beside them."""
        if not self._full:
            self._traces = Traces()
        elif layout.along is not None and self._traces.found:
            rows = database.fetch(layout.along.calls, parameters)
            traces = self._traces.of(database, layout.along, rows)
            if traces is not None:
                return rows, traces
        return database.fetch(layout.ahead, parameters), None

    def _look_behind(self, database: Database, now: float) -> Look:
        place = self._place
        thorough = database.tells_changes or now >= self._next_thorough
        reach = self._lookback if thorough else _DAY
        ripe = max(place.ripe, now - self._settle)
        parameters = self._bounds(ripe) | {
            "day": day_of(place.ripe - reach),
            "ripe_before": place.ripe,
            "changes": database.changes(place.mark, thorough=thorough),
            **_after([day_of(place.ripe - reach), ""]),
        }
        return Look(parameters, self._mark, ripe, thorough)

    def _behind(self, database: Database, layout: Layout, look: Look) -> Batch:
        rows = database.fetch(layout.behind, look.parameters)
        self._full = len(rows) == BATCH_ROWS
        pages = [self._made_of(self._told_by(rows, layout, None))] if rows else []
        if self._full:
            look.parameters |= _after(rows[-1][len(FIELDS) :])
            return self._batch(pages, len(rows), more=True)
        self._look = None
        self._place.mark, self._place.ripe = look.mark, look.ripe
        self._next_look = self._now() + LOOK_SECONDS
        if look.thorough:
            self._next_thorough = self._now() + THOROUGH_SECONDS
        return self._batch(pages, len(rows), more=False)

    def _bounds(self, ripe: float) -> dict[str, Any]:
        return {"ripe": ripe} if self._since is None else {"ripe": ripe, "since": self._since}

    def _told_by(self, rows: _Rows, layout: Layout, traces: Mapping[Any, Any] | None) -> Page:
        place = self._place
        unit = self._unit or place.unit or (None if layout.zeros else 1000.0)
        if unit is None:
            latencies = [row[LATENCY] for row in rows if row[LATENCY]]
            unit = unit_of(latencies)
            place.unit = unit if len(latencies) >= _ENOUGH else None
        return Page(rows=rows, traces=traces, zeros=layout.zeros, unit=unit)

    def _batch(self, pages: list[Any], size: int, *, more: bool) -> Batch:
        encoded = _encode(self._place)
        moved, self._told = encoded != self._told, encoded
        return Batch(pages, {"place": encoded} if moved else {}, size=size, more=more)

    def backlog(self) -> int:
        """Return about how many rows are still to be read, as of the last poll."""
        return max(0, self._remaining)

    def wait(self, seconds: float) -> None:
        """Return after `seconds`; databases announce nothing to those who only read."""
        self._closed.wait(seconds)

    def close(self) -> None:
        """Let go of the connection; a `wait` under way returns."""
        self._closed.set()
        with self._polls:
            self._let_go()

    def _let_go(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database, self._layout, self._full = None, None, False


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Place).decode


def _after(key: Any) -> dict[str, Any]:
    return {f"after_{place}": value for place, value in enumerate(key)}


def day_of(seconds: float) -> str:
    """Return the day of Unix seconds, which is before all its moments as text too."""
    return datetime.fromtimestamp(max(0.0, seconds), UTC).date().isoformat()
