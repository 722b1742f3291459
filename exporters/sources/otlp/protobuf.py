"""OTLP's protobuf, read off the wire: what of an ExportTraceServiceRequest describes a span.

By hand, because the bindings build all of a message before any of it can be looked at: 20 MiB of empty
attributes take them 600 MiB, and this nothing. It is about as fast. Fields are those of
opentelemetry-proto's trace.proto, common.proto and resource.proto; a tag below is field number * 8 + wire
type (protobuf.dev/programming-guides/encoding).
"""

from collections.abc import Iterator
from struct import Struct
from typing import Any

from exporters.sources.genai import Described, environment_of
from exporters.sources.otlp.attributes import MANY, attributes_of, pair, text
from exporters.sources.otlp.layouts import SHORT, WANTED, Expected, Fact, Memory
from exporters.sources.otlp.wire import fields, skip, varint
from exporters.sources.records import RecordError

# Of a request; exporters send some hundreds, collectors some thousands.
SPANS = 50_000
_UNKNOWN: list[Expected] = []
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
    number = 0
    try:
        for tag, begin, stop in fields(data, 0, len(data)):
            if tag != 0x0A:  # resource_spans
                continue
            for described in _resource_spans(data, begin, stop, memory):
                if number == SPANS:
                    raise RecordError("too_many_spans")
                number += 1
                yield described
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


def _spans(  # noqa: PLR0912, PLR0915 -- one loop: a call for each span, or for each field, takes its time
    data: bytes, first: int, last: int, environment: str, memory: Memory
) -> Iterator[Described]:
    recall, layouts = memory.facts.get, memory.layouts
    # The ids of the span before: those of a trace mostly follow each other, and what is one text is found faster.
    before_trace = before_parent = b""
    same_trace = same_parent = ""
    end = first
    while end < last:
        at = end
        if data[at] != 0x12:  # spans
            end = skip(data, at)
            continue
        size, at = data[at + 1], at + 2
        if size > 0x7F:
            # As in `wire.fields`.
            if data[at] < 0x80:
                size += (data[at] << 7) - 0x80
                at += 1
            else:
                size, at = varint(data, at - 1)
        end = at + size
        if end > last:
            break
        trace_id = span_id = parent_id = name = message = ""
        began = ended = code = 0
        # What the attributes say, as `sorted_out` makes it of them, and the places that are not the first.
        said: dict[str, Any] = {}
        places: dict[str, int] = {}
        events: list[Any] = []
        # Where the attributes begin, if they are to be remembered.
        new = 0
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
                name = text(data, at - size, at)
                of_kind, kind, of_start, began, of_end, ended = _TIMES.unpack_from(data, at)
                if of_kind == 0x30 and kind < 0x80 and of_start == 0x39 and of_end == 0x41:
                    at += 20
                    begin, missed, layout = at, 0, layouts.get(name, _UNKNOWN)
                    for size, head, length in layout:
                        if not length:
                            known = recall(data[at : at + size])
                            if known is not None:
                                at += size
                                fact, place, value = known
                                if fact not in said:
                                    said[fact] = value
                                    if place:
                                        places[fact] = place
                                elif place < places.get(fact, 0):
                                    said[fact], places[fact] = value, place
                                continue
                        elif size:
                            if data[at : at + length] == head:
                                at += size
                                continue
                        elif data[at + 3 : at + 3 + length] == head and data[at] == 0x4A:
                            low, high = data[at + 1], data[at + 2]
                            if low > 0x7F and high < 0x80:
                                at += 3 + low - 0x80 + (high << 7)
                                continue
                        if at >= end or data[at] != 0x4A:
                            break
                        at = _attribute(data, at, memory, said, places)
                        missed += 1
                    if at > end:
                        # What stands behind the span looked like more of it.
                        at, said, places = begin, {}, {}
                    if at + 6 == end and data[at] == 0x85 and data[at + 1] == 1:  # 16, fixed32: flags
                        at = end
                    if missed * 2 >= len(layout) and begin < end and data[begin] == 0x4A:
                        new = begin
                else:
                    began = ended = 0
        while at < end:
            tag = data[at]
            if tag == 0x4A:  # 9: attributes
                # One that goes on behind the span ends further down, as what is no message.
                at = _attribute(data, at, memory, said, places)
            elif tag == 0x39:  # 7, fixed64: start_time_unix_nano
                began = int.from_bytes(data[at + 1 : at + 9], "little")
                at += 9
            elif tag == 0x41:  # 8, fixed64: end_time_unix_nano
                ended = int.from_bytes(data[at + 1 : at + 9], "little")
                at += 9
            elif tag == 0x30 and data[at + 1] < 0x80:  # 6: kind
                at += 2
            elif tag == 0x85 and data[at + 1] == 1:  # 16, fixed32: flags
                at += 6
            elif tag & 7 != 2 or not 8 < tag < 0x80:
                at = skip(data, at)
            else:
                size, begin = data[at + 1], at + 2
                if size > 0x7F:
                    size, begin = varint(data, at + 1)
                at = begin + size
                if at > end:
                    raise ValueError
                if tag == 0x0A:
                    trace_id = data[begin:at].hex()
                elif tag == 0x12:
                    span_id = data[begin:at].hex()
                elif tag == 0x22:
                    parent_id = data[begin:at].hex()
                elif tag == 0x2A:
                    name = text(data, begin, at)
                elif tag == 0x5A:  # 11: events
                    if len(events) < MANY:
                        events.append(_event(data, begin, at))
                elif tag == 0x7A:  # 15: status
                    message, code = _status(data, begin, at)
        if at != end:
            raise ValueError
        if new:
            memory.expect(name, data, new, end)
        yield Described(
            trace_id=trace_id,
            span_id=span_id,
            parent_id=parent_id,
            name=name,
            start=began / 1e9,
            end=ended / 1e9,
            error=code == 2,
            message=message,
            attributes=_NOTHING,
            environment=environment,
            events=events,
            said=said,
        )
    if end != last:
        raise ValueError


def _attribute(data: bytes, at: int, memory: Memory, said: dict[str, Any], places: dict[str, int]) -> int:
    """Add what the attribute at a place says, if it is wanted; return where it ends."""
    size, begin = data[at + 1], at + 2
    if size > 0x7F:
        size, begin = varint(data, at + 1)
    end = begin + size
    known = memory.facts.get(data[at:end]) if size < SHORT else None
    if known is None:
        known = _fact(data, begin, end)
        if known is None:
            return end
        memory.remember(data[at:end], known)
    fact, place, value = known
    if fact not in said:
        said[fact] = value
        if place:
            places[fact] = place
    elif place < places.get(fact, 0):
        said[fact], places[fact] = value, place
    return end


def _fact(data: bytes, begin: int, end: int) -> Fact | None:
    """Return what an attribute says: the fact, the place of this name among the fact's, and the value.

    None where it says nothing that is wanted.
    """
    # As every exporter writes them: the name, then the value, and nothing else.
    middle = begin + 2 + data[begin + 1]
    known = WANTED.get(data[begin + 2 : middle])
    if known is None:
        return None
    value: Any
    if data[begin] == 0x0A and data[middle] == 0x12 and middle + 2 + data[middle + 1] == end:
        kind = data[middle + 2]
        if kind == 0x18 and data[end - 1] < 0x80 and end - middle < 6:
            low = data[middle + 3]
            return known[0], known[1], low if end - middle == 4 else low - 0x80 + (data[middle + 4] << 7)
        if kind == 0x0A and middle + 4 + data[middle + 3] == end:
            value = text(data, middle + 4, end)
            return None if value == "" else (known[0], known[1], value)
    value = pair(data, begin, end)[1]
    return None if value is None or value == "" else (known[0], known[1], value)


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
