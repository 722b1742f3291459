"""What the days to come will cost, from the days that are over: a trend, a profile of the week, and their own errors.

Spend of a day is taken as (level + trend x day) x share of its weekday. Far-off days are drawn in before that is
fitted, newer days weigh more, and the trend dies away, so that no line runs off into a month that nobody has seen.
The range is what the same forecast was wrong by when it was made on the days before: of five such months, four
should end inside of it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import median

WEEK = 7
# Days that are over, below which nothing is said. On courses like those of spend, with a trend, a shape of the week and
# days far off, the days of a week ahead are on average 10 % off or more after two weeks, and less after three.
LEAST = 21
# A day weighs half as much as one that is this much younger.
_HALF_LIFE = 14.0
# What is left of the trend after each day to come.
_DAMPING = 0.97
# Past so many deviations a day is an exception, and counts as if it were there. The deviation is at least a
# share of the level, or in a flat course every hair would be an exception.
_FAR, _LEAST_DEVIATION = 2.5, 0.05
# What the median of the distances is to the standard deviation, where those are as usual (NIST's handbook, 1.3.5.6).
_DEVIATION = 1.4826
# The days ahead for which the past is asked how wrong a forecast was; and on how many of its days it is asked.
_AHEAD, _TRIALS = WEEK, 21
# The share of errors that the range holds.
_INSIDE = 0.8

# Amounts of one day after another; None where it is unknown.
Days = tuple[float | None, ...]


@dataclass(frozen=True)
class Forecast:
    """What is expected, and between what it should end up, in the amounts' unit."""

    low: float
    expected: float
    high: float


def forecast(past: Sequence[float | None], ahead: Sequence[float]) -> Forecast | None:
    """Return what the days to come add up to; None when too little is known to say.

    `past` are the amounts of days that are over, up to yesterday; `ahead` says how much of today, of tomorrow
    and so on is still to come: (0.25, 1.0, 1.0) at six in the evening, two days before the end.
    """
    days = tuple(past)
    if not ahead:
        return Forecast(0.0, 0.0, 0.0)
    if len(days) < LEAST or sum(day is not None for day in days) < LEAST:
        return None
    expected = math.fsum(part * amount for part, amount in zip(ahead, course(days, len(ahead)), strict=True))
    off = _error(days, len(ahead)) * math.fsum(ahead) / len(ahead)
    return Forecast(max(0.0, expected - off), expected, expected + off)


@lru_cache(maxsize=4096)
def course(days: Days, ahead: int) -> tuple[float, ...]:
    """Return what each of the days to come is expected to cost, none below zero."""
    level, trend, profile = _fit(days)
    found = []
    for day in range(len(days), len(days) + ahead):
        trend *= _DAMPING
        level = max(0.0, level + trend)
        found.append(level * profile[day % WEEK])
    return tuple(found)


@lru_cache(maxsize=1024)
def _error(days: Days, ahead: int) -> float:
    """Return how far the sum of so many days to come is likely to be off, by what it was off by on the past.

    Each of the last days is taken as today, and the days after it that are known as those to come. Their
    errors are compared as shares of the level of their time.
    """
    reach = min(ahead, _AHEAD, (len(days) - WEEK) // 2)
    found = []
    for today in range(max(WEEK + 1, len(days) - _TRIALS - reach + 1), len(days) - reach + 1):
        came = days[today : today + reach]
        known = [(at, amount) for at, amount in enumerate(came) if amount is not None]
        if known and sum(day is not None for day in days[:today]) > WEEK:
            said = course(days[:today], reach)
            off = abs(sum(said[at] - amount for at, amount in known))
            # What a gap hides may have been wrong as well.
            found.append((off / len(known) * reach, _level(days[:today])))
    scale = _level(days)
    shares = sorted(off / level for off, level in found if level > 0)
    if not shares:
        return max((off for off, _ in found), default=0.0) * ahead / reach
    place = min(len(shares), math.ceil(_INSIDE * (len(shares) + 1))) - 1
    # Further ahead than was tried, days are taken to be all wrong alike: a level that moves is no noise that evens out.
    return shares[place] * scale * ahead / reach


def _level(days: Days) -> float:
    known = [day for day in days[-2 * WEEK :] if day is not None]
    return math.fsum(known) / len(known) if known else 0.0


# The place of a day in the course, and its amount.
_Known = list[tuple[int, float]]


def _fit(days: Days) -> tuple[float, float, list[float]]:
    """Return the level of yesterday, what it rises by a day, and the weekdays' shares of it, in the places of days."""
    known = [(at, amount) for at, amount in enumerate(days) if amount is not None]
    usual = median(amount for _, amount in known)
    # Of two such days one may be an exception: what is usual has a voice too.
    first = [median([usual, *(amount for at, amount in known if at % WEEK == day)]) for day in range(WEEK)]
    fitted = [first[at % WEEK] for at, _ in known]
    last = len(days) - 1
    level, trend, profile = usual, 0.0, [1.0] * WEEK
    # Each time without what was far off the time before.
    for _ in range(3):
        drawn = _drawn_in(known, fitted, usual)
        for _ in range(2):
            level, trend = _line(drawn, last, profile)
            profile = _profile(drawn, last, level, trend)
        fitted = [max(0.0, level + trend * (at - last)) * profile[at % WEEK] for at, _ in known]
    return max(0.0, level), trend, profile


def _drawn_in(known: _Known, fitted: Sequence[float], usual: float) -> _Known:
    """Return the days with those that are far from what was fitted drawn in to where it is no more far."""
    off = median(abs(amount - said) for (_, amount), said in zip(known, fitted, strict=True))
    far = _FAR * max(_DEVIATION * off, _LEAST_DEVIATION * usual)
    # Where most days are nothing, nothing says what an exception is.
    if far <= 0:
        return known
    pairs = zip(known, fitted, strict=True)
    return [(at, min(max(amount, said - far), said + far)) for (at, amount), said in pairs]


def _line(known: _Known, last: int, profile: Sequence[float]) -> tuple[float, float]:
    """Return level and trend of the least squares of amount - (level + trend x age) x share of the weekday."""
    one = age = square = amounts = aged = 0.0
    for at, amount in known:
        share, back = profile[at % WEEK], at - last
        weight = 0.5 ** (-back / _HALF_LIFE) * share
        one, age, square = one + weight * share, age + weight * share * back, square + weight * share * back * back
        amounts, aged = amounts + weight * amount, aged + weight * amount * back
    if one <= 0:
        return 0.0, 0.0
    spread = one * square - age * age
    # Days that are all one weekday's have a level, but hardly a trend.
    if spread <= 1e-9 * one * square:
        return amounts / one, 0.0
    return (amounts * square - aged * age) / spread, (one * aged - age * amounts) / spread


def _profile(known: _Known, last: int, level: float, trend: float) -> list[float]:
    """Return the weekdays' shares of the line, which are 1 on average."""
    amounts, lines = [0.0] * WEEK, [0.0] * WEEK
    for at, amount in known:
        line, back = max(0.0, level + trend * (at - last)), at - last
        weight = 0.5 ** (-back / _HALF_LIFE) * line
        amounts[at % WEEK] += weight * amount
        lines[at % WEEK] += weight * line
    shares = [max(0.0, amount / line) if line > 0 else 1.0 for amount, line in zip(amounts, lines, strict=True)]
    mean = math.fsum(shares) / WEEK
    return [share / mean for share in shares] if mean > 0 else [1.0] * WEEK
