"""Where settled spans stand in their trees: remembered of the last of them, for those that come late."""

from collections import OrderedDict
from collections.abc import Container, Iterable, Mapping

from exporters.span import Span
from exporters.tree import Group, Known, settle

# Spans that were settled, whose place in the tree is remembered.
REMEMBERED = 50_000


class Places:
    """What is remembered of the traces of one source."""

    def __init__(self) -> None:
        self.restore(())

    def restore(self, commits: Iterable[Mapping[str, Known]]) -> None:
        """Go back to a committed state: what was new in each commit, the oldest first."""
        # The trace that something was settled of longest ago is the first. In a plain dictionary, to find the first
        # takes the longer the more were deleted in front of it: 8 microseconds a trace.
        self.known: OrderedDict[str, Known] = OrderedDict()
        self._size = 0
        # Of traces that were settled since the last commit, what that has to keep: all, or what is new.
        self._fresh: dict[str, Known] = {}
        for traces in commits:
            for trace_id, found in traces.items():
                known = self._take(trace_id) or Known()
                known.links.update(found.links)
                known.inner, known.root = found.inner, found.root or known.root
                self._put(trace_id, known)

    @property
    def changed(self) -> bool:
        """Whether there is something to commit."""
        return bool(self._fresh)

    def settle(self, trace_id: str, spans: dict[str, Span], awaited: Container[str]) -> Group:
        """Make the group to be counted of spans of a trace, by id, and remember where they stand; see tree.settle."""
        before = self._take(trace_id)
        known = before or Known()
        group = settle(trace_id, spans, known, awaited)
        self._put(trace_id, known)
        fresh = self._fresh.get(trace_id)
        if before is None or fresh is before:
            self._fresh[trace_id] = known
        else:
            # A long run is not written anew for each of its calls.
            fresh = self._fresh[trace_id] = fresh or Known()
            fresh.links.update((span_id, known.links[span_id]) for span_id in (*spans, *group.amended))
            fresh.inner, fresh.root = known.inner, known.root
        return group

    def changes(self) -> dict[str, Known]:
        """Return what the next commit has to keep; after one that failed, `restore` what was committed."""
        fresh, self._fresh = self._fresh, {}
        return fresh

    def _take(self, trace_id: str) -> Known | None:
        known = self.known.pop(trace_id, None)
        if known is not None:
            self._size -= size_of(known)
        return known

    def _put(self, trace_id: str, known: Known) -> None:
        self.known[trace_id] = known
        self._size += size_of(known)
        while self._size > REMEMBERED:
            self._take(next(iter(self.known)))


def size_of(known: Known) -> int:
    """Return how many spans something is remembered of."""
    return len(known.links) + len(known.inner)
