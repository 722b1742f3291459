"""Panels as Grafana 12 and 13 read them: the only room that knows grafanalib.

grafanalib is frozen at Grafana 8: what it writes wrongly or not at all is put right here.
"""

import json
from typing import Any

from grafanalib._gen import DashboardEncoder

Json = dict[str, Any]

DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
# The version of Grafana whose options are written here; a newer one migrates from it.
_PLUGIN_VERSION = "12.0.0"
# Keys that grafanalib writes for the Angular panels of its time.
_DEAD = frozenset(("color", "columns", "editable", "error", "fontSize", "mappings", "span"))


def plain(value: object) -> Any:
    """Return grafanalib's objects as JSON, without what is None; a threshold's null is its -infinity and stays."""
    return _without_none(json.loads(json.dumps(value, cls=DashboardEncoder)))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None or key == "value"}
    return [_without_none(inner) for inner in value] if isinstance(value, list) else value


def live(panel: object) -> Json:
    """Return a panel's JSON without the keys that no Grafana reads any more."""
    return {key: value for key, value in plain(panel).items() if key not in _DEAD} | {"pluginVersion": _PLUGIN_VERSION}
