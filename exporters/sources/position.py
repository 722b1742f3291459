"""Where the reading of a file stands, and how that file is known again: by what has been read of it."""

import os
from hashlib import blake2b

import msgspec

HEAD_BYTES = 1024
# Wide enough for a few whole lines, so that the times and ids in them are part of it: lines of one
# kind may well end in the same few hundred bytes.
TAIL_BYTES = 4096


class Position(msgspec.Struct, array_like=True, frozen=True):
    """How far a file has been read. Holds digests of the first bytes and of those before the
    offset, never content."""

    offset: int = 0
    head: bytes = b""
    head_bytes: int = 0
    tail: bytes = b""
    tail_bytes: int = 0
    # Inside a line that is too long, of which no newline has come yet.
    skipping: bool = False


BEGINNING = Position()

encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Position).decode


def decode(value: bytes) -> Position:
    """Return the position that `encode` wrote; the beginning for what is none: reading a file
    again is harmless, not reading it is not."""
    try:
        return _decode(value)
    except msgspec.MsgspecError:
        return BEGINNING


def digest(data: bytes) -> bytes:
    """Return what bytes are known by."""
    return blake2b(data, digest_size=8).digest()


def read_before(descriptor: int, position: Position) -> bytes | None:
    """Return the bytes before a position that its tail is of, or None when they or the file's head
    are not what they were when the position was taken."""
    if not position.offset:
        return b""
    before = os.pread(descriptor, position.tail_bytes, position.offset - position.tail_bytes)
    if digest(before) != position.tail or digest(os.pread(descriptor, position.head_bytes, 0)) != position.head:
        return None
    return before


def moved_past(
    position: Position, before: bytes, data: bytes | memoryview, size: int, *, skipping: bool = False
) -> Position:
    """Return the position after the first `size` bytes of `data`, which follow it; `before` is as
    `read_before` returned it."""
    head, head_bytes = position.head, position.head_bytes
    if head_bytes < HEAD_BYTES and len(before) == position.offset:
        first = (before + bytes(data[: min(size, HEAD_BYTES)]))[:HEAD_BYTES]
        head, head_bytes = digest(first), len(first)
    last = bytes(data[max(0, size - TAIL_BYTES) : size])
    if size < TAIL_BYTES:
        last = (before + last)[-TAIL_BYTES:]
    return Position(position.offset + size, head, head_bytes, digest(last), len(last), skipping)


def past_whole_lines(descriptor: int, size: int, most: int) -> Position:
    """Return the position after the last whole line of a file that is not to be read, looked for in
    its last `most` bytes; inside a line where there is no newline in them."""
    start = max(0, size - most)
    last = os.pread(descriptor, most, start)
    skipping = start > 0 and b"\n" not in last
    offset = start + (len(last) if skipping else last.rfind(b"\n") + 1)
    first = os.pread(descriptor, min(HEAD_BYTES, offset), 0)
    tail = os.pread(descriptor, min(TAIL_BYTES, offset), max(0, offset - TAIL_BYTES))
    return Position(offset, digest(first), len(first), digest(tail), len(tail), skipping)
