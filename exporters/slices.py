"""A large batch in slices: what counts holds the page up, so it counts no more than a slice at once."""

from collections.abc import Iterator
from threading import Lock
from types import TracebackType

from exporters.sources import Batch, Translated

# Spans that are counted and committed at once: some 100 ms on a slow machine.
SLICE = 2_000


def slices(batch: Batch, translated: Translated) -> Iterator[tuple[Batch, Translated]]:
    """Yield a batch in slices, each to be counted and committed by itself; the last brings all but the spans.

    Only of a batch without a cursor, as those of a receiver are: what is committed of it and comes once more, since
    the rest was not, is known by its ids. With a cursor a batch is one commit, and is no larger than its reader makes
    it.
    """
    spans = translated.spans
    if batch.cursor or len(spans) <= SLICE:
        yield batch, translated
        return
    last = (len(spans) - 1) // SLICE * SLICE
    for start in range(0, last, SLICE):
        yield Batch([], {}, more=True), Translated(spans[start : start + SLICE], 0, {})
    yield batch, Translated(spans[last:], translated.records, translated.bad)


class FairLock:
    """A lock that is handed over: a thread that lets go of it and wants it again waits for those that waited."""

    def __init__(self) -> None:
        self._turn = Lock()
        self._lock = Lock()

    def __enter__(self) -> None:
        # Who waits for the lock holds the turn, so that nobody else can be in front of them.
        with self._turn:
            self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
