"""Passing over the rows of a table that hold a value which is too long to be read, and over no other."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from exporters.sources.sqlite import TooLongError

Answer = TypeVar("Answer")

# Numbers of rows that are asked for at once: as long as that takes, a writer may have to wait.
_WIDEST = 1 << 14
# No row has a smaller number, or a larger one.
FIRST = -(2**63)
LAST = 2**63 - 1


def past_long_rows(
    following: Callable[[int], int | None],
    ask: Callable[[int, int], Answer],
    *,
    after: int,
    last: int = LAST,
    widest: int = _WIDEST,
) -> Iterator[tuple[int, Answer | None]]:
    """Ask about the rows after one number up to another, a stretch of numbers at a time; of each stretch yield its
    last number and the answer, which is None for a single row with a value that is too long.

    `following` returns the number of the first row after a number, if there is one; `ask` is told the first and the
    last number of a stretch and raises TooLongError. A stretch is half as long after one in which such a value
    stands, and twice as long after one without, so one such row costs some 30 questions, in however many rows.
    """
    width = widest
    while (first := following(after)) is not None and first <= last:
        end = min(first + width - 1, last)
        try:
            answer: Answer | None = ask(first, end)
        except TooLongError:
            if end > first:
                width = max(1, (end - first + 1) // 2)
                continue
            answer = None
        else:
            width = min(2 * width, widest)
        yield end, answer
        after = end
