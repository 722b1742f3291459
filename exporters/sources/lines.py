"""The whole lines of one file from a position on."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from exporters.sources import Batch
from exporters.sources.position import Position, moved_past, read_before

BATCH_BYTES = 1 << 20
# What of a batch is translated at once: more than fits the processor's cache takes half as long again.
BLOCK_BYTES = 1 << 16
# A line past this is given up, so that one runaway prompt costs one record and not the memory.
LINE_BYTES = 16 << 20


class Buffer:
    """Where the bytes of a batch are read to. It is used again for the next batch: to be given so much
    fresh memory takes the system longer than to read into it."""

    def __init__(self) -> None:
        self.bytes = bytearray(BATCH_BYTES)
        self.used = 0

    def blocks(self, size: int) -> Iterator[memoryview]:
        """Keep `size` bytes more, which are whole lines; yield them in blocks of whole lines."""
        whole = memoryview(self.bytes)
        start, end = self.used, self.used + size
        self.used = end
        while start < end:
            cut = end
            if end - start > BLOCK_BYTES:
                cut = self.bytes.rfind(b"\n", start, start + BLOCK_BYTES) + 1
                cut = cut or self.bytes.find(b"\n", start + BLOCK_BYTES, end) + 1
            yield whole[start:cut]
            start = cut


@dataclass(slots=True)
class Taken:
    """How many bytes were read, where that leads, and the file's end in bytes if that was reached."""

    size: int
    position: Position
    end: int | None


def take(descriptor: int, position: Position, batch: Batch, buffer: Buffer) -> Taken | None:
    """Append the next whole lines to the batch, in blocks, as many as fit into the buffer.

    A line without its newline is left for later; nothing is taken, and the end not reached, when the
    next line does not fit behind what the buffer has already. None, and nothing appended, when what
    was read before is not what stands there: the file was truncated, rewritten or replaced.
    """
    start, room = buffer.used, len(buffer.bytes) - buffer.used
    read = os.preadv(descriptor, [memoryview(buffer.bytes)[start:]], position.offset)
    # Looked at after the reading, so that a truncation in between cannot slip through.
    before = read_before(descriptor, position)
    if before is None:
        return None
    data = memoryview(buffer.bytes)[start : start + read]
    end = position.offset + read if read < room else None
    skipping = False
    if position.skipping:
        size = max(buffer.bytes.find(b"\n", start, start + read) + 1 - start, 0)
        skipping = not size
        if skipping:
            size = read
        elif size < read:
            end = None
    else:
        size = max(buffer.bytes.rfind(b"\n", start, start + read) + 1 - start, 0)
        if not size and end is None:
            return Taken(0, position, None) if start else _take_long(descriptor, position, before, batch)
        batch.records += buffer.blocks(size)
    if size:
        position = moved_past(position, before, data, size, skipping=skipping)
    return Taken(size, position, end)


def _take_long(descriptor: int, position: Position, before: bytes, batch: Batch) -> Taken:
    """Append the next line, which is longer than a batch, or give it up."""
    data = os.pread(descriptor, LINE_BYTES, position.offset)
    size = data.find(b"\n") + 1
    if size:
        batch.records.append(memoryview(data)[:size])
        return Taken(size, moved_past(position, before, data, size), None)
    if len(data) < LINE_BYTES:
        return Taken(0, position, position.offset + len(data))
    # A writer that goes on at its old offset after a truncation leaves a hole before its line. NUL
    # bytes with nothing after them may be a line that a network file system has not brought yet.
    size = len(data) - len(data.lstrip(b"\0"))
    if size == len(data) and os.pread(descriptor, 1, os.fstat(descriptor).st_size - 1) == b"\0":
        return Taken(0, position, position.offset + len(data))
    if size:
        return Taken(size, moved_past(position, before, data, size), None)
    batch.bad["too_long"] = batch.bad.get("too_long", 0) + 1
    return Taken(len(data), moved_past(position, before, data, len(data), skipping=True), None)
