"""What waits of a trace, and in which rows of the state it stands.

What seems whole with a batch nearly always goes together, and shares a row; what still lacks something has rows
of its own. So each span is written once, or twice where a trace stays longer than those that it shared a row with.
"""

from collections.abc import Container, Mapping
from itertools import chain

import msgspec

from exporters.span import Span


class Arrived(msgspec.Struct, array_like=True, gc=False):
    """A span that waits, since a Unix time."""

    at: float
    span: Span


class Waiting(msgspec.Struct):
    """The spans of a trace that wait, by id."""

    arrived: dict[str, Arrived] = {}
    # Parents that have not come, and whether a root has, or something that was settled before.
    missing: set[str] = set()
    rooted: bool = False
    touched: float = 0.0
    # The number of the batch that touched it last.
    batch: int = 0
    # The second in which it is due, whole or not.
    due: int = 0
    # The rows of the state that it is in, and what is in none yet.
    rows: list[int] = []
    fresh: list[Arrived] = []
    # Whether it stayed behind in a row once, and shares none any more.
    alone: bool = False


class Rows:
    """The rows of one source."""

    def __init__(self) -> None:
        # Rows that the next commit deletes.
        self.gone: list[int] = []
        self._last = 0
        # Of rows of several traces: what stands in them of each that still waits. And those that some have left.
        self._shared: dict[int, dict[str, list[Arrived]]] = {}
        self._torn: set[int] = set()

    @property
    def changed(self) -> bool:
        """Whether there is something to commit."""
        return bool(self.gone or self._torn)

    def restore(self, number: int, spans: dict[str, list[Arrived]], waiting: Mapping[str, Waiting]) -> None:
        """Take in a row of a committed state, by trace."""
        self._last = max(self._last, number)
        for trace_id in spans:
            waiting[trace_id].rows.append(number)
        if len(spans) > 1:
            self._shared[number] = spans

    def write(
        self, waiting: Mapping[str, Waiting], changed: dict[str, None], whole: Container[str]
    ) -> dict[int, list[Arrived]]:
        """Return the new rows of traces that changed, by number."""
        self._mend(waiting, changed)
        new: dict[int, list[Arrived]] = {}
        together: dict[str, list[Arrived]] = {}
        for trace_id in changed:
            trace = waiting.get(trace_id)
            if trace is None or not trace.fresh:
                continue
            if trace_id in whole and not trace.alone:
                together[trace_id] = trace.fresh
            else:
                new[self._number(trace)] = trace.fresh
            trace.fresh = []
        if together:
            self._last += 1
            for trace_id in together:
                waiting[trace_id].rows.append(self._last)
            new[self._last] = list(chain.from_iterable(together.values()))
            self._shared[self._last] = together
        return new

    def leave(self, trace_id: str, trace: Waiting) -> None:
        """Have a trace waited for no longer."""
        for number in trace.rows:
            others = self._shared.get(number)
            if others is not None:
                del others[trace_id]
                if others:
                    self._torn.add(number)
                    continue
                del self._shared[number]
                self._torn.discard(number)
            self.gone.append(number)

    def _mend(self, waiting: Mapping[str, Waiting], changed: dict[str, None]) -> None:
        """Have what stayed behind in a row that others have left written anew, in rows of their own."""
        for number in self._torn:
            for trace_id, spans in self._shared.pop(number).items():
                trace = waiting[trace_id]
                trace.rows.remove(number)
                # As they are now: the new row stands behind those that may have changed them.
                trace.fresh = [*(trace.arrived[arrived.span.span_id] for arrived in spans), *trace.fresh]
                trace.alone = True
                changed[trace_id] = None
            self.gone.append(number)
        self._torn = set()

    def _number(self, trace: Waiting) -> int:
        self._last += 1
        trace.rows.append(self._last)
        return self._last
