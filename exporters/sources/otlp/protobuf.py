"""OTLP's protobuf, read off the wire: what of an ExportTraceServiceRequest describes a span.

By hand, because the bindings build all of a message before any of it can be looked at: 20 MiB of empty
attributes take them 600 MiB, and this nothing. It is about as fast. Fields are those of
opentelemetry-proto's trace.proto, common.proto and resource.proto; a tag below is field number * 8 + wire
type (protobuf.dev/programming-guides/encoding).
"""

from collections.abc import Iterator
from itertools import chain, islice
from struct import Struct
from typing import Any

from exporters.sources.genai import Described, environment_of
from exporters.sources.otlp.attributes import MANY, attributes_of, text
from exporters.sources.otlp.facts import read, read_one
from exporters.sources.otlp.layouts import Memory
from exporters.sources.otlp.wire import fields, skip, varint
from exporters.sources.records import RecordError

# Of a request; exporters send some hundreds, collectors some thousands.
SPANS = 50_000
_NOTHING: dict[str, Any] = {}
# How nearly every span begins, for fields are written in their order: trace_id, span_id, parent_span_id, and
# the tag and the length of its name; and what stands behind that: kind, start_time_unix_nano, end_time_unix_nano.
_HEAD = Struct("<H16sH8sH8sBB")
_TIMES = Struct("<BBBQBQ")


def decode(data: bytes, memory: Memory) -> Iterator[Described]:
    """Yield the spans of an ExportTraceServiceRequest; `memory` is for the requests after it.

    Raises RecordError when the bytes are none, also behind spans that were good.
    """
    memory.bound()
    groups = ((begin, stop) for tag, begin, stop in fields(data, 0, len(data)) if tag == 0x0A)  # resource_spans
    spans = chain.from_iterable(_resource_spans(data, begin, stop, memory) for begin, stop in groups)
    try:
        yield from islice(spans, SPANS)
        if next(spans, None) is not None:
            raise RecordError("too_many_spans")
    except (IndexError, ValueError, OverflowError):
        raise RecordError("protobuf") from None


def _resource_spans(data: bytes, at: int, end: int, memory: Memory) -> Iterator[Described]:
    # Read before its spans, although it may also come after them.
    resource: dict[str, Any] = {}
    for tag, begin, stop in fields(data, at, end):
        if tag == 0x0A:  # resource
            attributes_of(data, begin, stop, 0x0A, resource)
    environment = environment_of(resource)
    for tag, begin, stop in fields(data, at, end):
        if tag == 0x12:  # scope_spans
            yield from _spans(data, begin, stop, environment, memory)


def _spans(  # noqa: PLR0912 -- one loop: a call for each span, or for each of its fields, takes its time
    data: bytes, first: int, last: int, environment: str, memory: Memory
) -> Iterator[Described]:
    # The ids of the span before: those of a trace mostly follow each other, and what is one text is found faster.
    before_trace = before_parent = b""
    same_trace = same_parent = ""
    places: dict[str, int] = {}
    end = first
    while end < last:
        at = end
        if data[at] != 0x12:  # spans
            end = skip(data, at)
            continue
        size, at = data[at + 1], at + 2
        if size > 0x7F:
            # As in `wire.fields`, whose call for each span would take longer.
            if data[at] < 0x80:
                size += (data[at] << 7) - 0x80
                at += 1
            else:
                size, at = varint(data, at - 1)
        end = at + size
        if end > last:
            break
        trace_id = span_id = parent_id = name = ""
        began = ended = 0
        said: dict[str, Any] = {}
        if places:
            places.clear()
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
        yield found
    if end != last:
        raise ValueError


def _fields(  # noqa: PLR0912, PLR0917 -- one branch a field; what was read of the span before is handed over
    data: bytes, at: int, end: int, memory: Memory, found: Described, said: dict[str, Any], places: dict[str, int]
) -> None:
    """Read what is left of a span, in whatever order it comes."""
    events: list[Any] = []
    while at < end:
        tag = data[at]
        if tag == 0x4A:  # 9: attributes
            at = read_one(data, at, memory, said, places)
        elif tag in (0x39, 0x41):  # 7 and 8, fixed64: start_time_unix_nano, end_time_unix_nano
            time = int.from_bytes(data[at + 1 : at + 9], "little") / 1e9
            found.start, found.end = (time, found.end) if tag == 0x39 else (found.start, time)
            at += 9
        elif tag & 7 != 2 or not 8 < tag < 0x80:
            at = skip(data, at)
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
                found.parent_id = data[begin:at].hex()
            elif tag == 0x2A:
                found.name = text(data, begin, at)
            elif tag == 0x5A:  # 11: events
                if len(events) < MANY:
                    events.append(_event(data, begin, at))
            elif tag == 0x7A:  # 15: status
                found.message, code = _status(data, begin, at)
                found.error = code == 2
    # One that goes on behind the span is no message.
    if at != end:
        raise ValueError
    found.events = events


def _event(data: bytes, at: int, end: int) -> tuple[str, dict[str, Any]]:
    name = ""
    attributes: dict[str, Any] = {}
    for tag, begin, stop in fields(data, at, end):
        if tag == 0x12:
            name = text(data, begin, stop)
    attributes_of(data, at, end, 0x1A, attributes)
    return name, attributes


def _status(data: bytes, at: int, end: int) -> tuple[str, int]:
    message, code = "", 0
    while at < end:
        tag = data[at]
        if tag == 0x18:
            code, at = varint(data, at + 1)
        elif tag == 0x12:
            size, begin = varint(data, at + 1)
            at = begin + size
            message = text(data, begin, min(at, end))
        else:
            at = skip(data, at)
    if at != end:
        raise ValueError
    return message, code
