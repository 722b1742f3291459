"""Every alert of the catalogue as a rule that Grafana evaluates.

The fields are those of Grafana's file provisioning, of 12 and 13. Labels go through its expansion of `$NAME`,
where `$$` is a dollar; annotations and queries do not.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from exporters.catalogue.alerts import Alert
from exporters.catalogue.model import seconds

Json = dict[str, Any]
FOLDER = "Agents"
# Of labels, because those are what Grafana expands: which ways messages go, as words such as `slack email` that
# routes look for; and where the portal is.
NOTIFY, PORTAL = "notify", "portal"
_LONGEST_UID = 40


@dataclass(frozen=True, kw_only=True)
class Query:
    """One step of a rule: a query of a data source, or an expression over the steps before it."""

    ref_id: str
    datasource_uid: str
    model: Json
    relative_time_range: Mapping[str, int] = field(default_factory=lambda: {"from": 0, "to": 0})


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule. `condition` names the step whose result fires where it is not 0."""

    uid: str
    title: str
    condition: str
    data: tuple[Query, ...]
    dashboard_uid: str
    panel_id: int
    no_data_state: Literal["NoData", "Alerting", "OK", "KeepLast"]
    exec_err_state: Literal["Error", "Alerting", "OK", "KeepLast"]
    # `for` and `keepFiringFor`, which are durations; without the latter it ends at once.
    hold: str
    keeps: str
    annotations: Mapping[str, str]
    labels: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rules that are evaluated together."""

    name: str
    rules: tuple[Rule, ...]
    folder: str = FOLDER
    interval: str = "1m"
    org_id: int = 1


def groups(alerts: Iterable[Alert]) -> list[Group]:
    """Return a group for each dashboard that alerts point at, in the order of the alerts."""
    by_dashboard: dict[str, list[Rule]] = {}
    for alert in alerts:
        by_dashboard.setdefault(alert.limit.dashboard, []).append(rule(alert))
    return [Group(name=dashboard, rules=tuple(rules)) for dashboard, rules in by_dashboard.items()]


def rule(alert: Alert) -> Rule:
    """Return the rule of an alert. ValueError when its name is too long for Grafana's uid.

    Where nothing is found all is well: silence is the failure of alerts whose query says so itself,
    with absent(). A query that fails becomes Grafana's alert DatasourceError.
    """
    if len(alert.anchor) > _LONGEST_UID:
        raise ValueError(f"{alert.anchor} is longer than the {_LONGEST_UID} characters of a rule's uid")
    limit = alert.limit
    return Rule(
        uid=alert.anchor,
        title=alert.name,
        condition="C",
        data=(_asked(alert), _reduced(), _judged(alert)),
        dashboard_uid=limit.dashboard,
        panel_id=alert.signal.panel_id,
        no_data_state="OK",
        exec_err_state="Error",
        hold=limit.hold,
        keeps=limit.keeps,
        annotations=alert.annotations("$values.B.Value"),
        labels={"severity": limit.severity, NOTIFY: "${AGENTGAUGE_NOTIFY}", PORTAL: "${AGENTGAUGE_ROOT_URL}"},
    )


def _asked(alert: Alert) -> Query:
    expr = "\n".join([f"(\n{alert.value}\n)", *alert.besides]) if alert.besides else alert.value
    model = {"editorMode": "code", "expr": expr, "instant": True, "range": False}
    return Query(
        ref_id="A",
        datasource_uid="prom",
        relative_time_range={"from": seconds(alert.limit.window), "to": 0},
        model=_model("A", {"type": "prometheus", "uid": "prom"}, model),
    )


def _reduced() -> Query:
    """One number of each series, which the rule's annotations say; NaN is none."""
    model = {"type": "reduce", "expression": "A", "reducer": "last", "settings": {"mode": "dropNN"}}
    return Query(ref_id="B", datasource_uid="__expr__", model=_model("B", _EXPRESSION, model))


def _judged(alert: Alert) -> Query:
    limit = alert.limit
    past, fine = ("gt", "lt") if limit.above is not None else ("lt", "gt")
    condition: Json = {"evaluator": {"type": past, "params": [limit.bound]}}
    if limit.clears is not None:
        condition["unloadEvaluator"] = {"type": fine, "params": [limit.clears]}
    model = {"type": "threshold", "expression": "B", "conditions": [condition]}
    return Query(ref_id="C", datasource_uid="__expr__", model=_model("C", _EXPRESSION, model))


_EXPRESSION = {"type": "__expr__", "uid": "__expr__"}


def _model(ref: str, datasource: Json, model: Json) -> Json:
    return {"refId": ref, "datasource": datasource, "intervalMs": 1000, "maxDataPoints": 43200, **model}
