"""The SQLite file of msgtrace, opened so that whoever writes it hardly notices."""

import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from exporters.sources import SourceError

# How long a reader waits for a writer that holds the file, and after how long it asks again: SQLite's own
# busy handler asks ever more seldom, and beside a writer that goes on and on its turn does not come.
BUSY_SECONDS = 2.0
_ASK_AGAIN_SECONDS = 0.002
# A value that is longer is not read into memory.
LONGEST_VALUE = 16 << 20

_MEND = {
    "SQLITE_BUSY": "its writer has held it for long; it is tried again",
    "SQLITE_CANTOPEN": "grant this user read permission on it and on its folder",
    "SQLITE_CORRUPT": "it was damaged, or is being replaced; look at it with PRAGMA integrity_check",
    "SQLITE_NOTADB": "name the database that msgtrace writes",
    "SQLITE_READONLY": "its writer was stopped in the middle of a write, which msgtrace mends when it opens the file",
}


class HeldError(SourceError):
    """The file cannot be read now, and can be when its writer has gone on."""


class Database:
    """A read-only connection to the file that is at a path, for as long as that file is there.

    Any failure is a SourceError in one line. Text comes as bytes: a store may hold any.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        with self._told():
            found = _look(file)
            self._connection = sqlite3.connect(
                f"file:{quote(os.fsencode(file))}?mode=ro",
                uri=True,
                timeout=0,
                isolation_level=None,
                check_same_thread=False,
            )
        self._identity = (found.st_dev, found.st_ino)
        self._connection.text_factory = bytes
        self._check()

    def _check(self) -> None:
        try:
            tables = self.fetch("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'spans'")
        except SourceError:
            self.close()
            raise
        if tables != [(1,)]:
            self.close()
            raise SourceError(f"{self.file}: has no table 'spans'; name the database that msgtrace writes")

    def is_current(self) -> bool:
        """Whether this is still the file at the path. Raises SourceError when there is none."""
        with self._told():
            found = _look(self.file)
        return (found.st_dev, found.st_ino) == self._identity

    def fetch(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a question; a writer that holds the file is waited for. Raises SourceError."""
        deadline = time.monotonic() + BUSY_SECONDS
        with self._told():
            while True:
                try:
                    return self._connection.execute(statement, parameters).fetchall()
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                        raise
                time.sleep(_ASK_AGAIN_SECONDS)

    def each(self, statement: str, parameters: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a question within a snapshot. Raises SourceError, and sqlite3.DataError at a
        value that is too long."""
        connection = self._connection
        before = connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
        try:
            with self._told():
                yield from connection.execute(statement, parameters)
        finally:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, before)

    @contextmanager
    def snapshot(self) -> Iterator[int]:
        """Have all questions within see the same state of the file, whose writer waits for the end of this;
        yield a number that changes when somebody else has written. Raises SourceError."""
        self.fetch("BEGIN")
        try:
            [(version,)] = self.fetch("PRAGMA data_version")
            yield version
        finally:
            with self._told():
                self._connection.rollback()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say in one line what is wrong with the file, and how to mend it."""
        try:
            yield
        except sqlite3.DataError:
            raise
        except sqlite3.Error as error:
            name = str(getattr(error, "sqlite_errorname", ""))
            mend = next((mend for known, mend in _MEND.items() if name.startswith(known)), "")
            held = name.startswith(("SQLITE_BUSY", "SQLITE_READONLY"))
            raise (HeldError if held else SourceError)(f"{self.file}: {error}{mend and '; '}{mend}") from None
        except OSError as error:
            raise SourceError(f"{self.file}: {error.strerror}; check the path, or start msgtrace") from None
        except ValueError as error:  # a NUL in the path
            raise SourceError(f"{str(self.file)!r}: {error}; check the path") from None

    def close(self) -> None:
        self._connection.close()


def _look(file: Path) -> os.stat_result:
    found = file.stat()
    if not stat.S_ISREG(found.st_mode):
        raise SourceError(f"{file}: is not a file; name the database that msgtrace writes")
    return found
