"""OTLP's protobuf, read off the wire: what of an ExportTraceServiceRequest describes a span.

By hand, because the bindings build all of a message before any of it can be looked at: 20 MiB of empty
attributes take them 600 MiB, and this nothing. It is about as fast. Fields are those of
opentelemetry-proto's trace.proto, common.proto and resource.proto; a tag below is field number * 8 + wire
type (protobuf.dev/programming-guides/encoding).
"""

from collections import deque
from collections.abc import Iterator
from itertools import chain, islice, repeat
from struct import Struct
from typing import Any

from exporters.sources.genai import Described, environment_of
from exporters.sources.otlp.attributes import MANY, attributes_of, pair, text
from exporters.sources.otlp.facts import read, read_one
from exporters.sources.otlp.layouts import Memory
from exporters.sources.otlp.wire import TooManyFieldsError, fields, skip, varint
from exporters.sources.records import LONGEST, RecordError

# Of a request; exporters send some hundreds, collectors some thousands.
SPANS = 50_000
# Of a span, all that is read field by field: attributes, events, links, and what is in these. SDKs keep 128 of each.
FIELDS = 100_000
# Of a request, at most: ten bytes a field, of which an attribute that says something has twice as many.
_ALL_FIELDS = 2_000_000
_NOTHING: dict[str, Any] = {}
_OUT = object()
_UNREADABLE = (IndexError, ValueError, OverflowError, RecordError, TooManyFieldsError)
# How nearly every span begins, for fields are written in their order: trace_id, span_id, parent_span_id, and
# the tag and the length of its name; and what stands behind that: kind, start_time_unix_nano, end_time_unix_nano.
_HEAD = Struct("<H16sH8sH8sBB")
_TIMES = Struct("<BBBQBQ")


def decode(data: bytes, memory: Memory, bad: dict[str, int]) -> Iterator[Described]:
    """Return the spans of an ExportTraceServiceRequest that can be read; the others are counted in `bad`, by reason.

    `memory` is for the requests after it. The iterator raises RecordError when it cannot be told where spans begin
    and end, also behind spans that were good.
    """
    memory.bound()
    spans = chain.from_iterable(_scopes(data, memory, repeat(None, _ALL_FIELDS), bad))
    return chain(islice(spans, SPANS), _beyond(data, spans, bad))


def _beyond(data: bytes, spans: Iterator[Described], bad: dict[str, int]) -> Iterator[Described]:
    """Yield nothing, and count the spans that stand behind as many as a request may have."""
    if next(spans, None) is not None:
        seen = SPANS + sum(bad.values()) - bad.get("resource", 0)
        _count(bad, "too_many_spans", max(1, _spans_in(data) - seen))
    yield from ()


def _count(bad: dict[str, int], reason: str, many: int = 1) -> None:
    bad[reason] = bad.get(reason, 0) + many


def _spans_in(data: bytes) -> int:
    """Return how many spans there are, counted as far as there is room for."""
    room, found = repeat(None, _ALL_FIELDS), 0
    try:
        for group, begin, end in fields(data, 0, len(data), room):
            if group == 0x0A:
                for scope, first, last in fields(data, begin, end, room):
                    if scope == 0x12:
                        found += sum(tag == 0x12 for tag, _, _ in fields(data, first, last, room))
    except TooManyFieldsError:
        found += 1
    except (IndexError, ValueError, OverflowError):
        raise RecordError("protobuf") from None
    return found


def _scopes(data: bytes, memory: Memory, room: Iterator[None], bad: dict[str, int]) -> Iterator[Iterator[Described]]:
    """Yield the spans of each scope."""
    memory.room = islice(room, FIELDS)
    try:
        for tag, begin, stop in fields(data, 0, len(data), room):
            if tag == 0x0A:  # resource_spans
                environment = _environment(data, begin, stop, room, bad)
                for inner, first, last in fields(data, begin, stop, room):
                    if inner == 0x12:  # scope_spans
                        yield _spans(data, first, last, environment, memory, room, bad)
    except TooManyFieldsError:
        # Of what stands behind it nothing is known.
        _count(bad, "too_many_fields")
    except (IndexError, ValueError, OverflowError):
        raise RecordError("protobuf") from None


def _environment(data: bytes, at: int, end: int, room: Iterator[None], bad: dict[str, int]) -> str:
    """Return the environment that the resource of a resource_spans says; it may stand before or behind its spans."""
    attributes: dict[str, Any] = {}
    for tag, begin, stop in fields(data, at, end, room):
        if tag == 0x0A:  # resource
            try:
                attributes_of(data, begin, stop, 0x0A, attributes, islice(room, FIELDS))
            except (IndexError, ValueError, TooManyFieldsError):
                # Its spans are none the worse.
                _count(bad, "resource")
    return environment_of(attributes)


def _spans(  # noqa: PLR0912, PLR0915, PLR0917 -- one loop: a call for each span, or for each of its fields, takes its time
    data: bytes,
    first: int,
    last: int,
    environment: str,
    memory: Memory,
    room: Iterator[None],
    bad: dict[str, int],
) -> Iterator[Described]:
    # The ids of the span before: those of a trace mostly follow each other, and what is one text is found faster.
    before_trace = before_parent = b""
    same_trace = same_parent = ""
    places: dict[str, int] = {}
    end = first
    while end < last:
        at = end
        try:
            if data[at] != 0x12:  # spans
                end = skip(data, at, last, room)
                continue
            size, at = data[at + 1], at + 2
            if size > 0x7F:
                # As in `wire.fields`, whose call for each span would take longer.
                if data[at] < 0x80:
                    size += (data[at] << 7) - 0x80
                    at += 1
                else:
                    size, at = varint(data, at - 1)
        except (IndexError, ValueError):
            raise RecordError("protobuf") from None
        except TooManyFieldsError:
            return  # `_scopes` has no room either
        end = at + size
        if end > last:
            break
        begin = at
        trace_id = span_id = parent_id = name = ""
        began = ended = 0
        said: dict[str, Any] = {}
        if places:
            places.clear()
        try:
            if at + 128 < end:
                of_trace, trace, of_span, own, of_parent, parent, of_name, size = _HEAD.unpack_from(data, at)
                ids = 40
                if of_parent & 0xFF == 0x2A:
                    # The name at once, as roots have it.
                    ids, parent, of_parent, of_name, size = 30, b"", 0x0822, 0x2A, of_parent >> 8
                if of_trace == 0x100A and of_span == 0x0812 and of_parent == 0x0822 and of_name == 0x2A and size < 0x40:
                    if trace != before_trace:
                        before_trace, same_trace = trace, trace.hex()
                    if parent != before_parent:
                        before_parent, same_parent = parent, parent.hex()
                    trace_id, span_id, parent_id = same_trace, own.hex(), same_parent
                    at += ids + size
                    called = data[at - size : at]
                    of_kind, kind, of_start, began, of_end, ended = _TIMES.unpack_from(data, at)
                    if of_kind == 0x30 and kind < 0x80 and of_start == 0x39 and of_end == 0x41:
                        name, at = read(data, at + 20, end, called, memory, said, places)
                        if at + 6 == end and data[at] == 0x85 and data[at + 1] == 1:  # 16, fixed32: flags
                            at = end
                    else:
                        name, began, ended = text(called, 0, size), 0, 0
            found = Described(
                trace_id=trace_id,
                span_id=span_id,
                parent_id=parent_id,
                name=name,
                start=began / 1e9,
                end=ended / 1e9,
                error=False,
                message="",
                attributes=_NOTHING,
                environment=environment,
                said=said,
            )
            if at != end:
                _fields(data, at, end, memory, found, said, places)
        except _UNREADABLE:
            again = _read_alone(data, begin, end, environment, memory, room, bad)
            if again is None:
                if next(room, _OUT) is _OUT:
                    return
                continue
            found = again
        yield found
    if end != last:
        raise RecordError("protobuf")


def _read_alone(  # noqa: PLR0917 -- what `_spans` knows
    data: bytes, at: int, end: int, environment: str, memory: Memory, room: Iterator[None], bad: dict[str, int]
) -> Described | None:
    """Return a span as it is when it is read again, one field after another, and spans in front of it have not used
    the room; None, and it is counted, where that cannot be done either."""
    said: dict[str, Any] = {}
    found = Described("", "", "", "", 0.0, 0.0, False, "", _NOTHING, environment, said=said)
    memory.room = islice(room, FIELDS)
    try:
        _fields(data, at, end, memory, found, said, {})
    except TooManyFieldsError:
        memory.room = islice(room, FIELDS)
        reason = "too_many_fields"
    except RecordError as error:
        reason = str(error)
    except (IndexError, ValueError, OverflowError):
        reason = "protobuf"
    else:
        return found
    _count(bad, reason)
    if bad[reason] > SPANS:
        # There is no end of them: what else stands there is not read.
        deque(room, 0)
    return None


def _fields(  # noqa: PLR0912, PLR0917 -- one branch a field; what was read of the span before is handed over
    data: bytes, at: int, end: int, memory: Memory, found: Described, said: dict[str, Any], places: dict[str, int]
) -> None:
    """Read what is left of a span, in whatever order it comes."""
    events: list[Any] = []
    room = memory.room
    for _ in room:
        if at >= end:
            break
        tag = data[at]
        if tag == 0x4A:  # 9: attributes
            at = read_one(data, at, memory, said, places)
        elif tag in (0x39, 0x41):  # 7 and 8, fixed64: start_time_unix_nano, end_time_unix_nano
            time = int.from_bytes(data[at + 1 : at + 9], "little") / 1e9
            found.start, found.end = (time, found.end) if tag == 0x39 else (found.start, time)
            at += 9
        elif tag & 7 != 2 or not 8 < tag < 0x80:
            at = skip(data, at, end, room)
        else:
            size, begin = varint(data, at + 1)
            at = begin + size
            if at > end:
                break
            if tag == 0x0A:
                found.trace_id = data[begin:at].hex()
            elif tag == 0x12:
                found.span_id = data[begin:at].hex()
            elif tag == 0x22:
                if at - begin > LONGEST // 2:
                    raise RecordError("id_too_long")
                found.parent_id = data[begin:at].hex()
            elif tag == 0x2A:
                found.name = text(data, begin, at)
            elif tag == 0x5A:  # 11: events
                if len(events) < MANY:
                    events.append(_event(data, begin, at, room))
            elif tag == 0x7A:  # 15: status
                found.message, code = _status(data, begin, at, room)
                found.error = code == 2
    else:
        raise TooManyFieldsError
    # One that goes on behind the span is no message.
    if at != end:
        raise ValueError
    found.events = events


def _event(data: bytes, at: int, end: int, room: Iterator[None]) -> tuple[str, dict[str, Any]]:
    name = ""
    attributes: dict[str, Any] = {}
    for tag, begin, stop in fields(data, at, end, room):
        if tag == 0x12:
            name = text(data, begin, stop)
        elif tag == 0x1A and len(attributes) < MANY:
            key, value = pair(data, begin, stop, room)
            attributes[key] = value
    return name, attributes


def _status(data: bytes, at: int, end: int, room: Iterator[None]) -> tuple[str, int]:
    message, code = "", 0
    for _ in room:
        if at >= end:
            break
        tag = data[at]
        if tag == 0x18:
            code, at = varint(data, at + 1)
        elif tag == 0x12:
            size, begin = varint(data, at + 1)
            at = begin + size
            message = text(data, begin, min(at, end))
        else:
            at = skip(data, at, end, room)
    else:
        raise TooManyFieldsError
    if at != end:
        raise ValueError
    return message, code
