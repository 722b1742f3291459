"""Noise: how likely chance alone makes two groups differ as much as they do."""

import math
from collections.abc import Sequence

# Many are looked at, so one in twenty would be found somewhere on every page.
SIGNIFICANT = 0.01


def of_shares(bad: float, count: float, other_bad: float, other_count: float) -> float:
    """Return the two-sided p-value of two shares: the z-test of two proportions, with their variance pooled.

    1 where nothing can be told: a group is empty, or all of both are alike.
    """
    if min(count, other_count) <= 0:
        return 1.0
    pooled = (bad + other_bad) / (count + other_count)
    variance = pooled * (1 - pooled) * (1 / count + 1 / other_count)
    return _two_sided(bad / count - other_bad / other_count, variance)


def of_durations(counts: Sequence[float], others: Sequence[float]) -> float:
    """Return the two-sided p-value of two histograms of the same buckets, in order.

    The test of Mann and Whitney: whether one of a group is longer than one of the other more often than
    not. All of a bucket are ties. It asks for no shape of the distribution.
    """
    one, other = sum(counts), sum(others)
    if min(one, other) <= 0:
        return 1.0
    below = wins = ties = 0.0
    for mine, theirs in zip(counts, others, strict=True):
        wins += mine * (below + theirs / 2)
        below += theirs
        ties += (mine + theirs) ** 3 - (mine + theirs)
    every = one + other
    variance = one * other / 12 * (every + 1 - ties / (every * (every - 1))) if every > 1 else 0.0
    return _two_sided(wins - one * other / 2, variance)


def _two_sided(difference: float, variance: float) -> float:
    # What is left of a variance of nothing is the error of rounding.
    return math.erfc(abs(difference) / math.sqrt(2 * variance)) if variance > 1e-12 else 1.0
