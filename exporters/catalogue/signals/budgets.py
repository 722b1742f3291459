"""Budgets: what of them is spent, how fast, and where their periods will end."""

from exporters.catalogue.model import Limit, Signal

_BOUNDS = (("low", "light-blue"), ("expected", "blue"), ("high", "light-blue"))
# Each state with the words and the colour that it has on a board; its number is its place, from good to bad.
STATES = (
    ("ok", "OK", "green"),
    ("insufficient_history", "Too little history", "light-green"),
    ("no_budget", "No budget", "blue"),
    ("stale", "Stale", "purple"),
    ("warning", "Warning", "orange"),
    ("exceeded", "Exceeded", "red"),
)
_NONE = "No budget is set: docs/budgets.md tells how"
# On a card there is little room.
_NONE_SHORT = "None set"
# Nothing was held against the spend yet, or there are budgets of which nothing is known yet.
_AWAITS = """absent(agentgauge_budgets_judged_timestamp_seconds{$where} > 0)
or max(agentgauge_budget_limit_usd{$where})"""
# What is overspent is told as that alone.
_NOT_PAST = "max by (budget) (agentgauge_budget_used_ratio{$where}) <= 1"
# Told when it is passed, and no alert for the rest of the period.
_JUST_HALF = """max by (budget) (agentgauge_budget_used_ratio{$where}) <= 0.8
unless on (budget) max by (budget) (agentgauge_budget_used_ratio{$where} offset 1h) > 0.5"""

BUDGETS = (
    Signal(
        name="spend_forecast",
        title="Month-end spend",
        unit="currencyUSD",
        expr='sum(agentgauge_spend_forecast_usd{period="month",bound="expected",$where})',
        means="What all model calls of this month are expected to have cost at its end, from the weeks before: their "
        "level, trend and weekdays. Takes 21 days of history.",
        view="stat",
        over="now",
        decimals=2,
        better="lower",
        empty="Too early",
    ),
    Signal(
        name="spend_forecast_range",
        title="Month-end spend, with range",
        unit="currencyUSD",
        expr='sum by (bound) (agentgauge_spend_forecast_usd{period="month",$where})',
        means="Where this month is expected to end, as it was expected at each moment. Four months of five should end "
        "between low and high, which are what the same forecast was wrong by on the past.",
        by=("bound",),
        over="now",
        decimals=2,
        empty="A forecast takes 21 days",
        colours=_BOUNDS,
    ),
    Signal(
        name="budget_least_left",
        title="Budget left, least",
        unit="currencyUSD",
        expr="min(agentgauge_budget_remaining_usd{$where})",
        means="What is left of the budget with the least left, in its period; below zero when it is overspent.",
        view="stat",
        over="now",
        decimals=2,
        better="higher",
        empty=_NONE_SHORT,
        awaits=_AWAITS,
    ),
    Signal(
        name="unbudgeted_spend",
        title="Unbudgeted",
        unit="currencyUSD",
        expr='sum(agentgauge_unbudgeted_spend_usd{period="month",$where})',
        means="Cost of this month's model calls that no budget covers. Unpriced calls are left out.",
        view="stat",
        over="now",
        decimals=2,
        better="lower",
        empty=_NONE_SHORT,
        awaits=_AWAITS,
    ),
    Signal(
        name="budgets_past",
        title="Budgets past 80%",
        unit="short",
        expr="count(agentgauge_budget_used_ratio{$where} > 0.8) or 0 * count(agentgauge_budget_limit_usd{$where})",
        means="How many budgets are spent to more than four fifths in their period, the overspent ones among them.",
        view="stat",
        over="now",
        decimals=0,
        better="lower",
        empty=_NONE_SHORT,
        awaits=_AWAITS,
    ),
    Signal(
        name="budget_used",
        title="Budget used",
        unit="percentunit",
        expr="max by (budget) (agentgauge_budget_used_ratio{$where})",
        means="The share of each budget that is spent in its period, a day, week or month. Unpriced calls are left out.",
        by=("budget",),
        view="bargauge",
        over="now",
        decimals=1,
        better="lower",
        empty=_NONE,
        awaits=_AWAITS,
        limits=(
            Limit(
                name="Half",
                says="Half of a budget is spent.",
                headline="{} of the budget is spent",
                dashboard="agents-budgets",
                once=True,
                drawn=False,
                above=0.5,
                hold="5m",
                do="See the budget's forecast: whether it lasts until the period's end. If half of the period is over too, "
                "nothing is to do. It is told again at four fifths.",
                when=_JUST_HALF,
            ),
            Limit(
                name="Warning",
                says="A budget is nearly spent.",
                headline="{} of the budget is spent",
                dashboard="agents-budgets",
                once=True,
                above=0.8,
                hold="5m",
                do="See the budget's forecast: whether it lasts until the period's end. If it does not, see on the Cost "
                "dashboard which agent and model spend it.",
                when=_NOT_PAST,
            ),
            Limit(
                name="Exceeded",
                says="A budget is overspent.",
                headline="{} of the budget is spent",
                dashboard="agents-budgets",
                once=True,
                above=1.0,
                hold="5m",
                severity="critical",
                do="See on the Cost dashboard which agent and model spend it. Stop or bound what should not run; nothing is "
                "stopped by itself. Raise the amount in the file of budgets if the spend is right.",
            ),
        ),
    ),
    Signal(
        name="budget_state",
        title="State by budget",
        unit="none",
        expr="max by (budget) (\n  "
        + "\n  or ".join(
            f'{number} * (agentgauge_budget_state{{state="{state}",$where}} == 1)'
            for number, (state, _, _) in enumerate(STATES)
        )
        + "\n)",
        means="One word for each budget. Stale: a source of its scope is not read in time, so more may be spent. Too little "
        "history: within the amount, but fewer than 21 days are known to say where the period will end.",
        by=("budget",),
        view="state",
        over="now",
        decimals=0,
        empty=_NONE,
        awaits=_AWAITS,
        states=tuple((words, colour) for _, words, colour in STATES),
    ),
    Signal(
        name="budget_burn",
        title="Burn rate by budget",
        unit="none",
        expr="max by (budget) (agentgauge_budget_burn_ratio{$where})",
        means="How fast each budget is spent: at 1 it is used up exactly at the period's end, at 2 at its middle. Not said "
        "in the first twentieth of a period.",
        by=("budget",),
        over="now",
        decimals=2,
        better="lower",
        empty=_NONE,
        awaits=_AWAITS,
        limits=(
            Limit(
                says="A budget is spent much faster than evenly.",
                headline="Spent {} times as fast as planned",
                dashboard="agents-budgets",
                once=True,
                above=2.0,
                clears=1.5,
                hold="30m",
                do="See on the Cost dashboard what spends more than on the days before. A loop, a new version of an agent or "
                "a dearer model is the usual cause.",
                # The first call of a period is no pace.
                when=f"{_NOT_PAST} > 0.2",
            ),
        ),
    ),
    Signal(
        name="budget_forecast",
        title="Forecast by budget",
        unit="percentunit",
        expr='max by (budget) (agentgauge_budget_forecast_usd{bound="expected",$where})\n'
        "/ (max by (budget) (agentgauge_budget_limit_usd{$where}) > 0)",
        means="The share of each budget that is expected to be spent at its period's end. Takes 21 days of history.",
        by=("budget",),
        over="now",
        decimals=0,
        better="lower",
        empty="No budget, or less than 21 days",
        limits=(
            Limit(
                says="A budget will not last until its period's end.",
                headline="{} of the budget at its period's end",
                dashboard="agents-budgets",
                once=True,
                above=1.0,
                clears=0.95,
                hold="1h",
                do="See the table of budgets: the range, and when it runs out. Then see on the Cost dashboard which agent and "
                "model spend more than before.",
                when=_NOT_PAST,
            ),
        ),
    ),
    Signal(
        name="budget_stale",
        title="Stale budgets",
        unit="none",
        expr='max by (budget) (agentgauge_budget_state{state="stale",$where})',
        means="Whether what is known of a budget's spend is old: a source of its scope cannot be read, is far behind, or "
        "its backlog is still being read. More may be spent than is shown.",
        by=("budget",),
        view="state",
        over="now",
        decimals=0,
        empty=_NONE,
        awaits=_AWAITS,
        states=(("Current", "green"), ("Stale", "purple")),
        limits=(
            Limit(
                says="What is known of a budget's spend is old.",
                headline="Spend is not up to date",
                stale=True,
                dashboard="agents-budgets",
                above=0.0,
                hold="1h",
                do="See on the Exporter health dashboard which source is down or behind. A budget whose source no exporter "
                "reads is stale too: see the source in the file of budgets.",
            ),
        ),
    ),
    Signal(
        name="budgets_kept",
        title="Budgets kept",
        unit="none",
        expr="min((agentgauge_budgets_file_broken{$where} == bool 0)"
        " * (time() - agentgauge_budgets_judged_timestamp_seconds{$where} < bool 300))",
        means="Whether the file of budgets can be used as it is now, and was held against the spend in the last five "
        "minutes. While it cannot be used, what it said before holds.",
        view="state",
        over="now",
        decimals=0,
        empty="No exporter answers",
        limits=(
            Limit(
                says="The file of budgets cannot be used, or is not looked at.",
                headline="The file of budgets cannot be used",
                dashboard="agents-budgets",
                below=1.0,
                hold="5m",
                do="Open the exporter's own page: it says in one line what to mend in the file. If it says nothing, read the "
                "exporter's log for why the budgets cannot be judged.",
            ),
        ),
    ),
)


def _column(
    name: str, title: str, expr: str, means: str, *, money: bool = True, empty: str = "Unknown", awaits: str = ""
) -> Signal:
    return Signal(
        name=name,
        title=title,
        unit="currencyUSD" if money else "s",
        expr=expr,
        means=means,
        by=("budget",),
        view="column",
        over="now",
        decimals=2 if money else None,
        empty=empty,
        awaits=awaits,
    )


BUDGET_COLUMNS = (
    _column(
        "budget_limit",
        "Amount",
        "max by (budget) (agentgauge_budget_limit_usd{$where})",
        "What may be spent in the period.",
        empty=_NONE,
        awaits=_AWAITS,
    ),
    _column(
        "budget_spent",
        "Spent",
        "max by (budget) (agentgauge_budget_spent_usd{$where})",
        "What is spent in the period so far.",
    ),
    _column(
        "budget_due",
        "Even by now",
        "max by (budget) (agentgauge_budget_limit_usd{$where} * agentgauge_budget_elapsed_ratio{$where})",
        "What would be spent by now, were the amount spent evenly over the period.",
    ),
    _column(
        "budget_left",
        "Left",
        "max by (budget) (agentgauge_budget_remaining_usd{$where})",
        "What is left; below zero when overspent.",
    ),
    _column(
        "budget_end_low",
        "End, low",
        'max by (budget) (agentgauge_budget_forecast_usd{bound="low",$where})',
        "What will have been spent at the period's end at least, four times of five.",
    ),
    _column(
        "budget_end_expected",
        "End, expected",
        'max by (budget) (agentgauge_budget_forecast_usd{bound="expected",$where})',
        "What is expected to have been spent at the period's end.",
    ),
    _column(
        "budget_end_high",
        "End, high",
        'max by (budget) (agentgauge_budget_forecast_usd{bound="high",$where})',
        "What will have been spent at the period's end at most, four times of five.",
    ),
    _column(
        "budget_runs_out",
        "Runs out in",
        "max by (budget) (agentgauge_budget_runs_out_timestamp_seconds{$where}) - time()",
        "How long the budget is expected to last, where it does not last until the period's end.",
        money=False,
        empty="Not in sight",
    ),
)
