"""llm_metrics on SQLite: a file that is only read, beside whoever writes it."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

from sqlalchemy import (
    Column,
    ColumnElement,
    Float,
    Integer,
    Select,
    String,
    Table,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    text,
    type_coerce,
)
from sqlalchemy.dialects import sqlite

from exporters.sources import SourceError

_BUSY_SECONDS = 5.0
_UNIX_EPOCH = 2440587.5  # in days of the Julian calendar, in which SQLite counts time
_DAY_MILLISECONDS = 86_400_000
_DIALECT = sqlite.dialect()
_ROWID: ColumnElement[int] = literal_column("generations.rowid", Integer)


# A question: what it says, the names of the values that it asks for in their order, and those it brings along.
_Words = tuple[str, tuple[str, ...], dict[str, Any]]


class Database:
    """One connection to a file, and the words that SQLite understands.

    Rows are followed by `rowid`: one that is written again by INSERT OR REPLACE gets a new one, so
    what is new and what is new again are found in the same place (store-llm-metrics, pitfall 1).
    """

    tells_changes = False
    # So few that they stay in the processor's cache until they are spans: of a thousand a row took a tenth longer.
    page_rows = 250

    def __init__(self, file: Path) -> None:
        """Open a file read-only: never `immutable`, which on a store in use reads pages that are torn."""
        self._file = file
        self._inode = _inode(file)
        self._connection: sqlite3.Connection | None = None
        # Questions as they were put into words: to do that again for each page took a tenth of the page's time.
        self._words: WeakKeyDictionary[Any, _Words] = WeakKeyDictionary()

    def fetch(self, statement: Any, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of a question; text that is not UTF-8 is repaired. Raises SourceError."""
        try:
            return self._fetch(statement, parameters)
        except sqlite3.Error as error:
            if "Could not decode" not in str(error):
                raise self._unread(error) from None
        try:
            return self._fetch(statement, parameters, lambda text: text.decode("utf-8", "replace"))
        except sqlite3.Error as error:
            raise self._unread(error) from None

    def _fetch(self, statement: Any, parameters: Mapping[str, Any] | None, read: Any = str) -> list[tuple[Any, ...]]:
        if self._connection is None:
            uri = f"file:{quote(str(self._file))}?mode=ro"
            self._connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, check_same_thread=False)
        words = self._words.get(statement)
        if words is None:
            compiled = statement.compile(dialect=_DIALECT)
            words = str(compiled), tuple(compiled.positiontup or ()), dict(compiled.params)
            self._words[statement] = words
        said, names, values = words
        values = {**values, **(parameters or {})}
        self._connection.text_factory = read
        # Past SQLAlchemy's rows, which take as long to make as the tuples they are made of.
        return self._connection.execute(said, [values[name] for name in names]).fetchall()

    def _unread(self, error: sqlite3.Error) -> SourceError:
        said = str(error).partition("\n")[0]
        mend = ""
        if "unable to open" in said or "readonly" in said:
            mend = "; the folder has to be readable too, with the files -wal and -shm beside it: mount it whole"
        return SourceError(f"{self._file}: {said}{mend}")

    def columns(self) -> dict[str, list[Column[Any]]]:
        """Return the columns of the two tables. Their declared types bind nobody: SQLite stores anything."""
        found = {}
        for table in ("generations", "traces"):
            rows = self.fetch(text("SELECT name FROM pragma_table_info(:table)"), {"table": table})
            found[table] = [Column(name, String) for (name,) in rows]
        return found

    def identity(self) -> str:
        """Return what changes when rowids mean other rows: the file was replaced, or a table made anew."""
        inode = _inode(self._file)
        if inode != self._inode:
            self.close()
            self._inode = inode
        [(version,)] = self.fetch(text("PRAGMA schema_version"))
        return f"{inode}:{version}"

    def mark(self) -> str:
        """Return what changes when somebody else has written."""
        [(version,)] = self.fetch(text("PRAGMA data_version"))
        return str(version)

    def outdated(self, before: str, now: str) -> bool:
        """Say whether a mark means nothing any more; no place is kept by one."""
        return False

    def changes(self, mark: str, *, thorough: bool) -> int:
        """Return the parameter of `changed`: nothing tells what changed, so a thorough look takes all."""
        return int(thorough)

    def changed(self) -> ColumnElement[bool]:
        return bindparam("changes", type_=Integer) == 1

    def beginning(self, calls: Table, day: str) -> list[Any]:
        """Return the key before the first row; SQLite has to look at all of them."""
        return [-(2**63)]

    def key(self, calls: Table) -> tuple[ColumnElement[Any], ...]:
        return (_ROWID,)

    def after(self, calls: Table) -> ColumnElement[bool]:
        return _ROWID.op(">")(bindparam("after_0", type_=Integer))

    def place_of(self, traces: Table) -> ColumnElement[int] | None:
        return literal_column("traces.rowid", Integer)

    def remaining(self, calls: Table) -> Select[Any]:
        first = func.max(bindparam("after_0", type_=Integer), 0)
        return select(func.max(_ROWID) - first).select_from(calls)

    def text(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return column

    def number(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return type_coerce(column, Float)

    def moment(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        # Whole milliseconds, as SQLite has them: in days a whole hour is not always a whole hour.
        return cast(func.round((func.julianday(column) - _UNIX_EPOCH) * _DAY_MILLISECONDS), Integer)

    def instant(self, name: str) -> ColumnElement[Any]:
        return cast(func.round(bindparam(name, type_=Float) * 1000), Integer)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def _inode(file: Path) -> int:
    try:
        return file.stat().st_ino
    except OSError as error:
        raise SourceError(f"{file}: {error.strerror}; the database file is gone") from None
