"""Objectives: the file, what the page says of it, and what the exporter does while the file is broken."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from createagents_lines import line
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from serving import serving, url_of

from exporters.objectives import Objective, of_agent, read_objectives
from exporters.sources import SourceError

DAY = 86_400.0


@pytest.fixture
def read(tmp_path):
    """Read a file of objectives with this text."""

    def read(text: str):
        path = tmp_path / "objectives.yml"
        path.write_text(text)
        return read_objectives(path)

    return read


def test_an_agents_own_objectives_stand_before_everybodys(read):
    found = read(
        """
objectives:
  - {agent: "*", success: 95%, latency: {within: 51.2s, share: 90%}}
  - {agent: support, success: 99.5 %, window: 7d}
  - {agent: [billing, notes], latency: {within: 800ms, share: 99%}, window: 28d}
"""
    )
    everybodys = {
        "success": Objective(kind="success", ratio=0.95, window=30 * DAY),
        "latency": Objective(kind="latency", ratio=0.9, window=30 * DAY, le="51.2"),
    }
    assert of_agent(found, "research") == of_agent(found, "") == everybodys
    own = Objective(kind="success", ratio=0.995, window=7 * DAY)
    assert of_agent(found, "support") == everybodys | {"success": own}
    own = Objective(kind="latency", ratio=0.99, window=28 * DAY, le="0.8")
    assert of_agent(found, "billing") == of_agent(found, "notes") == everybodys | {"latency": own}


def test_who_is_not_named_has_no_objective_unless_everybody_has(read):
    assert of_agent(read("objectives: [{agent: support, success: 99%}]"), "billing") == {}
    assert read("objectives: []") == {}


@pytest.mark.parametrize(("within", "le"), [("1638.4s", "1638.4"), ("102.4 s", "102.4"), ("0.1s", "0.1")])
def test_a_time_is_a_bound_of_the_histogram_as_the_page_writes_it(read, within, le):
    found = read(f"objectives: [{{agent: a, latency: {{within: {within}, share: 90%}}}}]")
    assert of_agent(found, "a")["latency"].le == le


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{success: 99%}", "entry 1: object missing required field `agent`"),
        ("{agent: support}", "entry 1 (support): says neither 'success' nor 'latency'; see docs/objectives.md"),
        ("{agent: '', success: 99%}", "agent: should be a name, several, or '*' for every agent"),
        ("{agent: [], success: 99%}", "agent: should be a name, several, or '*' for every agent"),
        ("{agent: bill*, success: 99%}", "agent: 'bill*' is no pattern; write whole names, or '*' for every agent"),
        ("{agent: a, success: 99}", "entry 1 (a): success: expected `str | null`, got `int`"),
        ("{agent: a, success: '0.99'}", "success: '0.99' is not a share such as 99.5%, above 0% and below 100%"),
        ("{agent: a, success: 100%}", "success: '100%' is not a share such as 99.5%, above 0% and below 100%"),
        ("{agent: a, success: 0%}", "success: '0%' is not a share"),
        ("{agent: a, sucess: 99%}", "entry 1 (a): object contains unknown field `sucess`"),
        ("{agent: a, success: 99%, window: 90d}", "entry 1 (a): window: invalid enum value '90d'"),
        (
            "{agent: a, latency: {within: 30s, share: 95%}}",
            "entry 1 (a): latency.within: runs are not told apart at 30s; the nearest that are: 25.6s and 51.2s",
        ),
        ("{agent: a, latency: {within: 2h, share: 95%}}", "latency.within: '2h' is not a duration such as 25.6s"),
        ("{agent: a, latency: {within: 90m, share: 95%}}", "not told apart at 90m; the nearest that are: 3276.8s"),
        ("{agent: a, latency: {within: 50ms, share: 95%}}", "not told apart at 50ms; the nearest that are: 0.1s"),
        ("{agent: a, latency: {within: 25.6s, share: 95}}", "latency.share: expected `str`, got `int`"),
    ],
)
def test_an_entry_that_cannot_be_used_is_named_with_its_field(read, entry, said):
    with pytest.raises(SourceError, match=re.escape(said)) as told:
        read(f"objectives:\n  - {entry}\n")
    assert "objectives.yml: entry 1" in str(told.value)
    assert "\n" not in str(told.value)


def test_two_objectives_of_one_kind_for_one_agent_are_refused(read):
    with pytest.raises(SourceError, match=r"entry 2: agent 'a' has an objective of success already; leave one out"):
        read("objectives: [{agent: a, success: 99%}, {agent: [b, a], success: 95%}]")
    with pytest.raises(SourceError, match="every agent has an objective of success already"):
        read("objectives: [{agent: '*', success: 99%}, {agent: '*', success: 95%}]")
    read("objectives: [{agent: a, success: 99%}, {agent: a, latency: {within: 0.1s, share: 95%}}]")


# What the page says


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """Two agents, each with a run that went well."""
    folder = tmp_path / "traces"
    folder.mkdir()
    lines = [
        record
        for agent in ("support", "billing")
        for record in (
            line("trace.start", 0, agent, trace=agent, agent_name=agent),
            line("trace.end", 4, agent, trace=agent, agent_name=agent, duration_ms=4000.0, status="success"),
        )
    ]
    (folder / "traces_2025-12-06.jsonl").write_bytes(b"".join(record + b"\n" for record in lines))
    return folder


RATIO, WINDOW, FILE = (
    "agentgauge_objective_ratio",
    "agentgauge_objective_window_seconds",
    "agentgauge_objectives_file_broken",
)
PROMISED = """
objectives:
  - {agent: "*", latency: {within: 25.6s, share: 95%}}
  - {agent: support, success: 99%, window: 7d}
"""


def told(page: str) -> dict[tuple[str, ...], float]:
    """What a page says of objectives and files: by the name of the family, and its labels' values in their order."""
    return {
        (family.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if family.name in (RATIO, WINDOW, FILE)
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "objectives.yml"
    path.write_text(PROMISED)
    return path


def once(traces: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "exporters", "once", *arguments, url_of(traces)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_page_tells_the_objectives_of_the_agents_that_are_on_it(traces, path):
    # Labels in the order of the alphabet: the agent, the bound, and which objective.
    assert told(once(traces, "--objectives", str(path)).stdout) == {
        (FILE,): 0,
        (RATIO, "billing", "25.6", "latency"): 0.95,
        (RATIO, "support", "25.6", "latency"): 0.95,
        (RATIO, "support", "", "success"): 0.99,
        (WINDOW, "billing", "latency"): 30 * DAY,
        (WINDOW, "support", "latency"): 30 * DAY,
        (WINDOW, "support", "success"): 7 * DAY,
    }


def test_the_bound_is_written_as_that_of_the_bucket(traces, path):
    page = once(traces, "--objectives", str(path)).stdout
    bucket = 'gen_ai_invoke_agent_duration_seconds_bucket{source="createagents",gen_ai_agent_name="support",le="25.6"}'
    assert bucket in page
    assert 'agentgauge_objective_ratio{gen_ai_agent_name="support",le="25.6",objective="latency"} 0.95' in page


def test_without_a_file_the_page_tells_nothing_of_objectives(traces):
    assert told(once(traces).stdout) == {(FILE,): 0}


@pytest.mark.parametrize("command", ["once", "serve"])
def test_a_file_that_cannot_be_used_is_refused_in_one_line(command, traces, path, tmp_path):
    path.write_text("objectives: [{agent: a, latency: {within: 30s, share: 95%}}]")
    state = ("--state", str(tmp_path / "state")) if command == "serve" else ()
    done = subprocess.run(
        [sys.executable, "-m", "exporters", command, "--objectives", str(path), *state, url_of(traces)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"agentgauge: {path}: entry 1 (a): latency.within: runs are not told apart at 30s; "
        "the nearest that are: 25.6s and 51.2s\n"
    )


def test_a_running_exporter_follows_the_file_and_keeps_what_it_said_while_it_is_broken(traces, path, tmp_path):
    with serving(tmp_path / "state", url_of(traces), AGENTGAUGE_OBJECTIVES=str(path)) as exporter:
        exporter.await_ready()
        before = told(exporter.page())
        assert before[RATIO, "support", "", "success"] == 0.99
        path.write_text(PROMISED.replace("99%", "99"))
        assert told(exporter.page()) == before | {(FILE,): 1}
        assert f"{path}: entry 2 (support): success: expected" in exporter.get("/")[2].decode()
        path.write_text("objectives: [{agent: support, success: 95%}]")
        assert told(exporter.page()) == {
            (FILE,): 0,
            (RATIO, "support", "", "success"): 0.95,
            (WINDOW, "support", "success"): 30 * DAY,
        }
        assert "entry 2" not in exporter.get("/")[2].decode()
        assert exporter.said().count("holds until it is mended") == 1
