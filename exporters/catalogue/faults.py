"""What is wrong with a catalogue: names that do not exist, labels that are lost, limits without a remedy."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from exporters.catalogue.alerts import alerts, first
from exporters.catalogue.metrics import labels_by_series
from exporters.catalogue.model import KIND_LABELS, LABELS, Limit, Metric, Record, Signal, spoken

# Series that signals ask for and that are not the catalogue's: Prometheus' own, and prometheus_client's.
FOREIGN = {
    "up": ("job", "instance"),
    "process_resident_memory_bytes": ("job", "instance"),
    "process_cpu_seconds_total": ("job", "instance"),
    "process_start_time_seconds": ("job", "instance"),
}
# Labels besides LABELS, each of one family about the reading of a store.
_OWN_LABELS = {"bound", "budget", "kind", "label", "le", "objective", "period", "side", "state", "version"}

_STRING = re.compile(r'"[^"]*"')
_BRACES = re.compile(r"\{([^{}]*)\}")
_DURATION = re.compile(r"\[[^\]]*\]")
_GROUPING = re.compile(r"\b(by|on|without|ignoring|group_left|group_right)\s*\(([^()]*)\)")
_NEW_LABEL = re.compile(r'"([^"]*)", "[^"]*", "[^"]*", "[^"]*"\)')
_COUNTED = re.compile(r'count_values\s*\("([^"]*)"')
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{([^{}]*)\}")
# An aggregate of a series without a grouping, before it or behind it: it keeps no label, and so asks for none.
_WHOLE = re.compile(r"\b(?:sum|min|max|avg|count)\s*\(\s*[a-zA-Z_:][\w:]*(?:\{[^{}]*\})?\s*\)(?!\s*(?:by|without)\b)")
_MATCHER = re.compile(r"([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)")
_WORDS = {"and", "or", "unless", "bool", "offset"}
_RECORD = re.compile(r"([a-z_]*):([a-z][a-z0-9_]*):((?:[a-z0-9]+_)*rate5m)")
_OPERATION = re.compile(r"[a-z][a-z0-9_]*:[a-z][a-z0-9_]*")
_DURATION_TEXT = re.compile(r"[1-9]\d*[smhd]")
# Characters that a lock screen and a line of a message have room for, the value aside.
_LONGEST_HEADLINE, _LONGEST_FIRST = 45, 120


@dataclass(frozen=True, kw_only=True)
class Query:
    """What a signal's PromQL names, read without evaluating it.

    `parted` are the series whose labels a grouping may ask for: not those that are aggregated whole.
    """

    series: frozenset[str]
    parted: frozenset[str]
    selectors: tuple[tuple[str, str], ...]
    grouped: frozenset[str]
    kept: frozenset[str]
    made: frozenset[str]

    @classmethod
    def of(cls, expr: str) -> "Query":
        """Read an expression with its blanks unfilled."""
        bare = _STRING.sub('""', expr)
        return cls(
            series=_series(bare),
            parted=_series(_WHOLE.sub("", bare)),
            selectors=tuple(_SELECTOR.findall(bare)),
            # What is ignored in matching need not be on both sides, and what is matched on is not kept.
            grouped=_labels(bare, leaving=("ignoring",)),
            kept=_labels(bare, leaving=("ignoring", "on")),
            made=frozenset([*_NEW_LABEL.findall(expr), *_COUNTED.findall(expr)]),
        )


def _series(bare: str) -> frozenset[str]:
    named = _GROUPING.sub("", _DURATION.sub("", _BRACES.sub("", bare)))
    return frozenset(name for name in _NAME.findall(_without_functions(named)) if name not in _WORDS)


def _labels(bare: str, leaving: tuple[str, ...]) -> frozenset[str]:
    groups = [labels for word, labels in _GROUPING.findall(bare) if word not in leaving]
    return frozenset(label.strip() for labels in groups for label in labels.split(",") if label.strip())


def _without_functions(text: str) -> str:
    """Drop function and aggregation names, and numbers such as 1e3, so that names left are series."""
    text = re.sub(r"[a-zA-Z_:][a-zA-Z0-9_:]*\s*\(", "(", text)
    return re.sub(r"\b\d[\w.]*", "", text.replace("$window", "").replace("$where", ""))


def faults(metrics: Sequence[Metric], signals: Iterable[Signal], records: Sequence[Record] = ()) -> list[str]:
    """Return one sentence for each fault, which begins with the name of what is at fault; empty when sound."""
    signals = tuple(signals)
    labels = labels_by_series() | FOREIGN
    found = [fault for metric in metrics for fault in _metric_faults(metric)]
    found += [fault for place, record in enumerate(records) for fault in _recorded_faults(record, records[:place])]
    found += [fault for signal in signals for fault in _signal_faults(signal, labels)]
    for what, names in (
        ("metrics have this name", [metric.name for metric in metrics]),
        ("signals have this name", [signal.name for signal in signals]),
        ("records have this name", [*(one.record for one in signals if one.record), *(one.name for one in records)]),
        ("signals have this panel id", [str(signal.panel_id) for signal in signals]),
        ("alerts have this name", [alert.name for alert in alerts(signals)]),
    ):
        found += [f"{name}: two {what}" for name in sorted({name for name in names if names.count(name) > 1})]
    return found


def _metric_faults(metric: Metric) -> Iterator[str]:
    if metric.type == "counter" and metric.name.endswith("_total"):
        yield f"{metric.name}: a counter's family is named without _total"
    if (metric.type == "histogram") != bool(metric.buckets):
        yield f"{metric.name}: buckets are for histograms, and a histogram needs them"
    if list(metric.buckets) != sorted(set(metric.buckets)):
        yield f"{metric.name}: buckets must rise"
    if metric.exemplars and metric.type != "histogram":
        yield f"{metric.name}: exemplars are for histograms"
    if not metric.help.endswith("."):
        yield f"{metric.name}: the help is a sentence and ends with a period"
    for label in (*KIND_LABELS[metric.of], metric.by, *metric.own_labels):
        if label and label not in LABELS and label not in _OWN_LABELS:
            yield f"{metric.name}: the label {label} is unknown"


def _signal_faults(signal: Signal, labels: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    query = Query.of(signal.expr)
    for expr in filter(None, (signal.expr, signal.awaits, *(limit.when for limit in signal.limits))):
        yield from _query_faults(signal.name, Query.of(expr), labels)
    if (signal.over == "now") == ("$window" in signal.expr):
        yield f"{signal.name}: `over` is 'now' exactly when the expression has no $window"
    lost = set(signal.by) - query.grouped - query.made
    if lost:
        yield f"{signal.name}: the result does not keep {', '.join(sorted(lost))}"
    unnamed = query.kept - set(signal.by) - {"le"}
    if unnamed:
        yield f"{signal.name}: the result keeps {', '.join(sorted(unnamed))}, which `by` does not name"
    if signal.colours and len(signal.by) != 1:
        yield f"{signal.name}: colours are of the values of the only label in `by`"
    if (signal.view in ("matrix", "scatter")) != bool(signal.columns) or (signal.columns and len(signal.by) != 2):
        yield f"{signal.name}: a matrix or a scatter has two labels, and names the values of the second"
    if signal.view == "stat" and signal.by:
        yield f"{signal.name}: a stat is one number and keeps no label"
    if not signal.means.endswith("."):
        yield f"{signal.name}: `means` is a sentence and ends with a period"
    if signal.record:
        yield from _record_faults(signal, query)
    for limit in signal.limits:
        yield from _limit_faults(signal, limit)


def _query_faults(name: str, query: Query, labels: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for series in sorted(query.series - labels.keys()):
        yield f"{name}: there is no series {series}"
    known = {series: {*labels[series], "le"} for series in query.series & labels.keys()}
    for series, inside in query.selectors:
        if series in known:
            if series not in FOREIGN and not inside.endswith("$where"):
                yield f"{name}: the selector of {series} must end with $where"
            for label in _MATCHER.findall(inside):
                if label not in known[series]:
                    yield f"{name}: {series} has no label {label}"
    bare = query.series - {series for series, _ in query.selectors} - FOREIGN.keys()
    for series in sorted(bare & labels.keys()):
        yield f"{name}: {series} is asked for without {{$where}}"
    for label in sorted(query.grouped - query.made):
        for series in sorted(known.keys() & query.parted):
            if label not in known[series]:
                yield f"{name}: {series} has no label {label} to group by"


def _record_faults(signal: Signal, query: Query) -> Iterator[str]:
    """The name is level:metric:operation, as Prometheus' guide to recording rules asks."""
    match = _RECORD.fullmatch(signal.record)
    if not match:
        yield f"{signal.name}: {signal.record} is not level:metric:operation with the window rate5m"
        return
    level, metric, _ = match.groups()
    if level != "_".join(spoken(label) for label in signal.by):
        yield f"{signal.name}: the level of {signal.record} is not what `by` keeps"
    if not any(series.startswith(metric) for series in query.series):
        yield f"{signal.name}: {signal.record} names a metric that the expression does not ask for"


def _recorded_faults(record: Record, before: Sequence[Record]) -> Iterator[str]:
    """What is computed from other records has to stand behind them."""
    query = Query.of(record.expr)
    labels = {name: kept for name, kept in labels_by_series().items() if ":" not in name} | FOREIGN
    labels |= {one.name: one.by for one in before}
    for series in sorted(query.series - labels.keys()):
        yield f"{record.name}: there is no series {series}"
    for series, inside in query.selectors:
        for label in _MATCHER.findall(inside):
            if series in labels and label not in {*labels[series], "le"}:
                yield f"{record.name}: {series} has no label {label}"
    if "$" in record.expr:
        yield f"{record.name}: a record has no blanks"
    level, _, rest = record.name.partition(":")
    if level != "_".join(spoken(label).replace(" ", "_") for label in record.by):
        yield f"{record.name}: its level is not what `by` keeps"
    if not record.help.endswith("."):
        yield f"{record.name}: the help is a sentence and ends with a period"
    if not _OPERATION.fullmatch(rest):
        yield f"{record.name} is not level:metric:operation"


def _limit_faults(signal: Signal, limit: Limit) -> Iterator[str]:
    if (limit.above is None) == (limit.below is None):
        yield f"{signal.name}: a limit is either above or below"
    elif limit.clears is not None and (limit.clears < limit.bound) != (limit.above is not None):
        yield f"{signal.name}: a limit clears on the side where all is fine"
    if not limit.do.strip():
        yield f"{signal.name}: a limit says what to do"
    elif len(first(limit.do)) > _LONGEST_FIRST:
        yield f"{signal.name}: the first thing to do takes more than {_LONGEST_FIRST} characters"
    if not limit.says.endswith(".") or "$" in limit.says:
        yield f"{signal.name}: `says` is a sentence without a value"
    if not 0 < len(limit.headline) <= _LONGEST_HEADLINE or limit.headline.endswith("."):
        yield f"{signal.name}: `headline` is up to {_LONGEST_HEADLINE} characters, without a period"
    for duration in (limit.window, limit.hold, *filter(None, [limit.keeps])):
        if not _DURATION_TEXT.fullmatch(duration):
            yield f"{signal.name}: {duration!r} is not a duration"
    if limit.when and Query.of(limit.when).grouped != set(signal.by):
        yield f"{signal.name}: `when` keeps other labels than `by`, so it would match nothing"
