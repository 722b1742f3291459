"""A whole dashboard as Grafana loads it from a file: its frame, pickers and links around the panels."""

from collections.abc import Iterator

from grafanalib import core

from exporters.catalogue.model import panel_id
from exporters.catalogue.signals import SIGNALS
from exporters.catalogue.tables import Table
from grafana.dashboard import COLUMNS, TAG, Dashboard
from grafana.panels import DATASOURCE, Json, live, plain
from grafana.panels.annotations import annotations
from grafana.panels.table import table_panel
from grafana.panels.views import signal_panel
from grafana.variables import VARIABLES, Variable, query, where

# Keys that grafanalib writes for the Grafana of its time.
_DEAD = frozenset(("__inputs", "hideControls", "rows", "sharedCrosshair", "style", "timepicker", "version"))
_DEAD_OF_PICKER = frozenset(("auto", "auto_count", "auto_min", "useTags"))


def document(dashboard: Dashboard) -> Json:
    """Return what file provisioning loads; KeyError on a signal that does not exist."""
    written = core.Dashboard(
        title=f"{TAG.capitalize()} / {dashboard.topic}",
        uid=dashboard.uid,
        description=dashboard.question,
        tags=[TAG],
        editable=False,
        timezone="browser",
        graphTooltip=core.GRAPH_TOOLTIP_MODE_SHARED_CROSSHAIR,
        schemaVersion=42,
        refresh=dashboard.refresh,
        time=core.Time(dashboard.since, "now"),
        annotations=core.Annotations(list=annotations(dashboard)),
        links=[_BOARDS],
        templating=core.Templating(
            list=[_DATASOURCE_PICKER, *(_picker(one, one.name in dashboard.variables) for one in VARIABLES)]
        ),
        panels=list(_panels(dashboard)),
    )
    return {key: value for key, value in plain(written).items() if key not in _DEAD}


def _panels(dashboard: Dashboard) -> Iterator[Json]:
    matchers = where(dashboard.variables)
    y = 0
    for row in dashboard.rows:
        if row.title:
            yield _title(row.title, y)
            y += 1
        width, height = row.size
        for index, entry in enumerate(row.entries):
            place = {"h": height, "w": width, "x": index * width, "y": y}
            if isinstance(entry, Table):
                yield table_panel(entry, place, matchers)
            else:
                yield signal_panel(SIGNALS[entry], place, matchers)
        y += height


def _title(title: str, y: int) -> Json:
    place = core.GridPos(h=1, w=COLUMNS, x=0, y=y)
    row = live(core.RowPanel(title=title, id=panel_id(f"row {title}"), gridPos=place))
    return {key: row[key] for key in ("collapsed", "gridPos", "id", "panels", "title", "type")}


_BOARDS = core.DashboardLink(
    asDropdown=True, includeVars=True, keepTime=True, tags=[TAG], title="Agent boards", type="dashboards"
)

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
    written = {key: value for key, value in plain(template).items() if key not in _DEAD_OF_PICKER}
    return {**written, "current": {"text": ["All"], "value": ["$__all"]}, "definition": text}
