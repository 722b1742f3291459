"""Periods of a calendar: the day, the week from Monday on, or the month that a day is of."""

from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from exporters.days import day_of, month_of, start_of

PERIODS = ("day", "week", "month")
_DAY = timedelta(1)


@dataclass(frozen=True)
class Period:
    """The days from `first` up to, but not with, `end`, seen from a moment of one of them."""

    first: date
    today: date
    end: date
    now: float
    zone: ZoneInfo

    @property
    def begins(self) -> float:
        """Unix seconds of its first moment."""
        return start_of(self.first, self.zone)

    @property
    def elapsed(self) -> float:
        """The share of it that is over, from 0 to 1; a day is as long as the clocks make it."""
        return _within(self.now, self.begins, start_of(self.end, self.zone))

    @property
    def ahead(self) -> tuple[float, ...]:
        """How much of today, and of each day after it, is still to come."""
        left = 1.0 - _within(self.now, start_of(self.today, self.zone), start_of(self.today + _DAY, self.zone))
        return (left, *([1.0] * ((self.end - self.today).days - 1)))

    def moment(self, days: float) -> float:
        """Return when so many days from now are over: 0.5 is the middle of what is left of the first day and so on."""
        begins, whole = self.now, int(days)
        if whole:
            begins = start_of(self.today + whole * _DAY, self.zone)
        ends = start_of(self.today + (whole + 1) * _DAY, self.zone)
        return begins + (days - whole) * (ends - begins)


def period_of(now: float, kind: str, zone: ZoneInfo) -> Period:
    """Return the day, week or month that a moment is of."""
    today = day_of(now, zone)
    if kind == "day":
        return Period(today, today, today + _DAY, now, zone)
    if kind == "week":
        monday = today - today.weekday() * _DAY
        return Period(monday, today, monday + 7 * _DAY, now, zone)
    first = month_of(today)
    return Period(first, today, month_of(first + 31 * _DAY), now, zone)


def _within(now: float, begins: float, ends: float) -> float:
    return min(1.0, max(0.0, (now - begins) / (ends - begins)))
