"""The state's database: its tables, how it is made and opened, and what its errors mean to a user."""

import os
import sqlite3
from pathlib import Path

import msgspec

from exporters import counted, ledger, place_rows
from exporters.lock import StateError

DATABASE = "state.db"

# The spans of one trace that came in one batch and wait for the rest of it, in the order of coming.
_WAITING = """
CREATE TABLE waiting (source TEXT, number INTEGER, spans BLOB, PRIMARY KEY (source, number)) WITHOUT ROWID;
"""
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
-- A part is the name of a file, say, which need not be UTF-8.
CREATE TABLE cursors (source TEXT, part BLOB, value BLOB, PRIMARY KEY (source, part)) WITHOUT ROWID;
CREATE TABLE sources (source TEXT PRIMARY KEY, caught_up INTEGER, newest REAL) WITHOUT ROWID;
CREATE TABLE open_traces (source TEXT, trace TEXT, value BLOB, PRIMARY KEY (source, trace)) WITHOUT ROWID;
CREATE TABLE cells (kind TEXT, source TEXT, labels TEXT, value BLOB, PRIMARY KEY (kind, source, labels)) WITHOUT ROWID;
-- The last birth whose series each scraper may have seen at its value, the latest scraper last.
CREATE TABLE scrapers (scraper TEXT PRIMARY KEY, seen INTEGER);
INSERT INTO meta VALUES ('shown', 0), ('opened', 0);
"""

# What each later format added: the first takes format 1 to 2, and so on. What stands here stays as it is; more
# is put behind it. A database of an older format is brought up when it is opened.
# Format 4 writes the spans that wait by the places of their fields, which a version before it cannot read; format 6
# those of many traces in one row, and likewise what was counted in closed ones.
_ADDED = (ledger.SCHEMA, _WAITING, "", place_rows.SCHEMA, "")
VERSION = 1 + len(_ADDED)

# What reading a row raises when something else is in it than was written.
WRONG = (sqlite3.Error, msgspec.MsgspecError, TypeError, ValueError)
_DAMAGE = ("malformed", "not a database", "no such table", "no such column", "unsupported file format")


def connect(path: Path, *, durable: bool, lasting: bool) -> tuple[sqlite3.Connection, bool]:
    """Open the database, of this version's format from then on; make it if there is none, and say whether.

    One that is not `durable` survives a kill but no power cut; one that is not `lasting` survives nothing.
    Raises StateError.
    """
    try:
        created = not path.exists()
        if created:
            _create(path)
        if path.stat().st_size == 0:
            raise StateError(damaged(path, "it is empty"))
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except (sqlite3.Error, OSError) as error:
        raise StateError(said(path, error)) from None
    try:
        if lasting:
            db.execute("PRAGMA journal_mode = WAL")
            # NORMAL syncs nothing at COMMIT: after a power cut a total that was scraped would fall.
            db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
            db.execute("PRAGMA journal_size_limit = 16777216")
        else:
            # A state that ends with the process is never gone back to: a quarter of a commit's time.
            db.execute("PRAGMA journal_mode = OFF")
            db.execute("PRAGMA synchronous = OFF")
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
        _check(db, path)
        _bring_up(db)
        # What was written but not synced when we were killed, or when a sync failed, is read
        # back as committed, and may be gone after a power cut: written and synced once more.
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        # Whether it can be written is found out now.
        db.execute("UPDATE meta SET value = value + 1 WHERE name = 'opened'")
    except sqlite3.Error as error:
        db.close()
        raise StateError(said(path, error)) from None
    except StateError:
        db.close()
        raise
    return db, created


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
        schema = " ".join((_SCHEMA, counted.SCHEMA, *_ADDED))
        db.executescript(f"BEGIN; {schema} PRAGMA user_version = {VERSION}; COMMIT;")
    finally:
        db.close()
    draft.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def _bring_up(db: sqlite3.Connection) -> None:
    """Add what later formats added, all of it or nothing. Raises sqlite3.Error."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version < VERSION:
        added = " ".join(_ADDED[version - 1 :])
        db.executescript(f"BEGIN IMMEDIATE; {added} PRAGMA user_version = {VERSION}; COMMIT;")


def _check(db: sqlite3.Connection, path: Path) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == 0:
        raise StateError(damaged(path, "it has no format number"))
    if not 1 <= version <= VERSION:
        raise StateError(
            f"{path}: written by {'a newer' if version > VERSION else 'an older'} version "
            f"(format {version}, this one knows {VERSION}); install that version, or move {path.parent} away "
            "to count from the beginning"
        )
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise StateError(damaged(path, verdict.splitlines()[0]))
    if not os.access(path, os.W_OK):
        raise StateError(f"{path}: may not be written; give it to the user that runs the exporter")


def damaged(path: Path, why: str) -> str:
    """Say that a state cannot be read, and what to do about it."""
    return (
        f"{path}: damaged ({why}); restore all of {path.parent} from a copy, or move it away to count from the "
        "beginning: totals then start anew"
    )


def said(path: Path, error: Exception) -> str:
    """Say what SQLite means, and what to do about it."""
    text = str(error)
    if not isinstance(error, sqlite3.Error | OSError) or any(words in text for words in _DAMAGE):
        return damaged(path, text)
    if "disk is full" in text:
        return f"{path}: the disk is full; free some space, and the exporter goes on by itself"
    if "readonly" in text or "unable to open" in text:
        return f"{path}: {text}; give it to the user that runs the exporter"
    return f"{path}: {text}"
