"""OTLP's attributes in protobuf: KeyValue and AnyValue of opentelemetry-proto's common.proto.

`room` is for the fields that may still be read, see `wire`.
"""

from collections.abc import Iterator
from itertools import islice
from struct import unpack_from
from typing import Any

from exporters.sources.otlp.wire import TooManyFieldsError, fields, skip, varint

# A text that is longer is cut: none that says something is.
LONG = 1 << 16
# Of a list's values, and of the attributes of a resource or an event.
MANY = 256
# Lists in lists are followed this deep.
DEEPEST = 8


def attributes_of(data: bytes, at: int, end: int, wanted: int, into: dict[str, Any], room: Iterator[None]) -> None:  # noqa: PLR0917 -- by their names they would take longer
    """Add the attributes of a message that holds them in the field with this tag."""
    for tag, begin, stop in fields(data, at, end, room):
        if tag == wanted and len(into) < MANY:
            name, value = pair(data, begin, stop, room)
            into[name] = value


def pair(data: bytes, at: int, end: int, room: Iterator[None], depth: int = 0) -> tuple[str, Any]:
    """Return name and value of a KeyValue."""
    if at + 4 < end and data[at] == 0x0A and data[at + 1] < 0x80:
        # As every exporter writes it: the name, then the value, and nothing else.
        middle = at + 2 + data[at + 1]
        if middle < end and data[middle] == 0x12:
            size, begin = data[middle + 1], middle + 2
            if size > 0x7F:
                size, begin = varint(data, middle + 1)
            if begin + size == end:
                return text(data, at + 2, middle), value_of(data, begin, end, room, depth)
    name, value = "", None
    for tag, begin, stop in fields(data, at, end, room):
        if tag == 0x0A:
            name = text(data, begin, stop)
        elif tag == 0x12:
            value = value_of(data, begin, stop, room, depth)
    return name, value


def value_of(data: bytes, at: int, end: int, room: Iterator[None], depth: int) -> Any:  # noqa: PLR0912 -- one branch a type of value
    """Return an AnyValue; of several, as of any oneof, the last. Bytes and what is too deep are None."""
    value: Any = None
    for _ in room:
        if at >= end:
            break
        tag = data[at]
        if tag == 0x0A:  # string_value
            size, begin = data[at + 1], at + 2
            if size > 0x7F:
                size, begin = varint(data, at + 1)
            at = begin + size
            if at > end:
                raise ValueError
            value = text(data, begin, at)
        elif tag == 0x18:  # int_value
            value, at = varint(data, at + 1)
            if value >= 1 << 63:
                value -= 1 << 64
        elif tag == 0x10:  # bool_value
            value, at = varint(data, at + 1)
            value = value != 0
        elif tag == 0x21:  # double_value
            if at + 9 > end:
                raise ValueError
            value = unpack_from("<d", data, at + 1)[0]
            at += 9
        elif tag in (0x2A, 0x32):  # array_value, kvlist_value
            size, begin = varint(data, at + 1)
            at = begin + size
            if at > end:
                raise ValueError
            items = ((first, last) for item, first, last in fields(data, begin, at, room) if item == 0x0A)
            if depth == DEEPEST:
                value = None
            elif tag == 0x2A:
                value = [value_of(data, first, last, room, depth + 1) for first, last in islice(items, MANY)]
            else:
                value = dict(pair(data, first, last, room, depth + 1) for first, last in islice(items, MANY))
        else:
            value = None if tag == 0x3A else value
            at = skip(data, at, end, room)
    else:
        raise TooManyFieldsError
    if at != end:
        raise ValueError
    return value


def text(data: bytes, begin: int, stop: int) -> str:
    if stop - begin > LONG:
        stop = begin + LONG
    try:
        return data[begin:stop].decode()
    except UnicodeDecodeError:  # also where a character was cut
        return data[begin:stop].decode("utf-8", "replace")
