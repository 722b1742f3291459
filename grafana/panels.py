"""Panels: a signal, or a table of signals, as Grafana 12 and 13 read it.

grafanalib is frozen at Grafana 8: what it writes wrongly or not at all is put right here.
"""

import json
from collections.abc import Mapping
from typing import Any

from grafanalib import core
from grafanalib._gen import DashboardEncoder

from exporters.catalogue.faults import Query
from exporters.catalogue.metrics import METRICS, labels_by_series
from exporters.catalogue.model import Limit, Signal, fill

Json = dict[str, Any]

DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
# The version of Grafana whose options are written here; a newer one migrates from it.
PLUGIN_VERSION = "12.0.0"
# What Grafana reads of a panel; grafanalib also writes the keys of Grafana's Angular past.
_LIVE = frozenset(
    ("collapsed", "datasource", "description", "fieldConfig", "gridPos", "id", "interval", "maxDataPoints")
    + ("options", "panels", "targets", "title", "transformations", "type")
)
# Labels whose values are many and named by users. A store may not give one, and Grafana would then
# call the series "Value", or in a merged table give its number to every line.
SUBJECTS = ("gen_ai_agent_name", "gen_ai_request_model", "gen_ai_tool_name")
_NAMELESS = "(unknown)"
# A point of a rate is a window of minutes, which a handful of runs can fill: at most so many points,
# and no window below four times this step. Gauges are drawn as finely as the screen allows.
_RATE_POINTS = 120
_RATE_STEP = "1m"
# Cells of a heatmap, wide enough to be told apart on half a screen.
_HEATMAP_CELLS = 60

_SERIES_OF = {series: metric for metric in METRICS for series in metric.series}
_BLANK = {"hideFrom": {"legend": False, "tooltip": False, "viz": False}}


def plain(value: object) -> Any:
    """Return grafanalib's objects as JSON, without what is None; a threshold's null is its -infinity and stays."""
    return _without_none(json.loads(json.dumps(value, cls=DashboardEncoder)))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None or key == "value"}
    return [_without_none(inner) for inner in value] if isinstance(value, list) else value


def live(panel: object) -> Json:
    """Return a panel's JSON with the keys that Grafana reads, and no others."""
    return {key: value for key, value in plain(panel).items() if key in _LIVE}


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
    if signal.limit:
        parts.append(f"Past the limit: {signal.limit.do}")
    return "\n\n".join([*parts, f"Metric: {', '.join(families(signal.expr))}"])


def signal_panel(signal: Signal, place: Mapping[str, int], where: Mapping[str, str]) -> Json:
    """Return the panel of one signal at its place; `where` are the matchers of the dashboard's pickers."""
    heatmap = signal.view == "heatmap"
    steady = signal.over == "rate"
    common: Json = {
        "title": signal.title,
        "description": describe(signal),
        "dataSource": DATASOURCE,
        "id": signal.panel_id,
        "gridPos": core.GridPos(**place),
        "targets": [target(signal, where)],
        "maxDataPoints": (_HEATMAP_CELLS if heatmap else _RATE_POINTS) if steady else None,
        "interval": _RATE_STEP if heatmap else None,
        "thresholds": steps(signal.limit),
    }
    return {**live(_VIEWS[signal.view](signal, common)), "pluginVersion": PLUGIN_VERSION}


def target(signal: Signal, where: Mapping[str, str], ref: str = "A") -> Json:
    """Return the Prometheus query of a signal; cards, bars and columns ask for one moment, the rest for a range."""
    window = "$__range" if signal.over == "range" else "$__rate_interval"
    expr = fill(signal.expr, where, window, labels_by_series())
    for label in signal.by:
        if label in SUBJECTS:
            expr = f'label_replace({expr}, "{label}", "{_NAMELESS}", "{label}", "")'
    instant = signal.over == "range" or signal.view == "stat"
    formats = {"column": "table", "heatmap": "heatmap"}
    legend = " ".join(f"{{{{{label}}}}}" for label in signal.by) or signal.title
    return {
        "datasource": DATASOURCE,
        "editorMode": "code",
        "exemplar": _has_exemplars(signal),
        "expr": expr,
        "format": formats.get(signal.view, "time_series"),
        "instant": instant,
        "interval": _RATE_STEP if signal.over == "rate" and signal.view != "heatmap" else None,
        "legendFormat": legend,
        "range": not instant,
        "refId": ref,
    }


def _has_exemplars(signal: Signal) -> bool:
    """Dots of single traces belong on quantiles: elsewhere they hide the lines."""
    known = [_SERIES_OF[series] for series in Query.of(signal.expr).series if series in _SERIES_OF]
    return signal.by == ("stat",) and signal.unit == "s" and any(metric.exemplars for metric in known)


def steps(limit: Limit | None) -> list[Json]:
    """Return threshold steps that are the alert's own numbers; without a limit nothing is judged."""
    if limit is None:
        return [{"color": "text", "value": None}]
    bad = "red" if limit.severity == "critical" else "orange"
    if limit.above is not None:
        return [{"color": "green", "value": None}, {"color": bad, "value": limit.above}]
    return [{"color": bad, "value": None}, {"color": "green", "value": limit.below}]


def empty(signal: Signal) -> list[Json]:
    """Map NaN and null, which a division by no traffic gives, to the signal's own words."""
    words = {"color": "text", "index": 0, "text": signal.empty}
    return [{"type": "special", "options": {"match": "null+nan", "result": words}}]


def figure(signal: Signal) -> tuple[str, int | None]:
    """Return unit and decimals of a number that stands as text.

    Grafana prints 1,449 in `short` without decimals as "1 K", so counts are written out.
    """
    return ("locale", 0) if (signal.unit, signal.decimals) == ("short", 0) else (signal.unit, signal.decimals)


def _stat(signal: Signal, common: Json) -> Any:
    unit, decimals = figure(signal)
    return core.Stat(
        **common,
        format=unit,
        decimals=decimals,
        color={"mode": "thresholds"},
        colorMode="value" if signal.limit else "none",
        graphMode="none",
        mappings=empty(signal),
        noValue=signal.empty,
        reduceCalc="lastNotNull",
        textMode="value",
        extraJson={
            "fieldConfig": {"defaults": {"custom": None}},
            "options": {"percentChangeColorMode": "standard", "showPercentChange": False, "wideLayout": True},
        },
    )


def _series(signal: Signal, common: Json) -> Any:
    stacked = signal.view == "stacked"
    # An axis of counts has its own ticks, and zero decimals would print two of them alike.
    decimals = signal.decimals or None
    many = any(label in SUBJECTS for label in signal.by)
    legend: Json = {"showLegend": bool(signal.by)}
    if many:
        legend |= {"sortBy": "Mean", "sortDesc": True}
    return core.TimeSeries(
        **common,
        unit=signal.unit,
        valueDecimals=decimals,
        valueMin=0,
        colorMode="palette-classic-by-name",
        fillOpacity=25 if stacked else 10,
        lineWidth=1,
        # A run an hour is points without neighbours, which "never" would not draw.
        showPoints="auto",
        pointSize=4,
        stacking={"group": "A", "mode": "normal" if stacked else "none"},
        thresholdsStyleMode="dashed" if signal.limit else "off",
        tooltipMode="multi",
        tooltipSort="desc",
        legendDisplayMode="table" if many else "list",
        legendCalcs=["mean", "max", "lastNotNull"] if many else [],
        overrides=[_painted(value, colour) for value, colour in signal.colours],
        extraJson={
            "fieldConfig": {
                "defaults": {
                    "noValue": signal.empty,
                    "custom": {
                        "axisBorderShow": False,
                        "axisCenteredZero": False,
                        "axisColorMode": "text",
                        "barWidthFactor": 0.6,
                        "insertNulls": False,
                        "scaleDistribution": {"log": None},
                    },
                },
            },
            "options": {"legend": legend, "tooltip": {"hideZeros": False}},
        },
    )


def _painted(name: str, colour: str) -> Json:
    fixed = {"id": "color", "value": {"fixedColor": colour, "mode": "fixed"}}
    return {"matcher": {"id": "byName", "options": name}, "properties": [fixed]}


def _bars(signal: Signal, common: Json) -> Any:
    unit, decimals = figure(signal)
    defaults = {
        "color": {"mode": "palette-classic-by-name"},
        "decimals": decimals,
        "mappings": empty(signal),
        "min": 0,
        "noValue": signal.empty,
        "unit": unit,
    }
    options = {
        "displayMode": "basic",
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": False},
        "maxVizHeight": 32,
        "minVizHeight": 16,
        "minVizWidth": 8,
        "namePlacement": "left",
        "orientation": "horizontal",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showUnfilled": True,
        "sizing": "auto",
        "valueMode": "color",
    }
    return core.Panel(**common).panel_json(
        {"type": "bargauge", "fieldConfig": {"defaults": defaults, "overrides": []}, "options": options}
    )


def _heatmap(signal: Signal, common: Json) -> Any:
    options = {
        "calculate": False,
        "cellGap": 1,
        "cellValues": {"decimals": 0, "unit": "short"},
        "color": {
            "exponent": 0.5,
            "fill": "blue",
            "mode": "scheme",
            "reverse": False,
            "scale": "exponential",
            "scheme": "Blues",
            "steps": 64,
        },
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        # Cells of nothing are left empty.
        "filterValues": {"le": 1e-9},
        "legend": {"show": False},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "showColorScale": True, "yHistogram": False},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": signal.unit},
    }
    defaults = {"custom": {**_BLANK, "scaleDistribution": {"type": "linear"}}, "noValue": signal.empty}
    field_config = {"defaults": {**defaults, "unit": signal.unit}, "overrides": []}
    return core.Panel(**common).panel_json({"type": "heatmap", "fieldConfig": field_config, "options": options})


def _state(signal: Signal, common: Json) -> Any:
    said = {"0": {"color": "red", "index": 1, "text": "Failing"}, "1": {"color": "green", "index": 0, "text": "OK"}}
    return core.StateTimeline(
        **common,
        fillOpacity=70,
        lineWidth=0,
        mappings=[{"type": "value", "options": said}],
        rowHeight=0.8,
        tooltipMode="single",
        extraJson={
            "fieldConfig": {
                "defaults": {
                    "custom": {**_BLANK, "axisPlacement": "auto", "insertNulls": False, "spanNulls": False},
                    "noValue": signal.empty,
                    "unit": signal.unit,
                },
            },
            "options": {
                "legend": {"calcs": [], "showLegend": False},
                "perPage": 20,
                "tooltip": {"hideZeros": False, "sort": "none"},
            },
        },
    )


_VIEWS = {
    "stat": _stat,
    "timeseries": _series,
    "stacked": _series,
    "bargauge": _bars,
    "heatmap": _heatmap,
    "state": _state,
}
