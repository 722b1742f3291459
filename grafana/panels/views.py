"""One signal as a panel: a card, lines, bars, a heatmap or a strip of states."""

from collections.abc import Mapping
from typing import Any

from grafanalib import core

from exporters.catalogue.model import Signal
from grafana.panels import DATASOURCE, Json, live
from grafana.panels.parts import RATE_STEP, SUBJECTS, describe, empty, figure, steps, target
from grafana.panels.planes import matrix, scatter

# A point of a rate is a window of minutes; more points would be windows that hold a run or none.
# Gauges are drawn as finely as the screen allows.
_RATE_POINTS = 120
# Cells of a heatmap, wide enough to be told apart on half a screen.
_HEATMAP_CELLS = 60

_WELL_OR_NOT = (("Failing", "red"), ("OK", "green"))
_SHOWN = {"hideFrom": {"legend": False, "tooltip": False, "viz": False}}


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
        "interval": RATE_STEP if heatmap else None,
        "thresholds": steps(signal.drawn),
    }
    return live(_VIEWS[signal.view](signal, common))


def _stat(signal: Signal, common: Json) -> Any:
    unit, decimals = figure(signal)
    return core.Stat(
        **common,
        format=unit,
        decimals=decimals,
        color={"mode": "thresholds"},
        colorMode="value" if signal.drawn else "none",
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
        valueMin=None if signal.below_zero else 0,
        colorMode="palette-classic-by-name",
        fillOpacity=25 if stacked else 10,
        lineWidth=1,
        # A run an hour is points without neighbours, which "never" would not draw.
        showPoints="auto",
        pointSize=4,
        stacking={"group": "A", "mode": "normal" if stacked else "none"},
        thresholdsStyleMode="dashed" if signal.drawn else "off",
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
        "color": {"mode": "thresholds" if signal.drawn else "palette-classic-by-name"},
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
    if signal.unit == "percentunit":
        # What is past the whole fills it.
        defaults["max"] = 1
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
    defaults = {"custom": {**_SHOWN, "scaleDistribution": {"type": "linear"}}, "noValue": signal.empty}
    field_config = {"defaults": {**defaults, "unit": signal.unit}, "overrides": []}
    return core.Panel(**common).panel_json({"type": "heatmap", "fieldConfig": field_config, "options": options})


def _state(signal: Signal, common: Json) -> Any:
    said = {
        str(value): {"color": colour, "index": value, "text": words}
        for value, (words, colour) in enumerate(signal.states or _WELL_OR_NOT)
    }
    return core.StateTimeline(
        **common,
        # Not by thresholds: Grafana then writes "1+" where the words of the mapping belong.
        colorMode="fixed",
        fillOpacity=70,
        lineWidth=0,
        mappings=[{"type": "value", "options": said}],
        rowHeight=0.8,
        tooltipMode="single",
        extraJson={
            "fieldConfig": {
                "defaults": {
                    "color": {"fixedColor": "text"},
                    "custom": {**_SHOWN, "axisPlacement": "auto", "insertNulls": False, "spanNulls": False},
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
    "matrix": matrix,
    "scatter": scatter,
}
