"""llm_metrics on PostgreSQL: a server that is asked in transactions that cannot write."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote

import psycopg
from sqlalchemy import (
    URL,
    Column,
    ColumnElement,
    Double,
    Float,
    Integer,
    Numeric,
    Select,
    String,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    collate,
    create_engine,
    func,
    inspect,
    literal,
    literal_column,
    select,
    text,
)
from sqlalchemy.exc import NoSuchTableError, SQLAlchemyError

from exporters.sources import SourceError
from exporters.sources.llm_metrics.dialect import BATCH_ROWS
from exporters.sources.llm_metrics.questions import after_time, time_key
from exporters.sources.records import LONGEST
from exporters.sources.sqlite import QUESTION_SECONDS

_SETTINGS = (
    "-c default_transaction_read_only=on -c statement_timeout={milliseconds} -c idle_in_transaction_session_timeout=60s"
    " -c timezone=UTC -c datestyle=ISO"
)
# Kinds of tables whose rows bear the transaction that wrote them: plain, partitioned and materialized ones. The rows of
# a view bear none, and those of a table elsewhere one of elsewhere.
_TELLING = ("r", "p", "m")
_KIND = "SELECT relkind FROM pg_class WHERE oid = to_regclass('generations')"
# A number past the largest of a float would fail its page.
_LARGEST: ColumnElement[Any] = literal_column("1e300")
_INSTANT = "YYYY-MM-DD HH24:MI:SS.US"
_WRAPPED = 2**31  # transactions, past which an age is no age


def place_of(url: SplitResult, password_file: str) -> URL:
    """Return where a server is, and as whom; without a password libpq asks PGPASSWORD and ~/.pgpass.

    Raises SourceError when the URL holds a password, when it names no database, or when the file cannot be read.
    """
    shown = f"{url.scheme}://"
    if url.password is not None:
        raise SourceError(
            f"{shown}: a password in a URL is seen by everybody on the machine; take it out and put it into the"
            " environment variable PGPASSWORD, into ~/.pgpass, or into a file that ?password_file= names"
        )
    try:
        port = url.port
    except ValueError as error:
        raise SourceError(f"{shown}: {error}; check the port") from None
    database = unquote(url.path[1:])
    if not database or "/" in database:
        raise SourceError(f"{shown}: name one database, as in {shown}user@host/db")
    password = None
    if password_file:
        try:
            password = Path(password_file).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or "not text"
            raise SourceError(f"{shown}: password_file {password_file}: {said}; check the path") from None
    return URL.create(
        "postgresql+psycopg",
        username=unquote(url.username) if url.username else None,
        password=password,
        host=unquote(url.hostname) if url.hostname else None,
        port=port,
        database=database,
    )


class Database:
    """One connection to a server, and the words that PostgreSQL understands.

    Rows are followed by their time and id. What was written late or again is known by its `xmin`,
    the transaction that wrote it, of a look's snapshot or after it; in a view, whose rows have none, by a thorough
    look. A server breaks off a question that lasts longer than `seconds`, as one to a view without end does.
    """

    # A batch at once: each question is a way to the server and back.
    page_rows = BATCH_ROWS

    def __init__(self, place: URL, *, seconds: float = QUESTION_SECONDS) -> None:
        # As of the last `columns`.
        self.tells_changes = True
        self._place = place.render_as_string(hide_password=True).partition("+psycopg")[2]
        self._engine = create_engine(
            place,
            pool_size=1,
            max_overflow=0,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={
                "options": _SETTINGS.format(milliseconds=round(seconds * 1000)),
                "application_name": "agentgauge",
                "connect_timeout": 10,
                # Statements that are prepared do not survive a pooler such as PgBouncer.
                "prepare_threshold": None,
            },
        )

    def fetch(
        self,
        statement: Any,
        parameters: Mapping[str, Any] | None = None,
        *,
        longest: int | None = None,
        seconds: float | None = None,
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a question, asked in a transaction of its own. Raises SourceError.

        A server cannot be told how long a value may be: what is asked of it are columns that are cut.
        """
        try:
            with self._engine.connect() as connection:
                if seconds is not None:
                    connection.execute(text(f"SET LOCAL statement_timeout = {round(seconds * 1000)}"))
                return [tuple(row) for row in connection.execute(statement, parameters)]
        except SQLAlchemyError as error:
            raise self._unread(error) from None

    def _unread(self, error: SQLAlchemyError) -> SourceError:
        orig = getattr(error, "orig", None) or error
        said = str(orig).partition("\n")[0]
        mend = ""
        if isinstance(orig, psycopg.errors.InsufficientPrivilege):
            mend = "; grant it: GRANT SELECT ON generations, traces TO the user"
        elif isinstance(orig, psycopg.errors.QueryCanceled):
            mend = "; where generations or traces is a view, make it one that ends sooner, or a materialized view"
        elif "password" in said:
            mend = "; put the password into PGPASSWORD, ~/.pgpass or the file that ?password_file= names"
        return SourceError(f"postgresql{self._place}: {said}{mend}")

    def columns(self) -> dict[str, list[Column[Any]]]:
        """Return the columns of the two tables."""
        found: dict[str, list[Column[Any]]] = {}
        try:
            with self._engine.connect() as connection:
                looker = inspect(connection)
                for table in ("generations", "traces"):
                    try:
                        columns = looker.get_columns(table)
                    except NoSuchTableError:
                        columns = []
                    found[table] = [Column(column["name"], column["type"]) for column in columns]
                self.tells_changes = connection.scalar(text(_KIND)) in _TELLING
        except SQLAlchemyError as error:
            raise self._unread(error) from None
        return found

    def identity(self) -> str:
        """Return what changes when the table is another one."""
        [(oid,)] = self.fetch(text("SELECT CAST(CAST(to_regclass('generations') AS oid) AS text)"))
        return oid or ""

    def mark(self) -> str:
        """Return what changes when a transaction ended that may have written."""
        [(snapshot,)] = self.fetch(text("SELECT CAST(pg_current_snapshot() AS text)"))
        return str(snapshot)

    def outdated(self, before: str, now: str) -> bool:
        """Say whether a mark is of another server, or so old that its transactions' ages have wrapped."""
        return not 0 <= _first(now) - _first(before) < _WRAPPED

    def changes(self, mark: str, *, thorough: bool) -> str | int:
        """Return the parameter of `changed`: the first transaction that a mark may not show, or whether to take all."""
        return str(_first(mark) % 2**32) if self.tells_changes else int(thorough)

    def changed(self) -> ColumnElement[bool]:
        if not self.tells_changes:
            return bindparam("changes", type_=Integer) == 1
        return text("age(generations.xmin) <= age(CAST(:changes AS xid))")  # type: ignore[return-value] # a clause is one

    def beginning(self, calls: Table, day: str) -> list[Any]:
        """Return the key before the first row of a day, or of all if it is empty."""
        return [day or ("" if isinstance(calls.c.created_at.type, String) else "-infinity"), ""]

    def key(self, calls: Table) -> tuple[ColumnElement[Any], ...]:
        return time_key(calls, self)

    def after(self, calls: Table) -> ColumnElement[bool]:
        return after_time(calls, self)

    def place_of(self, table: Table) -> ColumnElement[int] | None:
        return None

    def remaining(self, calls: Table) -> Select[Any]:
        # The planner's estimate, also of what was read: to count a large table takes longer than a statement may.
        return (
            select(text("CAST(greatest(reltuples, 0) AS bigint)"))
            .select_from(text("pg_class"))
            .where(text("oid = to_regclass('generations')"))
        )

    def text(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return column if isinstance(column.type, String) else cast(column, Text)

    def cut(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return func.left(self.text(column), LONGEST + 1, type_=Text)

    def is_short(self, text: ColumnElement[Any], characters: int) -> ColumnElement[bool]:
        return func.length(text) <= characters

    def number(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        if not isinstance(column.type, Numeric) or isinstance(column.type, Float):
            return cast(column, Double)
        fits = and_(column > -_LARGEST, column < _LARGEST)
        return case((fits, cast(column, Double)), (column.is_not(None), cast(literal("Infinity"), Double)))

    def no_text(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return column

    def total(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return func.sum(column)

    def moment(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        if isinstance(column.type, String):
            return collate(func.replace(column, "T", " "), "C")
        return collate(func.to_char(column, _INSTANT), "C")

    def instant(self, name: str) -> ColumnElement[Any]:
        # A stamp may have no fraction: as text `10:00:00` is before `10:00:00.000000`.
        instant = func.to_char(func.to_timestamp(bindparam(name, type_=Double)), _INSTANT)
        return func.rtrim(func.rtrim(instant, "0"), ".")

    def close(self) -> None:
        self._engine.dispose()


def _first(snapshot: str) -> int:
    """The first transaction that had not ended: every later one is in doubt."""
    return int(snapshot.partition(":")[0])
