"""OTLP's protobuf, read off the wire: what of an ExportTraceServiceRequest describes a span.

By hand, because the bindings build all of a message before any of it can be looked at: 20 MiB of empty
attributes take them half a gigabyte, and this nothing. It is about as fast. Fields are those of
opentelemetry-proto's trace.proto, common.proto and resource.proto; a tag below is field number * 8 + wire
type (protobuf.dev/programming-guides/encoding).
"""

from collections.abc import Iterator
from itertools import islice
from struct import unpack_from
from typing import Any

from exporters.sources.genai import Described
from exporters.sources.genai_names import FACTS
from exporters.sources.records import RecordError

# Of a request; exporters send some hundreds, collectors some thousands.
SPANS = 50_000
# A text that is longer is cut: none that says something is.
_LONG = 1 << 16
# Of a span's events, of a list's values, and of the attributes of a resource or an event.
_MANY = 256
# Lists in lists are followed this deep.
_DEEPEST = 8
# Short attributes that are remembered as they stand, with what they say: most come again.
_SHORT = 96
_REMEMBERED = 16_384
# The attributes of a span that say something; others are passed over.
_FACTS = {name.encode(): fact for name, fact in FACTS.items()}
_NOTHING: dict[str, Any] = {}

Memory = dict[bytes, tuple[str, int, Any]]


def decode(data: bytes, memory: Memory) -> list[Described]:
    """Return the spans of an ExportTraceServiceRequest; `memory` is for the requests after it.

    Raises RecordError when the bytes are none.
    """
    if len(memory) >= _REMEMBERED:
        memory.clear()
    found: list[Described] = []
    try:
        for tag, begin, stop in _fields(data, 0, len(data)):
            if tag == 0x0A:  # resource_spans
                _resource_spans(data, begin, stop, found, memory)
    except (IndexError, ValueError, OverflowError):
        raise RecordError("protobuf") from None
    return found


def _resource_spans(data: bytes, at: int, end: int, found: list[Described], memory: Memory) -> None:
    # Its spans hold on to it, so that it may also come after them.
    resource: dict[str, Any] = {}
    for tag, begin, stop in _fields(data, at, end):
        if tag == 0x0A:  # resource
            _attributes(data, begin, stop, 0x0A, resource)
        elif tag == 0x12:  # scope_spans
            for inner, first, last in _fields(data, begin, stop):
                if inner == 0x12:  # spans
                    if len(found) == SPANS:
                        raise RecordError("too_many_spans")
                    found.append(_span(data, first, last, resource, memory))


def _span(  # noqa: PLR0912, PLR0915 -- one loop for each span: a call for each field takes its time
    data: bytes, at: int, end: int, resource: dict[str, Any], memory: Memory
) -> Described:
    trace_id = span_id = parent_id = name = message = ""
    began = ended = code = 0
    # What the attributes say, as `sorted_out` makes it of them.
    said: dict[str, Any] = {}
    places: dict[str, int] = {}
    events: list[Any] = []
    while at < end:
        tag = data[at]
        begin = at + 2
        if tag == 0x4A:  # 9: attributes
            size = data[at + 1]
            if size > 0x7F:
                size, begin = _varint(data, at + 1)
            at = begin + size
            if at > end:
                raise ValueError
            raw = data[begin:at] if size < _SHORT else b""
            known = memory.get(raw)
            if known is None:
                if data[begin + 2 : begin + 2 + data[begin + 1]] not in _FACTS:
                    continue
                known = _fact(data, begin, at)
                if known is None:
                    continue
                if raw and len(memory) < _REMEMBERED:
                    memory[raw] = known
            fact, place, value = known
            if fact not in said or place < places[fact]:
                said[fact] = value
                places[fact] = place
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
            at = _skip(data, at)
        else:
            size = data[at + 1]
            if size > 0x7F:
                size, begin = _varint(data, at + 1)
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
                name = _text(data, begin, at)
            elif tag == 0x5A:  # 11: events
                if len(events) < _MANY:
                    events.append(_event(data, begin, at))
            elif tag == 0x7A:  # 15: status
                message, code = _status(data, begin, at)
    if at != end:
        raise ValueError
    return Described(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=parent_id,
        name=name,
        start=began / 1e9,
        end=ended / 1e9,
        error=code == 2,
        message=message,
        attributes=_NOTHING,
        resource=resource,
        events=events,
        said=said,
    )


def _fact(data: bytes, begin: int, end: int) -> tuple[str, int, Any] | None:
    """Return what an attribute says: the fact, the place of this name among the fact's, and the value.

    None where it says nothing that is wanted.
    """
    # As every exporter writes them: the name, then the value, and nothing else.
    middle = begin + 2 + data[begin + 1]
    known = _FACTS.get(data[begin + 2 : middle])
    if known is None:
        return None
    value: Any
    if data[begin] == 0x0A and data[middle] == 0x12 and middle + 2 + data[middle + 1] == end:
        kind = data[middle + 2]
        if kind == 0x18 and data[end - 1] < 0x80 and end - middle < 6:
            low = data[middle + 3]
            return known[0], known[1], low if end - middle == 4 else low - 0x80 + (data[middle + 4] << 7)
        if kind == 0x0A and middle + 4 + data[middle + 3] == end:
            value = _text(data, middle + 4, end)
            return None if value == "" else (known[0], known[1], value)
    value = _pair(data, begin, end)[1]
    return None if value is None or value == "" else (known[0], known[1], value)


def _event(data: bytes, at: int, end: int) -> tuple[str, dict[str, Any]]:
    name = ""
    attributes: dict[str, Any] = {}
    for tag, begin, stop in _fields(data, at, end):
        if tag == 0x12:
            name = _text(data, begin, stop)
    _attributes(data, at, end, 0x1A, attributes)
    return name, attributes


def _status(data: bytes, at: int, end: int) -> tuple[str, int]:
    message, code = "", 0
    while at < end:
        tag = data[at]
        if tag == 0x18:
            code, at = _varint(data, at + 1)
        elif tag == 0x12:
            size, begin = _varint(data, at + 1)
            at = begin + size
            message = _text(data, begin, min(at, end))
        else:
            at = _skip(data, at)
    if at != end:
        raise ValueError
    return message, code


def _attributes(data: bytes, at: int, end: int, wanted: int, into: dict[str, Any]) -> None:
    """Add the attributes of a message that holds them in the field with this tag."""
    for tag, begin, stop in _fields(data, at, end):
        if tag == wanted and len(into) < _MANY:
            name, value = _pair(data, begin, stop)
            into[name] = value


def _pair(data: bytes, at: int, end: int, depth: int = 0) -> tuple[str, Any]:
    """Return name and value of a KeyValue."""
    if data[at] == 0x0A and data[at + 1] < 0x80:
        # As every exporter writes it: the name, then the value, and nothing else.
        middle = at + 2 + data[at + 1]
        if middle < end and data[middle] == 0x12:
            size, begin = data[middle + 1], middle + 2
            if size > 0x7F:
                size, begin = _varint(data, middle + 1)
            if begin + size == end:
                return _text(data, at + 2, middle), _value(data, begin, end, depth)
    name, value = "", None
    for tag, begin, stop in _fields(data, at, end):
        if tag == 0x0A:
            name = _text(data, begin, stop)
        elif tag == 0x12:
            value = _value(data, begin, stop, depth)
    return name, value


def _value(data: bytes, at: int, end: int, depth: int) -> Any:  # noqa: PLR0912 -- one branch a type of value
    """Return an AnyValue; of several, as of any oneof, the last. Bytes and what is too deep are None."""
    value: Any = None
    while at < end:
        tag = data[at]
        if tag == 0x0A:  # string_value
            size, begin = data[at + 1], at + 2
            if size > 0x7F:
                size, begin = _varint(data, at + 1)
            at = begin + size
            if at > end:
                raise ValueError
            value = _text(data, begin, at)
        elif tag == 0x18:  # int_value
            value, at = _varint(data, at + 1)
            if value >= 1 << 63:
                value -= 1 << 64
        elif tag == 0x10:  # bool_value
            value, at = _varint(data, at + 1)
            value = value != 0
        elif tag == 0x21:  # double_value
            if at + 9 > end:
                raise ValueError
            value = unpack_from("<d", data, at + 1)[0]
            at += 9
        elif tag in (0x2A, 0x32):  # array_value, kvlist_value
            size, begin = _varint(data, at + 1)
            at = begin + size
            if at > end:
                raise ValueError
            items = ((first, last) for item, first, last in _fields(data, begin, at) if item == 0x0A)
            if depth == _DEEPEST:
                value = None
            elif tag == 0x2A:
                value = [_value(data, first, last, depth + 1) for first, last in islice(items, _MANY)]
            else:
                value = dict(_pair(data, first, last, depth + 1) for first, last in islice(items, _MANY))
        else:
            value = None if tag == 0x3A else value
            at = _skip(data, at)
    if at != end:
        raise ValueError
    return value


def _text(data: bytes, begin: int, stop: int) -> str:
    if stop - begin > _LONG:
        stop = begin + _LONG
    try:
        return data[begin:stop].decode()
    except UnicodeDecodeError:  # also where a character was cut
        return data[begin:stop].decode("utf-8", "replace")


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (tag, begin, end) of the fields of a message that have a length; others are passed over."""
    while at < end:
        tag = data[at]
        if tag & 7 != 2 or not 8 < tag < 0x80:
            at = _skip(data, at)
            continue
        begin = at + 2
        size = data[at + 1]
        if size > 0x7F:
            size, begin = _varint(data, at + 1)
        at = begin + size
        if at > end:
            break
        yield tag, begin, at
    if at != end:
        raise ValueError


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at a place, and the place after it."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
        if shift > 63:
            raise ValueError


def _skip(data: bytes, at: int) -> int:
    """Return the place after a field of any type; a group is passed over whole."""
    inside = 0
    while True:
        tag, at = _varint(data, at)
        kind = tag & 7
        if tag < 8 or kind > 5:
            raise ValueError
        if kind == 0:
            _, at = _varint(data, at)
        elif kind == 1:
            at += 8
        elif kind == 2:
            size, at = _varint(data, at)
            at += size
        elif kind == 5:
            at += 4
        else:
            inside += 1 if kind == 3 else -1
        if inside <= 0:
            if inside:
                raise ValueError
            return at
