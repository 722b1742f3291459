"""A row of the table `generations` as it was read, made into a record whose every column is what it should be."""

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import repeat
from typing import Annotated, Any

import msgspec
from msgspec import Meta, ValidationError, convert

from exporters.sources.records import LATEST, LONGEST, MOST, RecordError

EPOCH = datetime(1970, 1, 1)
_Count = Annotated[int, Meta(ge=0, lt=MOST)]
_Amount = Annotated[float, Meta(ge=0, lt=MOST)] | _Count
# UTC, without saying so.
_Moment = Annotated[datetime, Meta(tz=False)]


class Row(msgspec.Struct, array_like=True, gc=False):
    """What is read of a row of `generations`, in this order; what is read of its trace comes after it."""

    id: Annotated[str, Meta(min_length=1, max_length=LONGEST)]
    trace_id: Any
    model: str | None
    input_tokens: _Count | None
    output_tokens: _Count | None
    total_tokens: _Count | None
    input_cost: _Amount | None
    output_cost: _Amount | None
    total_cost: _Amount | None
    latency_ms: _Amount | None
    created_at: _Moment | None
    completion_start_time: _Moment | None
    completion_end_time: _Moment | None
    metadata: str | None
    level: Any
    status_message: Any


_OF_CALL = len(Row.__struct_fields__)
# As they are read; a page's key comes after these.
FIELDS = (*Row.__struct_fields__, "trace_name", "trace_metadata", "trace_created_at")
OF_TRACE = slice(_OF_CALL, len(FIELDS))
LATENCY = FIELDS.index("latency_ms")
_Rows = list[Row]


def rows_of(rows: list[tuple[Any, ...]]) -> Iterable[Row | None]:
    """Return rows as records, where all of them can be used as they are: nearly always, and in half the time that
    they take one by one. Otherwise of each nothing, and `row_of` tells."""
    try:
        found = convert(rows, _Rows)
    except (ValidationError, UnicodeError):  # the other is of lone surrogates
        return repeat(None, len(rows))
    for row in found:
        if not row.id.isascii():
            row.id = utf8(row.id)
    return found


def row_of(columns: tuple[Any, ...]) -> Row:
    """Return a row as a record. Raises RecordError when it cannot be used."""
    try:
        # All columns at one look, which takes half as long as to look at each, and nearly always is enough.
        row = convert(columns, Row)
    except (ValidationError, UnicodeError):
        return _mended(columns)
    if not row.id.isascii():
        row.id = utf8(row.id)
    return row


def _mended(columns: tuple[Any, ...]) -> Row:
    """Look at each column: what is wrong with a time or a text is left out, what is wrong with the others is told."""
    (id_, trace_id, model, given, taken, total, given_cost, taken_cost, cost, latency, created, first, end, metadata,
     *rest) = columns[:_OF_CALL]  # fmt: skip
    began, ended = moment(created), moment(end)
    time_of(began, ended)
    id_ = identity(id_)
    for count in (given, taken, total):
        if count is not None and (type(count) is not int or not 0 <= count < MOST):
            raise RecordError(_wrong(count))
    for amount in (given_cost, taken_cost, cost, latency):
        if amount is not None and not (isinstance(amount, float | int) and 0.0 <= amount < MOST):
            raise RecordError(_wrong(amount))
    return Row(
        id_, trace_id, _text(model), given, taken, total, given_cost, taken_cost, cost, latency,
        began, moment(first), ended, _text(metadata), *rest,
    )  # fmt: skip


def time_of(began: datetime | None, ended: datetime | None) -> float:
    """Return when a call ended, else when it began, in Unix seconds. Raises RecordError when neither can be."""
    for stamp in (ended, began):
        if stamp is not None and 0.0 <= (time := seconds(stamp)) < LATEST:
            return time
    raise RecordError("timestamp")


def seconds(stamp: datetime) -> float:
    """Return the Unix seconds of a moment."""
    return (stamp - EPOCH).total_seconds()


def moment(value: Any) -> datetime | None:
    """Read `2025-10-12 10:00:00.5` or `2025-10-12T10:00:00`, which is UTC, or one with an offset."""
    try:
        stamp = datetime.fromisoformat(value)
        return stamp if stamp.tzinfo is None else stamp.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, TypeError, OverflowError):
        return None


def identity(value: Any) -> str:
    """Return an id. Raises RecordError when it is none."""
    if not isinstance(value, str):
        raise RecordError("wrong_type")
    if not value:
        raise RecordError("missing_field")
    if len(value) > LONGEST:
        raise RecordError("id_too_long")
    return value if value.isascii() else utf8(value)


def utf8(value: str) -> str:
    """Return a text without lone surrogates."""
    return value.encode("utf-8", "replace").decode()


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _wrong(value: Any) -> str:
    return "out_of_range" if isinstance(value, int | float) else "wrong_type"
