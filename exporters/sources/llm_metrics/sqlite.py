"""llm_metrics on SQLite: a file that is only read, beside whoever writes it, and the words that SQLite understands."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import (
    Column,
    ColumnElement,
    Float,
    Integer,
    LargeBinary,
    Select,
    String,
    Table,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.dialects import sqlite

from exporters.sources.long_rows import FIRST
from exporters.sources.records import LONGEST
from exporters.sources.sqlite import LONGEST_VALUE
from exporters.sources.sqlite import Database as File

_UNIX_EPOCH = 2440587.5  # in days of the Julian calendar, in which SQLite counts time
_DAY_MILLISECONDS = 86_400_000
_DIALECT = sqlite.dialect()
_ROWID: ColumnElement[int] = literal_column("generations.rowid", Integer)


# A question: its statement, the names of the values that it asks for in their order, and those it brings along.
_Words = tuple[str, tuple[str, ...], dict[str, Any]]


class Database:
    """One connection to a file, opened when it is first asked, and the words that SQLite understands.

    Rows are followed by `rowid`: one that is written again by INSERT OR REPLACE gets a new one, so
    what is new and what is new again are found in the same place (store-llm-metrics, pitfall 1).
    """

    tells_changes = False
    # So few that they stay in the processor's cache until they are spans: of a thousand a row took a tenth longer.
    page_rows = 250

    def __init__(self, file: Path) -> None:
        self._path = file
        self._file: File | None = None
        # Questions as they were put into words: to do that again for each page took a tenth of the page's time.
        self._words: WeakKeyDictionary[Any, _Words] = WeakKeyDictionary()

    def fetch(
        self,
        statement: Select[Any],
        parameters: Mapping[str, Any] | None = None,
        *,
        longest: int = LONGEST_VALUE,
        seconds: float | None = None,
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a question; text that is not UTF-8 is repaired. Raises SourceError, see File.fetch."""
        words = self._words.get(statement)
        if words is None:
            compiled = statement.compile(dialect=_DIALECT)
            words = str(compiled), tuple(compiled.positiontup or ()), dict(compiled.params)
            self._words[statement] = words
        written, names, values = words
        values = {**values, **(parameters or {})}
        # Past SQLAlchemy's rows, which take as long to make as the tuples they are made of.
        return self._opened().fetch(written, [values[name] for name in names], longest=longest, seconds=seconds)

    def _opened(self) -> File:
        if self._file is None:
            self._file = File(self._path, writer="llm_metrics", text=str)
        return self._file

    def columns(self) -> dict[str, list[Column[Any]]]:
        """Return the columns of the two tables. Their declared types bind nobody: SQLite stores anything."""
        file = self._opened()
        return {table: [Column(name, String) for name in file.columns(table)] for table in ("generations", "traces")}

    def identity(self) -> str:
        """Return what changes when rowids mean other rows: the file was replaced, or a table made anew."""
        if self._file is not None and not self._file.is_current():
            self.close()
        file = self._opened()
        [(version,)] = file.fetch("PRAGMA schema_version")
        return f"{file.inode}:{version}"

    def mark(self) -> str:
        """Return what changes when somebody else has written."""
        [(version,)] = self._opened().fetch("PRAGMA data_version")
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
        """Return the key before the first row of a day, or of all if it is empty; the index of times tells it at once,
        where to look at each row before that day may take longer than a question may."""
        if not day:
            return [FIRST]
        days = select(func.min(_ROWID) - 1).select_from(calls).where(calls.c.created_at >= day)
        [(before,)] = self.fetch(days)
        if before is None:
            [(before,)] = self.fetch(select(func.max(_ROWID)).select_from(calls))
        return [FIRST if before is None else before]

    def key(self, calls: Table) -> tuple[ColumnElement[Any], ...]:
        return (_ROWID,)

    def after(self, calls: Table) -> ColumnElement[bool]:
        return _ROWID.op(">")(bindparam("after_0", type_=Integer))

    def place_of(self, table: Table) -> ColumnElement[int] | None:
        return literal_column(f"{table.name}.rowid", Integer)

    def remaining(self, calls: Table) -> Select[Any]:
        first = func.max(bindparam("after_0", type_=Integer), 0)
        return select(func.max(_ROWID) - first).select_from(calls)

    def text(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return column

    def cut(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return case((self.is_short(column, LONGEST), column), else_=func.substr(column, 1, LONGEST + 1))

    def is_short(self, text: ColumnElement[Any], characters: int) -> ColumnElement[bool]:
        # In bytes, of which a character has up to four: what stands behind a NUL, the length of a text does not count.
        return func.length(cast(text, LargeBinary)) <= 4 * characters

    def number(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return type_coerce(column, Float)

    def no_text(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        kind = func.typeof(column)
        return case((or_(kind == "text", kind == "blob"), ""), else_=column)

    def total(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        # Not `sum`, which fails when whole numbers come to more than 64 bits.
        return func.total(column)

    def moment(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        # Whole milliseconds, as SQLite has them: in days a whole hour is not always a whole hour.
        return cast(func.round((func.julianday(column) - _UNIX_EPOCH) * _DAY_MILLISECONDS), Integer)

    def instant(self, name: str) -> ColumnElement[Any]:
        return cast(func.round(bindparam(name, type_=Float) * 1000), Integer)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None
