"""Protobuf's wire: tags, lengths and numbers, one field after another.

A tag is field number * 8 + wire type (protobuf.dev/programming-guides/encoding). All of these raise
IndexError or ValueError where the bytes are no message. `room` has one left for each field that may still
be read; where it has none, they raise TooManyFieldsError. Fields of two bytes are many in little.
"""

from collections.abc import Iterator


class TooManyFieldsError(Exception):
    """There is no room for another field."""


def fields(data: bytes, at: int, end: int, room: Iterator[None]) -> Iterator[tuple[int, int, int]]:
    """Yield (tag, begin, end) of the fields of a message that have a length; others are passed over."""
    for _ in room:
        if at >= end:
            break
        tag = data[at]
        if tag & 7 != 2 or not 8 < tag < 0x80:
            at = skip(data, at, end, room)
            continue
        begin = at + 2
        size = data[at + 1]
        if size > 0x7F:
            # Of two bytes, as most of these are: by hand, because the call takes longer than the reading.
            if data[begin] < 0x80:
                size += (data[begin] << 7) - 0x80
                begin += 1
            else:
                size, begin = varint(data, at + 1)
        at = begin + size
        if at > end:
            break
        yield tag, begin, at
    else:
        raise TooManyFieldsError
    if at != end:
        raise ValueError


def varint(data: bytes, at: int) -> tuple[int, int]:
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


def skip(data: bytes, at: int, end: int, room: Iterator[None]) -> int:
    """Return the place after a field of any type in a message that has an end; a group is passed over whole."""
    inside = 0
    for _ in room:
        tag, at = varint(data, at)
        kind = tag & 7
        if tag < 8 or kind > 5:
            raise ValueError
        if kind == 0:
            _, at = varint(data, at)
        elif kind == 1:
            at += 8
        elif kind == 2:
            size, at = varint(data, at)
            at += size
        elif kind == 5:
            at += 4
        else:
            inside += 1 if kind == 3 else -1
        # A group that does not end in its message would be looked for to the end of the request, again for each.
        if inside < 0 or at > end:
            raise ValueError
        if not inside:
            return at
    raise TooManyFieldsError
