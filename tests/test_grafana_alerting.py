"""Grafana's alerting files: what the catalogue says, in the form that file provisioning reads."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import alerting as typed
from grafana_foundation_sdk.models import expr as expressions
from grafana_foundation_sdk.models import prometheus as asked

from exporters.catalogue.alerts import alerts
from exporters.catalogue.generated import ROOT
from exporters.catalogue.signals import SIGNALS
from grafana import build

FOLDER = ROOT / "grafana" / "provisioning" / "alerting"
DASHBOARDS = ROOT / "grafana" / "provisioning" / "dashboards" / "json"
plugins.register_default_plugins()


def committed(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


RULES = [rule for group in committed("rules.yaml")["groups"] for rule in group["rules"]]
RULE = {rule["title"]: rule for rule in RULES}


def test_the_folder_holds_what_grafana_reads_and_nothing_else():
    documents = {path.name: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.iterdir())}
    assert {name: set(document) for name, document in documents.items()} == {
        "contact-points.yaml": {"apiVersion", "contactPoints"},
        "mute-timings.yaml": {"apiVersion", "muteTimes"},
        "policies.yaml": {"apiVersion", "policies"},
        "rules.yaml": {"apiVersion", "groups"},
        "templates.yaml": {"apiVersion", "templates"},
    }
    assert {document["apiVersion"] for document in documents.values()} == {1}
    assert FOLDER / "rules.yaml" in build.files()


def test_every_alert_is_one_rule():
    assert sorted(RULE) == sorted(alert.name for alert in alerts(SIGNALS.values()))
    assert len(RULES) == len(RULE) == len({rule["uid"] for rule in RULES})
    for rule in RULES:
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,40}", rule["uid"])


def test_a_rule_says_what_the_limit_says():
    rule = RULE["RunErrorRatioByAgent"]
    query, reduced, threshold = (step["model"] for step in rule["data"])
    assert query["expr"] == (
        "(\n"
        'sum by (gen_ai_agent_name) (rate(agentgauge_runs_total{outcome="error"}[15m]))\n'
        "/ (sum by (gen_ai_agent_name) (rate(agentgauge_runs_total[15m])) > 0)\n"
        ")\n"
        "and on (gen_ai_agent_name) (\n"
        'sum by (gen_ai_agent_name) (increase(agentgauge_runs_total{outcome="error"}[15m])) >= 3\n'
        ")"
    )
    assert (query["instant"], query["range"]) == (True, False)
    assert rule["data"][0]["relativeTimeRange"] == {"from": 900, "to": 0}
    assert (reduced["expression"], reduced["reducer"], reduced["settings"]) == ("A", "last", {"mode": "dropNN"})
    assert threshold["expression"] == "B"
    assert threshold["conditions"] == [{"evaluator": {"type": "gt", "params": [0.2]}}]
    assert (rule["condition"], rule["for"], rule["labels"]["severity"]) == ("C", "5m", "warning")
    assert (rule["dashboardUid"], rule["panelId"]) == ("agents-errors", 1721450763)
    assert rule["annotations"]["headline"] == "{{ $values.B.Value | humanizePercentage }} of runs fail"
    assert rule["annotations"]["panel_id"] == "1721450763"


def test_a_limit_from_below_fires_below():
    assert RULE["SourceUp"]["data"][2]["model"]["conditions"] == [{"evaluator": {"type": "lt", "params": [1.0]}}]


def test_silence_is_no_alert_and_a_query_that_fails_is_one_of_its_own():
    assert {(rule["noDataState"], rule["execErrState"]) for rule in RULES} == {("OK", "Error")}


def test_each_rule_links_to_a_panel_that_is_there():
    for rule in RULES:
        panels = json.loads((DASHBOARDS / f"{rule['dashboardUid']}.json").read_text())["panels"]
        assert rule["panelId"] in {panel["id"] for panel in panels}, rule["title"]


def test_fields_are_those_of_the_file_schema():
    of_a_rule = {
        "uid", "title", "condition", "data", "dashboardUid", "panelId", "noDataState", "execErrState", "for",
        "keepFiringFor", "annotations", "labels",
    }  # fmt: skip
    for group in committed("rules.yaml")["groups"]:
        assert group.keys() == {"orgId", "name", "folder", "interval", "rules"}
        assert (group["folder"], group["interval"]) == ("Agents", "1m")
        for rule in group["rules"]:
            assert rule.keys() - {"keepFiringFor"} == of_a_rule - {"keepFiringFor"}
            for step in rule["data"]:
                assert step.keys() == {"refId", "datasourceUid", "relativeTimeRange", "model"}
    for point in committed("contact-points.yaml")["contactPoints"]:
        assert point.keys() == {"orgId", "name", "receivers"}
        for receiver in point["receivers"]:
            assert receiver.keys() == {"uid", "type", "settings", "disableResolveMessage"}


def round_trip(model: Any, plain: dict[str, Any]) -> dict[str, Any]:
    again: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True).encode(model.from_json(plain)))
    return again


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["title"]))
def test_queries_are_those_of_grafanas_own_types(rule):
    """The typed models drop what they do not know, so what comes back is what Grafana reads."""
    models = (asked.Dataquery, expressions.TypeReduce, expressions.TypeThreshold)
    for step, model in zip(rule["data"], models, strict=True):
        said = step["model"]
        # The models of queries leave out what every query has, and the type of an expression is its class.
        known = said.keys() - {"intervalMs", "maxDataPoints"} if model is asked.Dataquery else said.keys()
        again = round_trip(model, said)
        assert {key: again.get(key) for key in known} == {key: said[key] for key in known}


def routes(route: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield route
    for child in route.get("routes", ()):
        yield from routes(child)


@pytest.mark.parametrize("route", list(routes(committed("policies.yaml")["policies"][0])))
def test_routes_are_those_of_grafanas_own_types_and_lead_somewhere(route):
    plain = {key: value for key, value in route.items() if key not in ("routes", "orgId")}
    again = round_trip(typed.NotificationPolicy, plain)
    assert {key: again.get(key) for key in plain} == plain
    assert route["receiver"] in {point["name"] for point in committed("contact-points.yaml")["contactPoints"]}
    timings = {timing["name"] for timing in committed("mute-timings.yaml")["muteTimes"]}
    assert set(route.get("mute_time_intervals", ())) <= timings


def reached(labels: dict[str, str]) -> list[str]:
    """Return whom an alert reaches, by the rules of Grafana's (Alertmanager's) routes; nobody where it is muted."""
    [policy] = committed("policies.yaml")["policies"]

    def walk(route: dict[str, Any]) -> list[str] | None:
        for name, operator, value in route.get("object_matchers", ()):
            said = labels.get(name, "")
            found = {"=": said == value, "=~": bool(re.fullmatch(value, said)), "!~": not re.fullmatch(value, said)}
            if not found[operator]:
                return None
        whom: list[str] = []
        for child in route.get("routes", ()):
            below = walk(child)
            whom += below or []
            if below is not None and not child["continue"]:
                return whom
        mute = bool(route.get("mute_time_intervals"))
        return whom or ([] if mute else [route["receiver"]])

    return walk(policy | {"continue": False}) or []


@pytest.mark.parametrize(
    ("notify", "severity", "whom"),
    [
        ("slack", "critical", ["slack-critical"]),
        ("slack", "warning", ["slack-warning"]),
        ("slack email webhook", "critical", ["slack-critical", "email-critical", "webhook-critical"]),
        (" email ", "warning", ["email-warning"]),
        ("slack", "info", []),
        ("  webhook", "warning", ["webhook-warning"]),
    ],
)
def test_an_alert_goes_each_way_that_is_configured(notify, severity, whom):
    assert reached({"notify": notify, "severity": severity}) == whom


def test_a_budget_is_told_once_in_its_longest_period_by_itself():
    [policy] = committed("policies.yaml")["policies"]
    of_budgets = [route for route in routes(policy) if route.get("repeat_interval") == "744h"]
    ways = [f"{way}-{severity}" for way in ("slack", "email", "webhook") for severity in ("critical", "warning")]
    assert [route["receiver"] for route in of_budgets] == ways
    assert all(route["group_by"] == ["..."] for route in of_budgets)
    exceeded = {"notify": "slack email", "alertname": "BudgetUsedExceeded"}
    assert reached(exceeded | {"severity": "critical"}) == ["slack-critical", "email-critical"]
    assert reached(exceeded | {"severity": "warning"}) == ["slack-warning", "email-warning"]


def test_what_is_critical_is_told_again_in_four_hours_and_its_end_is_told_on_every_way():
    [policy] = committed("policies.yaml")["policies"]
    again = {
        (route["receiver"], route["repeat_interval"])
        for route in routes(policy)
        if route.get("repeat_interval") not in (None, "744h")
        and route is not policy
    }  # fmt: skip
    ways = ("slack", "email", "webhook")
    assert again == {(f"{way}-warning", "24h") for way in ways} | {(f"{way}-critical", "4h") for way in ways}
    points = committed("contact-points.yaml")["contactPoints"]
    silent = {point["name"] for point in points for one in point["receivers"] if one["disableResolveMessage"]}
    assert silent == {f"{way}-warning" for way in ways}


def test_the_drill_goes_the_way_of_what_is_critical():
    drill = {"alertname": "WeeklyDrill", "severity": "warning"}
    assert "WeeklyDrill" in RULE
    assert reached({"notify": "slack email", **drill}) == ["slack-critical", "email-critical"]


def test_only_what_is_critical_and_fires_mentions_somebody():
    points = committed("contact-points.yaml")["contactPoints"]
    said = {point["name"]: str(point["receivers"][0]["settings"].get("text")) for point in points}
    assert [name for name, text in said.items() if "SLACK_MENTION" in text] == ["slack-critical"]
    guard = '{{ if and (eq .Status "firing") (eq .CommonLabels.severity "critical") }}{{ with "${SLACK_MENTION}" }}'
    assert said["slack-critical"].startswith(guard)


def test_every_text_that_a_contact_point_names_is_defined():
    [template] = committed("templates.yaml")["templates"]
    defined = set(re.findall(r'define "([^"]+)"', template["template"]))
    named = {
        name
        for text in texts(committed("contact-points.yaml"))
        for name in re.findall(r'template "([^"]+)"', text)
    }  # fmt: skip
    assert len(named) == 6
    assert named <= defined
    assert set(re.findall(r'template "([^"]+)"', template["template"])) <= defined


def test_without_a_way_nothing_is_sent():
    assert [reached({"notify": notify, "severity": "critical"}) for notify in ("", "  ")] == [[], []]
    times = committed("mute-timings.yaml")["muteTimes"][0]["time_intervals"]
    assert times == [{"times": [{"start_time": "00:00", "end_time": "24:00"}]}]


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    elif isinstance(value, str):
        yield value


_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


def test_a_dollar_names_a_variable_that_grafana_is_given():
    """Grafana expands `$NAME` in labels and in settings, and an unknown one is nothing."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    given = compose["services"]["grafana"]["environment"]
    expanded = [rule["labels"] for rule in RULES]
    expanded += [
        one["settings"] for point in committed("contact-points.yaml")["contactPoints"] for one in point["receivers"]
    ]
    named = {name for text in texts(expanded) for name in _VARIABLE.findall(text)}
    assert "SLACK_WEBHOOK_URL_CRITICAL" in named
    assert named <= given.keys()


def test_no_template_looks_like_a_variable():
    """In annotations a newer Grafana expands `${NAME}`, in templates none."""
    for rule in RULES:
        assert not any("${" in text for text in texts(rule["annotations"])), rule["title"]


def test_no_secret_is_committed():
    for path in FOLDER.iterdir():
        assert "hooks.slack.com" not in path.read_text()
