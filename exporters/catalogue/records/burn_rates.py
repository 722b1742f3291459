"""Burn rates: recorded series of how fast each agent's runs spend the error budget of its objectives.

A burn rate of 1 spends the budget in exactly the objective's window. Good and bad runs are those of
`agentgauge_runs_total`, and for latency those of the duration histogram that succeeded: a run that failed
spends the budget of success only, and one that failed fast does not make latency look good.

Windows up to an hour are asked of the counters, each minute. Longer ones are sums over two series that are
recorded every five minutes, of all runs and of every bucket: an objective that is new judges the past too.
"""

from collections.abc import Callable
from typing import Literal

from exporters.catalogue.model import Record

# A window of three steps, so that a past that was written in steps of five minutes is in it as well.
_RATE = "15m"
_RUNS, _RUNS_RATE = "agentgauge_runs_total", "agent_outcome:agentgauge_runs:rate15m"
_DURATIONS = "gen_ai_invoke_agent_duration_seconds_bucket"
_DURATIONS_RATE = "agent_le:gen_ai_invoke_agent_duration_seconds_bucket:rate15m"
_ALL = 'le="+Inf"'
# Seconds between two samples of these.
_EVERY = 300
_RATIO = "agent_objective:agentgauge_objective:ratio"
_PER = ("gen_ai_agent_name", "objective")
_DAY = 86_400
# How often sums over weeks are computed, of thousands of samples of each bucket of each agent: less often than
# other windows, and often enough that what is known is never as old as the five minutes after which it is forgotten.
_SELDOM: Literal["2m"] = "2m"
# What an objective may hold over; see exporters/objectives.py.
_WINDOWS = ("7d", "28d", "30d")


def _runs(window: str, outcome: str = "") -> str:
    """How many runs of each agent ended in a window, all of them or of one outcome."""
    where = f'{{outcome="{outcome}"}}' if outcome else ""
    if _is_short(window):
        return f"sum by (gen_ai_agent_name) (increase({_RUNS}{where}[{window}]))"
    return f"{_EVERY} * sum by (gen_ai_agent_name) (sum_over_time({_RUNS_RATE}{where}[{window}]))"


def _durations(window: str, per: str, le: str = "") -> str:
    """How many successful runs are in a bucket, or in each."""
    if _is_short(window):
        where = ",".join(filter(None, ('error_type=""', le)))
        return f"sum by ({per}) (increase({_DURATIONS}{{{where}}}[{window}]))"
    where = f"{{{le}}}" if le else ""
    return f"{_EVERY} * sum by ({per}) (sum_over_time({_DURATIONS_RATE}{where}[{window}]))"


def _is_short(window: str) -> bool:
    return window in ("5m", "30m", "1h")


def _of_both(success: str, latency: str) -> str:
    """One expression of two, told apart by the objective, of the agents that have it."""
    return (
        f'(\n  label_replace({success}, "objective", "success", "", "")\n'
        f'  or label_replace({latency}, "objective", "latency", "", "")\n)'
    )


def _counted(window: str) -> str:
    """How many runs an objective judges in a window."""
    both = _of_both(_runs(window), _durations(window, "gen_ai_agent_name", _ALL))
    return f"{both}\nand on (gen_ai_agent_name, objective) {_RATIO}"


def _bad(window: str) -> str:
    """What share of them was bad. Two exporters that disagree on an agent's bound: the stricter counts."""
    fast = (
        f"min by (gen_ai_agent_name) ({_durations(window, 'gen_ai_agent_name, le')}"
        ' and on (gen_ai_agent_name, le) agentgauge_objective_ratio{objective="latency"})'
    )
    return _of_both(
        f"{_runs(window, 'error')} / ({_runs(window)} > 0)",
        # Extrapolation may put a few more runs into a bucket than into the whole.
        f"clamp_min(1 - {fast} / ({_durations(window, 'gen_ai_agent_name', _ALL)} > 0), 0)",
    )


def _of_window(expr: Callable[[str], str]) -> str:
    """The same over the window that the objective says."""
    return "\nor ".join(
        f"({expr(window)}\n  and on (gen_ai_agent_name, objective)"
        f" agentgauge_objective_window_seconds == {int(window[:-1]) * _DAY})"
        for window in _WINDOWS
    )


def _burn_rate(window: str) -> Record:
    return Record(
        name=f"agent_objective:agentgauge_objective:burn_rate{window}",
        help=f"How many times too fast the error budget was spent in the last {window}.",
        expr=f"{_bad(window)}\n/ on (gen_ai_agent_name, objective) (1 - {_RATIO})",
        by=_PER,
    )


def _judged(window: str) -> Record:
    return Record(
        name=f"agent_objective:agentgauge_objective:runs{window}",
        help=f"Runs of the last {window} that the objective judges.",
        expr=_counted(window),
        by=_PER,
    )


BURN_RATES = (
    Record(
        name=_RUNS_RATE,
        help="Runs per second by outcome, for the sums over longer windows.",
        expr=f"sum by (gen_ai_agent_name, outcome) (rate({_RUNS}[{_RATE}]))",
        by=("gen_ai_agent_name", "outcome"),
        every="5m",
    ),
    Record(
        name=_DURATIONS_RATE,
        help="Runs per second that succeeded within each bound, for the sums over longer windows.",
        expr=f'sum by (gen_ai_agent_name, le) (rate({_DURATIONS}{{error_type=""}}[{_RATE}]))',
        by=("gen_ai_agent_name", "le"),
        every="5m",
    ),
    Record(
        name=_RATIO,
        help="The objective, also where several exporters tell it: the strictest.",
        expr="max by (gen_ai_agent_name, objective) (agentgauge_objective_ratio)",
        by=_PER,
    ),
    *map(_burn_rate, ("5m", "30m", "1h", "2h", "6h", "1d", "3d")),
    *map(_judged, ("1h", "6h", "1d", "3d")),
    Record(
        name="agent_objective:agentgauge_objective:runs",
        help="Runs of the objective's own window that it judges.",
        expr=_of_window(_counted),
        by=_PER,
        every=_SELDOM,
    ),
    Record(
        name="agent_objective:agentgauge_objective:bad_ratio",
        help="Share of bad runs over the objective's own window.",
        expr=_of_window(_bad),
        by=_PER,
        every=_SELDOM,
    ),
    Record(
        name="agent_objective:agentgauge_objective:budget_left",
        help="Share of the error budget that is left over the objective's own window; below 0 it is overspent.",
        expr=f"1 - agent_objective:agentgauge_objective:bad_ratio\n/ on (gen_ai_agent_name, objective) (1 - {_RATIO})",
        by=_PER,
        every=_SELDOM,
    ),
)
