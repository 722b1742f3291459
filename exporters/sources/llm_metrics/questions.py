"""The parts of which questions about the tables are made: columns, conditions, orders and sums."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    String,
    Table,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal,
    or_,
    select,
)

from exporters.sources.llm_metrics.dialect import Dialect
from exporters.sources.records import LONGEST, MOST

# Traces that are read on at once; those of a batch of calls are about as many.
_TRACES = 250
# Metadata longer than this, characters, is not read: it would fill memory, and is looked into for a name only.
_LONG_TEXT = 16_384
OF_CALLS = frozenset(
    ("id", "trace_id", "model", "input_tokens", "output_tokens", "total_tokens", "input_cost", "output_cost",
     "total_cost", "latency_ms", "created_at", "completion_start_time", "completion_end_time", "level",
     "status_message")
)  # fmt: skip
OF_TRACES = frozenset(("id", "name", "trace_metadata", "created_at"))
_Columns = tuple[ColumnElement[Any], ...]


def of_call(calls: Table, about: str, dialect: Dialect, *, cut: bool = False) -> _Columns:
    """Return the columns of `rows.Row`, in that order; `cut` where they are longer than is used."""
    c = calls.c
    text = dialect.cut if cut else dialect.text
    counts = (c.input_tokens, c.output_tokens, c.total_tokens)
    amounts = (c.input_cost, c.output_cost, c.total_cost, c.latency_ms)
    return (
        text(c.id), text(c.trace_id), text(c.model),
        *(dialect.no_text(column) if cut else column for column in counts),
        *(dialect.number(dialect.no_text(column) if cut else column) for column in amounts),
        text(c.created_at), text(c.completion_start_time), text(c.completion_end_time),
        _metadata(c[about], dialect, cut=cut), text(c.level), func.substr(c.status_message, 1, 500),
    )  # fmt: skip


def of_trace(traces: Table, dialect: Dialect, *, cut: bool = False) -> _Columns:
    """Return those that come after them: name, metadata and time."""
    c = traces.c
    text = dialect.cut if cut else dialect.text
    return text(c.name), _metadata(c.trace_metadata, dialect, cut=cut), text(c.created_at)


def _metadata(column: ColumnElement[Any], dialect: Dialect, *, cut: bool) -> ColumnElement[Any]:
    """Return metadata whole, or nothing: what was cut can no longer be read."""
    text = dialect.text(column)
    return case((dialect.is_short(text, _LONG_TEXT), text)) if cut else text


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


def time_key(calls: Table, dialect: Dialect) -> _Columns:
    """Return the columns by which rows stand in the order of time."""
    return calls.c.created_at, dialect.cut(calls.c.id)


def after_time(calls: Table, dialect: Dialect) -> ColumnElement[bool]:
    """Return whether a row comes after the parameters `after_0`, a time as stored, and `after_1`, an id.

    A time that is longer than any text that is used is none, and as a part of the key it would fill memory.
    """
    at: ColumnElement[Any] = calls.c.created_at
    time = _like(at, "after_0")
    later = or_(at > time, dialect.cut(calls.c.id) > bindparam("after_1", type_=String))
    if not isinstance(at.type, String):
        return and_(at >= time, later)
    return and_(at >= time, later, dialect.is_short(at, LONGEST))


def _like(column: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """Return a parameter that is text as what a column is."""
    parameter = bindparam(name, type_=String)
    return parameter if isinstance(column.type, String) else cast(parameter, column.type)


def ordered(rows: Select[Any], key: _Columns, dialect: Dialect) -> Select[Any]:
    """Return a page of rows in the order of a key, which stands behind each row."""
    named = (dialect.text(column).label(f"key_{place}") for place, column in enumerate(key))
    return rows.add_columns(*named).order_by(*key).limit(dialect.page_rows)


def traces_after(traces: Table, place: ColumnElement[int], dialect: Dialect) -> Select[Any]:
    """Ask for traces after the parameter `place`: id, what `of_trace` has, and place."""
    on = select(traces.c.id, *of_trace(traces, dialect), place.label("place"))
    return on.where(place > bindparam("place", type_=Integer)).order_by(place).limit(_TRACES)


def with_id(of: Select[Any], traces: Table) -> Select[Any]:
    """Ask about the trace whose id is the parameter `id`."""
    return of.where(traces.c.id == bindparam("id", type_=String))


def sums_of(calls: Table, dialect: Dialect) -> Select[*tuple[Any, ...]]:
    """Ask for the sums of calls whose time lies from `since` to before `until`, stamped from `day` to before
    `end_day`: their number, tokens of input and output, and cost."""
    c = calls.c
    moment = func.coalesce(dialect.moment(c.completion_end_time), dialect.moment(c.created_at))
    cost = _amount(c.total_cost, dialect)
    parts = _amount(c.input_cost, dialect) + _amount(c.output_cost, dialect)
    return select(
        func.count(),
        dialect.total(_amount(c.input_tokens, dialect)),
        dialect.total(_amount(c.output_tokens, dialect)),
        dialect.total(case((func.coalesce(cost, 0) != 0, cost), else_=func.coalesce(parts, cost))),
    ).where(
        from_day(calls),
        c.created_at < _like(c.created_at, "end_day"),
        moment >= dialect.instant("since"),
        moment < dialect.instant("until"),
    )


def _amount(column: ColumnElement[Any], dialect: Dialect) -> ColumnElement[Any]:
    """Return a number of a column, where it is one that can be added up: neither text nor NaN nor past MOST."""
    value, most = dialect.no_text(column), literal(MOST, BigInteger)
    return case((and_(value > -most, value < most), dialect.number(value)))
