"""The curve: totals as lines of OpenMetrics, of which only what changed is written anew from step to step."""

from collections.abc import Mapping
from itertools import accumulate

from exporters.aggregate import Aggregate, Cell, Child, Counter, Histogram
from exporters.catalogue.model import Metric
from exporters.exposition import sample
from exporters.feed import PLANS

# Sums of floats depend on their order in the last digits. One that were lower in the live counter than in
# its past would be a reset, which counts the whole total twice; so the past stays below by this part.
_BELOW = 1e-9


class _Series:
    """The series of a counter or a histogram: what stands before their values, where their lines are (-1: nowhere
    yet), and the number by which a change is seen."""

    __slots__ = ("places", "prefixes", "seen")

    def __init__(self, prefixes: list[str]) -> None:
        self.prefixes = prefixes
        self.places = [-1] * len(prefixes)
        self.seen: float | None = None


class Curve:
    """The lines of every series at the moment, by source, without their time.

    Buckets below the smallest observation are all 0. Of those only the highest is written: quantiles and sums
    are the same without the others, and a fifth of all samples would be theirs.
    """

    def __init__(self, aggregate: Aggregate, labels: Mapping[str, str]) -> None:
        self._aggregate = aggregate
        self._labels = "".join(f',{name}="{value}"' for name, value in labels.items())
        self._series: dict[tuple[Cell, int, str], _Series] = {}
        self.lines: dict[str, list[str]] = {}

    def go_on(self) -> dict[str, list[str]]:
        """Take over what changed in the totals; return the lines of new series by source, each at 0."""
        born: dict[str, list[str]] = {}
        for cell in self._aggregate.changed:
            new = born.setdefault(cell.key[1], [])
            for place, metric in enumerate(PLANS[cell.key[0]].metrics):
                for own, child in cell.children[place].items():
                    series = self._series.get((cell, place, own))
                    if series is None:
                        series = self._series[cell, place, own] = self._begun(metric, cell, place, own)
                    self._write(cell.key[1], series, child, new)
        self._aggregate.changed.clear()
        return born

    def _begun(self, metric: Metric, cell: Cell, place: int, own: str) -> _Series:
        zeros = sample(metric, cell, (place, own), False, openmetrics=False)
        return _Series([f"{line[: line.rindex('}')]}{self._labels}}} " for line in zeros])

    def _write(self, source: str, series: _Series, child: Child, born: list[str]) -> None:
        total = child.value if isinstance(child, Counter) else sum(child.counts)
        if total == series.seen:
            return
        series.seen = total
        lines = self.lines.setdefault(source, [])
        first, values = _values(child)
        for number, value in enumerate(values):
            if number < first:
                continue
            prefix, place = series.prefixes[number], series.places[number]
            if place < 0:
                place = series.places[number] = len(lines)
                lines.append("")
                born.append(f"{prefix}0")
            text = repr(value * (1 - _BELOW)) if isinstance(value, float) else str(value)
            lines[place] = prefix + text


def _values(child: Counter | Histogram) -> tuple[int, list[float]]:
    """Return the values of a child's series, and the first of them that is to be written."""
    if isinstance(child, Counter):
        return 0, [child.value]
    running: list[float] = list(accumulate(child.counts))
    first = next((bucket for bucket, count in enumerate(running) if count), len(running))
    return max(first - 1, 0), [*running, running[-1], child.sum]
