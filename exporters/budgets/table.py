"""The budgets as a table: for who pays, from a state directory, also while an exporter uses it."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from exporters.budgets.account import Account, Reading
from exporters.budgets.document import Budget
from exporters.budgets.keeper import Keeper
from exporters.days import month_before, zone_of
from exporters.state import read_only
from exporters.statement import table

_HEAD = ("budget", "period", "state", "amount", "spent", "left", "used", "at the end", "between", "runs out")


def accounts(directory: Path, path: Path, now: float) -> Iterator[str]:
    """Yield a line for each budget, and how old what is known is. Raises StateError and SourceError.

    Whether a source can be read is only known where it is: a state tells whether it was read to its end.
    """
    with read_only(directory) as kept:
        zone = zone_of(kept.zone)
        days, sources = kept.days(month_before(now, zone)), kept.sources()
    keeper = Keeper(path, zone.key)
    keeper.refresh(zone)
    keeper.take(days, anew=True)
    readings = {name: Reading(caught_up, now, 0.0) for name, (caught_up, _) in sources.items()}
    rows = [_row(budget, one, zone) for budget, one in keeper.accounts(now, zone, readings)]
    yield from table([_HEAD, *rows], 3)
    newest = max((newest for _, newest in sources.values()), default=0.0)
    yield f"In USD. The newest record counted is of {_moment(newest, zone)} ({zone.key})."


def _row(budget: Budget, one: Account, zone: ZoneInfo) -> tuple[str, ...]:
    end = one.end
    return (
        budget.name,
        budget.period,
        one.state.replace("_", " "),
        _usd(one.amount),
        _usd(one.spent),
        _usd(one.remaining),
        "unknown" if one.used is None else f"{one.used:.0%}",
        _usd(None if end is None else end.expected),
        "unknown" if end is None else f"{_usd(end.low)} to {_usd(end.high)}",
        "" if one.runs_out is None else _moment(one.runs_out, zone),
    )


def _usd(amount: float | None) -> str:
    return "unknown" if amount is None else f"{amount:,.2f}"


def _moment(time: float, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(time, zone).strftime("%Y-%m-%d %H:%M") if time else "no time"
