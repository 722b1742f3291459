"""The two layouts of the tables, told apart by their columns, and what is asked of them."""

from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import (
    Column,
    ColumnElement,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    and_,
    bindparam,
    case,
    cast,
    func,
    or_,
    select,
)

from exporters.sources import SourceError

# Rows of one batch, which is committed.
BATCH_ROWS = 1000
# Traces that are read on at once; those of a batch of calls are about as many.
_TRACES = 250
# Metadata longer than this, characters, is not read: it would fill memory, and is looked into for a name only.
_LONG_TEXT = 16_384
_NEITHER = "not an llm_metrics database of a layout that is known"
_OF_CALLS = frozenset(
    ("id", "trace_id", "model", "input_tokens", "output_tokens", "total_tokens", "input_cost", "output_cost",
     "total_cost", "latency_ms", "created_at", "completion_start_time", "completion_end_time", "level",
     "status_message")
)  # fmt: skip
_OF_TRACES = frozenset(("id", "name", "trace_metadata", "created_at"))


class Dialect(Protocol):
    """In which words a database is asked, where databases differ, and for how many rows at once."""

    page_rows: int

    def text(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return a column as the text that it is, or becomes."""

    def number(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return a column of a sum or a duration as a number that is not Decimal."""

    def moment(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return a time as something that compares with `instant`."""

    def instant(self, name: str) -> ColumnElement[Any]:
        """Return a parameter, Unix seconds, as something that compares with `moment`."""

    def key(self, calls: Table) -> tuple[ColumnElement[Any], ...]:
        """Return the columns by which the first reading goes on."""

    def place_of(self, traces: Table) -> ColumnElement[int] | None:
        """Return the place of a trace in the order in which they were written; None where nothing tells it."""

    def after(self, calls: Table) -> ColumnElement[bool]:
        """Return whether a row's key comes after the parameters `after_0` and so on."""

    def remaining(self, calls: Table) -> Select[Any]:
        """Ask about how many rows come after these parameters."""

    def changed(self) -> ColumnElement[bool]:
        """Return whether a row may have been written since the parameter `changes`."""


@dataclass(frozen=True, kw_only=True)
class Along:
    """A page without its traces; where a trace stands; and those that stand after a place."""

    calls: Select[Any]
    place: Select[Any]
    traces: Select[Any]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One of the two, and its questions. `zeros` says that it is layout B, which stores unknown numbers as 0."""

    zeros: bool
    calls: Table
    # A page of what comes after the place, in the order of the database's key.
    ahead: Select[Any]
    # The same with the traces read on beside it, where these have an order in which they were written.
    along: Along | None
    remaining: Select[Any]
    # A page, in the order of time, of what was written late or again, and of what never ended.
    behind: Select[Any]
    sums: Select[Any]


def layout_of(columns: dict[str, list[Column[Any]]], dialect: Dialect, *, bounded: bool) -> Layout:
    """Tell the layout by the columns of the tables `generations` and `traces`. Raises SourceError for neither.

    `bounded` says that rows from before the parameter `since` are not read.
    """
    metadata = MetaData()
    tables = {name: Table(name, metadata, *found) for name, found in columns.items() if found}
    if tables.keys() != {"generations", "traces"}:
        raise SourceError(f"{_NEITHER}: it has no table '{min({'generations', 'traces'} - tables.keys())}'")
    calls, traces = tables["generations"], tables["traces"]
    zeros = "generation_metadata" not in calls.c
    about = "metadata" if zeros else "generation_metadata"
    missing = ({*_OF_CALLS, about} - {*calls.c.keys()}) | (_OF_TRACES - {*traces.c.keys()})
    if missing:
        raise SourceError(f"{_NEITHER}: there is no column '{min(missing)}' in generations or traces")
    settled = or_(finished(calls), dialect.moment(calls.c.created_at) <= dialect.instant("ripe"))
    if bounded:
        settled = and_(settled, dialect.moment(calls.c.created_at) >= dialect.instant("since"))
    ripened = and_(~finished(calls), dialect.moment(calls.c.created_at) > dialect.instant("ripe_before"))
    late = and_(from_day(calls), settled, or_(dialect.changed(), ripened), after_time(calls))
    of_call, of_trace = _of_call(calls, about, dialect), _of_trace(traces, dialect)
    rows = select(*of_call, *of_trace).select_from(calls.outerjoin(traces, traces.c.id == calls.c.trace_id))
    key, ahead = dialect.key(calls), and_(dialect.after(calls), settled)
    alone = _page(select(*of_call), key, dialect, dialect.page_rows).where(ahead)
    return Layout(
        zeros=zeros,
        calls=calls,
        ahead=_page(rows, key, dialect, dialect.page_rows).where(ahead),
        along=_along(alone, traces, of_trace, dialect.place_of(traces)),
        remaining=dialect.remaining(calls),
        behind=_page(rows, (calls.c.created_at, calls.c.id), dialect, BATCH_ROWS).where(late),
        sums=_sums(calls, dialect),
    )


def finished(calls: Table) -> ColumnElement[bool]:
    """Return whether a call has anything that only its end brings.

    Layout A exports calls that are under way, and never writes their ends (store-llm-metrics, pitfall 2);
    layout B writes them again. Nothing else tells the one from the other.
    """
    c = calls.c
    return or_(
        func.coalesce(c.total_tokens, 0) != 0,
        func.coalesce(c.input_tokens, 0) != 0,
        func.coalesce(c.output_tokens, 0) != 0,
        c.latency_ms.is_not(None),
        c.completion_end_time.is_not(None),
        func.coalesce(c.level, "") == "ERROR",
        c.status_message.is_not(None),
    )


def from_day(calls: Table) -> ColumnElement[bool]:
    """Return whether a row is of the day of the parameter `day`, `2025-10-12`, or later; this uses the index.

    A day is before each of its moments, whether a `T` or a space follows it.
    """
    at: ColumnElement[Any] = calls.c.created_at
    return at >= _like(at, "day")


def after_time(calls: Table) -> ColumnElement[bool]:
    """Return whether a row comes after the parameters `after_0`, a time as stored, and `after_1`, an id."""
    at: ColumnElement[Any] = calls.c.created_at
    time = _like(at, "after_0")
    return and_(at >= time, or_(at > time, calls.c.id > bindparam("after_1", type_=String)))


def _like(column: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """Return a parameter that is text as what a column is."""
    given = bindparam(name, type_=String)
    return given if isinstance(column.type, String) else cast(given, column.type)


def _of_call(calls: Table, about: str, dialect: Dialect) -> tuple[ColumnElement[Any], ...]:
    """The columns of `rows.Row`, in that order."""
    c, text = calls.c, dialect.text
    return (
        c.id, c.trace_id, text(c.model), c.input_tokens, c.output_tokens, c.total_tokens,
        *(dialect.number(column) for column in (c.input_cost, c.output_cost, c.total_cost, c.latency_ms)),
        text(c.created_at), text(c.completion_start_time), text(c.completion_end_time), _short(text(c[about])),
        c.level, func.substr(c.status_message, 1, 500),
    )  # fmt: skip


def _of_trace(traces: Table, dialect: Dialect) -> tuple[ColumnElement[Any], ...]:
    """Those that come after them: name, metadata and time."""
    return traces.c.name, _short(dialect.text(traces.c.trace_metadata)), dialect.text(traces.c.created_at)


def _along(
    calls: Select[Any], traces: Table, of_trace: tuple[ColumnElement[Any], ...], place: ColumnElement[int] | None
) -> Along | None:
    if place is None:
        return None
    on = select(traces.c.id, *of_trace, place.label("place")).where(place > bindparam("place", type_=Integer))
    return Along(
        calls=calls,
        place=select(place).select_from(traces).where(traces.c.id == bindparam("id", type_=String)),
        traces=on.order_by(place).limit(_TRACES),
    )


def _short(text: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((func.length(text) <= _LONG_TEXT, text))


def _page(rows: Select[Any], key: tuple[ColumnElement[Any], ...], dialect: Dialect, most: int) -> Select[Any]:
    """A page of rows in the order of a key, which stands behind each row."""
    named = (dialect.text(column).label(f"key_{place}") for place, column in enumerate(key))
    return rows.add_columns(*named).order_by(*key).limit(most)


def _sums(calls: Table, dialect: Dialect) -> Select[*tuple[Any, ...]]:
    """The sums of calls whose time lies from `since` to before `until`, stamped from `day` to before `end_day`."""
    c = calls.c
    moment = func.coalesce(dialect.moment(c.completion_end_time), dialect.moment(c.created_at))
    cost = dialect.number(c.total_cost)
    parts = dialect.number(c.input_cost) + dialect.number(c.output_cost)
    return select(
        func.count(),
        func.sum(dialect.number(c.input_tokens)),
        func.sum(dialect.number(c.output_tokens)),
        func.sum(case((func.coalesce(cost, 0) != 0, cost), else_=func.coalesce(parts, cost))),
    ).where(
        from_day(calls),
        c.created_at < _like(c.created_at, "end_day"),
        moment >= dialect.instant("since"),
        moment < dialect.instant("until"),
    )
