"""A dashboard: rows of signals that together answer one question, and the JSON that Grafana loads."""

from collections.abc import Iterator
from dataclasses import dataclass

from grafanalib import core

from exporters.catalogue.model import panel_id
from exporters.catalogue.signals import SIGNALS
from grafana.panels import DATASOURCE, Json, live, plain, signal_panel
from grafana.tables import Table, table_panel
from grafana.variables import VARIABLES, Variable, query, where

TAG = "agents"
_COLUMNS = 24
# What Grafana reads of a dashboard; the rest that grafanalib writes is of Grafana 5.
_LIVE = frozenset(
    ("annotations", "description", "editable", "graphTooltip", "links", "panels", "refresh")
    + ("schemaVersion", "tags", "templating", "time", "timezone", "title", "uid")
)
_LIVE_VARIABLE = frozenset(
    ("allValue", "datasource", "hide", "includeAll", "label", "multi", "name")
    + ("options", "query", "refresh", "regex", "sort", "type")
)

Entry = str | Table


@dataclass(frozen=True, kw_only=True)
class Row:
    """Panels side by side, each a signal's name or a table, under a title of its own or none."""

    entries: tuple[Entry, ...]
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """One question and the rows that answer it.

    `variables` are the pickers that it shows; it knows the others too, hidden and in no query,
    so that links between dashboards do not lose what was picked.
    """

    topic: str
    question: str
    rows: tuple[Row, ...]
    variables: tuple[str, ...] = ("source", "environment", "agent", "model")
    since: str = "now-6h"
    refresh: str = "1m"

    @property
    def uid(self) -> str:
        """The uid, which is in every link to it: agents-exporter-health."""
        return f"{TAG}-{self.topic.lower().replace(' ', '-')}"

    def to_json(self) -> Json:
        """Return what file provisioning loads; KeyError on a signal that does not exist."""
        document = core.Dashboard(
            title=f"{TAG.capitalize()} / {self.topic}",
            uid=self.uid,
            description=self.question,
            tags=[TAG],
            editable=False,
            timezone="browser",
            graphTooltip=core.GRAPH_TOOLTIP_MODE_SHARED_CROSSHAIR,
            schemaVersion=42,
            refresh=self.refresh,
            time=core.Time(self.since, "now"),
            annotations=core.Annotations(list=[_ALERT_STATES]),
            links=[_BOARDS],
            templating=core.Templating(
                list=[_DATASOURCE_PICKER, *(_picker(one, one.name in self.variables) for one in VARIABLES)]
            ),
            panels=list(self._panels()),
        )
        written = plain(document)
        return {key: value for key, value in written.items() if key in _LIVE}

    def _panels(self) -> Iterator[Json]:
        matchers = where(self.variables)
        y = 0
        for row in self.rows:
            if row.title:
                yield _title(row.title, y)
                y += 1
            width, height = size(row)
            for index, entry in enumerate(row.entries):
                place = {"h": height, "w": width, "x": index * width, "y": y}
                if isinstance(entry, Table):
                    yield table_panel(entry, place, matchers)
                else:
                    yield signal_panel(SIGNALS[entry], place, matchers)
            y += height


def size(row: Row) -> tuple[int, int]:
    """Return width and height of a row's panels: cards and states are low, all else is 8 high.

    ValueError when the panels would leave a gap, or be too narrow to read.
    """
    views = {_view(entry) for entry in row.entries}
    count = len(row.entries)
    if _COLUMNS % count or (count > 3 and views != {"stat"}):
        raise ValueError(f"{count} panels do not fill a row: {row.entries}")
    height = 4 if views == {"stat"} else 6 if views == {"state"} else 8
    return _COLUMNS // count, height


def _view(entry: Entry) -> str:
    return "table" if isinstance(entry, Table) else SIGNALS[entry].view


def _title(title: str, y: int) -> Json:
    place = core.GridPos(h=1, w=_COLUMNS, x=0, y=y)
    row = live(core.RowPanel(title=title, id=panel_id(f"row {title}"), gridPos=place))
    return {key: row[key] for key in ("collapsed", "gridPos", "id", "panels", "title", "type")}


_BOARDS = core.DashboardLink(
    asDropdown=True, includeVars=True, keepTime=True, tags=[TAG], title="Agent boards", type="dashboards"
)

# Grafana's own, which it would otherwise add by itself when it loads the file.
_ALERT_STATES: Json = {
    "builtIn": 1,
    "datasource": {"type": "grafana", "uid": "-- Grafana --"},
    "enable": True,
    "hide": True,
    "iconColor": "rgba(0, 211, 255, 1)",
    "name": "Annotations & Alerts",
    "type": "dashboard",
}

# The data source that is provisioned beside these files; where there is none of that uid, Grafana takes the first.
_DATASOURCE_PICKER: Json = {
    "current": {"text": "Prometheus", "value": "prom"},
    "hide": core.SHOW,
    "includeAll": False,
    "label": "Data Source",
    "multi": False,
    "name": "datasource",
    "options": [],
    "query": "prometheus",
    "refresh": core.REFRESH_ON_DASHBOARD_LOAD,
    "regex": "",
    "type": "datasource",
}


def _picker(variable: Variable, shown: bool) -> Json:
    """Return the picker of a label. All is any value and none: not every series has the label."""
    text = query(variable)
    template = core.Template(
        name=variable.name,
        label=variable.name.capitalize(),
        query={"qryType": 1, "query": text, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        dataSource=DATASOURCE,
        allValue=".*",
        includeAll=True,
        multi=True,
        regex="",
        refresh=core.REFRESH_ON_TIME_RANGE_CHANGE,
        sort=core.SORT_ALPHA_IGNORE_CASE_ASC,
        hide=core.SHOW if shown else core.HIDE_VARIABLE,
    )
    written = {key: value for key, value in plain(template).items() if key in _LIVE_VARIABLE}
    return {**written, "current": {"text": ["All"], "value": ["$__all"]}, "definition": text}
