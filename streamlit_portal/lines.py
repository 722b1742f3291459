"""Named lines on one grid of time: what an answer becomes before it is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

from exporters.catalogue.model import Signal
from streamlit_portal.prometheus import Answer, Series

# More than these cannot be told apart; the catalogue asks for ten with topk, at each step anew.
MOST = 10
UNNAMED = "unknown"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One named series: a value or None for every moment of the grid."""

    name: str
    values: tuple[float | None, ...]

    @property
    def size(self) -> float:
        """What it amounts to over the range, for picking the largest."""
        return sum(value for value in self.values if value is not None)


def grid(start: float, end: float, step: int) -> tuple[float, ...]:
    """Return the moments that a range query of these bounds answers at."""
    return tuple(start + step * index for index in range(int((end - start) // step) + 1))


def name(signal: Signal, series: Series) -> str:
    """Return the legend's text: the values of `by`, in its order; the title where there is none."""
    return " · ".join(names(signal, series)) or signal.title


def names(signal: Signal, series: Series) -> tuple[str, ...]:
    """Return the values of `by`, in its order."""
    return tuple(series.labels.get(label, "") or UNNAMED for label in signal.by)


def lines(signal: Signal, answer: Answer, moments: Sequence[float]) -> list[Line]:
    """Put an answer on the grid, in the order of the signal's colours, else by name.

    A moment without a sample is None: a gap says that nothing happened. Of more lines than MOST
    the largest stay.
    """
    at = {moment: index for index, moment in enumerate(moments)}
    found = []
    for series in answer.series:
        values: list[float | None] = [None] * len(moments)
        for moment, value in series.points:
            if moment in at:
                values[at[moment]] = value
        if any(value is not None for value in values):
            found.append(Line(name=name(signal, series), values=tuple(values)))
    found = sorted(found, key=lambda line: line.size, reverse=True)[:MOST]
    order = [known for known, _ in signal.colours]
    return sorted(found, key=lambda line: (order.index(line.name) if line.name in order else len(order), line.name))


def stacked(found: Sequence[Line]) -> list[Line]:
    """Fill the gaps that are only one line's with 0, because a part that is absent adds nothing.

    Where no line has a value the gap stays.
    """
    if not found:
        return []
    spoken = [
        any(value is not None for value in column) for column in zip(*(line.values for line in found), strict=True)
    ]
    return [
        Line(
            name=line.name,
            values=tuple(
                (value or 0.0) if any_value else None for value, any_value in zip(line.values, spoken, strict=True)
            ),
        )
        for line in found
    ]


def buckets(answer: Answer, moments: Sequence[float]) -> list[Line]:
    """Turn cumulative buckets, labelled by `le`, into counts of their own, from small to large.

    Empty buckets at both ends are left out. A count that comes out below 0, as extrapolation
    can make it, is 0.
    """
    at = {moment: index for index, moment in enumerate(moments)}
    bounds = sorted(answer.series, key=lambda series: float(series.labels["le"]))
    below = [0.0] * len(moments)
    found = []
    for series in bounds:
        so_far = list(below)
        for moment, value in series.points:
            if moment in at:
                so_far[at[moment]] = value
        own = tuple(max(0.0, upper - lower) for upper, lower in zip(so_far, below, strict=True))
        found.append(Line(name=series.labels["le"], values=own))
        below = so_far
    used = [index for index, line in enumerate(found) if line.size > 0]
    return found[used[0] : used[-1] + 1] if used else []
