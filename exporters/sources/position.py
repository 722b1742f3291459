"""Where the reading of a file stands, and how that file is known again: by what has been read of it."""

import os
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b
from urllib.parse import quote, unquote

import msgspec

HEAD_BYTES = 1024
# Wide enough for a few whole lines, so that the times and ids in them are part of it: lines of one
# kind may well end in the same few hundred bytes.
TAIL_BYTES = 4096
# Files known again under whatever name; past it, one that was renamed is read again.
_KNOWN_HEADS = 10_000


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


class Positions:
    """How far the files of a folder have been read, by name; the parts of a cursor."""

    def __init__(self) -> None:
        self.known: dict[str, Position] = {}
        # The furthest position by the digest of a whole head: a copy, or a file under a new name.
        self._heads: OrderedDict[bytes, Position] = OrderedDict()

    def seek(self, cursor: Mapping[str, bytes]) -> None:
        """Go to a committed cursor."""
        self.known.clear()
        self._heads.clear()
        for part, value in cursor.items():
            if value:
                self.know(unquote(part, errors="surrogateescape"), decode(value))

    def know(self, name: str, position: Position, cursor: dict[str, bytes] | None = None) -> None:
        """Set where a file is read on, and have that committed with a batch's cursor."""
        self.known[name] = position
        if position.head_bytes == HEAD_BYTES:
            self._heads[position.head] = position
            self._heads.move_to_end(position.head)
            if len(self._heads) > _KNOWN_HEADS:
                self._heads.popitem(last=False)
        if cursor is not None and position.offset:
            cursor[_part(name)] = encode(position)

    def furthest(self, descriptor: int, position: Position) -> Position:
        """Return a position further than the given one that the same lines were read to under
        another name, if there is one."""
        whole = position.head_bytes == HEAD_BYTES
        head = position.head if whole else digest(os.pread(descriptor, HEAD_BYTES, 0))
        found = self._heads.get(head, BEGINNING)
        further = found.offset > position.offset and read_before(descriptor, found) is not None
        return found if further else position

    def forget(self, name: str, cursor: dict[str, bytes]) -> None:
        """Have a file forgotten that is no longer there."""
        if self.known.pop(name, None) is not None:
            cursor[_part(name)] = b""


def _part(name: str) -> str:
    """The part of the cursor that is a file's: its name, which may be any bytes, as text."""
    return name if name.isascii() and "%" not in name else quote(name, errors="surrogateescape")
