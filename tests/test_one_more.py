"""One more signal, as CONTRIBUTING.md tells it: an entry and a scenario become panel, rules, alert and runbook."""

import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from promtools import with_every_promtool

from exporters.catalogue.generated import ROOT
from exporters.catalogue.model import panel_id

BUILDERS = ("exporters.catalogue.build", "prometheus.build", "grafana.build")
NAME, ALERT = "prompt_error_ratio", "PromptErrorRatio"


def blocks(language: str) -> list[str]:
    """Return the blocks of code under the heading, in their order."""
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("### A signal with an alert")[2].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def build(checkout: Path, builder: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", builder, *arguments]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the entry, the row and the scenario of the text, before anything is built."""
    copy = tmp_path_factory.mktemp("copy")
    for room in ("exporters", "grafana", "prometheus", "docs"):
        shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    entry, row = blocks("python")
    signals = copy / "exporters" / "catalogue" / "signals" / "models.py"
    before, begins, after = signals.read_text().partition("INFERENCE = (\n")
    assert begins
    signals.write_text(before + begins + textwrap.indent(entry.rstrip() + ",\n", " " * 4) + after)
    board = copy / "grafana" / "dashboards" / "errors.py"
    before, ends, after = board.read_text().rpartition("    ),\n)")
    assert ends
    board.write_text(before + textwrap.indent(row.rstrip() + ",\n", " " * 8) + ends + after)
    [scenario] = blocks("yaml")
    (copy / "prometheus" / "tests" / "prompts.yml").write_text(scenario)
    return copy


@pytest.fixture(scope="module")
def stale(checkout: Path) -> dict[str, subprocess.CompletedProcess[str]]:
    """What `--check` says before anything is built."""
    return {builder: build(checkout, builder, "--check") for builder in BUILDERS}


@pytest.fixture(scope="module")
def built(checkout: Path, stale: object) -> Path:
    for builder in BUILDERS:
        done = build(checkout, builder)
        assert done.returncode == 0, done.stderr
    return checkout


def test_until_it_is_built_the_check_names_every_stale_file(stale):
    assert {done.returncode for done in stale.values()} == {1}
    named = " ".join(done.stderr for done in stale.values())
    for path in (
        "docs/runbooks.md",
        "prometheus/rules/agentgauge.alerts.yml",
        "grafana/provisioning/dashboards/json/agents-errors.json",
        "grafana/provisioning/alerting/rules.yaml",
    ):
        assert f"stale: {path}" in named


def test_once_it_is_built_nothing_is_stale(built):
    assert [build(built, builder, "--check").returncode for builder in BUILDERS] == [0, 0, 0]


def test_it_has_a_panel(built):
    board = json.loads((built / "grafana/provisioning/dashboards/json/agents-errors.json").read_text())
    [panel] = [panel for panel in board["panels"] if panel["id"] == panel_id(NAME)]
    assert panel["title"] == "Failed calls by prompt"
    assert {"color": "orange", "value": 0.25} in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]


@with_every_promtool
def test_it_has_an_alert_of_prometheus_whose_scenario_holds(built, tool):
    [group] = yaml.safe_load((built / "prometheus/rules/agentgauge.alerts.yml").read_text())["groups"]
    assert ALERT in [rule["alert"] for rule in group["rules"]]
    done = subprocess.run(
        [tool, "test", "rules", "prometheus/tests/prompts.yml"],
        cwd=built, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_has_an_alert_of_grafana(built):
    document = yaml.safe_load((built / "grafana/provisioning/alerting/rules.yaml").read_text())
    rules = {rule["title"]: rule for group in document["groups"] for rule in group["rules"]}
    assert (rules[ALERT]["uid"], rules[ALERT]["panelId"]) == (NAME, panel_id(NAME))


def test_it_has_a_runbook(built):
    runbooks = (built / "docs" / "runbooks.md").read_text()
    assert f"[{ALERT}](#{NAME})" in runbooks
    section = runbooks.partition(f"\n## {ALERT}\n")[2].partition("\n## ")[0]
    assert "Compare the prompt's versions" in section
    assert "agentgauge_prompt_calls_total" in section
