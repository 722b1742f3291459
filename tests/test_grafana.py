"""Every dashboard says what Grafana 12 understands, and asks for nothing that does not exist."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from string import ascii_uppercase
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard as TypedDashboard

from exporters.catalogue.alerts import alerts
from exporters.catalogue.generated import ROOT
from exporters.catalogue.metrics import labels_by_series
from exporters.catalogue.model import Limit
from exporters.catalogue.signals import SIGNALS
from exporters.catalogue.tables import AGENTS
from grafana import build
from grafana.dashboards import DASHBOARDS
from grafana.panels.parts import families, steps
from grafana.panels.views import signal_panel

Json = dict[str, Any]

COMMITTED: dict[str, Json] = {path.stem: json.loads(path.read_text()) for path in sorted(build.BOARDS.glob("*.json"))}
PANELS: list[tuple[str, Json]] = [
    (board, panel) for board, page in COMMITTED.items() for panel in page["panels"] if panel["type"] != "row"
]
TARGETS: list[tuple[str, Json]] = [
    (f"{board}/{panel['title']}", target) for board, panel in PANELS for target in panel["targets"]
]
# Prometheus' own labels and series, and those of prometheus_client about the process.
LABELS = {name: {*labels, "le"} for name, labels in labels_by_series().items()} | {
    name: {"job", "instance"}
    for name in (
        "up",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_start_time_seconds",
    )
}
# What the typed model adds where nothing is written; all of it is what Grafana assumes too, but for `placement`,
# which the model's author made a constant.
ADDED = {
    ".annotations.list[].placement",
    ".fiscalYearStartMonth",
    ".links[].placement",
    ".panels[].options.footer",
    ".panels[].options.selectionMode",
    ".panels[].options.showTypeIcons",
    ".panels[].repeatDirection",
    ".templating.list[].allowCustomValue",
    ".templating.list[].auto",
    ".templating.list[].auto_count",
    ".templating.list[].auto_min",
    ".templating.list[].skipUrlSync",
}


def panel(board: str, title: str) -> Json:
    (found,) = [one for one in COMMITTED[board]["panels"] if one["title"] == title and one["type"] != "row"]
    return found


def override(table: Json, column: str) -> dict[str, Any]:
    (found,) = [one for one in table["fieldConfig"]["overrides"] if one["matcher"]["options"] == column]
    return {one["id"]: one["value"] for one in found["properties"]}


def without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_none(inner) for key, inner in value.items() if inner is not None}
    return [without_none(inner) for inner in value] if isinstance(value, list) else value


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """Where two JSON values differ; what only the second has begins with a plus."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted(ours.keys() | theirs.keys()):
            if key not in ours:
                yield f"+{path}.{key}"
            elif key not in theirs:
                yield f"-{path}.{key}"
            else:
                yield from differences(ours[key], theirs[key], f"{path}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for one, other in zip(ours, theirs, strict=True):
            yield from differences(one, other, f"{path}[]")
    elif ours != theirs:
        yield f"~{path}: {ours!r} became {theirs!r}"


def typed(page: Json) -> Json:
    """The dashboard as the schema of Grafana 12 reads it and writes it again."""
    plugins.register_default_plugins()
    return json.loads(JSONEncoder(sort_keys=True).encode(TypedDashboard.from_json(without_none(page))))


def round_trip(page: Json) -> set[str]:
    """What the schema of Grafana 12 changes in a dashboard, the defaults that it adds aside."""
    found = set(differences(without_none(page), without_none(typed(page))))
    return found - {f"+{path}" for path in ADDED}


def filled(query: str) -> str:
    """A query as Grafana sends it, with All picked."""
    return (
        re.sub(r"\$(source|environment|agent|model|tool)\b", ".*", query)
        .replace("$__rate_interval", "5m")
        .replace("$__range", "6h")
    )


def asked(query: str) -> Iterator[tuple[str, set[str]]]:
    """The series of a query, each with the labels that it is matched on."""
    bare = re.sub(r'"[^"]*"', '""', query)
    for series, inside in re.findall(r"([a-zA-Z_:][\w:]*)\{([^{}]*)\}", bare):
        yield series, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside))
    # A series without braces stands where a window or an operator follows, not a parenthesis.
    named = re.sub(
        r"[\w:]+\{[^{}]*\}|\[[^\]]*\]|\boffset \w+|\b(?:by|on|ignoring|group_left|group_right) \([^)]*\)", " ", bare
    )
    for name in re.findall(r"(?<![\w:])[a-zA-Z_:][\w:]*\b(?!\s*\()", named):
        if name not in ("or", "and", "unless", "offset", "bool"):
            yield name, set()


def test_the_reader_of_queries_finds_series_and_matchers():
    query = 'sum by (a) (rate(x_total{b="c{d",e=~".*"}[5m])) / on (a) (y > 0) or label_replace(z_sum, "f", "g", "", "")'
    assert list(asked(query)) == [("x_total", {"b", "e"}), ("y", set()), ("z_sum", set())]


def test_what_is_committed_is_what_the_signals_give(capsys):
    assert build.main(["--check"]) == 0, capsys.readouterr().err


def test_stale_and_left_over_files_are_named_and_then_mended(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build, "BOARDS", tmp_path)
    for path in (ROOT / "grafana/provisioning/dashboards/json").glob("*.json"):
        shutil.copy(path, tmp_path)
    (tmp_path / "agents-cost.json").write_text("{}\n")
    (tmp_path / "agents-gone.json").write_text("{}\n")
    assert build.main(["--check"]) == 1
    said = capsys.readouterr().err
    assert "agents-cost.json" in said
    assert "agents-gone.json" in said
    assert "agents-tools.json" not in said
    assert build.main([]) == 0
    assert not (tmp_path / "agents-gone.json").exists()
    assert build.main(["--check"]) == 0


def test_these_dashboards_are_committed():
    assert {page["uid"]: page["title"] for page in COMMITTED.values()} == {
        "agents-overview": "Agents / Overview",
        "agents-cost": "Agents / Cost",
        "agents-budgets": "Agents / Budgets",
        "agents-models": "Agents / Models",
        "agents-agents": "Agents / Agents",
        "agents-tools": "Agents / Tools",
        "agents-evaluations": "Agents / Evaluations",
        "agents-errors": "Agents / Errors",
        "agents-anomalies": "Agents / Anomalies",
        "agents-reliability": "Agents / Reliability",
        "agents-exporter-health": "Agents / Exporter health",
    }
    assert all(name == page["uid"] for name, page in COMMITTED.items())
    assert all(page["description"].endswith("?") and page["schemaVersion"] == 42 for page in COMMITTED.values())
    assert not any(page["editable"] for page in COMMITTED.values())


@pytest.mark.parametrize("board", COMMITTED)
def test_the_schema_of_grafana_12_knows_every_key(board):
    assert round_trip(COMMITTED[board]) == set()


@pytest.mark.parametrize(
    ("path", "key", "value", "seen"),
    [
        ((), "hideControls", False, "-.hideControls"),
        (("panels", 0), "cards", {}, "-.panels[].cards"),
        (("panels", 0, "options"), "fieldOptions", {}, "-.panels[].options.fieldOptions"),
        (("panels", 0, "targets", 0), "intervalFactor2", 2, "-.panels[].targets[].intervalFactor2"),
    ],
)
def test_a_key_that_grafana_does_not_know_is_seen(path, key, value, seen):
    page = json.loads(json.dumps(COMMITTED["agents-overview"]))
    inner = page
    for step in path:
        inner = inner[step]
    inner[key] = value
    assert round_trip(page) == {seen}


def test_every_signal_stands_on_a_dashboard():
    drawn = {entry for board in DASHBOARDS for row in board.rows for entry in row.entries}
    shown = {name for entry in drawn for name in ([entry] if isinstance(entry, str) else entry.columns)}
    assert shown == set(SIGNALS)


@pytest.mark.parametrize(
    ("board", "one"), PANELS, ids=lambda value: value if isinstance(value, str) else value["title"]
)
def test_every_panel_says_what_it_is(board, one):
    assert one["title"]
    assert one["fieldConfig"]["defaults"]["unit"]
    assert one["fieldConfig"]["defaults"]["noValue"]
    meaning, metrics = one["description"].rsplit("\n\nMetric: ", 1)
    assert meaning.endswith(".")
    for name in metrics.split(", "):
        assert name in LABELS or f"{name}_bucket" in LABELS


def test_a_family_is_named_as_people_know_it():
    assert families(SIGNALS["run_latency"].expr) == ["gen_ai_invoke_agent_duration_seconds"]
    assert families(SIGNALS["runs"].expr) == ["agentgauge_runs_total"]
    assert families(SIGNALS["exporter_cpu"].expr) == ["process_cpu_seconds_total"]
    assert families(SIGNALS["series_used"].expr) == ["agentgauge_series", "agentgauge_series_limit"]


def test_a_description_says_what_to_do_past_the_limit():
    assert panel("agents-exporter-health", "Source lag by source")["description"] == (
        "How old the newest counted record is while there is more to read; 0 when all is read.\n\n"
        "Past the limit: See whether the backlog shrinks: a first reading of a large store takes its time. If it does "
        "not, the exporter has too little CPU or its disk is slow: see the commit duration.\n\n"
        "Metric: agentgauge_source_lag_seconds"
    )


@pytest.mark.parametrize(("where", "target"), TARGETS, ids=[where for where, _ in TARGETS])
def test_every_series_and_label_of_a_query_exists(where, target):
    found = list(asked(filled(target["expr"])))
    assert found
    for series, labels in found:
        assert series in LABELS, where
        assert labels <= LABELS[series], where
    made = set(re.findall(r'"(\w+)", "[^"]*", "\w*", "[^"]*"\)|count_values\("(\w+)"', target["expr"]))
    made = {name for names in made for name in names if name}
    known = set().union(*(LABELS[series] for series, _ in found)) | made
    for labels in re.findall(r"\bby \(([^)]*)\)", target["expr"]):
        assert set(labels.replace(" ", "").split(",")) <= known, where
    assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= known, where


@pytest.mark.parametrize("board", COMMITTED)
def test_every_series_and_label_of_a_picker_exists(board):
    for picker in COMMITTED[board]["templating"]["list"][1:]:
        text = picker["query"]["query"]
        assert picker["definition"] == text
        metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", text).groups()
        names = re.findall(r'__name__=~"([^"]*)"', metric)
        series = names[0].split("|") if names else [metric.split("{")[0]]
        for name in series:
            assert label in LABELS[name]
            assert set(re.findall(r"(\w+)=~", metric)) - {"__name__"} <= LABELS[name]


def test_prometheus_parses_every_query(tmp_path):
    rules = [
        {"record": f"test:query{index}", "expr": filled(target["expr"])} for index, (_, target) in enumerate(TARGETS)
    ]
    assert not any("$" in rule["expr"] for rule in rules)
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"SUCCESS: {len(TARGETS)} rules found" in done.stdout


def test_no_query_is_without_its_data_source():
    wanted = {"type": "prometheus", "uid": "${datasource}"}
    for board, one in PANELS:
        assert one["datasource"] == wanted, board
        assert all(target["datasource"] == wanted for target in one["targets"]), board
        assert [target["refId"] for target in one["targets"]] == list(ascii_uppercase[: len(one["targets"])])
    for page in COMMITTED.values():
        assert all(picker["datasource"] == wanted for picker in page["templating"]["list"][1:])


def test_every_dashboard_has_the_pickers_in_one_order_and_shows_those_that_pick():
    shown = {}
    for board, page in COMMITTED.items():
        first, *pickers = page["templating"]["list"]
        assert (first["name"], first["label"], first["type"], first["query"]) == (
            "datasource", "Data Source", "datasource", "prometheus",
        )  # fmt: skip
        assert [picker["name"] for picker in pickers] == ["source", "environment", "agent", "model", "tool"]
        for picker in pickers:
            assert (picker["type"], picker["multi"], picker["includeAll"], picker["allValue"]) == (
                "query", True, True, ".*",
            )  # fmt: skip
            assert picker["refresh"] == 2
            assert picker["current"] == {"text": ["All"], "value": ["$__all"]}
        shown[board] = [picker["name"] for picker in pickers if picker["hide"] == 0]
        used = set(
            re.findall(r"=~\"\$(\w+)\"", " ".join(t["expr"] for p in page["panels"] for t in p.get("targets", [])))
        )
        assert used == set(shown[board])
    assert shown.pop("agents-tools") == ["source", "environment", "agent", "tool"]
    assert shown.pop("agents-exporter-health") == ["source"]
    assert shown.pop("agents-budgets") == []
    assert shown.pop("agents-evaluations") == ["source", "environment", "agent"]
    assert shown.pop("agents-anomalies") == ["agent"]
    assert shown.pop("agents-reliability") == ["source", "environment", "agent"]
    assert all(names == ["source", "environment", "agent", "model"] for names in shown.values())


def test_pickers_narrow_each_other():
    queries = {picker["name"]: picker["query"] for picker in COMMITTED["agents-tools"]["templating"]["list"]}
    assert queries["model"]["query"] == (
        'label_values(agentgauge_inference_calls_total{source=~"$source",deployment_environment_name=~"$environment",'
        'gen_ai_agent_name=~"$agent"}, gen_ai_request_model)'
    )
    assert queries["source"]["query"] == "label_values(agentgauge_source_up, source)"


def test_links_between_dashboards_keep_time_and_pickers():
    for page in COMMITTED.values():
        (link,) = page["links"]
        assert (link["type"], link["tags"], link["keepTime"], link["includeVars"]) == (
            "dashboards", ["agents"], True, True,
        )  # fmt: skip
        assert page["tags"] == ["agents"]


def test_a_card_asks_for_one_moment_of_the_whole_range():
    (target,) = panel("agents-overview", "Runs")["targets"]
    assert target["expr"] == (
        'sum(increase(agentgauge_runs_total{source=~"$source",deployment_environment_name=~"$environment",'
        'gen_ai_agent_name=~"$agent"}[$__range]))'
    )
    assert (target["instant"], target["range"], target["format"]) == (True, False, "time_series")
    assert panel("agents-overview", "Runs")["options"]["graphMode"] == "none"


def test_lines_ask_for_a_range_with_the_window_of_its_step():
    (target,) = panel("agents-agents", "Runs per hour by outcome")["targets"]
    assert target["expr"] == (
        '3600 * sum by (outcome) (rate(agentgauge_runs_total{source=~"$source",'
        'deployment_environment_name=~"$environment",gen_ai_agent_name=~"$agent"}[$__rate_interval]))'
    )
    assert (target["instant"], target["range"], target["interval"]) == (False, True, "1m")


def test_a_gauge_has_no_window_and_is_drawn_as_finely_as_the_screen():
    one = panel("agents-exporter-health", "Backlog in bytes by source")
    assert one["targets"][0]["expr"] == 'sum by (source) (agentgauge_source_backlog_bytes{source=~"$source"})'
    assert "interval" not in one["targets"][0]
    assert "maxDataPoints" not in one


def test_every_query_is_of_a_moment_or_of_a_range():
    for where, target in TARGETS:
        assert target["instant"] is not target["range"], where
        assert ("$__range" in target["expr"]) <= target["instant"], where
        assert ("$__rate_interval" in target["expr"]) <= target["range"], where


def test_a_model_without_a_name_is_said_to_be_unknown():
    (target,) = panel("agents-cost", "Spend by model")["targets"]
    assert target["expr"].startswith("label_replace(topk(10, sum by (gen_ai_request_model) (increase(")
    assert target["expr"].endswith(', "gen_ai_request_model", "(unknown)", "gen_ai_request_model", "")')


def test_an_exporter_that_was_never_there_is_said_to_be_none():
    (target,) = panel("agents-exporter-health", "Exporters up")["targets"]
    assert target["expr"].endswith(', "instance", "No exporter is known", "instance", "")')
    (other,) = panel("agents-exporter-health", "State writable")["targets"]
    assert other["expr"] == "min(agentgauge_state_up)"
    assert other["legendFormat"] == "State writable"


def test_exemplars_are_shown_on_latency_and_nowhere_else():
    shown = {one["title"] for _, one in PANELS for target in one["targets"] if target["exemplar"]}
    good = {"Good run duration", "Good model call duration", "Good tool call duration"}
    failed = {f"Failed {what} duration, p95 by type of error" for what in ("run", "model call", "tool call")}
    assert shown == good | failed


def test_a_heatmap_takes_the_buckets_by_their_bounds():
    one = panel("agents-overview", "Good runs by duration")
    (target,) = one["targets"]
    assert (one["type"], target["format"], target["legendFormat"]) == ("heatmap", "heatmap", "{{le}}")
    assert one["options"]["calculate"] is False
    assert one["options"]["yAxis"]["unit"] == "s"
    assert one["options"]["color"]["scheme"] == "Blues"


def test_thresholds_are_the_limits():
    ratio = panel("agents-errors", "Failed runs by agent")["fieldConfig"]["defaults"]
    assert ratio["thresholds"]["steps"] == [{"color": "green", "value": None}, {"color": "orange", "value": 0.2}]
    assert ratio["custom"]["thresholdsStyle"] == {"mode": "dashed"}
    up = panel("agents-overview", "Sources up")["fieldConfig"]["defaults"]
    assert up["thresholds"]["steps"] == [{"color": "red", "value": None}, {"color": "green", "value": 1.0}]
    card = panel("agents-agents", "Unpriced calls")
    assert card["options"]["colorMode"] == "value"
    assert card["fieldConfig"]["defaults"]["thresholds"]["steps"][1] == {"color": "orange", "value": 0.25}
    warning = Limit(says="", headline="", do="", dashboard="", above=2.0)
    critical = replace(warning, above=3.0, severity="critical")
    green, orange, red = {"color": "green"}, {"color": "orange"}, {"color": "red"}
    assert steps([critical]) == [green | {"value": None}, red | {"value": 3.0}]
    assert steps([critical, warning]) == [green | {"value": None}, orange | {"value": 2.0}, red | {"value": 3.0}]
    low = [replace(warning, above=None, below=5.0), replace(critical, above=None, below=4.0)]
    assert steps(low) == [red | {"value": None}, orange | {"value": 4.0}, green | {"value": 5.0}]


def test_every_limit_is_drawn_and_nothing_else_is_judged():
    limits = {
        signal.panel_id: sorted(limit.bound for limit in signal.drawn) for signal in SIGNALS.values() if signal.drawn
    }
    seen = set()
    for _, one in PANELS:
        numbers = [step["value"] for step in one["fieldConfig"]["defaults"]["thresholds"]["steps"]]
        assert numbers == [None, *limits.get(one["id"], ())]
        seen |= {one["id"]} & set(limits)
    assert seen == set(limits)


def test_the_dashboard_that_an_alert_names_shows_its_panel():
    for alert in alerts(SIGNALS.values()):
        shown = {one["id"] for one in COMMITTED[alert.limit.dashboard]["panels"]}
        assert alert.signal.panel_id in shown, alert.name


def test_a_state_is_a_word_and_a_colour():
    defaults = panel("agents-exporter-health", "State writable")["fieldConfig"]["defaults"]
    (mapping,) = defaults["mappings"]
    assert defaults["color"] == {"fixedColor": "text", "mode": "fixed"}
    assert {value: (said["text"], said["color"]) for value, said in mapping["options"].items()} == {
        "0": ("Failing", "red"),
        "1": ("OK", "green"),
    }


def test_nothing_is_a_sentence_and_not_nan():
    defaults = panel("agents-overview", "Spend")["fieldConfig"]["defaults"]
    assert defaults["noValue"] == "Unknown"
    (mapping,) = defaults["mappings"]
    assert mapping["options"] == {
        "match": "null+nan",
        "result": {"color": "text", "index": 0, "text": "Unknown"},
    }


def test_a_count_is_written_out_and_money_has_its_decimals():
    def figure(board: str, title: str) -> tuple[str, int | None]:
        defaults = panel(board, title)["fieldConfig"]["defaults"]
        return defaults["unit"], defaults.get("decimals")

    assert figure("agents-overview", "Runs") == ("locale", 0)
    assert figure("agents-overview", "Spend") == ("currencyUSD", 2)
    assert figure("agents-cost", "Cost per good run") == ("currencyUSD", 4)
    assert figure("agents-overview", "Failed runs") == ("percentunit", 1)
    assert figure("agents-overview", "Tokens") == ("short", 1)
    assert figure("agents-cost", "Input tokens per model call") == ("short", None)


def test_series_have_the_colours_of_their_meaning():
    overrides = panel("agents-overview", "Good run duration")["fieldConfig"]["overrides"]
    assert {one["matcher"]["options"]: one["properties"][0]["value"]["fixedColor"] for one in overrides} == {
        "p50": "light-blue",
        "p95": "blue",
        "p99": "dark-blue",
        "mean": "purple",
    }
    agents = panel("agents-overview", "Runs per hour by agent")["fieldConfig"]["defaults"]
    assert agents["color"] == {"mode": "palette-classic-by-name"}


def test_only_parts_of_a_whole_are_stacked():
    for board, one in PANELS:
        if one["type"] == "timeseries":
            (signal,) = [signal for signal in SIGNALS.values() if signal.panel_id == one["id"]]
            mode = one["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"]
            assert mode == ("normal" if signal.view == "stacked" else "none"), board


def test_a_table_merges_its_columns_on_the_label():
    table = panel("agents-agents", "Agents in the time range")
    assert [target["format"] for target in table["targets"]] == ["table"] * 8
    merge, organize = table["transformations"]
    assert merge == {"id": "merge", "options": {}}
    assert organize["options"]["renameByName"] == {
        "gen_ai_agent_name": "Agent",
        "Value #A": "Runs",
        "Value #B": "Failed",
        "Value #C": "Good run p95",
        "Value #D": "Calls per run",
        "Value #E": "Tools per run",
        "Value #F": "Tokens",
        "Value #G": "Spend",
        "Value #H": "Cost per good run",
    }
    assert organize["options"]["excludeByName"] == {"Time": True}
    assert organize["options"]["indexByName"]["gen_ai_agent_name"] == 0
    assert organize["options"]["indexByName"]["Value #E"] == 5
    periods = panel("agents-overview", "This period and the one before")
    assert periods["options"]["sortBy"] == [{"desc": True, "displayName": "Period"}]
    assert override(periods, "Period") == {"unit": "string"}
    assert table["options"]["sortBy"] == [{"desc": True, "displayName": "Spend"}]
    assert override(table, "Agent")["unit"] == "string"
    assert override(table, "Failed")["unit"] == "percentunit"
    assert override(table, "Spend")["mappings"][0]["options"]["result"]["text"] == "Unknown"
    assert override(table, "Runs")["decimals"] == 0


def test_the_first_column_leads_to_its_dashboard_with_everything_kept():
    (link,) = override(panel("agents-models", "Models in the time range"), "Model")["links"]
    assert link["url"] == (
        "/d/agents-models?${__url_time_range}&${datasource:queryparam}&${source:queryparam}"
        "&${environment:queryparam}&${agent:queryparam}&${tool:queryparam}&var-model=${__value.raw:percentencode}"
    )
    for name, board in (("Agent", "agents-overview"), ("Model", "agents-overview"), ("Tool", "agents-tools")):
        (table,) = [one for one in COMMITTED[board]["panels"] if one["title"].startswith(f"{name}s")]
        (link,) = override(table, name)["links"]
        assert link["url"].split("/")[2].split("?")[0] in COMMITTED


def test_a_matrix_is_a_table_of_two_labels_in_the_order_of_their_words():
    one = panel("agents-cost", "Spend by weekday and hour (UTC)")
    (target,) = one["targets"]
    assert (one["type"], target["format"], target["instant"]) == ("table", "table", True)
    grouping, sort, organize = (step["options"] for step in one["transformations"])
    assert (grouping["rowField"], grouping["columnField"], grouping["valueField"]) == ("day", "hour", "Value")
    assert sort["sort"] == [{"field": "day\\hour"}]
    assert organize["renameByName"]["day\\hour"] == "Day"
    assert organize["renameByName"]["9"] == "09"
    assert [organize["indexByName"][name] for name in ("day\\hour", "0", "9", "23")] == [0, 1, 10, 24]
    (days,) = override(one, "Day")["mappings"]
    assert {value: said["text"] for value, said in days["options"].items()}["0"] == "Monday"
    assert one["fieldConfig"]["defaults"]["color"] == {"mode": "continuous-blues"}


def test_a_scatter_has_a_series_for_each_model_by_its_three_numbers():
    one = panel("agents-models", "Cost against duration by model")
    assert one["type"] == "xychart"
    (series,) = one["options"]["series"]
    assert {axis: field["matcher"]["options"] for axis, field in series.items()} == {
        "x": "Good call p95",
        "y": "Cost per 1,000 calls",
        "size": "Calls",
    }
    assert [step["id"] for step in one["transformations"]] == [
        "groupingToMatrix",
        "sortBy",
        "organize",
        "partitionByValues",
    ]
    assert one["transformations"][3]["options"]["fields"] == ["Model"]
    assert override(one, "Cost per 1,000 calls")["displayName"] == "${__field.labels.Model}"
    assert override(one, "Good call p95")["unit"] == "s"


def test_a_table_of_two_labels_links_both():
    table = panel("agents-tools", "Agents and the tools they call")
    assert [override(table, name)["links"][0]["title"] for name in ("Agent", "Tool")] == [
        "Only this agent",
        "Only this tool",
    ]


def test_a_column_of_another_label_is_refused():
    with pytest.raises(ValueError, match="model_calls is not a column of gen_ai_agent_name"):
        _ = replace(AGENTS, columns=("agent_runs", "model_calls")).signals


def test_a_panel_without_pickers_asks_for_everything():
    place = {"h": 8, "w": 12, "x": 0, "y": 0}
    (target,) = signal_panel(SIGNALS["runs_by_outcome"], place, {})["targets"]
    assert target["expr"] == "3600 * sum by (outcome) (rate(agentgauge_runs_total[$__rate_interval]))"


def test_provisioning_takes_places_from_the_environment():
    folder = ROOT / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yaml").read_text())["datasources"]
    assert (source["uid"], source["type"], source["url"], source["access"], source["editable"]) == (
        "prom", "prometheus", "${PROMETHEUS_URL}", "proxy", False,
    )  # fmt: skip
    assert source["jsonData"]["timeInterval"] == "15s"
    (provider,) = yaml.safe_load((folder / "dashboards/agents.yaml").read_text())["providers"]
    assert (provider["folder"], provider["folderUid"], provider["allowUiUpdates"]) == ("Agents", "agents", False)
    assert provider["options"]["path"] == "${DASHBOARDS_PATH}"
    picker = COMMITTED["agents-overview"]["templating"]["list"][0]
    assert picker["current"] == {"text": source["name"], "value": source["uid"]}
