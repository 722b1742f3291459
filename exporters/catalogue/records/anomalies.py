"""What is usual: an hour beside the same hour of the past four weeks, by agent and in total.

The past is asked of the exporters' own counters, `offset` by weeks, not of what was recorded then:
so a history that was backfilled counts at once. A week without data is left out, and fewer than
two weeks give no usual value.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from exporters.catalogue.model import Record

WEEKS = (1, 2, 3, 4)
# Of the mean: below that, a flat past would make every wobble an anomaly.
LEAST_SHARE = 0.25

AGENT = "gen_ai_agent_name"
_RUNS, _SECONDS = "agentgauge_runs", "gen_ai_invoke_agent_duration_seconds"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What is held against its past: `what` an hour of it is, as `metric` and `operation` name the recorded series.

    A sum is recorded as such; a ratio is that of two sums, `parts`. `least` is the smallest
    deviation in its unit.
    """

    metric: str
    operation: str
    what: str
    least: float
    parts: tuple[str, str] | None = None

    def named(self, level: str, of: str = "") -> str:
        """Return the name of a series at a level such as agent_week, "" for the total.

        `of` is usual, deviation or score; without it the series is the measure itself.
        """
        return f"{level}:{self.metric}:{self.operation}{of and '_' + of}"


SPEND = Measure(metric="agentgauge_cost_usd", operation="increase1h", what="Cost in USD of the last hour", least=0.1)
TOKENS = Measure(metric="agentgauge_tokens", operation="increase1h", what="Tokens of the last hour", least=5000.0)
ERRORS = Measure(
    metric=_RUNS,
    operation="error_ratio1h",
    what="Share of the last hour's runs that failed",
    least=0.03,
    parts=("agentgauge_failed_runs:increase1h", f"{_RUNS}:increase1h"),
)
LATENCY = Measure(
    metric=_SECONDS,
    operation="mean1h",
    what="Mean duration in seconds of the last hour's good runs",
    least=0.5,
    parts=(f"{_SECONDS}:sum_increase1h", f"{_SECONDS}:count_increase1h"),
)
MEASURES = (SPEND, TOKENS, ERRORS, LATENCY)

# What is summed: the recorded metric and operation, what it is, the counters that rise by it.
_SUMS = (
    (f"{SPEND.metric}:increase1h", SPEND.what, ("agentgauge_cost_usd_total",)),
    (
        f"{TOKENS.metric}:increase1h",
        TOKENS.what,
        (
            "gen_ai_client_inference_usage_input_tokens_total",
            "gen_ai_client_inference_usage_output_tokens_total",
            "agentgauge_inference_unsplit_tokens_total",
        ),
    ),
    (f"{_RUNS}:increase1h", "Runs that ended in the last hour", ("agentgauge_runs_total",)),
    (
        "agentgauge_failed_runs:increase1h",
        "Runs that failed in the last hour",
        ('agentgauge_runs_total{outcome="error"}',),
    ),
    (
        f"{_SECONDS}:sum_increase1h",
        "Seconds that the good runs of the last hour took",
        (f'{_SECONDS}_sum{{error_type=""}}',),
    ),
    (f"{_SECONDS}:count_increase1h", "Good runs of the last hour", (f'{_SECONDS}_count{{error_type=""}}',)),
)


def risen(counters: tuple[str, ...], by: tuple[str, ...], window: str = "1h") -> str:
    """Return by how much counters rose together. `or` goes by labels, so each is told apart first."""
    return f"sum by ({', '.join(by)}) ({_apart(counters, window, '')})"


def risen_weekly(counters: tuple[str, ...], by: tuple[str, ...], window: str = "1h") -> str:
    """Return the same of each of the past weeks, told apart by `week`."""
    weeks = [
        f'label_replace({_apart(counters, window, f" offset {week}w")}, "week", "{week}", "", "")' for week in WEEKS
    ]
    return f"sum by ({', '.join((*by, 'week'))}) (\n  " + "\n  or ".join(weeks) + "\n)"


def _apart(counters: tuple[str, ...], window: str, offset: str) -> str:
    rises = [f"increase({counter}[{window}]{offset})" for counter in counters]
    if len(rises) == 1:
        return rises[0]
    return " or ".join(f'label_replace({rise}, "part", "{place}", "", "")' for place, rise in enumerate(rises))


def _sums() -> Iterator[Record]:
    for name, what, counters in _SUMS:
        yield Record(name=f"agent:{name}", help=f"{what}, by agent.", expr=risen(counters, (AGENT,)), by=(AGENT,))
        yield Record(
            name=f"agent_week:{name}",
            help=f"{what}, by agent: of the same hour one to four weeks ago.",
            expr=risen_weekly(counters, (AGENT,)),
            by=(AGENT, "week"),
        )


def _measured(measure: Measure) -> Iterator[Record]:
    """Yield a measure's values, those of an agent and the total, now and in each week."""
    for level, source, by in _LEVELS:
        if measure.parts is None and level == source:
            continue
        kept = f" by ({', '.join(by)})" if by else ""
        sums = [f"sum{kept} ({source}:{part})" for part in measure.parts or (f"{measure.metric}:{measure.operation}",)]
        whose = {"agent": ", by agent", "agent_week": ", by agent", "": ", of all agents", "week": ", of all agents"}
        when = ": of the same hour one to four weeks ago" if "week" in by else ""
        yield Record(
            name=measure.named(level),
            help=f"{measure.what}{whose[level]}{when}.",
            expr=sums[0] if len(sums) == 1 else f"{sums[0]}\n/ ({sums[1]} > 0)",
            by=by,
        )


def _calls() -> Record:
    return Record(
        name="agent:agentgauge_inference_calls:increase1h",
        help="Model calls that ended in the last hour, by agent.",
        expr=risen(("agentgauge_inference_calls_total",), (AGENT,)),
        by=(AGENT,),
    )


# A level, the level of the sums that it is made of, and the labels that it keeps.
_LEVELS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("agent", "agent", (AGENT,)),
    ("agent_week", "agent_week", (AGENT, "week")),
    ("", "agent", ()),
    ("week", "agent_week", ("week",)),
)


def usual(weeks: str, kept: str) -> str:
    """Return the mean of past weeks, where there are two of them. `kept` is "" or a by clause."""
    return f"avg{kept} ({weeks}) and count{kept} ({weeks}) >= 2"


def deviation(weeks: str, mean: str, kept: str, least: float) -> str:
    """Return the standard deviation of a sample of weeks, but no less than a share of the mean and than `least`."""
    count = f"count{kept} ({weeks})"
    share = f"{LEAST_SHARE:g} * {mean}"
    sample = f"stddev{kept} ({weeks}) * sqrt({count} / ({count} - 1))"
    return f"clamp_min(({sample} > {share}) or {share}, {least:g})"


def _judged(measure: Measure) -> Iterator[Record]:
    """Yield what is usual, how far values are from it on other days, and how far the present is."""
    for level, weekly, by in (("agent", "agent_week", (AGENT,)), ("", "week", ())):
        what = f"{measure.what}, {'by agent' if by else 'of all agents'}"
        kept = f" by ({', '.join(by)})" if by else ""
        weeks, mean, spread = measure.named(weekly), measure.named(level, "usual"), measure.named(level, "deviation")
        yield Record(
            name=mean,
            help=f"{what}: the mean of the same hour of the past four weeks, of at least two.",
            expr=usual(weeks, kept),
            by=by,
        )
        yield Record(
            name=spread,
            help=f"{what}: the deviation of these weeks, at least a quarter of their mean.",
            expr=deviation(weeks, mean, kept, measure.least),
            by=by,
        )
        yield Record(
            name=measure.named(level, "score"),
            help=f"{what}: how many deviations above the usual it is.",
            expr=f"({measure.named(level)} - {mean}) / {spread}",
            by=by,
        )


def _of_sources() -> Iterator[Record]:
    """Yield what a store brings in an hour: runs, and model calls, for not every store has both."""
    ended, what = ("agentgauge_runs_total", "agentgauge_inference_calls_total"), "Runs and model calls of the last hour"
    yield Record(
        name="source:agentgauge_ended:increase1h",
        help=f"{what}, by source.",
        expr=risen(ended, ("source",)),
        by=("source",),
    )
    yield Record(
        name="source_week:agentgauge_ended:increase1h",
        help=f"{what}, by source: of the same hour one to four weeks ago.",
        expr=risen_weekly(ended, ("source",)),
        by=("source", "week"),
    )


def _of_evaluations() -> Iterator[Record]:
    """Yield sums and counts of scores, of the last day and of the same day of the past weeks together."""
    by = ("gen_ai_evaluation_name", AGENT)
    for part, what in (("sum", "Sum of the scores"), ("count", "Scores")):
        counter = (f"agentgauge_evaluation_score_{part}",)
        yield Record(
            name=f"evaluation_agent:{counter[0]}:increase1d",
            help=f"{what} of the last day.",
            expr=risen(counter, by, "1d"),
            by=by,
            every="5m",
        )
        yield Record(
            name=f"evaluation_agent:{counter[0]}:past_increase1d",
            help=f"{what} of the same day one to four weeks ago, together.",
            expr=f"sum by ({', '.join(by)}) ({risen_weekly(counter, by, '1d')})",
            by=by,
            every="5m",
        )


ANOMALIES = (
    *_sums(),
    _calls(),
    *(record for measure in MEASURES for record in _measured(measure)),
    *(record for measure in MEASURES for record in _judged(measure)),
    *_of_sources(),
    *_of_evaluations(),
)
