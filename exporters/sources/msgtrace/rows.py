"""Reading on: pages of rows in the order in which they were written, each in a short transaction."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from threading import Event, Lock
from typing import Any

from exporters.sources import Batch, SourceError
from exporters.sources.msgtrace.database import connect
from exporters.sources.msgtrace.place import BEGINNING, KEPT, Place, decode, encode
from exporters.sources.sqlite import Database, TooLongError

# A page: as long as it is read, whoever writes the file waits.
PAGE_ROWS = 1000
PAGE_BYTES = 1 << 20
# To ask whether somebody has written takes some microseconds.
_LOOK_SECONDS = 1.0
# The part of the cursor.
_PART = "spans"

# The columns of a record, in the order in which `translation` takes them; the row's number is put in front. An id is
# read as far as shows that it is longer than `records.LONGEST`.
_PAGE = """
    SELECT rowid, CASE WHEN length(span_id) > 1024 THEN substr(span_id, 1, 1025) ELSE span_id END, trace_id,
           parent_span_id, name, start_time, end_time, attributes, events, status_code, status_description,
           resource_attributes
    FROM spans WHERE rowid > ? ORDER BY rowid LIMIT ?
"""
_STANDING = """
    SELECT rowid, CASE WHEN length(span_id) > 1024 THEN substr(span_id, 1, 1025) ELSE span_id END
    FROM spans WHERE rowid BETWEEN ? AND ? ORDER BY rowid LIMIT ?
"""
_NUMBERS = "SELECT rowid FROM spans WHERE rowid BETWEEN ? AND ? ORDER BY rowid LIMIT ?"
# The table's index by start has the number of each row.
_SINCE = "SELECT min(rowid) - 1 FROM spans WHERE start_time >= ?"
_HIGHEST = "SELECT max(rowid) FROM spans"
_NEXT = "SELECT rowid FROM spans WHERE rowid > ? ORDER BY rowid LIMIT 1"
# A span's id is this long, in bytes: 16 characters. One of another length is known by a digest.
_SHORT = 16


class Rows:
    """Reads the table `spans` row by row, never `traces`, whose rows are written anew with every span.

    A row that was resent is given again, and so are some after a restart; none is left out that is
    in the table when it is read. `since` is in seconds before `now`.
    """

    unit = "records"

    def __init__(self, file: Path, *, since: float | None = None, now: Callable[[], float] = time.time) -> None:
        self._file = file
        self._since = None if since is None else int((now() - since) * 1e9)
        self._database: Database | None = None
        self._place = Place()
        # What the file showed before all of it was read.
        self._read: int | None = None
        self._backlog = 0
        self._closed = Event()
        # Held by a poll; whoever closes waits for its end.
        self._lock = Lock()

    def seek(self, cursor: Mapping[str, bytes]) -> None:
        """Go to a committed cursor; see Reader.seek."""
        self._place = decode(cursor[_PART]) if cursor.get(_PART) else Place(since=self._since)
        self._read = None

    def poll(self) -> Batch:
        """Read a page, if somebody has written. Raises SourceError; the next poll opens the file anew."""
        with self._lock:
            if self._closed.is_set():
                return Batch([], {})
            try:
                return self._poll()
            except SourceError:
                self._let_go()
                raise

    def _poll(self) -> Batch:
        if self._database is not None and not self._database.is_current():
            self._let_go()
        if self._database is None:
            self._database = connect(self._file)
        database, batch = self._database, Batch([], {})
        with database.snapshot() as version:
            if version == self._read:
                return batch
            standing, after = self._standing(database)
            passed = _page(database, after, batch)
            [(highest,)] = database.fetch(_HIGHEST)
        place = standing.moved(passed)
        if place != self._place:
            batch.cursor[_PART] = encode(place)
        self._place = place
        self._backlog = max(0, highest - passed[-1][0]) if batch.more else 0
        self._read = None if batch.more else version
        batch.size = len(batch.records) + batch.bad.get("too_long", 0)
        return batch

    def _standing(self, database: Database) -> tuple[Place, int]:
        """Return the place up to which all was read, and the number of the row that is read on after."""
        if self._place.last:
            first, last = self._place.last[0][0], self._place.last[-1][0]
            standing = self._place.standing(_known(database, (first, last, KEPT + 1)))
            if standing.last:
                return standing, standing.last[-1][0]
        beginning = Place(since=self._place.since)
        if beginning.since is None:
            return beginning, BEGINNING
        [(after,)] = database.fetch(_SINCE, (beginning.since,))
        return beginning, 2**63 - 1 if after is None else after

    def backlog(self) -> int:
        """Return about how many rows are still to be read, as of the last poll."""
        return self._backlog

    def wait(self, seconds: float) -> None:
        """Return after a second: a database announces nothing to those who only read."""
        self._closed.wait(min(seconds, _LOOK_SECONDS))

    def close(self) -> None:
        """Let go of the file; a `wait` under way returns."""
        self._closed.set()
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database, self._read = None, None


def _page(database: Database, after: int, batch: Batch) -> list[tuple[int, bytes]]:
    """Put into the batch rows after the one with a number, up to about PAGE_BYTES, and whether there
    are more; return the numbers of the last that were passed, and what their spans are known by."""
    rows = batch.records
    room = PAGE_BYTES
    try:
        for row in database.each(_PAGE, (after, PAGE_ROWS)):
            rows.append(row)
            for value in row:
                if type(value) is bytes:
                    room -= len(value)
            if room <= 0:
                break
    except TooLongError:
        return _past_long_row(database, after, batch)
    batch.more = room <= 0 or len(rows) == PAGE_ROWS
    return _passed(rows)


def _past_long_row(database: Database, after: int, batch: Batch) -> list[tuple[int, bytes]]:
    """Go on one row at a time, for a row is given only when the next has been read, up to the one with
    a value that is too long, which is bad; return what `_page` does."""
    rows = batch.records
    last = rows[-1][0] if rows else after
    with suppress(TooLongError):
        while one := list(database.each(_PAGE, (last, 1))):
            rows += one
            last = one[0][0]
    batch.bad["too_long"] = 1
    batch.more = True
    return [*_passed(rows), *((number, _span_of(database, number)) for (number,) in database.fetch(_NEXT, (last,)))]


def _passed(rows: Sequence[tuple[Any, ...]]) -> list[tuple[int, bytes]]:
    return [(row[0], _known_by(row[1])) for row in rows[-KEPT:]]


def _known(database: Database, rows: tuple[int, int, int]) -> list[tuple[int, bytes]]:
    """Return the rows from one number to another, so many at most, and what their spans are known by."""
    try:
        return [(number, _known_by(span_id)) for number, span_id in database.each(_STANDING, rows)]
    except TooLongError:
        return [(number, _span_of(database, number)) for (number,) in database.fetch(_NUMBERS, rows)]


def _span_of(database: Database, number: int) -> bytes:
    """Return what the span of a row is known by; nothing for one with an id that is too long."""
    try:
        [(_, span_id)] = database.fetch(_STANDING, (number, number, 1))
    except TooLongError:
        return b""
    return _known_by(span_id)


def _known_by(span_id: Any) -> bytes:
    """Return what a row's span is known by: its id, short."""
    known = span_id if isinstance(span_id, bytes) else repr(span_id).encode()
    return known if len(known) <= _SHORT else blake2b(known, digest_size=_SHORT).digest()
