"""Panels of two dimensions: a matrix of two labels, and points by two numbers."""

from typing import Any

from grafanalib import core

from exporters.catalogue.model import Signal, spoken
from grafana.panels import Json
from grafana.panels.parts import SUBJECTS, figure


def matrix(signal: Signal, common: Json) -> Any:
    """Return a table with a row and a column for each value of the two labels, the deeper in colour the more."""
    unit, decimals = figure(signal)
    cell = {"type": "color-background", "mode": "basic"}
    defaults = {
        "color": {"mode": "continuous-blues"},
        "custom": {"align": "center", "cellOptions": cell, "inspect": False, "minWidth": 44},
        "decimals": decimals,
        "min": 0,
        "noValue": signal.empty,
        "unit": unit,
    }
    row = spoken(signal.by[0]).capitalize()
    words = {value: {"index": index, "text": text} for index, (value, text) in enumerate(signal.rows)}
    properties: list[Json] = [
        {"id": "unit", "value": "string"},
        {"id": "custom.cellOptions", "value": {"type": "auto"}},
        {"id": "custom.align", "value": "left"},
        {"id": "custom.minWidth", "value": 260 if signal.by[0] in SUBJECTS else 110},
    ]
    if words:
        properties.append({"id": "mappings", "value": [{"type": "value", "options": words}]})
    first = {"matcher": {"id": "byName", "options": row}, "properties": properties}
    options = {"cellHeight": "sm", "frameIndex": 0, "showHeader": True}
    return _of_two(signal, common, row).panel_json(
        {"type": "table", "fieldConfig": {"defaults": defaults, "overrides": [first]}, "options": options}
    )


def scatter(signal: Signal, common: Json) -> Any:
    """Return a chart with a point for each value of the first label, by the three numbers of the second."""
    along, high, size = (words for _, words in signal.columns)
    row = spoken(signal.by[0]).capitalize()
    defaults = {
        "color": {"mode": "palette-classic-by-name"},
        "custom": {
            "axisColorMode": "text",
            "axisPlacement": "auto",
            "axisSoftMin": 0,
            "fillOpacity": 60,
            "hideFrom": {"legend": False, "tooltip": False, "viz": False},
            "pointShape": "circle",
            "pointSize": {"fixed": 8, "max": 40, "min": 8},
            "pointStrokeWidth": 1,
            "show": "points",
        },
        "noValue": signal.empty,
        "unit": signal.unit,
    }
    overrides = [
        _override(along, {"id": "unit", "value": "s"}, {"id": "custom.axisLabel", "value": along}),
        _override(
            high,
            {"id": "custom.axisLabel", "value": high},
            {"id": "decimals", "value": signal.decimals},
            {"id": "displayName", "value": f"${{__field.labels.{row}}}"},
        ),
        _override(size, {"id": "unit", "value": "locale"}, {"id": "decimals", "value": 0}),
    ]
    fields = {"x": along, "y": high, "size": size}
    series = {name: {"matcher": {"id": "byName", "options": field}} for name, field in fields.items()}
    options = {
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True},
        "mapping": "auto",
        "series": [series],
        "tooltip": {"mode": "single", "sort": "none"},
    }
    panel = _of_two(signal, common, row)
    panel.transformations.append(
        {"id": "partitionByValues", "options": {"fields": [row], "keepFields": False, "naming": {"asLabels": True}}}
    )
    return panel.panel_json(
        {"type": "xychart", "fieldConfig": {"defaults": defaults, "overrides": overrides}, "options": options}
    )


def _override(name: str, *properties: Json) -> Json:
    return {"matcher": {"id": "byName", "options": name}, "properties": list(properties)}


def _of_two(signal: Signal, common: Json, row: str) -> core.Panel:
    """Return a panel whose series become a table: a row a value of the first label, a column one of the second."""
    first, second = signal.by
    corner = rf"{first}\{second}"
    names = {corner: row} | dict(signal.columns)
    grouping = {"columnField": second, "emptyValue": "null", "rowField": first, "valueField": "Value"}
    organized: Json = {
        "excludeByName": {},
        "includeByName": {},
        "indexByName": {name: index for index, name in enumerate(names)},
        "renameByName": names,
    }
    transformations = [
        {"id": "groupingToMatrix", "options": grouping},
        {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": corner}]}},
        {"id": "organize", "options": organized},
    ]
    return core.Panel(**common, transformations=transformations)
