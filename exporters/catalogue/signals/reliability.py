"""Reliability: do agents keep their objectives, how much failure is left to them, and how fast is it spent?

The pairs of windows and their burn rates are those of Google's Site Reliability Workbook, chapter 5, "Alerting
on SLOs", table 5-8 (https://sre.google/workbook/alerting-on-slos/): of a budget for 30 days, 14.4 spends 2 % in
an hour, 6 spends 5 % in six hours, 1 spends 10 % in three days. 3 over a day and two hours is the pair between
them that tools which generate such rules add, also 10 %. The short window of a pair is a twelfth of the long
one, so that an alert ends soon after its cause has. The holds are ours.
"""

from typing import Literal

from exporters.catalogue.model import Limit, Signal

_BOTH = ("gen_ai_agent_name", "objective")
_PER = "sum by (gen_ai_agent_name, objective)"
_RECORDED = "agent_objective:agentgauge_objective"
_LEFT = f"{_RECORDED}:budget_left{{$where}}"
_BOARD = "agents-reliability"
_NONE = "No objective is set: docs/objectives.md tells how"
# On a card there is little room.
_NONE_SHORT = "None set"
# There are some, or a store may yet bring the agents that have some, and Prometheus has judged none.
_AWAITS = f"""(max(agentgauge_objective_ratio{{$where}}) or count(agentgauge_source_caught_up{{$where}} == 0))
and on () absent({_LEFT})"""
# Fewer runs in the long window wake nobody: at 14.4 and an objective of 99 %, three of them would have to fail.
_FEWEST = 20
_DO = (
    "Open the Errors dashboard for this agent, or Agents for latency: see what began when the burn rate rose. "
    "A deploy that began then is rolled back first and understood later."
)


def _rate(window: str) -> str:
    return f"{_PER} ({_RECORDED}:burn_rate{window}{{$where}})"


_LASTS = f"""{_PER} ({_LEFT} > 0)
* on (gen_ai_agent_name, objective) max by (gen_ai_agent_name, objective) (agentgauge_objective_window_seconds{{$where}})
/ on (gen_ai_agent_name, objective) ({_rate("1d")} > 0)"""


def _burn(
    window: str,
    short: str,
    above: float,
    *,
    words: str,
    says: str,
    hold: str,
    severity: Literal["critical", "warning"],
) -> Signal:
    return Signal(
        name=f"burn_rate_{window}",
        title=f"Burn rate, {words}",
        unit="short",
        expr=_rate(window),
        means=f"How many times too fast the error budget was spent in the last {words}: 1 spends it in exactly the "
        "objective's window. Runs that failed or never ended are bad for success; of the runs that succeeded, those "
        "slower than the objective's time are bad for latency.",
        by=_BOTH,
        over="now",
        decimals=1,
        better="lower",
        empty=_NONE,
        awaits=_AWAITS,
        limits=(
            Limit(
                says=says,
                headline="Error budget burns {} times too fast",
                dashboard=_BOARD,
                above=above,
                hold=hold,
                severity=severity,
                when=f"{_rate(short)} > {above:g}\n"
                f"and on (gen_ai_agent_name, objective) {_PER} ({_RECORDED}:runs{window}{{$where}}) >= {_FEWEST}",
                do=_DO,
            ),
        ),
    )


RELIABILITY = (
    Signal(
        name="objectives_set",
        title="Objectives",
        unit="short",
        expr=f"count({_RECORDED}:ratio{{$where}})",
        means="Objectives of the agents that Prometheus knows: one for success and one for latency, where the file of "
        "objectives sets them.",
        view="stat",
        over="now",
        decimals=0,
        empty=_NONE_SHORT,
        awaits=_AWAITS,
    ),
    Signal(
        name="objectives_missed",
        title="Objectives missed",
        unit="short",
        expr=f"count({_LEFT} < 0) or 0 * count({_LEFT})",
        means="Objectives whose error budget is spent: over their window more runs were bad than they allow.",
        view="stat",
        over="now",
        decimals=0,
        better="lower",
        empty=_NONE_SHORT,
        awaits=_AWAITS,
    ),
    Signal(
        name="least_budget_left",
        title="Least budget left",
        unit="percentunit",
        expr=f"min({_LEFT})",
        means="Share of the error budget that is left to the objective that has the least. Below 0 it is overspent.",
        view="stat",
        over="now",
        decimals=0,
        better="higher",
        empty=_NONE_SHORT,
        awaits=_AWAITS,
    ),
    Signal(
        name="fastest_burn",
        title="Fastest burn, 1 hour",
        unit="short",
        expr=f"max({_RECORDED}:burn_rate1h{{$where}})",
        means="The highest burn rate of the last hour: 1 spends an error budget in exactly its objective's window.",
        view="stat",
        over="now",
        decimals=1,
        better="lower",
        empty="No runs are judged",
        awaits=_AWAITS,
    ),
    Signal(
        name="error_budget_left",
        title="Error budget left",
        unit="percentunit",
        expr=f"{_PER} ({_LEFT})",
        means="Share of the runs that may be bad over the objective's window and have not been. Below 0 more were bad "
        "than the objective allows.",
        by=_BOTH,
        over="now",
        decimals=0,
        better="higher",
        below_zero=True,
        empty=_NONE,
        awaits=_AWAITS,
        limits=(
            Limit(
                says="An agent has spent its error budget.",
                headline="Error budget left: {}",
                dashboard=_BOARD,
                below=0.0,
                hold="15m",
                when=f"{_PER} ({_RECORDED}:runs{{$where}}) >= {_FEWEST}",
                do="Let reliability go first until the budget is back. What spent it shows on the burn rates: often one "
                "bad hour. An objective that is missed month after month with nobody unhappy is set too high.",
            ),
        ),
    ),
    Signal(
        name="budget_time_left",
        title="Time until the budget is spent",
        unit="s",
        expr=_LASTS,
        means="How long the error budget lasts if it goes on being spent as in the last day. Nothing where none was spent "
        "in that day, or where it is all spent.",
        by=_BOTH,
        over="now",
        better="higher",
        empty="Nothing is being spent",
        awaits=_AWAITS,
    ),
    Signal(
        name="objectives_kept",
        title="File of objectives",
        unit="none",
        expr="1 - max(agentgauge_objectives_file_broken{$where})",
        means="Whether the file of objectives can be used as it is now. While it cannot, what it said before holds.",
        view="state",
        over="now",
        decimals=0,
        empty=_NONE,
        limits=(
            Limit(
                says="The file of objectives cannot be used.",
                headline="The file of objectives cannot be used",
                dashboard=_BOARD,
                below=1.0,
                hold="5m",
                do="Open the exporter's own page: it says in one line what to mend in the file.",
            ),
        ),
    ),
    _burn(
        "1h",
        "5m",
        14.4,
        words="1 hour",
        says="An agent misses its objective so badly that a month's error budget would last two days.",
        hold="2m",
        severity="critical",
    ),
    _burn(
        "6h",
        "30m",
        6.0,
        words="6 hours",
        says="An agent misses its objective so badly that a month's error budget would last five days.",
        hold="15m",
        severity="critical",
    ),
    _burn(
        "1d",
        "2h",
        3.0,
        words="1 day",
        says="An agent misses its objective: a month's error budget would last ten days.",
        hold="1h",
        severity="warning",
    ),
    _burn(
        "3d",
        "6h",
        1.0,
        words="3 days",
        says="An agent spends its error budget faster than its objective allows.",
        hold="3h",
        severity="warning",
    ),
)


OBJECTIVE_COLUMNS = (
    Signal(
        name="objective_target",
        title="Promised",
        unit="percentunit",
        expr=f"{_PER} ({_RECORDED}:ratio{{$where}})",
        means="Share of the runs that should be good.",
        by=_BOTH,
        view="column",
        over="now",
        decimals=2,
        empty=_NONE,
        awaits=_AWAITS,
    ),
    Signal(
        name="objective_attained",
        title="Attained",
        unit="percentunit",
        expr=f"1 - {_PER} ({_RECORDED}:bad_ratio{{$where}})",
        means="Share of the runs of the objective's window that were.",
        by=_BOTH,
        view="column",
        over="now",
        decimals=2,
        better="higher",
    ),
    Signal(
        name="objective_budget_left",
        title="Budget left",
        unit="percentunit",
        expr=f"{_PER} ({_LEFT})",
        means="Share of the error budget that is left; below 0 it is overspent.",
        by=_BOTH,
        view="column",
        over="now",
        decimals=0,
        better="higher",
    ),
    Signal(
        name="objective_burn_rate",
        title="Burn rate, a day",
        unit="short",
        expr=_rate("1d"),
        means="How many times too fast the budget was spent in the last day.",
        by=_BOTH,
        view="column",
        over="now",
        decimals=1,
        better="lower",
    ),
    Signal(
        name="objective_time_left",
        title="Lasts",
        unit="s",
        expr=_LASTS,
        means="How long the budget lasts at that rate; nothing where none is spent, or all is.",
        by=_BOTH,
        view="column",
        over="now",
        better="higher",
    ),
)
