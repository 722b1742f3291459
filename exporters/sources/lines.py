"""The whole lines of one file from a position on."""

import os
from dataclasses import dataclass

from exporters.sources import Batch
from exporters.sources.position import Position, moved_past, read_before

BATCH_BYTES = 1 << 20
# A line past this is given up, so that one runaway prompt costs one record and not the memory.
LINE_BYTES = 16 << 20


@dataclass(slots=True)
class Taken:
    """How many bytes were read, where that leads, and the file's end in bytes if that was reached."""

    size: int
    position: Position
    end: int | None


def take(descriptor: int, position: Position, batch: Batch) -> Taken | None:
    """Append the next whole lines to the batch, at most about BATCH_BYTES of them.

    A line without its newline is left for later. None, and nothing appended, when what was read
    before is not what stands there: the file was truncated, rewritten or replaced.
    """
    data = os.pread(descriptor, BATCH_BYTES, position.offset)
    # Looked at after the reading, so that a truncation in between cannot slip through.
    before = read_before(descriptor, position)
    if before is None:
        return None
    end = position.offset + len(data) if len(data) < BATCH_BYTES else None
    skipping = False
    if position.skipping:
        size = data.find(b"\n") + 1
        skipping = not size
        if skipping:
            size = len(data)
        elif size < len(data):
            end = None
    else:
        lines = data.split(b"\n")
        size = len(data) - len(lines.pop())
        if not size and end is None:
            return _take_long(descriptor, position, before, batch)
        batch.records += lines
    if size:
        position = moved_past(position, before, data, size, skipping=skipping)
    return Taken(size, position, end)


def _take_long(descriptor: int, position: Position, before: bytes, batch: Batch) -> Taken:
    """Append the next line, which is longer than a batch, or give it up."""
    data = os.pread(descriptor, LINE_BYTES, position.offset)
    size = data.find(b"\n") + 1
    if size:
        batch.records.append(data[: size - 1])
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
