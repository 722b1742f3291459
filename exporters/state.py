"""The state: cursors, open runs, counted spans and totals, committed together and durably."""

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from exporters.aggregate import Key
from exporters.runs import Closed, OpenTrace

DATABASE = "state.db"
LOCK = "lock"
VERSION = 1
# Where a lock or a sync may be answered before it is true.
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"}

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE cursors (source TEXT, part TEXT, value BLOB, PRIMARY KEY (source, part)) WITHOUT ROWID;
CREATE TABLE sources (source TEXT PRIMARY KEY, caught_up INTEGER, newest REAL) WITHOUT ROWID;
CREATE TABLE open_traces (source TEXT, trace TEXT, value BLOB, PRIMARY KEY (source, trace)) WITHOUT ROWID;
-- JSON strings, each with a comma after it, so that more can be put behind without reading.
CREATE TABLE counted (source TEXT, trace TEXT, spans BLOB, PRIMARY KEY (source, trace)) WITHOUT ROWID;
CREATE TABLE cells (kind TEXT, source TEXT, labels TEXT, value BLOB, PRIMARY KEY (kind, source, labels)) WITHOUT ROWID;
INSERT INTO meta VALUES ('shown', 0);
"""

_encode_trace = msgspec.msgpack.Encoder().encode
_decode_trace = msgspec.msgpack.Decoder(OpenTrace).decode
_encode_spans = msgspec.json.Encoder().encode
_decode_spans = msgspec.json.Decoder(list[str]).decode


class StateError(Exception):
    """The state cannot be used, in one line that says why and how to mend it."""


class StateInUseError(StateError):
    """Another exporter holds the state."""


@dataclass(kw_only=True)
class SourceState:
    """What is committed of one source."""

    cursor: dict[str, bytes] = field(default_factory=dict)
    open: dict[str, OpenTrace] = field(default_factory=dict)
    caught_up: bool = False
    newest: float = 0.0


@dataclass(kw_only=True)
class Change:
    """What one batch of one source changed. A trace in `open` without a value is no longer open."""

    source: str
    cursor: Mapping[str, bytes]
    open: Mapping[str, OpenTrace | None]
    closed: Mapping[str, Closed]
    caught_up: bool
    newest: float


class State:
    """The database in a state directory. Only one writer, which also does the checkpoints."""

    def __init__(self, directory: Path, *, durable: bool = True) -> None:
        """Open or create the state.

        Raises StateInUseError when another process has it, StateError when it is damaged, of
        another version, not writable, or on a network file system. A database that is there but
        empty is damaged: to begin anew would count everything again.
        """
        self.directory = directory
        self._durable = durable
        self._lock = _locked(directory)
        try:
            self._db = self._opened()
        except BaseException:
            self._lock.close()
            raise

    def _opened(self) -> sqlite3.Connection:
        path = self.directory / DATABASE
        try:
            if not path.exists():
                _create(path)
            if path.stat().st_size == 0:
                raise StateError(_damaged(path, "it is empty"))
            db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except (sqlite3.Error, OSError) as error:
            raise StateError(_said(path, error)) from None
        try:
            db.execute("PRAGMA journal_mode = WAL")
            # NORMAL syncs nothing at COMMIT: after a power cut a total that was scraped would fall.
            db.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'OFF'}")
            db.execute("PRAGMA journal_size_limit = 16777216")
            self._check(db, path)
        except sqlite3.Error as error:
            db.close()
            raise StateError(_said(path, error)) from None
        except StateError:
            db.close()
            raise
        return db

    def _check(self, db: sqlite3.Connection, path: Path) -> None:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise StateError(
                f"{path}: written by a newer version (format {version}, this one knows {VERSION}); "
                "install that version, or move the directory away to count from the beginning"
            )
        if version < VERSION:
            raise StateError(_damaged(path, "it has no format number"))
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise StateError(_damaged(path, verdict.splitlines()[0]))
        if not os.access(path, os.W_OK):
            raise StateError(f"{path}: may not be written; give it to the user that runs the exporter")

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
            found.cursor = dict(self._db.execute("SELECT part, value FROM cursors WHERE source = ?", (name,)))
            rows = self._db.execute("SELECT trace, value FROM open_traces WHERE source = ?", (name,))
            found.open = {trace: _decode_trace(value) for trace, value in rows}
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            raise StateError(_said(self.directory / DATABASE, error)) from None
        return found

    def cells(self) -> list[tuple[Key, bytes]]:
        """Return the committed totals of every source. Raises StateError."""
        try:
            rows = self._db.execute("SELECT kind, source, labels, value FROM cells").fetchall()
        except sqlite3.Error as error:
            raise StateError(_said(self.directory / DATABASE, error)) from None
        return [((kind, source, tuple(json.loads(labels))), value) for kind, source, labels, value in rows]

    def shown(self) -> int:
        """Return the last birth whose series any scraper may have seen at its value."""
        (value,) = self._db.execute("SELECT value FROM meta WHERE name = 'shown'").fetchone()
        return int(value)

    def show(self, born: int) -> None:
        """Commit that series up to birth `born` may be shown at their value. Raises StateError."""
        try:
            self._db.execute("UPDATE meta SET value = ? WHERE name = 'shown'", (born,))
        except sqlite3.Error as error:
            raise StateError(_said(self.directory / DATABASE, error)) from None

    def counted(self, source: str, trace: str) -> list[str] | None:
        """Return the ids of the spans counted in a trace that was closed; None if there is none."""
        row = self._db.execute("SELECT spans FROM counted WHERE source = ? AND trace = ?", (source, trace)).fetchone()
        return None if row is None else _decode_spans(b"[" + row[0][:-1] + b"]")

    def commit(self, change: Change, cells: Iterable[tuple[Key, bytes]]) -> None:
        """Commit a batch: durable when this returns. Raises StateError, and then nothing is changed,
        or all of it: reopen to know."""
        try:
            db = self._db
            db.execute("BEGIN IMMEDIATE")
            self._write(change)
            db.executemany(
                "INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?)",
                [(kind, source, _labels(labels), value) for (kind, source, labels), value in cells],
            )
            db.execute("COMMIT")
        except sqlite3.Error as error:
            raise StateError(_said(self.directory / DATABASE, error)) from None

    def _write(self, change: Change) -> None:
        source, db = change.source, self._db
        moved = [(source, part, value) for part, value in change.cursor.items() if value]
        gone = [(source, part) for part, value in change.cursor.items() if not value]
        db.executemany("INSERT OR REPLACE INTO cursors VALUES (?, ?, ?)", moved)
        db.executemany("DELETE FROM cursors WHERE source = ? AND part = ?", gone)
        still_open = [(source, trace, _encode_trace(value)) for trace, value in change.open.items() if value]
        ended = [(source, trace) for trace, value in change.open.items() if not value]
        db.executemany("INSERT OR REPLACE INTO open_traces VALUES (?, ?, ?)", still_open)
        db.executemany("DELETE FROM open_traces WHERE source = ? AND trace = ?", ended)
        for complete, statement in (
            (True, "INSERT OR REPLACE INTO counted VALUES (?, ?, ?)"),
            (False, "INSERT INTO counted VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET spans = spans || excluded.spans"),
        ):
            db.executemany(
                statement,
                [
                    (source, trace, _encode_spans(list(closed.spans))[1:-1] + b",")
                    for trace, closed in change.closed.items()
                    if closed.complete is complete and closed.spans
                ],
            )
        db.execute("INSERT OR REPLACE INTO sources VALUES (?, ?, ?)", (source, int(change.caught_up), change.newest))


def _create(path: Path) -> None:
    """Make a new database, whole or not at all: one that is there but empty is damage."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    old_mask = os.umask(0o077)
    try:
        db = sqlite3.connect(draft, isolation_level=None)
    finally:
        os.umask(old_mask)
    try:
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
    finally:
        db.close()
    draft.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def _labels(labels: tuple[str, ...]) -> str:
    return json.dumps(labels, ensure_ascii=False, separators=(",", ":"))


def _locked(directory: Path) -> IO[str]:
    """Make the directory if need be and lock it for this process."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        network = _file_system(directory) in _NETWORK
        # Kept open as long as the state: the lock goes with it, also after SIGKILL.
        lock = (directory / LOCK).open("a")
    except OSError as error:
        raise StateError(
            f"{directory}: {error.strerror}; give the directory to the user that runs the exporter"
        ) from None
    if network:
        lock.close()
        raise StateError(f"{directory}: is on a network file system, which loses commits; use a local disk")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise StateInUseError(
            f"{directory}: another exporter uses this state; stop it, or give this one its own --state"
        ) from None
    return lock


def _file_system(directory: Path) -> str:
    """Return the type of the file system that a directory is on, as Linux names it; else ''."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    best = ("", "")
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split(" ")
        if directory.resolve().is_relative_to(point) and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]


def _damaged(path: Path, why: str) -> str:
    return (
        f"{path}: damaged ({why}); restore it from a copy, or move {path.parent} away to count from the beginning: "
        "totals then start anew"
    )


def _said(path: Path, error: Exception) -> str:
    """Say what SQLite means, and what to do about it."""
    text = str(error)
    if "malformed" in text or "not a database" in text or isinstance(error, msgspec.MsgspecError):
        return _damaged(path, text)
    if "disk is full" in text:
        return f"{path}: the disk is full; free some space, and the exporter goes on by itself"
    if "readonly" in text or "unable to open" in text:
        return f"{path}: {text}; give it to the user that runs the exporter"
    return f"{path}: {text}"
