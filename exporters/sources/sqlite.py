"""SQLite files that others write: opened to read only, hardly noticed by their writers, bounded in time and memory.

A file may hold anything, and what it holds is not trusted. A view, a virtual table or a computed column can go on for
ever, or make a value that fills the memory, so only what is stored is read, and no question lasts longer than its
deadline. Limits: https://www.sqlite.org/security.html, https://www.sqlite.org/limits.html.
"""

import logging
import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, unquote

from exporters.sources import Options, SourceError

# How long a reader waits for a writer that holds the file, and after how long it asks again: SQLite's own
# busy handler asks ever more seldom, and beside a writer that goes on and on its turn does not come.
BUSY_SECONDS = 5.0
_ASK_AGAIN_SECONDS = 0.002
# How long a question may last, and all that are asked for the sums of a period, which run beside the reading.
QUESTION_SECONDS = 30.0
SUM_SECONDS = 300.0
# Steps of SQLite's machine between two looks at the clock: two or three looks a page, too few to be measured.
_STEPS = 10_000
# A value that is longer is not read into memory, in bytes; nor is a statement of the file's schema.
LONGEST_VALUE = 16 << 20
_LONGEST_SCHEMA = 1 << 20
_SETTINGS = (
    # Functions that reach outside the file are not called by what stands in it.
    "PRAGMA trusted_schema = OFF",
    # Damage is noticed when a page is read, not where it leads.
    "PRAGMA cell_size_check = ON",
    # A file that is cut off while it is mapped would end the process.
    "PRAGMA mmap_size = 0",
    # The file itself may say another number, such as all of its pages.
    "PRAGMA cache_size = -2000",
)
# What lies beside a database and is a part of it.
_BESIDE = ("-journal", "-wal", "-shm")
_KIND = """
    SELECT type = 'view' FROM sqlite_schema
    WHERE name = ? COLLATE NOCASE AND (type = 'view' OR type = 'table' AND coalesce(rootpage, 0) = 0)
"""
# 0 is a column as usual, 3 one that was computed when its row was written.
_STORED = "SELECT name FROM pragma_table_xinfo(?) WHERE hidden IN (0, 3)"

_MEND = {
    "SQLITE_BUSY": "its writer has held it for long; it is tried again",
    "SQLITE_CANTOPEN": "let this user read it, its folder, and the files -wal and -shm beside it; in a container, mount"
    " the folder whole",
    "SQLITE_CORRUPT": "it was damaged, or is being replaced; look at it with PRAGMA integrity_check",
    "SQLITE_INTERRUPT": "there was no answer in time; copy it to a faster disk, or look for what makes it slow",
    "SQLITE_NOTADB": "name the database that {writer} writes",
    "SQLITE_READONLY": "its writer was stopped in the middle of a write, which {writer} mends when it opens the file",
    "SQLITE_TOOBIG": f"a value is longer than {LONGEST_VALUE >> 20} MiB; shorten or delete it",
}

log = logging.getLogger("agentgauge")


class HeldError(SourceError):
    """The file cannot be read now, and can be when its writer has gone on."""


class DeniedError(SourceError):
    """The file may not be read by whoever runs this, and can be when that is mended."""


class TooLongError(SourceError):
    """A value that a question reads is longer than the question may read."""


class _Deadline:
    """When the question that is under way is broken off. It stands alone: what a connection calls, it keeps."""

    def __init__(self) -> None:
        self.at = 0.0

    def has_passed(self) -> bool:
        return time.monotonic() > self.at


class Database:
    """A read-only connection to the file that is at a path, for as long as that file is there.

    `writer` is the program whose file it should be, for messages. Text comes as what `text` says: as bytes, for a
    store may hold any, or as str, in which what is not UTF-8 is replaced. A question is broken off after `seconds`.
    Any failure is a SourceError in one line.
    """

    def __init__(
        self, file: Path, *, writer: str, text: type[bytes] | type[str], seconds: float = QUESTION_SECONDS
    ) -> None:
        self.file = file
        self._writer = writer
        self._text = text
        self._seconds = seconds
        self._deadline = _Deadline()
        status = look(file, writer)
        self._identity = (status.st_dev, status.st_ino)
        with self._explained():
            # Never `immutable`, which on a store in use reads pages that are torn.
            uri = f"file:{quote(os.fsencode(file))}?mode=ro"
            self._connection = sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None, check_same_thread=False)
        self._connection.text_factory = text
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _LONGEST_SCHEMA)
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        self._connection.set_progress_handler(self._deadline.has_passed, _STEPS)
        try:
            for setting in _SETTINGS:
                self.fetch(setting)
        except SourceError:
            self.close()
            raise

    @property
    def inode(self) -> int:
        """The number of the file."""
        return self._identity[1]

    def is_current(self) -> bool:
        """Whether this is still the file at the path. Raises SourceError when there is none."""
        status = look(self.file, self._writer)
        return (status.st_dev, status.st_ino) == self._identity

    def columns(self, table: str) -> list[str]:
        """Return the columns that a table stores; none when there is no such table. Raises SourceError when its rows
        are computed, as those of a view are."""
        for (view,) in self.fetch(_KIND, (table,)):
            what = "a view" if view else "a virtual table"
            raise SourceError(
                f"{self.file}: '{table}' is {what}, and only tables are read, for what is computed may never end; name"
                f" the database that {self._writer} writes, or copy the rows into a table"
            )
        names = [name for (name,) in self.fetch(_STORED, (table,))]
        return [name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in names]

    def fetch(
        self,
        statement: str,
        parameters: Sequence[Any] = (),
        *,
        longest: int = LONGEST_VALUE,
        seconds: float | None = None,
    ) -> list[tuple[Any, ...]]:
        """Return all rows of a question; a writer that holds the file is waited for.

        Raises SourceError, which is a TooLongError where a value has more than `longest` bytes.
        """
        waits_until = time.monotonic() + BUSY_SECONDS
        with self._explained():
            while True:
                self._begin(longest, seconds)
                try:
                    return self._connection.execute(statement, parameters).fetchall()
                except sqlite3.OperationalError as error:
                    if self._text is str and "Could not decode" in str(error):
                        return self._repaired(statement, parameters)
                    if _code(error) & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > waits_until:
                        raise
                time.sleep(_ASK_AGAIN_SECONDS)

    def _begin(self, longest: int, seconds: float | None) -> None:
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, longest)
        self._deadline.at = time.monotonic() + (self._seconds if seconds is None else seconds)

    def _repaired(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Ask once more, with what is not UTF-8 replaced, which takes a call of Python for each text."""
        self._connection.text_factory = lambda text: text.decode("utf-8", "replace")
        try:
            return self._connection.execute(statement, parameters).fetchall()
        finally:
            self._connection.text_factory = self._text

    def each(self, statement: str, parameters: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a question one by one, within a snapshot. Raises as `fetch` does."""
        with self._explained():
            self._begin(LONGEST_VALUE, None)
            yield from self._connection.execute(statement, parameters)

    @contextmanager
    def snapshot(self) -> Iterator[int]:
        """Have all questions within see the same state of the file, whose writer waits for the end of this;
        yield a number that changes when somebody else has written. Raises SourceError."""
        self.fetch("BEGIN")
        try:
            [(version,)] = self.fetch("PRAGMA data_version")
            yield version
        finally:
            with self._explained():
                self._connection.rollback()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say in one line what is wrong with the file, and how to mend it."""
        try:
            yield
        except sqlite3.Error as error:
            name = str(getattr(error, "sqlite_errorname", ""))
            mend = next((mend for known, mend in _MEND.items() if name.startswith(known)), "")
            message = f"{self.file}: {error}{mend and '; '}{mend.format(writer=self._writer)}".replace("\n", " ")
            if name.startswith(("SQLITE_BUSY", "SQLITE_READONLY")):
                raise HeldError(message) from None
            if name.startswith("SQLITE_CANTOPEN"):
                raise DeniedError(message) from None
            raise (TooLongError if name == "SQLITE_TOOBIG" else SourceError)(message) from None

    def close(self) -> None:
        self._connection.close()


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's number of an error; 0 for one of Python's own."""
    return int(getattr(error, "sqlite_errorcode", 0))


@contextmanager
def first_look(options: Options) -> Iterator[None]:
    """Have who starts a source told at once what is wrong with its file.

    A file that is followed and is held, or may not be read yet, is only told of: the reading tries it again, and
    whoever mends it need not know who reads it.
    """
    try:
        yield
    except (HeldError, DeniedError) as error:
        if isinstance(error, DeniedError) and not options.follows:
            raise
        log.warning("source=%s cannot be read yet: %s", options.name, error)


def look(file: Path, writer: str) -> os.stat_result:
    """Return what the system says of a file. Raises SourceError when it cannot be a database.

    That holds too where something else lies at the place of its logs: to open a pipe is to wait for who writes it.
    """
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise SourceError(f"{file}: is not a file; name the database that {writer} writes")
        for suffix in _BESIDE:
            _look_beside(f"{file}{suffix}")
    except PermissionError as error:
        raise DeniedError(f"{file}: {error.strerror}; let this user read it and its folder") from None
    except OSError as error:
        raise SourceError(f"{file}: {error.strerror}; check the path, or start {writer}") from None
    except ValueError as error:  # a NUL in the path
        raise SourceError(f"{str(file)!r}: {error}; check the path") from None
    return status


def _look_beside(path: str) -> None:
    try:
        is_file = stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 -- three times a poll, and mostly not there
    except FileNotFoundError:
        return
    if not is_file:
        raise SourceError(f"{path}: is not a file, as this part of a database is; mount the folder whole")


def file_of(url: SplitResult) -> Path:
    """Return the file of `scheme:///path`, percent-encoding and a leading `~` resolved. Raises SourceError."""
    path = unquote(url.netloc + url.path)
    if not path:
        raise SourceError(
            f"{url.scheme}: names no file; write it after the slashes, as in {url.scheme}:///var/traces.db"
        )
    try:
        return Path(path[1:] if path.startswith("/~") else path).expanduser().absolute()
    except RuntimeError as error:  # no such user
        raise SourceError(f"{url.scheme}: {path!r}: {error}; check the path") from None
