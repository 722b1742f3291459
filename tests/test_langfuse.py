"""Langfuse: what is read of a project is what is in it, whatever the server's version."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from langfuse_server import PUBLIC, SECRET, Langfuse, observation, score, served, trace
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from test_fixture_stores import totals_of
from test_once import is_of_store

FOLDER = Path(__file__).parent / "fixtures" / "langfuse" / "agents"
VERSIONS = ("3.50.0", "3.150.0", "3.200.0", "3.225.3", "4.10.0", "4.35.0")
START = 1_770_000_000.0


def once(url: str, options: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `agentgauge once` on a server with its keys."""
    return run("once", url, options, **environment)


def run(command: str, url: str, options: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `agentgauge` that reads to the end on a server with its keys."""
    keys = {"LANGFUSE_PUBLIC_KEY": PUBLIC, "LANGFUSE_SECRET_KEY": SECRET}
    return subprocess.run(
        [sys.executable, "-m", "exporters", command, f"langfuse+{url}{options}"],
        env={**os.environ, **keys, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def sums_of(page: str) -> dict[str, float]:
    """The sum of each series' samples; with the value of its own label behind it where it has one that splits it."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            own = next(
                (sample.labels[name] for name in ("outcome", "cost_source", "reason") if name in sample.labels), ""
            )
            name = f"{sample.name} {own}".strip()
            found[name] = found.get(name, 0.0) + sample.value
    return found


@pytest.fixture
def project() -> Iterator[Langfuse]:
    found = Langfuse()
    yield found
    assert found.breaches == []


def stored(version: str) -> Langfuse:
    """The project of the fixture, on a server of a version."""
    rows = json.loads((FOLDER / "rows.json").read_text())
    found = Langfuse(version)
    found.clock = lambda: float(rows["now"])
    found.observations = [observation(**row) for row in rows["observations"]]
    found.traces = [trace(**row) for row in rows["traces"]]
    found.scores = [score(**row) for row in rows["scores"]]
    return found


def page_of(version: str) -> str:
    """What `agentgauge once` says of the fixture, without what it says of itself."""
    project = stored(version)
    with served(project) as url:
        done = once(url)
    assert (done.returncode, project.breaches) == (0, []), done.stderr
    return "".join(line for line in done.stdout.splitlines(keepends=True) if is_of_store(line))


@pytest.mark.parametrize("version", ["3.50.0", "3.225.3", "4.35.0"])
def test_the_totals_are_those_worked_out_by_hand(version: str) -> None:
    wanted = json.loads((FOLDER / "totals.json").read_text())

    found = totals_of(page_of(version), {name: total["by"] for name, total in wanted.items()})

    for name, total in wanted.items():
        by_hand = {tuple(value[:-1]): value[-1] for value in total["values"]}
        assert found[name] == pytest.approx(by_hand, rel=1e-9), name


def test_the_project_becomes_the_page_beside_it() -> None:
    assert page_of("4.35.0").splitlines() == (FOLDER / "page.txt").read_text().splitlines()


def run_with_a_call(project: Langfuse, number: int, start: float) -> None:
    """A run of the agent `support`, and the call within it."""
    project.traces.append(trace(id=f"trace-{number}", start=start, name="support", release="1.2"))
    of_trace = {"traceId": f"trace-{number}", "traceName": "support", "release": "1.2"}
    root = project.add(**of_trace, id=f"root-{number}", type="SPAN", name="turn", start=start, end=start + 5)
    project.add(
        **of_trace,
        id=f"call-{number}",
        parentObservationId=root["id"],
        start=start + 1,
        end=start + 3,
        model="gpt-4o",
        usageDetails={"input": 100, "output": 10, "total": 110},
        costDetails={"total": 0.25},
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_of_the_server_says_the_same(version: str) -> None:
    project = Langfuse(version)
    project.clock = lambda: START + 86_400
    for number in range(150):
        run_with_a_call(project, number, START + number * 400)
    project.scores.append(score(start=START + 10, value=0.75))

    with served(project) as url:
        done = once(url)

    assert done.returncode == 0, done.stderr
    found = sums_of(done.stdout)
    assert found["agentgauge_inference_calls_total ok"] == 150
    assert found["gen_ai_client_inference_usage_input_tokens_total"] == 15_000
    assert found["agentgauge_cost_usd_total reported"] == 37.5
    assert found["agentgauge_runs_total ok"] == 150
    assert found["agentgauge_evaluation_score_sum"] == 0.75
    assert 'gen_ai_agent_name="support",gen_ai_agent_version="1.2"' in done.stdout
    assert project.breaches == []


if __name__ == "__main__":
    (FOLDER / "page.txt").write_text(page_of("4.35.0"))
