"""Reading on: pages of new rows, and behind them, now and then, what was written late or again."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from threading import Event, Lock
from typing import Any, Protocol

import msgspec
from sqlalchemy import Column, Table

from exporters.sources import Batch
from exporters.sources.llm_metrics.dialect import BATCH_ROWS, Dialect
from exporters.sources.llm_metrics.generations import Page, unit_of
from exporters.sources.llm_metrics.layout import Layout, layout_of
from exporters.sources.llm_metrics.pages import Asked, Pages, Read, key_of
from exporters.sources.llm_metrics.rows import LATENCY
from exporters.sources.long_rows import FIRST
from exporters.sources.sqlite import TooLongError

# Between two looks behind, and between two thorough ones where a database does not tell what changed.
LOOK_SECONDS = 60.0
THOROUGH_SECONDS = 3600.0
# How far behind a look for what ripened goes: a stamp may be of another time zone.
_DAY = 86400.0
# Latencies that make it certain which unit they are in.
_ENOUGH = 50


class Database(Asked, Dialect, Protocol):
    """What this room needs of a database."""

    tells_changes: bool

    def columns(self) -> dict[str, list[Column[Any]]]: ...
    def identity(self) -> str: ...
    def mark(self) -> str: ...
    def outdated(self, before: str, now: str) -> bool: ...
    def changes(self, mark: str, *, thorough: bool) -> str | int: ...
    def beginning(self, calls: Table, day: str) -> list[Any]: ...
    def close(self) -> None: ...


Connect = Callable[[], Database]


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
    # How far it is, where a row in it is too long for the order of time: the number of a row.
    place: int | None = None


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
        self._pages: Pages | None = None
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
        database, layout, pages = self._ready(now)
        if self._look is None and self._mark != self._seen:
            return self._ahead(database, layout, pages, now)
        if self._look is None and now >= self._next_look:
            self._look = self._look_behind(database, now)
        return Batch([], {}) if self._look is None else self._behind(layout, pages, self._look)

    def _ready(self, now: float) -> tuple[Database, Layout, Pages]:
        """Connect if need be, and see whether this is the table that was read and what it shows; within
        a stretch of full pages this is not asked again."""
        if self._database is not None and self._layout is not None and self._pages is not None and self._full:
            return self._database, self._layout, self._pages
        if self._database is None:
            self._database = self._connect()
        database, place = self._database, self._place
        identity, self._mark = database.identity(), database.mark()
        if self._layout is None or self._pages is None or identity != self._identity:
            self._layout = layout_of(database.columns(), database, bounded=self._since is not None)
            self._pages = Pages(database, self._layout)
            self._identity = identity
        if place.identity != identity or database.outdated(place.mark, self._mark):
            # Read for the first time, or not the one that was read: from the beginning.
            after = database.beginning(self._layout.calls, "" if self._since is None else day_of(self._since - _DAY))
            self._place = Place(identity, after, self._mark, now - self._settle, place.unit)
            self._look, self._seen, self._remaining = None, "", -1
        return database, self._layout, self._pages

    def _ahead(self, database: Database, layout: Layout, pages: Pages, now: float) -> Batch:
        place = self._place
        if self._remaining < 0:
            [(remaining,)] = database.fetch(layout.remaining, key_of(place.after))
            self._remaining = remaining or 0
        bounds = self._bounds(now - self._settle)
        records: list[Any] = []
        size = too_long = 0
        more = True
        while more and size + too_long < BATCH_ROWS:
            page = pages.ahead(bounds, place.after, within=self._full)
            self._full, place.after = page.more, page.after
            if page.rows:
                records.append(self._made_of(self._told_by(page, layout)))
            size, too_long = size + len(page.rows), too_long + page.too_long
            more = page.more
        self._remaining = max(0, self._remaining - size) if self._full else 0
        if not self._full:
            self._seen = self._mark
        return self._batch(records, size, too_long, more=self._full or now >= self._next_look)

    def _look_behind(self, database: Database, now: float) -> Look:
        place = self._place
        thorough = database.tells_changes or now >= self._next_thorough
        reach = self._lookback if thorough else _DAY
        ripe = max(place.ripe, now - self._settle)
        parameters = self._bounds(ripe) | {
            "day": day_of(place.ripe - reach),
            "ripe_before": place.ripe,
            "changes": database.changes(place.mark, thorough=thorough),
            **key_of([day_of(place.ripe - reach), ""]),
        }
        return Look(parameters, self._mark, ripe, thorough)

    def _behind(self, layout: Layout, pages: Pages, look: Look) -> Batch:
        page = self._page_behind(pages, look)
        self._full = page.more
        records = [self._made_of(self._told_by(page, layout))] if page.rows else []
        # As other bad rows do, those that are too long count again in a thorough look only.
        too_long = page.too_long if look.thorough else 0
        if self._full:
            return self._batch(records, len(page.rows), too_long, more=True)
        self._look = None
        self._place.mark, self._place.ripe = look.mark, look.ripe
        self._next_look = self._now() + LOOK_SECONDS
        if look.thorough:
            self._next_thorough = self._now() + THOROUGH_SECONDS
        return self._batch(records, len(page.rows), too_long, more=False)

    def _page_behind(self, pages: Pages, look: Look) -> Read:
        if look.place is None:
            try:
                page = pages.behind(look.parameters)
            except TooLongError:
                look.place = FIRST
            else:
                if page.more:
                    look.parameters |= key_of(page.after)
                return page
        page = pages.behind_past_long_rows(look.parameters, look.place)
        [look.place] = page.after
        return page

    def _bounds(self, ripe: float) -> dict[str, Any]:
        return {"ripe": ripe} if self._since is None else {"ripe": ripe, "since": self._since}

    def _told_by(self, page: Read, layout: Layout) -> Page:
        place = self._place
        unit = self._unit or place.unit or (None if layout.zeros else 1000.0)
        if unit is None:
            latencies = [row[LATENCY] for row in page.rows if row[LATENCY]]
            unit = unit_of(latencies)
            place.unit = unit if len(latencies) >= _ENOUGH else None
        return Page(rows=page.rows, traces=page.traces, zeros=layout.zeros, unit=unit)

    def _batch(self, records: list[Any], size: int, too_long: int, *, more: bool) -> Batch:
        encoded = _encode(self._place)
        moved, self._told = encoded != self._told, encoded
        bad = {"too_long": too_long} if too_long else {}
        return Batch(records, {"place": encoded} if moved else {}, size=size, more=more, bad=bad)

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
        self._database, self._layout, self._pages, self._full = None, None, None, False


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Place).decode


def day_of(seconds: float) -> str:
    """Return the day of Unix seconds, which is before all its moments as text too."""
    return datetime.fromtimestamp(max(0.0, seconds), UTC).date().isoformat()
