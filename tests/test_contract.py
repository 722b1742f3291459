"""Every series and label that a rule, a board, an alert or a card asks for is on a page that a real exporter serves."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from langfuse_server import PUBLIC, SECRET, served
from llm_metrics_store import OnSqlite
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from serving import serving, until, url_of
from test_langfuse import stored
from test_msgtrace_fixtures import built

from exporters.catalogue.faults import FOREIGN, Query
from exporters.catalogue.generated import ROOT
from exporters.catalogue.metrics import labels_by_series
from exporters.catalogue.model import fill
from exporters.catalogue.records import RECORDS
from exporters.catalogue.signals import SIGNALS

FIXTURES = Path(__file__).parent / "fixtures"
# Made by Prometheus itself: of what it scrapes, and of what it evaluates.
_PROMETHEUS = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate", "severity"}}
# Added by Prometheus to whatever it scrapes.
_TARGET = {"job", "instance"}
_RECORDED = {record.name for record in RECORDS} | {signal.record for signal in SIGNALS.values() if signal.record}
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\{([^{}]*)\}")
_MATCHER = re.compile(r"([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)")

Labels = dict[str, set[str]]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Labels:
    """The series on the page of an exporter that follows a small store of every kind, and the labels of each."""
    directory = tmp_path_factory.mktemp("contract")
    database = OnSqlite(directory / "llm_metrics.db", "b", rows=True)
    database.close()
    folders = sorted(path.parent for path in (FIXTURES / "createagents").glob("*/totals.json"))
    project = stored("4.35.0")
    project.limit_a_minute = 1000
    with served(project) as langfuse:
        sources = [
            *(url_of(folder, f"?name={folder.name}") for folder in folders),
            f"msgtrace://{built(directory)}?wait=1s",
            database.url,
            f"langfuse+{langfuse}?wait=1s&settle=1s",
            f"otlp+file://{FIXTURES / 'otlp' / 'agents' / 'traces'}?name=otlp",
            f"otlp+file://{of_today(directory / 'today')}?name=today&wait=1s",
        ]
        keys = {"LANGFUSE_PUBLIC_KEY": PUBLIC, "LANGFUSE_SECRET_KEY": SECRET}
        with serving(directory / "state", *sources, *configured(directory), **keys) as exporter:
            exporter.await_ready()
            # The first page shows what is new at 0, without its labels' other values.
            exporter.page()
            until(lambda: "agentgauge_reconcile_drift_ratio{" in exporter.page(), "the stores are compared", 60)
            until(lambda: "agentgauge_budget_runs_out_timestamp_seconds{" in exporter.page(), "budgets are judged", 60)
            return labels_of(exporter.page())


def configured(directory: Path) -> list[str]:
    """What the exporter is told besides its sources, so that it shows all that it can."""
    budgets = directory / "budgets.yml"
    # The days of weeks and none of today: expected to cost more than so little.
    budgets.write_text("budgets: [{name: steady, agent: steady, amount: 1.0e-6, period: day}]\n")
    objectives = directory / "objectives.yml"
    objectives.write_text("objectives: [{agent: '*', success: 99%, latency: {within: 25.6s, share: 95%}}]\n")
    # Where it is noon: neither are the day's first hours short of a pace, nor its last of a forecast.
    noon = f"Etc/GMT{time.gmtime().tm_hour - 12:+d}"
    files = ["--budgets", str(budgets), "--objectives", str(objectives)]
    return ["--label-limit", "gen_ai_tool_name=1", *files, "--zone", noon]


def of_today(folder: Path) -> Path:
    """Write a store of calls that ended now: one wrote to the provider's cache, one says what cannot be. Beside them
    one on each of the days before, long enough for a forecast."""
    ended = time.time_ns()
    parts: list[tuple[int, dict[str, int | str]]] = [
        (0, {"gen_ai.usage.input_tokens": 900, "gen_ai.usage.cache_creation.input_tokens": 500}),
        (0, {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.cache_read.input_tokens": 500}),
    ]
    parts += [(day, {"gen_ai.agent.name": "steady", "gen_ai.usage.input_tokens": 900}) for day in range(1, 25)]
    common = {"gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5"}
    common |= {"gen_ai.operation.name": "chat", "gen_ai.usage.output_tokens": 20}
    common |= {"gen_ai.agent.name": "support", "deployment.environment.name": "production"}
    spans = [
        {
            "traceId": f"{number:032x}",
            "spanId": f"{number:016x}",
            "name": "chat",
            "startTimeUnixNano": str(ended - (day * 86_400 + 1) * 10**9),
            "endTimeUnixNano": str(ended - day * 86_400 * 10**9),
            "attributes": [
                {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
                for key, value in (common | part).items()
            ],
        }
        for number, (day, part) in enumerate(parts, 1)
    ]
    folder.mkdir()
    (folder / "traces.jsonl").write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}) + "\n")
    return folder


def labels_of(page: str) -> Labels:
    found: Labels = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """Every committed query with where it stands: of rules, of both kinds of alert, of boards, and of the portal."""
    for path in sorted((ROOT / "prometheus" / "rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                yield f"{path.name}: {rule.get('alert') or rule['record']}", rule["expr"]
    for group in yaml.safe_load((ROOT / "grafana/provisioning/alerting/rules.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            yield f"rules.yaml: {rule['title']}", rule["data"][0]["model"]["expr"]
    for path in sorted((ROOT / "grafana/provisioning/dashboards/json").glob("*.json")):
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                yield f"{path.stem}: {panel['title']}", target["expr"]
        for marks in board["annotations"]["list"]:
            if "expr" in marks:
                yield f"{path.stem}: {marks['name']}", marks["expr"]
        for picker in board["templating"]["list"]:
            if isinstance(picker["query"], dict):
                yield f"{path.stem}: {picker['name']}", _of_picker(picker["query"]["query"])
    for signal in SIGNALS.values():
        for expr in filter(None, (signal.expr, signal.awaits)):
            yield f"portal: {signal.name}", fill(expr, {}, "1h", labels_by_series())


def _of_picker(query: str) -> str:
    """Return a query for the values of a label as one for the series that have it."""
    selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query, re.DOTALL).groups()  # type: ignore[union-attr]  # else the test fails
    names = re.search(r'__name__=~"([^"]*)"', selector)
    if not names:
        return f"sum by ({label}) ({selector})"
    others = selector.replace(names[0], "").strip("{},")
    return "\nor ".join(f"sum by ({label}) ({name}{{{others}}})" for name in names[1].split("|"))


def faults(expr: str, known: Mapping[str, set[str]]) -> list[str]:
    """Return what an expression asks for that there is not."""
    # The blank of a window stands bare in an offset, where it would be read as a name.
    query = Query.of(re.sub(r"offset \$\w+", "offset 1h", expr))
    found = [f"no series {name}" for name in sorted(query.series - known.keys())]
    # The names of labels within quotes are not read, so that a matcher's value is none.
    for name, inside in _SELECTOR.findall(re.sub(r'"[^"]*"|\'[^\']*\'', '""', expr)):
        asked = _MATCHER.findall(inside) if name in known else ()
        found += [f"{name} has no label {label}" for label in asked if label not in known[name]]
    everywhere = set().union(*(known[name] for name in query.series & known.keys()))
    found += [f"nothing has the label {label}" for label in sorted(query.grouped - query.made - everywhere)]
    return found


@pytest.fixture(scope="module")
def known(shown: Labels) -> Labels:
    """What can be asked for in a Prometheus that scrapes that page and evaluates the committed rules."""
    recorded = {name: set(labels) for name, labels in labels_by_series().items() if name in _RECORDED}
    recorded |= {signal.record: set(signal.by) for signal in SIGNALS.values() if signal.record}
    return {name: labels | _TARGET for name, labels in shown.items()} | recorded | _PROMETHEUS


def test_every_query_finds_what_it_asks_for(known: Labels) -> None:
    queries = list(expressions())
    assert len(queries) > 200
    found = [f"{where}: {fault}" for where, expr in queries for fault in faults(expr, known)]
    assert "\n".join(found) == ""


def test_every_recorded_series_is_made_of_what_is_there(known: Labels) -> None:
    for record in RECORDS:
        assert faults(record.expr, known) == [], record.name


def test_the_catalogue_promises_nothing_that_no_page_shows(shown: Labels) -> None:
    promised = {name: set(labels) for name, labels in labels_by_series().items() if ":" not in name}
    missing = sorted(promised.keys() - shown.keys() - FOREIGN.keys() - NOT_HERE.keys())
    assert " ".join(missing) == ""
    assert NOT_HERE.keys() <= promised.keys() - shown.keys()
    # What a store need not say.
    optional = {"deployment_environment_name", "gen_ai_agent_version"}
    lost = {name: sorted(labels - shown[name] - optional) for name, labels in promised.items() if name in shown}
    assert {name: labels for name, labels in lost.items() if labels} == {}


# What the small stores give no reason to show.
NOT_HERE = {
    "agentgauge_late_updates_total": "a row of Langfuse that changed after it was counted",
    "agentgauge_reconcile_errors_total": "a store that could not be summed",
}


@pytest.mark.parametrize(
    ("expr", "fault"),
    [
        ("sum(rate(agentgauge_rnus_total[5m]))", "no series agentgauge_rnus_total"),
        ('agentgauge_runs_total{user="x"}', "agentgauge_runs_total has no label user"),
        ("sum by (gen_ai_tool_name) (agentgauge_runs_total)", "nothing has the label gen_ai_tool_name"),
    ],
)
def test_a_name_that_is_not_there_is_noticed(known: Labels, expr: str, fault: str) -> None:
    """A negative control."""
    assert faults(expr, known) == [fault]
