"""The open traces of a source: how much they may hold, and what a commit keeps of them and of closed ones."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass

from exporters.span import Span
from exporters.trace import OpenTrace

# Traces open at once; past it the one that was opened first is closed.
OPEN_TRACES = 10_000
# Span ids held in memory of one open trace, besides those that were recalled; past it the oldest half is only
# known to the state, which is asked again when the trace has been closed. Also how much of a trace may wait for
# its end; past it the trace is closed.
SPANS_A_TRACE = 10_000
# What all open traces hold together: an id of what was counted is one, what has not ended eight. Past it
# the trace that was opened first is closed. About 100 MB.
HELD_IN_ALL = 1_000_000


@dataclass(slots=True)
class Closed:
    """A trace that was closed: its counted spans, and whether they are all that were ever counted."""

    spans: Iterable[str]
    complete: bool


class OpenTraces:
    """The open traces of one source.

    `recall` returns the ids of the spans that were counted in a trace that is closed and committed, or
    None when there is none: the state remembers them for ever.
    """

    def __init__(self, recall: Callable[[str], Iterable[str] | None]) -> None:
        self._recall = recall
        self.open: dict[str, OpenTrace] = {}
        # Traces changed and traces closed since the last commit.
        self.changed: set[str] = set()
        self.closed: dict[str, Closed] = {}
        # The newest time of a counted record: a run that begins later has not been counted before.
        self.newest = 0.0
        # Traces that the last commit kept as open. Most begin and end between two commits.
        self._kept: set[str] = set()
        # What each open trace held when it was last looked at, and all of them.
        self._sizes: dict[str, int] = {}
        self._size = 0

    def restore(self, traces: Mapping[str, OpenTrace], newest: float) -> None:
        """Go back to a committed state."""
        self.open = dict(traces)
        self.changed = set()
        self.closed = {}
        self.newest = newest
        self._kept = set(traces)
        self._sizes = {trace_id: _size(trace) for trace_id, trace in traces.items()}
        self._size = sum(self._sizes.values())

    def changes(self) -> dict[str, OpenTrace | None]:
        """Return what a commit has to keep: the changed open traces, and None for those open no more."""
        found = {trace_id: self.open.get(trace_id) for trace_id in self.changed}
        return {id_: trace for id_, trace in found.items() if trace is not None or id_ in self._kept}

    def committed(self) -> None:
        """Forget what changed: it is durable now."""
        for trace_id in self.changed:
            if trace_id in self.open:
                self._kept.add(trace_id)
            else:
                self._kept.discard(trace_id)
        self.changed = set()
        self.closed = {}

    def opened(self, trace_id: str, begins: float) -> OpenTrace:
        """Return a new open trace, with what was counted of it when it was open before.

        The memory is not asked of a run that `begins` (else 0) later than all that was counted.
        """
        closed = self.closed.get(trace_id)
        trace = OpenTrace(unasked=begins)
        if closed is not None:
            trace.counted = dict.fromkeys(closed.spans)
        if closed is not None and closed.complete:
            trace.recalled, trace.unasked = len(trace.counted), 0.0
        elif not begins or closed is not None:
            self.remember(trace_id, trace)
        return trace

    def remember(self, trace_id: str, trace: OpenTrace) -> None:
        """Put what was counted of a trace when it was open before in front of what was counted now."""
        known = self._recall(trace_id)
        if known is not None or trace.counted:
            trace.counted = {**dict.fromkeys(known or ()), **trace.counted}
            trace.recalled = len(trace.counted)
        trace.unasked = 0.0

    def news(self, spans: list[Span]) -> set[str]:
        """Return the traces of which something new is said: stores that write all of a day again each half
        hour would keep its runs open until the next."""
        found = set()
        for span in spans:
            trace = self.open.get(span.trace_id)
            if trace is None or not (span.span_id in trace.counted or span.span_id in trace.runs):
                found.add(span.trace_id)
        return found

    def awaited(self, trace_id: str) -> Container[str]:
        """Return the ids of the spans that have not come and below which something was counted."""
        trace = self.open.get(trace_id)
        return trace.missing if trace is not None else ()

    def let_go(self, trace_id: str) -> None:
        """Close again a trace that was only opened to drop what had been counted before."""
        trace = self.open.get(trace_id)
        if trace is None or trace.runs or trace.starts or trace.missing or trace.held is not None:
            return
        if len(trace.counted) == trace.recalled and trace_id not in self.closed:
            self._forget(trace_id)
        else:
            self.close(trace_id, trace)

    def close(self, trace_id: str, trace: OpenTrace) -> None:
        """Have what was counted of a trace remembered, and the trace no longer."""
        self.changed.add(trace_id)
        if trace.recalled > SPANS_A_TRACE:
            # What is long is put behind, not written anew.
            self._put_away(trace_id, list(trace.counted)[trace.recalled :], complete=False)
        else:
            self._put_away(trace_id, trace.counted, complete=trace.recalled >= 0)
        self._forget(trace_id)

    def _forget(self, trace_id: str) -> None:
        self.open.pop(trace_id, None)
        self._size -= self._sizes.pop(trace_id, 0)

    def _put_away(self, trace_id: str, spans: Iterable[str], *, complete: bool) -> None:
        """Have spans of a trace remembered by the next commit, with those that wait for it already."""
        waiting = self.closed.get(trace_id)
        if waiting is not None and not complete:
            spans, complete = dict.fromkeys([*waiting.spans, *spans]), waiting.complete
        self.closed[trace_id] = Closed(spans, complete)

    def shorten(self, trace_id: str, trace: OpenTrace) -> None:
        """Leave the oldest half of what was counted of a trace to the state, unless it is what that recalled."""
        recalled = max(0, trace.recalled)
        if len(trace.counted) - recalled > SPANS_A_TRACE:
            spans = list(trace.counted)
            cut = len(spans) - SPANS_A_TRACE // 2
            trace.counted, trace.recalled = dict.fromkeys(spans[cut:]), -1
            self._put_away(trace_id, spans[recalled:cut], complete=False)

    def past_bounds(self) -> Iterator[str]:
        """Yield the traces that hold too much, and those that were opened first while there are too many, or
        they hold too much together. Each is closed by whoever asks before the next is yielded."""
        for trace_id in tuple(self.changed):
            trace = self.open.get(trace_id)
            if trace is None:
                continue
            if len(trace.parents) > SPANS_A_TRACE:
                trace.parents = dict(list(trace.parents.items())[-SPANS_A_TRACE // 2 :])
            if len(trace.starts) + len(trace.runs) + len(trace.missing) > SPANS_A_TRACE:
                yield trace_id
                continue
            size = _size(trace)
            self._size += size - self._sizes.get(trace_id, 0)
            self._sizes[trace_id] = size
        if len(self.open) <= OPEN_TRACES and self._size <= HELD_IN_ALL:
            return
        # Not the first again and again: to find it takes the longer the more were deleted in front of it.
        for trace_id in list(self.open):
            if len(self.open) <= OPEN_TRACES and self._size <= HELD_IN_ALL:
                return
            yield trace_id


def _size(trace: OpenTrace) -> int:
    return 8 * (len(trace.starts) + len(trace.runs) + len(trace.missing)) + len(trace.counted) + len(trace.parents)
