"""A state directory as it lies on the disk after a crash, held against the lines that its cursor says were read."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from crash_recount import COUNTED, Samples, recount, samples, totals
from prometheus_client import CollectorRegistry

from exporters.aggregate import Aggregate
from exporters.exposition import page
from exporters.state import State

SOURCE = "createagents"


@dataclass(frozen=True)
class Committed:
    """What a state holds: how many bytes were read, which spans counted, which traces open, and the totals."""

    offset: int
    counted: frozenset[tuple[str, str]]
    open: frozenset[str]
    totals: tuple[tuple[str, float], ...]


def committed(directory: Path, traces: Iterable[str]) -> Committed:
    """Read the state of one file with the exporter's own code, as it would after a crash."""
    state = State(directory, durable=False)
    try:
        found = state.source(SOURCE)
        totals_there = Aggregate(time.time)
        totals_there.restore(state.cells())
        counted = {(trace, span) for trace, value in found.open.items() for span in value.counted}
        counted |= {(trace, span) for trace in traces for span in state.counted(SOURCE, trace) or ()}
    finally:
        state.close()
    totals_there.caught_up.add(SOURCE)
    shown = samples(page(totals_there, CollectorRegistry(), openmetrics=False).decode())
    offsets = [msgspec.msgpack.decode(value)[0] for value in found.cursor.values()]
    return Committed(sum(offsets), frozenset(counted), frozenset(found.open), _sorted(totals(shown)))


def counted_by_hand(lines: Sequence[bytes], offset: int) -> Committed:
    """What a state should hold when so many bytes of these lines were read."""
    read, past = [], 0
    for line in lines:
        if past == offset:
            break
        read.append(line)
        past += len(line) + 1
    assert past == offset, "the cursor stands inside a line"
    found = recount(read)
    return Committed(offset, frozenset(found.ended), frozenset(found.open), _sorted(totals(dict(found.totals))))


def _sorted(found: Samples) -> tuple[tuple[str, float], ...]:
    assert COUNTED
    return tuple(sorted(found.items()))
