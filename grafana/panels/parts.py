"""What panels of every kind are made of: the query, the description, the thresholds, the words for nothing."""

from collections.abc import Mapping, Sequence

from exporters.catalogue.faults import Query
from exporters.catalogue.metrics import METRICS, labels_by_series
from exporters.catalogue.model import Limit, Signal, fill
from grafana.panels import DATASOURCE, Json

# Labels whose values are many and named by users, and that a store may not give.
SUBJECTS = ("gen_ai_agent_name", "gen_ai_request_model", "gen_ai_tool_name")
# The least step of a rate; no window is below four of them, which a handful of runs can fill.
RATE_STEP = "1m"

_SERIES_OF = {series: metric for metric in METRICS for series in metric.series}


def families(expr: str) -> list[str]:
    """Return the names of the families that an expression asks for, as /metrics and docs/metrics.md call them."""
    names = set()
    for series in Query.of(expr).series:
        metric = _SERIES_OF.get(series)
        names.add(metric.name if metric and metric.type == "histogram" else series)
    return sorted(names)


def describe(signal: Signal) -> str:
    """Return what a signal means, what to do when it is past its limit, and the metrics behind it."""
    parts = [signal.means]
    parts += [f"Past {'the limit' if len(signal.limits) == 1 else limit.name}: {limit.do}" for limit in signal.limits]
    return "\n\n".join([*parts, f"Metric: {', '.join(families(signal.expr))}"])


def target(signal: Signal, where: Mapping[str, str], ref: str = "A") -> Json:
    """Return the Prometheus query of a signal; cards, bars and columns ask for one moment, the rest for a range."""
    window = "$__range" if signal.over == "range" else "$__rate_interval"
    expr = fill(signal.expr, where, window, labels_by_series())
    for label in signal.by:
        if name := _nameless(signal, label):
            expr = f'label_replace({expr}, "{label}", "{name}", "{label}", "")'
    instant = signal.over == "range" or signal.view in ("stat", "bargauge", "column")
    formats = {"column": "table", "matrix": "table", "scatter": "table", "heatmap": "heatmap"}
    legend = " ".join(f"{{{{{label}}}}}" for label in signal.by) or signal.title
    return {
        "datasource": DATASOURCE,
        "editorMode": "code",
        "exemplar": _has_exemplars(signal),
        "expr": expr,
        "format": formats.get(signal.view, "time_series"),
        "instant": instant,
        "interval": RATE_STEP if signal.over == "rate" and signal.view != "heatmap" else None,
        "legendFormat": legend,
        "range": not instant,
        "refId": ref,
    }


def _nameless(signal: Signal, label: str) -> str:
    """Return what a series without this label is called, or "" where every series has it.

    Grafana would call it "Value", and in a merged table give its number to every line.
    """
    if label in SUBJECTS or label == "deployment_environment_name":
        return "(unknown)"
    return signal.empty if signal.view == "state" else ""


def _has_exemplars(signal: Signal) -> bool:
    """Dots of single traces belong on quantiles: elsewhere they hide the lines."""
    known = [_SERIES_OF[series] for series in Query.of(signal.expr).series if series in _SERIES_OF]
    return (
        signal.by in (("stat",), ("error_type",)) and signal.unit == "s" and any(metric.exemplars for metric in known)
    )


def steps(limits: Sequence[Limit]) -> list[Json]:
    """Return threshold steps that are the alerts' own numbers; without a limit nothing is judged."""
    if not limits:
        return [{"color": "text", "value": None}]
    bounds = sorted((limit.bound, _BAD[limit.severity]) for limit in limits)
    if limits[0].above is not None:
        return [{"color": "green", "value": None}, *({"color": bad, "value": bound} for bound, bad in bounds)]
    # Below a bound all is bad until the bound, and so on up to the highest.
    starts = [None, *(bound for bound, _ in bounds)]
    return [{"color": bad, "value": at} for at, bad in zip(starts, [*(bad for _, bad in bounds), "green"], strict=True)]


_BAD = {"critical": "red", "warning": "orange"}


def empty(signal: Signal) -> list[Json]:
    """Map NaN and null, which a division by no traffic gives, to the signal's own words."""
    words = {"color": "text", "index": 0, "text": signal.empty}
    return [{"type": "special", "options": {"match": "null+nan", "result": words}}]


def figure(signal: Signal) -> tuple[str, int | None]:
    """Return unit and decimals of a number that stands as text.

    Grafana prints 1,449 in `short` without decimals as "1 K", so counts are written out.
    """
    return ("locale", 0) if (signal.unit, signal.decimals) == ("short", 0) else (signal.unit, signal.decimals)
