"""The state: cursors, open runs, counted spans and totals, committed together and durably."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from exporters import ledger
from exporters.aggregate import Key
from exporters.counted import Counted
from exporters.database import DATABASE, VERSION, WRONG, connect, said
from exporters.lock import StateError, lock
from exporters.open_traces import Closed
from exporters.passing import Passing
from exporters.place_rows import PlaceRows
from exporters.settling import Changes
from exporters.trace import OpenTrace
from exporters.tree import Known
from exporters.waiting import Arrived
from exporters.waiting_rows import decode_row, encode_row

_encode = msgspec.msgpack.Encoder().encode
_decode_trace = msgspec.msgpack.Decoder(OpenTrace).decode


@dataclass(kw_only=True)
class SourceState:
    """What is committed of one source."""

    cursor: dict[str, bytes] = field(default_factory=dict)
    open: dict[str, OpenTrace] = field(default_factory=dict)
    caught_up: bool = False
    newest: float = 0.0
    waiting: dict[int, list[Arrived]] = field(default_factory=dict)
    settled: list[dict[str, Known]] = field(default_factory=list)


@dataclass(kw_only=True)
class Change:
    """What one batch of one source changed. A trace in `open` without a value is no longer open."""

    source: str
    cursor: Mapping[str, bytes]
    open: Mapping[str, OpenTrace | None]
    closed: Mapping[str, Closed]
    caught_up: bool
    newest: float
    # Rows of the ledger, and from when on the source's days are whole if that is not known yet.
    ledger: Sequence[Sequence[str | float]] = ()
    since: float = 0.0
    waiting: Changes | None = None


class ZoneChangedError(StateError):
    """The ledger's days are of another zone."""


class State:
    """The database in a state directory. Only one writer, which also does the checkpoints."""

    def __init__(self, directory: Path, *, durable: bool = True, lasting: bool = True) -> None:
        """Open or create the state.

        Raises StateInUseError when another process has it, StateError when it is damaged, of
        another version, not writable, or on a network file system. A database that is there but
        empty is damaged: to begin anew would count everything again. `created` says that there
        was none.
        """
        self.directory = directory
        self._lasting = lasting
        self._lock = lock(directory)
        try:
            self._db, self.created = connect(directory / DATABASE, durable=durable, lasting=lasting)
        except BaseException:
            self._lock.close()
            raise
        try:
            self._counted: Counted | Passing = Counted(self._db) if lasting else Passing(self._db)
            self._places = PlaceRows(self._db)
        except WRONG as error:
            self.close()
            raise self._error(error) from None

    def close(self) -> None:
        """Close the database and let go of the lock."""
        self._db.close()
        self._lock.close()

    def source(self, name: str) -> SourceState:
        """Return what is committed of a source; nothing for a new one. Raises StateError."""
        found = SourceState()
        try:
            for caught_up, newest in self._db.execute(
                "SELECT caught_up, newest FROM sources WHERE source = ?", (name,)
            ):
                found.caught_up, found.newest = bool(caught_up), newest
            parts = self._db.execute("SELECT part, value FROM cursors WHERE source = ?", (name,))
            found.cursor = {part.decode("utf-8", "surrogateescape"): value for part, value in parts}
            rows = self._db.execute("SELECT trace, value FROM open_traces WHERE source = ?", (name,))
            found.open = {trace: _decode_trace(value) for trace, value in rows}
            rows = self._db.execute("SELECT number, spans FROM waiting WHERE source = ?", (name,))
            found.waiting = {number: decode_row(spans) for number, spans in rows}
            found.settled = self._places.read(name)
        except WRONG as error:
            raise self._error(error) from None
        return found

    def cells(self) -> list[tuple[Key, bytes]]:
        """Return the committed totals of every source. Raises StateError."""
        try:
            rows = self._db.execute("SELECT kind, source, labels, value FROM cells").fetchall()
            return [((kind, source, tuple(json.loads(labels))), value) for kind, source, labels, value in rows]
        except WRONG as error:
            raise self._error(error) from None

    def scrapers(self) -> tuple[dict[str, int], int]:
        """Return the last birth that each scraper may have seen at its value, those whose row is
        newest last, and the last that any scraper ever may have. Raises StateError."""
        try:
            seen = dict(self._db.execute("SELECT scraper, seen FROM scrapers ORDER BY rowid"))
            ((shown,),) = self._db.execute("SELECT value FROM meta WHERE name = 'shown'")
        except WRONG as error:
            raise self._error(error) from None
        return seen, shown

    def show(self, scraper: str, born: int, forgotten: str = "") -> None:
        """Commit that a scraper may be shown series up to birth `born` at their value, and forget
        another scraper. Raises StateError."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("INSERT OR REPLACE INTO scrapers (scraper, seen) VALUES (?, ?)", (scraper, born))
            self._db.execute("DELETE FROM scrapers WHERE scraper = ?", (forgotten,))
            self._db.execute("UPDATE meta SET value = max(value, ?) WHERE name = 'shown'", (born,))
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._error(error) from None

    def zone(self, wanted: str = "") -> str:
        """Return the zone of the ledger's days: the one that was wanted when the first of them was written.

        Raises ZoneChangedError when another is wanted now, StateError.
        """
        try:
            ((kept,),) = self._db.execute("SELECT value FROM meta WHERE name = 'zone'")
            ((begun,),) = self._db.execute("SELECT EXISTS (SELECT 1 FROM ledger)")
            if wanted and wanted != kept and begun:
                raise ZoneChangedError(
                    f"{self.directory}: the days of its ledger are of the zone {kept}, not {wanted}; "
                    f"start with --zone {kept}, or move the directory away to count from the beginning"
                )
            zone = kept if begun else wanted or kept or ledger.UTC
            self._db.execute("UPDATE meta SET value = ? WHERE name = 'zone'", (zone,))
        except WRONG as error:
            raise self._error(error) from None
        return str(zone)

    def days(self, since: str) -> ledger.Rows:
        """Return the committed days from one on, such as 2026-11-01. Raises StateError."""
        try:
            return ledger.read(self._db, since)
        except WRONG as error:
            raise self._error(error) from None

    def counted(self, source: str, trace: str) -> list[str] | None:
        """Return the ids of the spans counted in a trace that was closed; None if there is none.
        Raises StateError."""
        try:
            return self._counted.spans(source, trace)
        except WRONG as error:
            raise self._error(error) from None

    def commit(self, change: Change, cells: Iterable[tuple[Key, bytes]]) -> None:
        """Commit a batch: durable when this returns. Raises StateError, and then nothing is changed,
        or all of it: reopen to know. A state that ends with the process keeps what it is asked for
        while that runs: which spans were counted in traces that are closed."""
        try:
            db = self._db
            db.execute("BEGIN IMMEDIATE")
            if not self._lasting:
                # Outside of a transaction each row would be written to the file by itself.
                self._counted.write(change.source, change.closed)
                db.execute("COMMIT")
                return
            self._write(change)
            db.executemany(
                "INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?)",
                [(kind, source, _labels(labels), value) for (kind, source, labels), value in cells],
            )
            db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._error(error) from None

    def _error(self, error: Exception) -> StateError:
        return StateError(said(self.directory / DATABASE, error))

    def _write(self, change: Change) -> None:
        source, db = change.source, self._db
        parts = [(source, part.encode("utf-8", "surrogateescape"), value) for part, value in change.cursor.items()]
        moved = [row for row in parts if row[2]]
        gone = [row[:2] for row in parts if not row[2]]
        db.executemany("INSERT OR REPLACE INTO cursors VALUES (?, ?, ?)", moved)
        db.executemany("DELETE FROM cursors WHERE source = ? AND part = ?", gone)
        still_open = [(source, trace, _encode(value)) for trace, value in change.open.items() if value]
        ended = [(source, trace) for trace, value in change.open.items() if not value]
        db.executemany("INSERT OR REPLACE INTO open_traces VALUES (?, ?, ?)", still_open)
        db.executemany("DELETE FROM open_traces WHERE source = ? AND trace = ?", ended)
        self._counted.write(source, change.closed)
        ledger.write(db, change.ledger)
        db.execute("INSERT OR IGNORE INTO ledger_since VALUES (?, ?)", (source, change.since))
        if change.waiting is not None:
            self._write_waiting(source, change.waiting)
        db.execute("INSERT OR REPLACE INTO sources VALUES (?, ?, ?)", (source, int(change.caught_up), change.newest))

    def _write_waiting(self, source: str, waiting: Changes) -> None:
        db = self._db
        rows = [(source, number, encode_row(spans)) for number, spans in waiting.new.items()]
        db.executemany("INSERT INTO waiting VALUES (?, ?, ?)", rows)
        db.executemany(
            "DELETE FROM waiting WHERE source = ? AND number BETWEEN ? AND ?",
            [(source, *stretch) for stretch in _stretches(waiting.gone)],
        )
        self._places.write(source, waiting.settled)


@dataclass(frozen=True)
class Kept:
    """What others than the exporter may read of a state, in one view of it."""

    db: sqlite3.Connection
    zone: str

    def days(self, since: str = "", until: str = "9999") -> ledger.Rows:
        """Return the ledger's days from one up to, but not with, another. Raises sqlite3.Error."""
        return ledger.read(self.db, since, until)

    def sources(self) -> dict[str, tuple[bool, float]]:
        """Return of each source whether its backlog was read, and the newest time that a counted record of it
        carries, in Unix seconds. Raises sqlite3.Error."""
        rows = self.db.execute("SELECT source, caught_up, newest FROM sources ORDER BY source")
        return {source: (bool(caught_up), newest) for source, caught_up, newest in rows}

    def first_day(self, source: str) -> str | None:
        """Return the first day in the ledger of a source. Raises sqlite3.Error."""
        ((day,),) = self.db.execute("SELECT min(day) FROM ledger WHERE source = ?", (source,))
        return None if day is None else str(day)

    def since(self, source: str) -> float | None:
        """Return from when on the days of a source are whole, in Unix seconds; None for an unknown source.
        Raises sqlite3.Error."""
        found = self.db.execute("SELECT since FROM ledger_since WHERE source = ?", (source,)).fetchone()
        return None if found is None else float(found[0])


@contextmanager
def read_only(directory: Path) -> Iterator[Kept]:
    """Read a state without its lock, also while an exporter writes it. Raises StateError."""
    path = directory / DATABASE
    if not path.exists():
        raise StateError(f"{directory}: holds no state; name the directory that `agentgauge serve --state` is given")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)) as db:
            db.execute("BEGIN")
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version != VERSION:
                raise StateError(
                    f"{path}: of format {version}, this version knows {VERSION}; `agentgauge serve` brings an older "
                    "one up"
                )
            ((zone,),) = db.execute("SELECT value FROM meta WHERE name = 'zone'")
            yield Kept(db, zone or ledger.UTC)
    except WRONG as error:
        raise StateError(said(path, error)) from None


def _stretches(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return the first and the last of the numbers that follow each other: traces mostly go in the order they came."""
    found: list[tuple[int, int]] = []
    first = last = -1
    for number in sorted(numbers):
        if number != last + 1:
            found.append((first, last))
            first = number
        last = number
    return [*found[1:], (first, last)] if found else []


def _labels(labels: tuple[str, ...]) -> str:
    return json.dumps(labels, ensure_ascii=False, separators=(",", ":"))
