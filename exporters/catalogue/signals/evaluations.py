"""Scores that evaluations gave: how good, of what, and whose."""

from exporters.catalogue.model import Signal
from exporters.catalogue.signals.parts import before, known_before

_BY = ("gen_ai_evaluation_name", "gen_ai_agent_name")
_NONE = "No store has scores"


def _mean(by: tuple[str, ...], per: str) -> str:
    given, count = (
        f"sum by ({', '.join(by)}) ({per}(agentgauge_evaluation_score_{series}{{$where}}[$window]))"
        for series in ("sum", "count")
    )
    return f"{given}\n/ ({count} > 0)"


_COUNT = f"sum by ({', '.join(_BY)}) (increase(agentgauge_evaluation_score_count{{$where}}[$window]))"

EVALUATIONS = (
    Signal(
        name="scores",
        title="Scores given",
        unit="short",
        expr="sum(increase(agentgauge_evaluation_score_count{$where}[$window]))",
        means="Scores that evaluations gave in the time range. Categories are no numbers and are left out.",
        view="stat",
        over="range",
        decimals=0,
        better="higher",
        empty=_NONE,
    ),
    Signal(
        name="scores_per_run",
        title="Scores per run",
        unit="short",
        expr="sum(increase(agentgauge_evaluation_score_count{$where}[$window]))"
        "\n/ (sum(increase(agentgauge_runs_total{$where}[$window])) > 0)",
        means="How many scores there are for each run that ended: how much of what agents do is judged at all.",
        view="stat",
        over="range",
        decimals=2,
        better="higher",
        empty=_NONE,
    ),
    Signal(
        name="mean_score",
        title="Mean score",
        unit="none",
        expr="sum(increase(agentgauge_evaluation_score_sum{$where}[$window]))"
        "\n/ (sum(increase(agentgauge_evaluation_score_count{$where}[$window])) > 0)",
        means="Mean of all scores in the time range, truths as 0 and 1. Where scores of different scales are mixed it says "
        "nothing: see the table.",
        view="stat",
        over="range",
        decimals=3,
        better="higher",
        empty=_NONE,
    ),
    Signal(
        name="score_by_name",
        title="Mean score by what was judged",
        unit="none",
        expr=f"topk(10, {_mean(_BY[:1], 'rate')})",
        means="Mean of the scores over time, for each thing that is judged. Truths count as 0 and 1.",
        by=_BY[:1],
        decimals=2,
        better="higher",
        empty=_NONE,
    ),
    Signal(
        name="score_by_agent",
        title="Mean score by agent",
        unit="none",
        expr=f"topk(10, {_mean(_BY[1:], 'rate')})",
        means="Mean of all scores of an agent over time. It says little where scores of different scales are mixed: "
        "see the table.",
        by=_BY[1:],
        decimals=2,
        better="higher",
        empty=_NONE,
    ),
    Signal(
        name="score_heatmap",
        title="All scores",
        unit="none",
        expr="sum by (le) (increase(agentgauge_evaluation_score_bucket{$where}[$window]))",
        means="How many scores were how high. Two bands mean two kinds of answers, which a mean hides.",
        by=("le",),
        view="heatmap",
        empty=_NONE,
    ),
    Signal(
        name="scores_by_agent",
        title="Scores per hour by agent",
        unit="short",
        expr="topk(10, 3600 * sum by (gen_ai_agent_name) (rate(agentgauge_evaluation_score_count{$where}[$window])))",
        means="Scores per hour, of the ten agents with most of them.",
        by=("gen_ai_agent_name",),
        view="stacked",
        empty=_NONE,
    ),
)

SCORE_COLUMNS = (
    Signal(
        name="score_count",
        title="Scores",
        unit="short",
        expr=_COUNT,
        means="Scores in the time range.",
        by=_BY,
        view="column",
        over="range",
        decimals=0,
        empty=_NONE,
    ),
    Signal(
        name="score_mean",
        title="Mean",
        unit="none",
        expr=_mean(_BY, "increase"),
        means="Mean of the scores in the time range.",
        by=_BY,
        view="column",
        over="range",
        decimals=3,
        better="higher",
        empty="Unknown",
    ),
    Signal(
        name="score_change",
        title="Change",
        unit="none",
        expr=f"({_mean(_BY, 'increase')})\n- ({before(_mean(_BY, 'increase'))})"
        f"\nand on ({', '.join(_BY)}) ({_COUNT} >= 20 and {before(_COUNT)} >= 20)"
        f"\n{known_before('agentgauge_evaluation_score_count')}",
        means="By how much the mean is above that of the period before. Only with 20 scores in each.",
        by=_BY,
        view="column",
        over="range",
        decimals=3,
        better="higher",
        empty="Too few",
        signed=True,
    ),
)
