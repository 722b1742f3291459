"""What is unlike other weeks: spend, tokens, errors, speed, traffic and scores beside what is usual."""

from dataclasses import dataclass, replace

from exporters.catalogue.model import Limit, Signal, Unit
from exporters.catalogue.records.anomalies import AGENT, ERRORS, LATENCY, SPEND, TOKENS, Measure, usual

_BOARD = "agents-anomalies"
# The band is where an hour is on most days. What is twice as far above the usual is an anomaly.
_BAND, _ANOMALY = 2.0, 4.0
_NO_PAST = "What is usual takes two weeks of history"
# On a card there is little room.
_NO_PAST_SHORT = "Needs 2 weeks"
_COLOURS = (("present", "blue"), ("usual", "green"), ("upper", "orange"), ("lower", "light-green"))


@dataclass(frozen=True, kw_only=True)
class _Words:
    """How people speak of a measure, and how far above the usual it has to be for anybody to mind.

    `more` is by how much, in its unit; `enough` are the series, and the least of each, without which an
    hour says too little: of an agent, with its label kept, or of all of them.
    """

    name: str
    measure: Measure
    title: str
    unit: Unit
    decimals: int | None
    many: str
    more: float
    enough: tuple[tuple[str, int], ...]
    do: str


_WORDS = (
    _Words(
        name="spend",
        measure=SPEND,
        title="Spend of the hour",
        unit="currencyUSD",
        decimals=2,
        many="Spend",
        more=1.0,
        enough=(("agentgauge_inference_calls:increase1h", 50),),
        do="Open the Cost dashboard for these hours: more runs, dearer models or longer prompts show there. If a new version "
        "of an agent began then, go back to the one before.",
    ),
    _Words(
        name="token",
        measure=TOKENS,
        title="Tokens of the hour",
        unit="short",
        decimals=1,
        many="Token use",
        more=50_000.0,
        enough=(("agentgauge_inference_calls:increase1h", 50),),
        do="Compare the tokens per call with those of other days: prompts that grew mean a conversation or a document that is "
        "never cut. As large as always and more of them: an agent that loops, or more people who ask.",
    ),
    _Words(
        name="error",
        measure=ERRORS,
        title="Failed runs of the hour",
        unit="percentunit",
        decimals=1,
        many="Failed runs",
        more=0.1,
        enough=(("agentgauge_runs:increase1h", 10), ("agentgauge_failed_runs:increase1h", 5)),
        do="Open the Errors dashboard for these hours: which type of error is new, and on which model or tool. A new version "
        "of an agent is the usual cause; its provider or a tool the next.",
    ),
    _Words(
        name="latency",
        measure=LATENCY,
        title="Good run duration of the hour",
        unit="s",
        decimals=None,
        many="Good run duration",
        more=2.0,
        enough=(("gen_ai_invoke_agent_duration_seconds:count_increase1h", 10),),
        do="Compare the durations of model calls and of tool calls with other days: the slower one is the cause. If neither "
        "is, runs make more calls than they did.",
    ),
)


def _band(words: _Words) -> Signal:
    measure = words.measure
    one = f"count({measure.named('agent')}{{$where}}) == 1"

    def of(what: str = "") -> str:
        agent, total = (f"{measure.named(level, what)}{{$where}}" for level in ("agent", ""))
        return f"((max({agent}) and {one}) or ({total} unless {one}))"

    spread = f"{_BAND:g} * {of('deviation')}"
    parts = {
        "present": of(),
        "usual": of("usual"),
        "upper": f"{of('usual')} + {spread}",
        "lower": f"clamp_min({of('usual')} - {spread}, 0)",
    }
    return Signal(
        name=f"{words.name}_band",
        title=f"{words.title} beside the usual",
        unit=words.unit,
        expr="\nor ".join(f'label_replace({expr}, "stat", "{stat}", "", "")' for stat, expr in parts.items()),
        means=f"{measure.what}, beside the mean of the same hour of the past four weeks and two deviations to either side. "
        "Of one agent where one is picked, else of all agents; the other pickers do not apply.",
        by=("stat",),
        over="now",
        decimals=words.decimals,
        empty=_NO_PAST,
        needs="usual",
        colours=_COLOURS,
    )


def _far(words: _Words) -> str:
    """Return the agents whose measure is so far above the usual, of enough, that anybody would mind."""
    value, mean = (f"{words.measure.named('agent', of)}{{$where}}" for of in ("", "usual"))
    enough = [f"agent:{series}{{$where}} >= {least}" for series, least in words.enough]
    return "\nand ".join([f"{value} - {mean} > {words.more:g}", *enough])


def _far_in_total(words: _Words) -> str:
    value, mean = (f"{words.measure.named('', of)}{{$where}}" for of in ("", "usual"))
    enough = [f"sum(agent:{series}{{$where}}) >= {least}" for series, least in words.enough]
    return "\nand ".join([f"{value} - {mean} > {words.more:g}", *enough])


def _limit(words: _Words, whose: str, when: str) -> Limit:
    return Limit(
        says=f"{words.many} of {whose} went far above what is usual at this hour.",
        headline=f"{words.many} {{}} deviations above usual",
        dashboard=_BOARD,
        above=_ANOMALY,
        hold="15m",
        keeps="30m",
        when=when,
        do=words.do,
    )


_SCORE = (
    "How many deviations the last hour is above the same hour of the past four weeks. A deviation is at least a quarter "
    "of the usual, so that what is past the limit is at least twice the usual."
)


def _by_agent(words: _Words) -> Signal:
    return Signal(
        name=f"{words.name}_anomaly_by_agent",
        title=f"{words.title} above the usual by agent",
        unit="none",
        expr=f"topk(10, max by ({AGENT}) ({words.measure.named('agent', 'score')}{{$where}}))",
        means=f"{_SCORE} The ten agents that are furthest.",
        by=(AGENT,),
        over="now",
        decimals=1,
        better="lower",
        empty=_NO_PAST,
        limits=(_limit(words, "an agent", f"max by ({AGENT}) ({_far(words)})"),),
    )


def _of_all(words: _Words) -> Signal:
    # One cause is one message: where an agent is far above its own usual, it has been said.
    said = f"{words.measure.named('agent', 'score')}{{$where}} > {_ANOMALY:g}\nand {_far(words)}"
    return Signal(
        name=f"{words.name}_anomaly",
        title=f"{words.many}, deviations",
        unit="none",
        expr=f"max({words.measure.named('', 'score')}{{$where}})",
        means=f"{_SCORE} Of all agents together.",
        view="stat",
        over="now",
        decimals=1,
        better="lower",
        empty=_NO_PAST_SHORT,
        limits=(_limit(words, "all agents together", f"{_far_in_total(words)}\nand absent({said})"),),
    )


_TRAFFIC_GONE = (
    Signal(
        name="runs_against_usual",
        title="Runs of the hour, share of the usual, by agent",
        unit="percentunit",
        expr=f"max by ({AGENT}) (agent:agentgauge_runs:increase1h{{$where}})"
        f"\n/ (({usual('agent_week:agentgauge_runs:increase1h{$where}', f' by ({AGENT})')}) > 0)",
        means="Agent runs that ended in the last hour, beside the mean of the same hour of the past four weeks: nights and "
        "weekends are held against nights and weekends.",
        by=(AGENT,),
        over="now",
        decimals=0,
        empty=_NO_PAST,
        limits=(
            Limit(
                says="An agent that runs at this hour every week has none.",
                headline="{} of the usual runs",
                dashboard=_BOARD,
                below=0.01,
                hold="15m",
                # Every week had some. Where nobody runs, it is the source that is silent.
                when=f"min by ({AGENT}) (agent_week:agentgauge_runs:increase1h{{$where}}) >= 5"
                "\nand on () sum(agent:agentgauge_runs:increase1h{$where}) > 0",
                do="See whether the agent's service runs and gets requests. If it was taken out of service or renamed, "
                "nothing is to do: within a few weeks that is the usual.",
            ),
        ),
    ),
    Signal(
        name="traffic_against_usual",
        title="Runs and model calls of the hour, share of the usual, by source",
        unit="percentunit",
        expr="max by (source) (source:agentgauge_ended:increase1h{$where})"
        f"\n/ (({usual('source_week:agentgauge_ended:increase1h{$where}', ' by (source)')}) > 0)",
        means="Agent runs and model calls that ended in the last hour, beside the mean of the same hour of the past four "
        "weeks. A store that is read well and brings nothing is one that nobody writes to.",
        by=("source",),
        over="now",
        decimals=0,
        empty=_NO_PAST,
        limits=(
            Limit(
                says="A trace store that brings something at this hour every week brings nothing, though it can be read.",
                headline="{} of the usual traffic",
                dashboard=_BOARD,
                below=0.01,
                hold="15m",
                when="min by (source) (source_week:agentgauge_ended:increase1h{$where}) >= 5"
                "\nand on (source) min by (source) (agentgauge_source_up{$where}) == 1",
                do="See whether the agents still write to this store: another folder or key, tracing switched off with a "
                "deploy, a full disk on their side. If the agents themselves are down, that comes first.",
            ),
        ),
    ),
)


def _mean_score(operation: str) -> str:
    by = f"by (gen_ai_evaluation_name, {AGENT})"
    total, count = (f"evaluation_agent:agentgauge_evaluation_score_{part}:{operation}" for part in ("sum", "count"))
    return f"max {by} ({total}{{$where}}) / (max {by} ({count}{{$where}}) > 0)"


_EVALUATION = ("gen_ai_evaluation_name", AGENT)
_OF_EVALUATION = f"({', '.join(_EVALUATION)})"
_SCORES = "evaluation_agent:agentgauge_evaluation_score_count"

_SCORE_DROP = Signal(
    name="score_drop",
    title="Scores of the day below the usual, by evaluation and agent",
    unit="percentunit",
    expr=f"1 - ({_mean_score('increase1d')})\n/ (({_mean_score('past_increase1d')}) > 0)",
    means="By how much the mean of an evaluation's scores of the last day is below that of the same day of the past four "
    "weeks. For a score of which less is better, a drop is good news.",
    by=_EVALUATION,
    over="now",
    decimals=1,
    empty="Needs scores of another week",
    limits=(
        Limit(
            says="An evaluation scores an agent lower than it did.",
            headline="Scores are {} lower than usual",
            dashboard=_BOARD,
            above=0.1,
            hold="1h",
            keeps="1h",
            # Too few scores say nothing; and what is not read any more has no present.
            when=f"max by {_OF_EVALUATION} ({_SCORES}:increase1d{{$where}}) >= 20"
            f"\nand on {_OF_EVALUATION} max by {_OF_EVALUATION} ({_SCORES}:past_increase1d{{$where}}) >= 50"
            f"\nand on {_OF_EVALUATION} sum by {_OF_EVALUATION} (agentgauge_evaluation_score_count{{$where}}) > 0",
            do="Read the lowest of the day's scores and the answers they judge. Then see what changed: the agent's version, its "
            "model, its prompt, or the evaluation itself.",
        ),
    ),
)


def _column(words: _Words) -> Signal:
    return replace(
        _by_agent(words),
        name=f"{words.name}_column_anomaly",
        title=words.many,
        expr=f"max by ({AGENT}) ({words.measure.named('agent', 'score')}{{$where}})",
        means=f"{words.measure.what}. {_SCORE}",
        view="column",
        limits=(),
    )


ANOMALY_COLUMNS = (
    *map(_column, _WORDS),
    replace(_TRAFFIC_GONE[0], name="runs_column_against_usual", title="Runs, of the usual", view="column", limits=()),
)

ANOMALIES = (
    *map(_band, _WORDS),
    *map(_by_agent, _WORDS),
    *map(_of_all, _WORDS),
    *_TRAFFIC_GONE,
    _SCORE_DROP,
)
