"""Where spans of tree-shaped stores wait for the rest of their trace, until what stands above them is known."""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, inf

from exporters.places import Places
from exporters.span import Span
from exporters.tree import Group, Known
from exporters.waiting import Arrived, Rows, Waiting

# The part of what a span may wait for which a trace that seems whole has to be quiet: one process may tell
# of the root before another has told of all that is below it.
QUIET = 0.1
# What waits at once, of one source; past it the trace that came first is settled.
TRACES = 10_000
SPANS = 100_000
# Spans that are settled at once, or twice as many as came if that is more: a page waits while they are counted.
AT_ONCE = 2_000


@dataclass(slots=True)
class Changes:
    """What a commit has to keep of what waits: rows that go, and rows that are new, by number; and where in
    their traces the spans stand that were settled."""

    gone: list[int]
    new: dict[int, list[Arrived]]
    settled: Mapping[str, Known] = field(default_factory=dict)


class Settling:
    """The waiting spans of one source.

    A trace is settled when its root and every parent are there and nothing more came for a moment; a
    span that has waited for `seconds` is settled with those of its trace that it hangs together with.
    `awaited` tells the ids of spans of a trace under which something was counted before they came.
    """

    def __init__(self, seconds: float, awaited: Callable[[str], Container[str]]) -> None:
        self._seconds = seconds
        self._awaited = awaited
        self._places = Places()
        # How many spans may still be settled at once.
        self._room = AT_ONCE
        self.restore({})

    def restore(self, rows: Mapping[int, list[Arrived]], settled: Iterable[Mapping[str, Known]] = ()) -> None:
        """Go back to a committed state: what waited, by the number of its row; and what each commit settled."""
        self._places.restore(settled)
        # In the order of their first span.
        self.waiting: dict[str, Waiting] = {}
        self.spans = 0
        # Traces that seem whole, in the order of their last span; and all, by the second they are due.
        self._whole: dict[str, None] = {}
        self._due: dict[int, dict[str, None]] = {}
        self._changed: dict[str, None] = {}
        self._rows = Rows()
        self._batch = 0
        # When the store was first read to its end.
        self._live = inf
        for number, spans in sorted(rows.items()):
            of_row: dict[str, list[Arrived]] = {}
            for arrived in spans:
                of_row.setdefault(arrived.span.trace_id, []).append(arrived)
            for trace_id, of_trace in of_row.items():
                self._put(trace_id, of_trace).fresh = []
            self._rows.restore(number, of_row, self.waiting)
        for trace_id in self.waiting:
            self._look(trace_id)
        self._changed = {}

    @property
    def changed(self) -> bool:
        """Whether there is something to commit."""
        return bool(self._changed or self._rows.changed or self._places.changed)

    @property
    def more(self) -> bool:
        """Whether the last `add` left something for the next that could have been settled."""
        return self._room <= 0

    @property
    def behind(self) -> bool:
        """Whether something waits that came before the store was first read to its end."""
        return any(next(iter(trace.arrived.values())).at <= self._live for trace in self.waiting.values())

    def changes(self) -> Changes:
        """Return what the next commit has to keep; after one that failed, `restore` what was committed."""
        new = self._rows.write(self.waiting, self._changed, self._whole)
        gone, self._rows.gone, self._changed = self._rows.gone, [], {}
        return Changes(gone, new, self._places.changes())

    def add(self, spans: Sequence[Span], now: float, *, live: bool) -> list[Group]:
        """Take the spans of a batch at a Unix time; return what is settled now.

        While a backlog is read, so not yet `live`, what is missing may be in the rest of it: nothing
        is due then, and a trace that seems whole waits for one more batch.
        """
        self._batch += 1
        if live:
            self._live = min(self._live, now)
        for trace_id, of_trace in _by_trace(spans, now).items():
            self._put(trace_id, of_trace)
            self._look(trace_id)
        self._room = max(AT_ONCE, 2 * len(spans))
        groups = self._settle_whole(now, live)
        if live:
            groups += self._settle_due(now)
        return groups + self._settle_past_bounds()

    def settle_all(self) -> list[Group]:
        """Settle everything that waits: nothing more will come."""
        return [self._settle(trace_id) for trace_id in list(self.waiting)]

    def _put(self, trace_id: str, spans: Sequence[Arrived]) -> Waiting:
        """Let spans of a trace wait; return the trace."""
        trace = self.waiting.get(trace_id)
        if trace is None:
            trace = self.waiting[trace_id] = Waiting()
            self._be_due(trace_id, trace, spans[0].at + self._seconds)
        known = self._places.known.get(trace_id)
        waits, missing, touched, before = trace.arrived, trace.missing, trace.touched, len(trace.arrived)
        for arrived in spans:
            span = arrived.span
            span_id, parent = span.span_id, span.parent_id
            if span_id in waits:
                arrived = Arrived(waits[span_id].at, span)  # noqa: PLW2901 -- it waits since it first came
            elif missing:
                missing.discard(span_id)
            waits[span_id] = arrived
            trace.fresh.append(arrived)
            if arrived.at > touched:  # noqa: PLR1730 -- max() takes three times as long, for each span
                touched = arrived.at
            if not parent:
                trace.rooted = trace.rooted or span.kind != "score" or (known is not None and known.root != "")
            elif known is not None and parent in known.links:
                trace.rooted = True
            elif parent not in waits:
                missing.add(parent)
        self.spans += len(waits) - before
        trace.touched, trace.batch = touched, self._batch
        self._changed[trace_id] = None
        return trace

    def _look(self, trace_id: str) -> None:
        """See whether a trace that was touched seems whole."""
        trace = self.waiting[trace_id]
        self._whole.pop(trace_id, None)
        if trace.rooted and not trace.missing:
            self._whole[trace_id] = None

    def _be_due(self, trace_id: str, trace: Waiting, at: float) -> None:
        trace.due = ceil(at)
        self._due.setdefault(trace.due, {})[trace_id] = None

    def _settle_whole(self, now: float, live: bool) -> list[Group]:
        """Settle traces that seem whole and were quiet."""
        groups = []
        for trace_id in list(self._whole):
            trace = self.waiting[trace_id]
            # Times to come are those of a clock that was put back since.
            waits = now - QUIET * self._seconds < trace.touched <= now if live else trace.batch == self._batch
            if waits or self._room <= 0:
                break
            groups.append(self._settle(trace_id))
        return groups

    def _settle_due(self, now: float) -> list[Group]:
        """Settle what has waited long enough."""
        groups: list[Group] = []
        for second in [second for second in self._due if not now < second <= now + self._seconds + 1]:
            due = self._due.pop(second)
            for trace_id in list(due):
                if self._room <= 0:
                    self._due[second] = due
                    return groups
                del due[trace_id]
                groups.append(self._settle_old(trace_id, now))
        return groups

    def _settle_past_bounds(self) -> list[Group]:
        """Settle the traces that came first while too much waits."""
        groups: list[Group] = []
        if len(self.waiting) <= TRACES and self.spans <= SPANS:
            return groups
        # Not the first again and again: to find it takes the longer the more were deleted in front of it.
        for trace_id in list(self.waiting):
            if len(self.waiting) <= TRACES and self.spans <= SPANS:
                break
            groups.append(self._settle(trace_id))
        return groups

    def _settle_old(self, trace_id: str, now: float) -> Group:
        """Settle of a trace what has waited long enough, with what it hangs together with; all, if
        nothing is missing of the rest."""
        trace = self.waiting[trace_id]
        top = _tops(trace)
        old = {top[id_] for id_, a in trace.arrived.items() if not now - self._seconds < a.at <= now}
        rest = {id_: arrived for id_, arrived in trace.arrived.items() if top[id_] not in old}
        if not rest or _is_whole(rest):
            return self._settle(trace_id)
        spans = {id_: arrived.span for id_, arrived in trace.arrived.items() if id_ not in rest}
        self._leave(trace_id, trace)
        left = self._put(trace_id, list(rest.values()))
        self._due[left.due].pop(trace_id)
        oldest = min(arrived.at for arrived in rest.values())
        # Not at once again, so that a trace whose spans come one by one is not gone through for each.
        self._be_due(trace_id, left, max(oldest + self._seconds, now + 1))
        self._look(trace_id)
        return self._grouped(trace_id, spans)

    def _settle(self, trace_id: str) -> Group:
        """Settle all that waits of a trace."""
        trace = self.waiting[trace_id]
        self._leave(trace_id, trace)
        return self._grouped(trace_id, {id_: arrived.span for id_, arrived in trace.arrived.items()})

    def _leave(self, trace_id: str, trace: Waiting) -> None:
        del self.waiting[trace_id]
        self.spans -= len(trace.arrived)
        self._whole.pop(trace_id, None)
        self._due.get(trace.due, {}).pop(trace_id, None)
        self._rows.leave(trace_id, trace)

    def _grouped(self, trace_id: str, spans: dict[str, Span]) -> Group:
        self._room -= len(spans)
        return self._places.settle(trace_id, spans, self._awaited(trace_id))


def _by_trace(spans: Iterable[Span], now: float) -> dict[str, list[Arrived]]:
    found: dict[str, list[Arrived]] = {}
    last, of_trace = None, list[Arrived]()
    for span in spans:
        # Nearly always that of the span before.
        if span.trace_id != last:
            last = span.trace_id
            of_trace = found.setdefault(last, [])
        of_trace.append(Arrived(now, span))
    return found


def _tops(trace: Waiting) -> dict[str, str]:
    """Return for each waiting span the topmost one above it that waits too."""
    top: dict[str, str] = {}
    for span_id in trace.arrived:
        path: dict[str, None] = {}
        at = span_id
        while at in trace.arrived and at not in top and at not in path:
            path[at] = None
            at = trace.arrived[at].span.parent_id
        above = top.get(at) or next(reversed(path), "")
        top.update(dict.fromkeys(path, above))
    return top


def _is_whole(spans: Mapping[str, Arrived]) -> bool:
    """Whether there is a root, and no parent is missing."""
    rooted = any(not arrived.span.parent_id and arrived.span.kind != "score" for arrived in spans.values())
    parents = (arrived.span.parent_id for arrived in spans.values())
    return rooted and all(parent in spans for parent in parents if parent)
