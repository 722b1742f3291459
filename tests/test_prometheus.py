"""Prometheus accepts what is committed, and every rule has a scenario that notices its loss."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from promtools import lacking, module_tag, place, shipped, version, version_of, with_every_promtool

from exporters.catalogue.alerts import alerts
from exporters.catalogue.records import RECORDS
from exporters.catalogue.signals import SIGNALS

ROOT = Path(__file__).parents[1]
HERE = ROOT / "prometheus"
RULE_FILES = sorted((HERE / "rules").rglob("*.yml"))
SCENARIOS = sorted((HERE / "tests").glob("*.yml"))


def promtool(tool: str | Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tool, *arguments], cwd=HERE, capture_output=True, text=True, check=False)


def rules(name: str) -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((HERE / "rules" / name).read_text())["groups"]
    return group["rules"]


ALERTS = rules("agentgauge.alerts.yml")
RECORDED = rules("agentgauge.recording.yml")
DERIVED = [rule for path in sorted((HERE / "rules").glob("agentgauge.derived.*.yml")) for rule in rules(path.name)]
COMPAT = rules("compat/agentgauge.compat.yml")


def test_in_ci_the_promtool_that_ships_is_there():
    assert place().is_file() or not os.environ.get("CI"), lacking()


def test_the_version_that_ships_is_that_of_its_image_and_the_module_has_a_tag_for_it():
    assert version_of("prom/prometheus:v3.13.4") == "3.13.4"
    assert version_of("registry.example:5000/prom/prometheus:v3.5.0@sha256:0123456789abcdef") == "3.5.0"
    with pytest.raises(ValueError, match=r"prom/prometheus:latest: has no tag such as v3\.13\.4"):
        version_of("prom/prometheus:latest")
    assert (module_tag("3.13.4"), module_tag("3.0.1")) == ("v0.313.4", "v0.300.1")
    assert not place().is_file() or version(place()) == shipped()


def make_promtool(cache: Path) -> subprocess.CompletedProcess[str]:
    """What `make promtool` runs, where there is no Go."""
    environment = {"XDG_CACHE_HOME": str(cache), "PATH": ""}
    command = [sys.executable, "-m", "tests.promtools"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_promtool_that_ships_is_built_once_and_without_go_one_line_says_what_to_do(tmp_path):
    target = tmp_path / "agentgauge" / f"promtool-{shipped()}"
    done = make_promtool(tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == (
        f"{target} is not there, and without Go it cannot be built: install Go, or name one in PROMTOOL_3\n"
    )
    target.parent.mkdir()
    target.touch()
    done = make_promtool(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@with_every_promtool
def test_the_configuration_is_accepted_and_takes_the_rules_that_are_on(tool):
    done = promtool(tool, "check", "config", "--lint-fatal", "prometheus.yml")
    assert done.returncode == 0, done.stderr
    on = len(list((HERE / "rules").glob("*.yml")))
    assert f"SUCCESS: {on} rule files found" in done.stdout


@with_every_promtool
def test_the_rules_are_accepted_without_a_remark(tool):
    done = promtool(tool, "check", "rules", "--lint=all", "--lint-fatal", *RULE_FILES)
    assert done.returncode == 0, done.stderr
    assert [line.strip() for line in done.stdout.splitlines() if "rules found" in line] == [
        f"SUCCESS: {len(rules(str(path)))} rules found" for path in RULE_FILES
    ]


@with_every_promtool
def test_the_scenarios_hold(tool):
    done = promtool(tool, "test", "rules", *SCENARIOS)
    assert done.returncode == 0, done.stdout + done.stderr


def lost(rule: dict[str, Any]) -> dict[str, Any]:
    return rule | {"expr": "vector(1) > 2"}


BY_NAME = {alert.name: alert for alert in alerts(SIGNALS.values())}


def without_limit(rule: dict[str, Any]) -> dict[str, Any]:
    return rule | {"expr": f"(\n{BY_NAME[rule['alert']].value}\n)"} if "alert" in rule else rule


def without_condition(rule: dict[str, Any]) -> dict[str, Any]:
    condition = BY_NAME[rule["alert"]].condition if "alert" in rule else ""
    return rule | {"expr": rule["expr"].replace(f"\n{condition}", "")} if condition else rule


def without_causes(rule: dict[str, Any]) -> dict[str, Any]:
    """Told besides what explains it."""
    clauses = BY_NAME[rule["alert"]].unexplained if "alert" in rule else ()
    return rule | {"expr": rule["expr"].removesuffix("\n" + "\n".join(clauses))} if clauses else rule


def without_going_on(rule: dict[str, Any]) -> dict[str, Any]:
    """A critical one ends when its cause begins, as if its own name were not found in ALERTS."""
    own = re.compile(rf'(unless on \([^)]*\) )ALERTS(?={{alertname="{rule.get("alert")}")')
    return rule | {"expr": own.sub(r"\1NONE", rule["expr"])}


def without_hold(rule: dict[str, Any]) -> dict[str, Any]:
    return rule | {"for": "0s"} if "alert" in rule else rule


def without_clears(rule: dict[str, Any]) -> dict[str, Any]:
    """What fires ends where it began, as if the alert's own name were not found in ALERTS."""
    return rule | {"expr": re.sub(r"(and on \([^)]*\) )ALERTS\{", r"\1NONE{", rule["expr"])}


def without_keeps(rule: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in rule.items() if key != "keep_firing_for"}


@pytest.mark.parametrize(
    ("harm", "count"),
    [
        (lost, len(ALERTS + RECORDED + DERIVED + COMPAT)),
        (without_limit, len(ALERTS)),
        (without_condition, sum(bool(alert.condition) for alert in BY_NAME.values())),
        (without_causes, sum(bool(alert.unexplained) for alert in BY_NAME.values())),
        (without_going_on, sum(bool(one.causes) for one in BY_NAME.values() if one.limit.severity == "critical")),
        (without_hold, len(ALERTS)),
        (without_clears, sum(alert.limit.clears is not None for alert in BY_NAME.values())),
        (without_keeps, sum(bool(alert.limit.keeps) for alert in BY_NAME.values())),
    ],
)
def test_the_scenarios_notice_what_is_taken_from_a_rule(harm, count, tmp_path):
    """A negative control: what is taken from every rule makes a scenario of every rule fail."""
    shutil.copytree(HERE / "rules", tmp_path / "rules")
    shutil.copytree(HERE / "tests", tmp_path / "tests")
    harmed = set()
    for path in (tmp_path / "rules").rglob("*.yml"):
        document = yaml.safe_load(path.read_text())
        (group,) = document["groups"]
        sound, group["rules"] = group["rules"], [harm(rule) for rule in group["rules"]]
        harmed |= {rule.get("alert") or rule["record"] for rule in group["rules"] if rule not in sound}
        path.write_text(yaml.safe_dump(document))
    assert len(harmed) == count
    if not harmed:
        return
    # Each takes seconds, so only those are run that speak of what was harmed.
    asked = [path for path in SCENARIOS if any(name in path.read_text() for name in harmed)]
    done = promtool("promtool", "test", "rules", *(tmp_path / "tests" / path.name for path in asked))
    assert done.returncode == 1
    # promtool prints what failed, and of what held nothing.
    assert {name for name in harmed if name not in done.stdout + done.stderr} == set()


def test_the_committed_rules_are_fresh():
    done = subprocess.run(
        [sys.executable, "-m", "prometheus.build", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_limit_is_an_alert_and_every_recorded_name_a_rule():
    assert [rule["alert"] for rule in ALERTS] == [alert.name for alert in alerts(SIGNALS.values())]
    assert {"RunErrorRatioByAgent", "InferenceLatencyByModel", "UnpricedShare", "ExporterUp"} <= {
        rule["alert"] for rule in ALERTS
    }
    assert [rule["record"] for rule in RECORDED] == [signal.record for signal in SIGNALS.values() if signal.record]
    assert RECORDED[0]["record"] == "agent:agentgauge_runs:error_ratio_rate5m"
    assert [rule["record"] for rule in DERIVED] == [
        record.name
        for every in sorted({record.every for record in RECORDS})
        for record in RECORDS
        if record.every == every
    ]


def test_an_alert_reads_so():
    alert = ALERTS[0]
    assert alert["expr"] == (
        "(\n"
        'sum by (gen_ai_agent_name) (rate(agentgauge_runs_total{outcome="error"}[15m]))\n'
        "/ (sum by (gen_ai_agent_name) (rate(agentgauge_runs_total[15m])) > 0)\n"
        ") > 0.2\n"
        "and on (gen_ai_agent_name) (\n"
        'sum by (gen_ai_agent_name) (increase(agentgauge_runs_total{outcome="error"}[15m])) >= 3\n'
        ")"
    )
    assert (alert["for"], alert["labels"]) == ("5m", {"severity": "warning"})
    assert alert["annotations"]["summary"] == "Too many runs of an agent fail."


def test_no_rule_judges_the_ten_largest_only_or_leaves_a_blank():
    for rule in ALERTS + RECORDED + DERIVED + COMPAT:
        assert "topk" not in rule["expr"]
        assert "$w" not in rule["expr"]


def test_runbooks_have_the_sections_that_alerts_point_to():
    runbooks = (ROOT / "docs" / "runbooks.md").read_text()
    for alert in ALERTS:
        page, anchor = alert["annotations"]["runbook_url"].split("#")
        assert page == "docs/runbooks.md"
        assert f'<a id="{anchor}"></a>\n## {alert["alert"]}\n' in runbooks


def test_the_dashboards_that_alerts_point_to_show_their_panels():
    for alert in ALERTS:
        notes = alert["annotations"]
        board = ROOT / "grafana" / "provisioning" / "dashboards" / "json" / f"{notes['dashboard_uid']}.json"
        panels = {str(panel["id"]) for panel in json.loads(board.read_text())["panels"]}
        assert notes["panel_id"] in panels, alert["alert"]


def test_scrapes_are_bounded_and_nothing_is_scraped_more_often_than_questions_take_it_to_be():
    config = yaml.safe_load((HERE / "prometheus.yml").read_text())
    assert config["global"]["scrape_interval"] == "15s"
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    for job in jobs.values():
        assert "scrape_interval" not in job
        bounds = (job["sample_limit"], job["body_size_limit"], job["label_value_length_limit"])
        assert bounds == (20000, "10MB", 512)
    assert config["storage"] == {"exemplars": {"max_exemplars": 100000}, "tsdb": {"out_of_order_time_window": "6h"}}
    assert config["rule_files"] == ["rules/*.yml"]
