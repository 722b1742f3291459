"""The two layouts of the tables, told apart by their columns, and what is asked of them."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Integer, MetaData, Select, Table, and_, bindparam, func, or_, select

from exporters.sources import SourceError
from exporters.sources.llm_metrics.dialect import Dialect
from exporters.sources.llm_metrics.questions import (
    OF_CALLS,
    OF_TRACES,
    after_time,
    finished,
    from_day,
    of_call,
    of_trace,
    ordered,
    sums_of,
    time_key,
    traces_after,
    with_id,
)

_NEITHER = "not an llm_metrics database of a layout that is known"


@dataclass(frozen=True, kw_only=True)
class Along:
    """A page without its traces; where a trace stands; and those that stand after a place."""

    calls: Select[Any]
    place: Select[Any]
    traces: Select[Any]


@dataclass(frozen=True, kw_only=True)
class Careful:
    """What is asked of a database that refuses long values when there are some: the answers are never long.

    `page` is `Layout.ahead`. The others are for when a row holds a value that is too long even so: the calls ahead,
    those behind, and the sums, from the place that is the parameter `first` to that of `last`; the trace with an id;
    and the place of the next call after `place`, and of the last of so many as a page may hold.
    """

    page: Select[Any]
    ahead: Select[Any]
    behind: Select[Any]
    sums: Select[Any]
    trace: Select[Any]
    following: Select[Any]
    page_end: Select[Any]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One of the two, and its questions. `zeros` says that it is layout B, which stores unknown numbers as 0."""

    zeros: bool
    calls: Table
    # A page of what comes after the place, in the order of the database's key.
    ahead: Select[Any]
    # The same with the traces read on beside it, where these have an order in which they were written.
    along: Along | None
    careful: Careful | None
    remaining: Select[Any]
    # A page, in the order of time, of what was written late or again, and of what never ended.
    behind: Select[Any]
    sums: Select[Any]


def layout_of(columns: dict[str, list[Column[Any]]], dialect: Dialect, *, bounded: bool) -> Layout:
    """Tell the layout by the columns of the tables `generations` and `traces`. Raises SourceError for neither.

    `bounded` says that rows from before the parameter `since` are not read.
    """
    calls, traces = _tables(columns)
    zeros = "generation_metadata" not in calls.c
    about = "metadata" if zeros else "generation_metadata"
    missing = ({*OF_CALLS, about} - {*calls.c.keys()}) | (OF_TRACES - {*traces.c.keys()})
    if missing:
        raise SourceError(f"{_NEITHER}: there is no column '{min(missing)}' that is stored in generations or traces")
    settled = or_(finished(calls), dialect.moment(calls.c.created_at) <= dialect.instant("ripe"))
    if bounded:
        settled = and_(settled, dialect.moment(calls.c.created_at) >= dialect.instant("since"))
    ripened = and_(~finished(calls), dialect.moment(calls.c.created_at) > dialect.instant("ripe_before"))
    late = and_(from_day(calls), settled, or_(dialect.changed(), ripened))
    key, ahead, place = dialect.key(calls), and_(dialect.after(calls), settled), dialect.place_of(calls)
    alone = select(*of_call(calls, about, dialect))
    joined = calls.outerjoin(traces, traces.c.id == calls.c.trace_id)
    cut = select(*of_call(calls, about, dialect, cut=True), *of_trace(traces, dialect, cut=True)).select_from(joined)
    page = ordered(cut.where(ahead), key, dialect)
    careful = along = None
    if place is not None:
        careful = _careful(page, ahead=settled, behind=late, place=place, of=(calls, traces, about, dialect))
        page = ordered(alone.add_columns(*of_trace(traces, dialect)).select_from(joined).where(ahead), key, dialect)
        along = _along(ordered(alone.where(ahead), key, dialect), traces, dialect)
    return Layout(
        zeros=zeros,
        calls=calls,
        ahead=page,
        along=along,
        careful=careful,
        remaining=dialect.remaining(calls),
        behind=ordered(cut.where(late, after_time(calls, dialect)), time_key(calls, dialect), dialect),
        sums=sums_of(calls, dialect),
    )


def _tables(columns: dict[str, list[Column[Any]]]) -> tuple[Table, Table]:
    metadata = MetaData()
    tables = {name: Table(name, metadata, *those) for name, those in columns.items() if those}
    if tables.keys() != {"generations", "traces"}:
        raise SourceError(f"{_NEITHER}: it has no table '{min({'generations', 'traces'} - tables.keys())}'")
    return tables["generations"], tables["traces"]


def _along(calls: Select[Any], traces: Table, dialect: Dialect) -> Along | None:
    place = dialect.place_of(traces)
    if place is None:
        return None
    return Along(
        calls=calls,
        place=with_id(select(place).select_from(traces), traces),
        traces=traces_after(traces, place, dialect),
    )


def _careful(
    page: Select[Any],
    *,
    ahead: ColumnElement[bool],
    behind: ColumnElement[bool],
    place: ColumnElement[int],
    of: tuple[Table, Table, str, Dialect],
) -> Careful:
    calls, traces, about, dialect = of
    between = place.between(bindparam("first", type_=Integer), bindparam("last", type_=Integer))
    alone = select(*of_call(calls, about, dialect, cut=True), place.label("key_0")).where(between).order_by(place)
    after = select(place.label("place")).select_from(calls).where(place > bindparam("place", type_=Integer))
    of_page = after.order_by(place).limit(dialect.page_rows).subquery()
    return Careful(
        page=page,
        ahead=alone.where(ahead),
        behind=alone.where(behind),
        sums=sums_of(calls, dialect).where(between),
        trace=with_id(select(*of_trace(traces, dialect, cut=True)), traces),
        following=select(func.min(place)).select_from(calls).where(place > bindparam("place", type_=Integer)),
        page_end=select(func.max(of_page.c.place)),
    )
