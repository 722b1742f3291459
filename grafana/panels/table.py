"""A table as a panel: one query a column, merged on the labels that they share."""

from collections.abc import Mapping
from string import ascii_uppercase

from grafanalib import core

from exporters.catalogue.model import Signal, panel_id, spoken
from exporters.catalogue.signals import SIGNALS
from exporters.catalogue.tables import Table
from grafana.panels import DATASOURCE, Json, live
from grafana.panels.parts import SUBJECTS, empty, families, figure, steps, target
from grafana.variables import VARIABLES


def table_panel(table: Table, place: Mapping[str, int], where: Mapping[str, str]) -> Json:
    """Return the panel of a table at its place: one query a column, merged on the labels."""
    columns = dict(zip(ascii_uppercase, table.signals, strict=False))
    first = {label: spoken(label).capitalize() for label in table.labels}
    by = SIGNALS[table.sort].title if table.sort else first[table.labels[0]]
    targets = [target(signal, where, ref) for ref, signal in columns.items()]
    panel = core.Table(
        title=table.title,
        description=_describe(table),
        dataSource=DATASOURCE,
        id=panel_id(table.name),
        gridPos=core.GridPos(**place),
        targets=targets,
        maxDataPoints=None,
        thresholds=steps(()),
        unit="short",
        sortBy=[core.TableSortByField(displayName=by, desc=True)],
        transformations=[
            {"id": "merge", "options": {}},
            {"id": "organize", "options": _organized(first, columns)},
        ],
        overrides=[
            *(_subject_column(label, title) for label, title in first.items()),
            *(_column(signal) for signal in columns.values()),
        ],
        extraJson={
            "fieldConfig": {
                "defaults": {
                    "color": {"mode": "thresholds"},
                    "custom": {"cellOptions": {"type": "auto"}, "displayMode": None, "inspect": False},
                    "noValue": "No traffic",
                },
            },
            "options": {"cellHeight": "sm", "frameIndex": 0},
        },
    )
    return live(panel)


def _organized(first: Mapping[str, str], columns: Mapping[str, Signal]) -> Json:
    """Name and order what the merge leaves: the time, the labels, and a value a query."""
    names = dict(first) | {f"Value #{ref}": signal.title for ref, signal in columns.items()}
    return {
        "excludeByName": {"Time": True},
        "includeByName": {},
        "indexByName": {name: index for index, name in enumerate(names)},
        "renameByName": names,
    }


def _subject_column(label: str, title: str) -> Json:
    """Link each value that has a dashboard to it, with the time range and the other pickers as they are."""
    # A name such as 2024 is a number to the table's own unit.
    properties: list[Json] = [{"id": "unit", "value": "string"}]
    if label in SUBJECTS:
        properties.append({"id": "custom.minWidth", "value": 260})
        properties.append({"id": "links", "value": [_link(label)]})
    return {"matcher": {"id": "byName", "options": title}, "properties": properties}


def _link(label: str) -> Json:
    subject = spoken(label)
    kept = ["datasource", *(variable.name for variable in VARIABLES if variable.name != subject)]
    carried = "&".join(f"${{{name}:queryparam}}" for name in kept)
    url = f"/d/agents-{subject}s?${{__url_time_range}}&{carried}&var-{subject}=${{__value.raw:percentencode}}"
    return {"targetBlank": False, "title": f"Only this {subject}", "url": url}


def _column(signal: Signal) -> Json:
    unit, decimals = figure(signal)
    properties: list[Json] = [{"id": "unit", "value": unit}, {"id": "mappings", "value": empty(signal)}]
    if decimals is not None:
        properties.append({"id": "decimals", "value": decimals})
    if signal.drawn:
        properties.append({"id": "thresholds", "value": {"mode": "absolute", "steps": steps(signal.drawn)}})
        properties.append({"id": "custom.cellOptions", "value": {"type": "color-text"}})
    return {"matcher": {"id": "byName", "options": signal.title}, "properties": properties}


def _describe(table: Table) -> str:
    says = [f"{signal.title}: {signal.means}" for signal in table.signals]
    named = dict.fromkeys(name for signal in table.signals for name in families(signal.expr))
    return "\n\n".join([*says, f"Metric: {', '.join(named)}"])
