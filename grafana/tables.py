"""The tables that answer "which one?": a line for each agent, model or tool, a column for each signal."""

from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_uppercase

from grafanalib import core

from exporters.catalogue.model import Signal, panel_id, spoken
from exporters.catalogue.signals import SIGNALS
from grafana.panels import DATASOURCE, PLUGIN_VERSION, Json, empty, families, figure, live, steps, target
from grafana.variables import VARIABLES


@dataclass(frozen=True, kw_only=True)
class Table:
    """Named columns of signals that keep one and the same label; its values are the first column.

    `name` makes the panel id, as a signal's name does. `sort` is the signal whose column puts
    the largest first.
    """

    name: str
    title: str
    label: str
    columns: tuple[str, ...]
    sort: str

    @property
    def signals(self) -> tuple[Signal, ...]:
        """The signals of the columns; ValueError when one cannot stand in this table."""
        found = tuple(SIGNALS[name] for name in self.columns)
        for signal in found:
            if signal.view != "column" or signal.by != (self.label,):
                raise ValueError(f"{signal.name} is not a column of {self.label}")
        return found


AGENTS = Table(
    name="agents_table",
    title="Agents in the time range",
    label="gen_ai_agent_name",
    columns=("agent_runs", "agent_error_share", "agent_latency_p95", "agent_tokens", "agent_spend"),
    sort="agent_spend",
)
MODELS = Table(
    name="models_table",
    title="Models in the time range",
    label="gen_ai_request_model",
    columns=(
        "model_calls",
        "model_error_share",
        "model_latency_p95",
        "model_input_tokens",
        "model_output_tokens",
        "model_spend",
        "model_unpriced_calls",
    ),
    sort="model_spend",
)
TOOLS = Table(
    name="tools_table",
    title="Tools in the time range",
    label="gen_ai_tool_name",
    columns=("tool_column_calls", "tool_column_error_share", "tool_column_latency_p95", "tool_column_time"),
    sort="tool_column_time",
)


def table_panel(table: Table, place: Mapping[str, int], where: Mapping[str, str]) -> Json:
    """Return the panel of a table at its place: one query a column, merged on the label."""
    columns = dict(zip(ascii_uppercase, table.signals, strict=False))
    first = spoken(table.label).capitalize()
    targets = [target(signal, where, ref) for ref, signal in columns.items()]
    panel = core.Table(
        title=table.title,
        description=_describe(table),
        dataSource=DATASOURCE,
        id=panel_id(table.name),
        gridPos=core.GridPos(**place),
        targets=targets,
        maxDataPoints=None,
        thresholds=steps(None),
        unit="short",
        sortBy=[core.TableSortByField(displayName=SIGNALS[table.sort].title, desc=True)],
        transformations=[
            {"id": "merge", "options": {}},
            {"id": "organize", "options": _organized(table.label, first, columns)},
        ],
        overrides=[_first_column(table.label, first), *(_column(signal) for signal in columns.values())],
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
    return {**live(panel), "pluginVersion": PLUGIN_VERSION}


def _organized(label: str, first: str, columns: Mapping[str, Signal]) -> Json:
    """Name and order what the merge leaves: the time, the label, and a value a query."""
    names = {label: first} | {f"Value #{ref}": signal.title for ref, signal in columns.items()}
    return {
        "excludeByName": {"Time": True},
        "includeByName": {},
        "indexByName": {name: index for index, name in enumerate(names)},
        "renameByName": names,
    }


def _first_column(label: str, first: str) -> Json:
    """Link each value to its dashboard, with the time range and the other pickers as they are."""
    subject = spoken(label)
    kept = ["datasource", *(variable.name for variable in VARIABLES if variable.name != subject)]
    carried = "&".join(f"${{{name}:queryparam}}" for name in kept)
    url = f"/d/agents-{subject}s?${{__url_time_range}}&{carried}&var-{subject}=${{__value.raw:percentencode}}"
    link = {"targetBlank": False, "title": f"Only this {subject}", "url": url}
    return {
        "matcher": {"id": "byName", "options": first},
        "properties": [{"id": "custom.minWidth", "value": 260}, {"id": "links", "value": [link]}],
    }


def _column(signal: Signal) -> Json:
    unit, decimals = figure(signal)
    properties: list[Json] = [{"id": "unit", "value": unit}, {"id": "mappings", "value": empty(signal)}]
    if decimals is not None:
        properties.append({"id": "decimals", "value": decimals})
    if signal.limit:
        properties.append({"id": "thresholds", "value": {"mode": "absolute", "steps": steps(signal.limit)}})
        properties.append({"id": "custom.cellOptions", "value": {"type": "color-text"}})
    return {"matcher": {"id": "byName", "options": signal.title}, "properties": properties}


def _describe(table: Table) -> str:
    says = [f"{signal.title}: {signal.means}" for signal in table.signals]
    named = dict.fromkeys(name for signal in table.signals for name in families(signal.expr))
    return "\n\n".join([*says, f"Metric: {', '.join(named)}"])
