"""The vocabulary of the catalogue: what a metric, a signal and its limit are made of."""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Unit = Literal["s", "percentunit", "currencyUSD", "reqps", "short", "bytes", "none"]
View = Literal["stat", "timeseries", "stacked", "bargauge", "heatmap", "state", "column", "matrix", "scatter"]

# Label -> the field of a span that fills it. `source` is the runner's to know.
LABELS = {
    "source": "",
    "deployment_environment_name": "environment",
    "gen_ai_operation_name": "operation",
    "gen_ai_provider_name": "provider",
    "gen_ai_request_model": "model",
    "gen_ai_agent_name": "agent",
    "gen_ai_agent_version": "agent_version",
    "gen_ai_tool_name": "tool",
    "gen_ai_evaluation_name": "score_name",
    "gen_ai_prompt_name": "prompt",
    "gen_ai_prompt_version": "prompt_version",
    "error_type": "error",
    "cost_source": "cost_source",
    "reason": "",
    "outcome": "",
}

_COMMON = ("source", "deployment_environment_name")
KIND_LABELS: dict[str, tuple[str, ...]] = {
    "inference": (
        *_COMMON,
        "gen_ai_operation_name",
        "gen_ai_provider_name",
        "gen_ai_request_model",
        "gen_ai_agent_name",
    ),
    # Model calls once more, those by a prompt that the store manages.
    "prompt": (*_COMMON, "gen_ai_prompt_name", "gen_ai_prompt_version"),
    "tool": (*_COMMON, "gen_ai_tool_name", "gen_ai_agent_name"),
    "run": (*_COMMON, "gen_ai_agent_name", "gen_ai_agent_version"),
    "score": (*_COMMON, "gen_ai_evaluation_name", "gen_ai_agent_name"),
    # Facts about the reading of a store, kept with the totals: exact, and they survive restarts.
    "source": ("source",),
    # The exporter's own health, of this process only.
    "exporter": (),
}


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A Prometheus family and which field of a span feeds it.

    `field` names the span's number (a histogram observes it, a counter adds it; `None` and
    `False` feed nothing, `True` counts one); without a field the spans themselves are counted.
    `by` is one more label; `values` are those of its values that exist from a cell's first
    span on; `only_with` names a field that must not be empty for the span to count, and is the
    value of `by`.
    """

    name: str
    type: Literal["counter", "histogram", "gauge", "info"]
    help: str
    of: Literal["inference", "prompt", "tool", "run", "score", "source", "exporter"]
    field: str = ""
    by: str = ""
    values: tuple[str, ...] = ()
    only_with: str = ""
    buckets: tuple[float, ...] = ()
    exemplars: bool = False
    own_labels: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label name a sample of this family can carry, `le` aside."""
        return KIND_LABELS[self.of] + ((self.by,) if self.by else ()) + self.own_labels

    @property
    def series(self) -> tuple[str, ...]:
        """The series names under which PromQL finds this family."""
        if self.type == "histogram":
            return (f"{self.name}_bucket", f"{self.name}_sum", f"{self.name}_count")
        return (f"{self.name}_total",) if self.type == "counter" else (self.name,)


@dataclass(frozen=True, kw_only=True)
class Record:
    """A series that Prometheus computes and keeps: a recording rule.

    `name` is level:metric:operation, where the level is the labels that it keeps, as people say
    them, joined by `_`. `expr` asks for series as they are, without a signal's blanks, also for
    records that stand before this one. `every` is how often it is computed.
    """

    name: str
    help: str
    expr: str
    by: tuple[str, ...] = ()
    every: Literal["15s", "1m", "2m", "5m"] = "1m"


def panel_id(name: str) -> int:
    """Return a Grafana panel id: of the name alone, so embeds survive rearranging. 1..2**31-1."""
    return zlib.crc32(name.encode()) % (2**31 - 1) + 1


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Where a signal stops being fine, and what to do then. Becomes an alert and its runbook.

    `says` is the alert's first line: one sentence without a value or a label, so that it holds
    for every alert of a group. `headline` is read alone, on a lock screen; {} stands for the value.
    `do` begins with the first thing to do. `dashboard` is the uid of the dashboard to open first;
    it shows the signal. `name` tells the limits of one signal apart, as in `Exceeded`.

    A budget is told of `once` in its period, by itself. What is `stale` says that numbers are old, not that
    they are bad. What is not `drawn` is passed on the way, and no board judges by it.

    Against flapping: what fires goes on until the value passes `clears`, and for `keeps` longer.
    """

    says: str
    headline: str
    do: str
    dashboard: str
    name: str = ""
    above: float | None = None
    below: float | None = None
    clears: float | None = None
    window: str = "5m"
    hold: str = "5m"
    keeps: str = ""
    severity: Literal["critical", "warning"] = "warning"
    once: bool = False
    stale: bool = False
    drawn: bool = True
    # A condition besides, so that one failure among two calls wakes nobody; same blanks as the signal.
    when: str = ""

    @property
    def bound(self) -> float:
        """The value past which it is no longer fine; ValueError unless there is exactly one."""
        (bound,) = (side for side in (self.above, self.below) if side is not None)
        return bound


@dataclass(frozen=True, kw_only=True)
class Signal:
    """One question a person asks, as one PromQL expression.

    The expression has two blanks. `$where` stands last inside the braces of a selector and is
    filled with the matchers that this family has labels for; `$window` is a duration: the
    panel's step for `over="rate"`, the whole time range for `over="range"`, and the window of
    the recording rule. `by` names the labels that the result keeps, in the legend's order.
    `below_zero` says that it can be, so that charts leave room there.
    `better` says which way is good news, for the colour of a change. `colours` maps a value
    of the (only) `by` label to a named Grafana colour. `begins` is of a level that begins anew each
    day or month: it is compared with the same time of the one before. A `signed` value is a
    difference. `empty` is said where there is no answer; `awaits` is an expression that has a value
    while the answer is still to come, which is another thing. `needs` is the value of the (only) `by`
    label without which charts say `empty` beside the rest. `states` are the words and colours of the
    values 0, 1, 2 and so on of a state that is not just well or not.

    A matrix has the values of its first label as `rows`, whichever there are if none are named, and
    of its second as `columns`, each with the words for it. A scatter has a point for each value of
    its first label; the columns are what stands along, how high, and how large it is.
    """

    name: str
    title: str
    unit: Unit
    expr: str
    means: str
    by: tuple[str, ...] = ()
    view: View = "timeseries"
    over: Literal["rate", "range", "now"] = "rate"
    decimals: int | None = None
    better: Literal["lower", "higher", ""] = ""
    empty: str = "No traffic"
    awaits: str = ""
    needs: str = ""
    record: str = ""
    limits: tuple[Limit, ...] = ()
    below_zero: bool = False
    colours: tuple[tuple[str, str], ...] = ()
    begins: Literal["", "day", "month"] = ""
    signed: bool = False
    states: tuple[tuple[str, str], ...] = ()
    rows: tuple[tuple[str, str], ...] = ()
    columns: tuple[tuple[str, str], ...] = ()

    @property
    def panel_id(self) -> int:
        """The id of the Grafana panel that draws this signal."""
        return panel_id(self.name)

    @property
    def drawn(self) -> tuple[Limit, ...]:
        """The limits that boards draw, and colour values by."""
        return tuple(limit for limit in self.limits if limit.drawn)

    @property
    def judged(self) -> str:
        """The expression without an outermost topk: a board shows the ten largest, a rule judges all."""
        match = _TOPK.fullmatch(self.expr)
        return match[1] if match and _closed(match[1]) else self.expr


def _closed(expr: str) -> bool:
    """Return whether no parenthesis closes before it opens, as in `a) / topk(3, b`."""
    depth = 0
    for character in expr:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return False
    return True


_TOPK = re.compile(r"topk\(\d+, (.*)\)", re.DOTALL)
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\{([^{}]*?)\$where\}")


def fill(expr: str, where: Mapping[str, str], window: str, labels: Mapping[str, tuple[str, ...]]) -> str:
    """Fill a signal's blanks.

    `where` maps a label to its matcher without the name, such as `=~"$agent"`; `labels` maps a
    series name to its label names (`labels_by_series`). Raises KeyError on an unknown series.
    """

    def selector(match: re.Match[str]) -> str:
        series, fixed = match.groups()
        matchers = [f"{label}{value}" for label, value in where.items() if label in labels[series]]
        inside = ",".join([part for part in [fixed.rstrip(", ")] if part] + matchers)
        return f"{series}{{{inside}}}" if inside else series

    return _SELECTOR.sub(selector, expr).replace("$window", window)


def seconds(duration: str) -> int:
    """Return the seconds of a duration as signals and limits say it: 90s, 5m, 2h or 30d."""
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[duration[-1]]


def spoken(label: str) -> str:
    """Return a label's name as people say it: `gen_ai_request_model` is the model."""
    return label.removeprefix("gen_ai_").removeprefix("request_").removesuffix("_name").replace("_", " ")
