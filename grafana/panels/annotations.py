"""What happened, as marks across a dashboard's panels: alerts that fire, and agents whose version changed."""

from collections.abc import Iterable

from exporters.catalogue.alerts import alerts
from exporters.catalogue.metrics import labels_by_series
from exporters.catalogue.model import fill
from exporters.catalogue.signals import SIGNALS
from exporters.catalogue.tables import Table
from grafana.dashboard import Dashboard
from grafana.panels import DATASOURCE, Json
from grafana.variables import where

# A version is new for so long, so that a mark is seen at any zoom.
_NEW = "1h"
_VERSIONS = "sum by (gen_ai_agent_name, gen_ai_agent_version) (agentgauge_runs_total{gen_ai_agent_version!='',$where})"


def annotations(dashboard: Dashboard) -> list[Json]:
    """Return the marks of a dashboard, those that are shown at first before those that can be switched on."""
    found = [_GRAFANAS_OWN]
    names = [alert.name for alert in alerts(map(SIGNALS.__getitem__, _shown(dashboard)))]
    if names:
        expr = f'max by (alertname, severity) (ALERTS{{alertstate="firing",alertname=~"{"|".join(names)}"}})'
        found.append(_marks("Firing alerts", expr, "red", "{{alertname}}", "{{severity}}", enable=True))
    if "agent" in dashboard.variables:
        now = fill(_VERSIONS, where(dashboard.variables), "", labels_by_series())
        expr = f"{now}\nunless\n{now.replace('})', '} offset ' + _NEW + ')')}"
        title = "{{gen_ai_agent_name}} {{gen_ai_agent_version}}"
        found.append(_marks("New versions of agents", expr, "blue", title, "New version of an agent", enable=False))
    return found


def _shown(dashboard: Dashboard) -> Iterable[str]:
    """Yield the names of the signals on a dashboard, those in its tables too."""
    for row in dashboard.rows:
        for entry in row.entries:
            yield from entry.columns if isinstance(entry, Table) else (entry,)


def _marks(name: str, expr: str, colour: str, title: str, text: str, *, enable: bool) -> Json:
    return {
        "builtIn": 0,
        "datasource": DATASOURCE,
        "enable": enable,
        "expr": expr,
        "hide": False,
        "iconColor": colour,
        "name": name,
        "step": "60s",
        "tagKeys": "",
        "textFormat": text,
        "titleFormat": title,
    }


# Grafana would otherwise add it by itself when it loads the file.
_GRAFANAS_OWN: Json = {
    "builtIn": 1,
    "datasource": {"type": "grafana", "uid": "-- Grafana --"},
    "enable": True,
    "hide": True,
    "iconColor": "rgba(0, 211, 255, 1)",
    "name": "Annotations & Alerts",
    "type": "dashboard",
}
