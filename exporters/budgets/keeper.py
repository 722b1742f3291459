"""The keeper: holds the budgets of a file against the ledger, again and again, and says on the page how they stand."""

from collections.abc import Callable, Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

from exporters.budgets.account import Account, Reading, account, forecast_end, spent_in
from exporters.budgets.document import NOBODY, Budget, matcher, read_budgets
from exporters.budgets.forecast import Forecast
from exporters.budgets.period import PERIODS, period_of
from exporters.catalogue.signals.budgets import STATES
from exporters.days import month_before
from exporters.declarations import Declaration
from exporters.health import Health
from exporters.ledger import NOTHING, Rows, Who, plus

# Rows whose scopes are remembered: their names are written by strangers.
_KNOWN = 10_000

# The families of the page by name: labels and value; None is unknown, and not shown.
Families = dict[str, dict[tuple[str, ...], float | None]]


class Keeper:
    """The budgets, and what each scope cost by day."""

    def __init__(self, path: Path | None, zone: str) -> None:
        """Read the file, if there is one; `zone` is that of the ledger's days, "" while it is not known. Raises
        SourceError."""
        self._zone = zone
        self._file = None if path is None else Declaration(path, lambda path: read_budgets(path, self._zone))
        self.budgets: tuple[Budget, ...] = ()
        self._read: tuple[Budget, ...] = ()
        # What each budget's scope cost by day, after them everything, and at last what is of no budget.
        self._sums: list[dict[str, float | None]] = []
        self._scopes: dict[Who, tuple[int, ...]] = {}
        self._matchers: list[Callable[[Who], bool]] = []
        # Whether the days are to be summed anew, all of them.
        self.anew = True
        self._told: Families = {}

    @property
    def problem(self) -> str:
        """Why the file as it is now, or a budget of it, cannot be used; empty while it can."""
        if self._file is not None and not self._file.problem and len(self.budgets) < len(self._read):
            return f"budgets whose zone is not {self._zone}, the ledger's, are left out; see docs/budgets.md"
        return self._file.problem if self._file is not None else ""

    def refresh(self, zone: ZoneInfo) -> None:
        """Look whether the file is another; one that cannot be used changes nothing, and is told."""
        self._zone = zone.key
        if self._file is None:
            return
        self._file.refresh()
        if self._file.value is not self._read:
            self._read, self.anew = self._file.value, True
            # Where the state could be opened only now, the file was read without knowing the zone.
            self.budgets = tuple(budget for budget in self._read if budget.zone in ("", zone.key))
            self._matchers, self._scopes = [matcher(budget) for budget in self.budgets], {}

    def take(self, days: Rows, *, anew: bool) -> None:
        """Sum days of the ledger by scope; `anew` says that they are all that there are."""
        count = len(self.budgets) + 2
        if anew or self.anew:
            self._sums, self.anew = [{} for _ in range(count)], False
        for day, rows in days.items():
            found = [NOTHING] * count
            for who, took in rows.items():
                for place in self._places(who):
                    found[place] = plus(found[place], took)
            for sums, took in zip(self._sums, found, strict=True):
                if took.calls:
                    sums[day] = took.cost

    def accounts(self, now: float, zone: ZoneInfo, readings: Mapping[str, Reading]) -> list[tuple[Budget, Account]]:
        """Return how each budget stands."""
        return [
            (
                budget,
                account(budget.amount, amounts, period_of(now, budget.period, zone), _sources_of(budget, readings)),
            )
            for budget, amounts in zip(self.budgets, self._sums, strict=False)
        ]

    def judge(self, now: float, zone: ZoneInfo, readings: Mapping[str, Reading]) -> Families:
        """Return how each budget stands, what is of none and where the month will end, as the page's families."""
        self._forget(month_before(now, zone))
        found = self.accounts(now, zone, readings)
        families: Families = {name: {_named(budget): value(one) for budget, one in found} for name, value in _GAUGES}
        families["agentgauge_budget_forecast_usd"] = {
            (*_named(budget), bound): value for budget, one in found for bound, value in _bounds(one.end)
        }
        states: dict[tuple[str, ...], float | None] = {
            (*_named(budget), state): float(state == one.state) for budget, one in found for state, _, _ in STATES
        }
        of_none: dict[tuple[str, ...], float | None] = {}
        end = None
        # Until every source is read, nobody knows.
        if all(one.caught_up for one in readings.values()):
            of_none, end = self._of_none(now, zone), self._end(now, zone)
        if of_none.get(("month",)):
            states |= {(NOBODY, "month", state): float(state == "no_budget") for state, _, _ in STATES}
        families |= {
            "agentgauge_budget_state": states,
            "agentgauge_unbudgeted_spend_usd": of_none,
            "agentgauge_spend_forecast_usd": {("month", bound): value for bound, value in _bounds(end)},
        }
        return families

    def tell(self, health: Health, families: Families, now: float) -> None:
        """Say on the page what was found."""
        health.set("agentgauge_budgets_file_broken", 1 if self.problem else 0)
        health.set("agentgauge_budgets_judged_timestamp_seconds", now)
        for name, values in families.items():
            # A scrape waits meanwhile: what is as it was is left alone.
            if values != self._told.get(name):
                health.replace(name, values)
        self._told = families

    def _of_none(self, now: float, zone: ZoneInfo) -> dict[tuple[str, ...], float | None]:
        """Return what this day, week and month cost that no budget is of; nothing without budgets."""
        periods = PERIODS if self.budgets else ()
        return {(kind,): spent_in(self._sums[-1], period_of(now, kind, zone)) for kind in periods}

    def _end(self, now: float, zone: ZoneInfo) -> Forecast | None:
        month = period_of(now, "month", zone)
        return forecast_end(self._sums[-2], month, spent_in(self._sums[-2], month))

    def _places(self, who: Who) -> tuple[int, ...]:
        """Return the places of the scopes that a row is of."""
        found = self._scopes.get(who)
        if found is None:
            places = tuple(place for place, matches in enumerate(self._matchers) if matches(who))
            found = (*places, len(self._matchers), *(() if places else (len(self._matchers) + 1,)))
            if len(self._scopes) >= _KNOWN:
                self._scopes.clear()
            self._scopes[who] = found
        return found

    def _forget(self, since: str) -> None:
        for sums in self._sums:
            for day in [day for day in sums if day < since]:
                del sums[day]


_GAUGES: tuple[tuple[str, Callable[[Account], float | None]], ...] = (
    ("agentgauge_budget_limit_usd", lambda one: one.amount),
    ("agentgauge_budget_spent_usd", lambda one: one.spent),
    ("agentgauge_budget_remaining_usd", lambda one: one.remaining),
    ("agentgauge_budget_used_ratio", lambda one: one.used),
    ("agentgauge_budget_elapsed_ratio", lambda one: one.elapsed),
    ("agentgauge_budget_burn_ratio", lambda one: one.burn),
    ("agentgauge_budget_runs_out_timestamp_seconds", lambda one: one.runs_out),
)


def _named(budget: Budget) -> tuple[str, str]:
    return budget.name, budget.period


def _bounds(end: Forecast | None) -> list[tuple[str, float]]:
    return [] if end is None else [("low", end.low), ("expected", end.expected), ("high", end.high)]


def _sources_of(budget: Budget, readings: Mapping[str, Reading]) -> dict[str, Reading]:
    """Return the sources that a budget's scope may have calls of."""
    matches = matcher(Budget(name="", amount=1, period="", source=budget.source))
    return {name: one for name, one in readings.items() if matches(Who(name, "", "", ""))}
