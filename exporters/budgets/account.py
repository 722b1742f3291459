"""How a budget stands: what is spent of it, where the period will end, and the one word for both."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple

from exporters.budgets.forecast import Forecast, course, forecast
from exporters.budgets.period import Period

# The share of the amount past which it is a warning, as it is an alert.
WARNING = 0.8
# In the first part of a period, what is spent says little about its pace.
_EARLY = 0.05

# What a scope cost by day, such as 2026-11-21; None where there were calls, and none has a price.
Amounts = Mapping[str, float | None]


class Reading(NamedTuple):
    """How the reading of a source stands: whether its backlog was read, when it was last read without a problem
    (Unix seconds, 0 for never), and how old the newest record is while there is more to read."""

    caught_up: bool
    read: float
    behind: float

    def is_stale(self, now: float) -> bool:
        """Whether what is known of it is old."""
        return not self.caught_up or now - self.read > _UNREAD or self.behind > _BEHIND


# A failed attempt or two is no news; the limits of the alerts about sources are of the same size.
_UNREAD, _BEHIND = 600.0, 900.0


@dataclass(frozen=True, kw_only=True)
class Account:
    """What is known of an amount for a period. What is unknown is None: spend before a source was read, a
    forecast from too few days, a pace in the first hours. `runs_out` is when the amount is expected to be
    spent, in Unix seconds, if that is before the period's end."""

    amount: float
    elapsed: float
    spent: float | None
    end: Forecast | None
    runs_out: float | None
    state: str

    @property
    def remaining(self) -> float | None:
        """What is left; below zero where more was spent."""
        return None if self.spent is None else self.amount - self.spent

    @property
    def used(self) -> float | None:
        """The share of the amount that is spent."""
        return None if self.spent is None else self.spent / self.amount

    @property
    def burn(self) -> float | None:
        """How many times as fast as evenly over the period the amount is being spent."""
        return None if self.used is None or self.elapsed < _EARLY else self.used / self.elapsed


def account(amount: float, amounts: Amounts, period: Period, readings: Mapping[str, Reading]) -> Account:
    """Return how an amount stands of which `amounts` was spent; `readings` are of the sources of its scope.

    With a source that was not read in this period, what is spent is unknown, and so is all that follows from it.
    """
    spent = None
    if readings and all(one.caught_up and one.read >= period.begins for one in readings.values()):
        spent = spent_in(amounts, period)
    end = forecast_end(amounts, period, spent)
    stale = not readings or any(one.is_stale(period.now) for one in readings.values())
    return Account(
        amount=amount,
        elapsed=period.elapsed,
        spent=spent,
        end=end,
        runs_out=None if spent is None or end is None else _runs_out(amount - spent, amounts, period),
        state=_state(amount, spent, end, stale),
    )


def spent_in(amounts: Amounts, period: Period) -> float | None:
    """Return what was spent in a period; None when there were calls, and no day has one with a price."""
    found = [amount for day, amount in amounts.items() if period.first.isoformat() <= day < period.end.isoformat()]
    known = [amount for amount in found if amount is not None]
    return math.fsum(known) if known or not found else None


def forecast_end(amounts: Amounts, period: Period, spent: float | None) -> Forecast | None:
    """Return what will have been spent at the period's end; None when what is spent or the past is too little known."""
    ahead = None if spent is None else forecast(_past(amounts, period.today), period.ahead)
    if spent is None or ahead is None:
        return None
    return Forecast(spent + ahead.low, spent + ahead.expected, spent + ahead.high)


def _past(amounts: Amounts, today: date) -> tuple[float | None, ...]:
    """Return the days that are over, without the first, of which a part may lie before what is known."""
    begun = min((day for day in amounts), default=today.isoformat())
    first = date.fromisoformat(begun) + timedelta(1)
    days = ((first + timedelta(after)).isoformat() for after in range((today - first).days))
    return tuple(amounts.get(day, 0.0) for day in days)


def _runs_out(left: float, amounts: Amounts, period: Period) -> float | None:
    past, parts = _past(amounts, period.today), period.ahead
    for day, (part, amount) in enumerate(zip(parts, course(past, len(parts)), strict=True)):
        if 0 <= left < part * amount:
            return period.moment(day + left / (part * amount))
        left -= part * amount
    return None


def _state(amount: float, spent: float | None, end: Forecast | None, stale: bool) -> str:
    """Return the one word. What is spent only grows, so that too much of it is certain also where it is stale."""
    if spent is not None and spent > amount:
        return "exceeded"
    if stale or spent is None:
        return "stale"
    if spent > WARNING * amount or (end is not None and end.expected > amount):
        return "warning"
    return "ok" if end is not None else "insufficient_history"
