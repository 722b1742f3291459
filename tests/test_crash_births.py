"""Births: in a real Prometheus, what series born and an exporter killed in between add up to is what was written."""

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from crash_chats import Chats
from crash_exporter import Exporter, free_port, until
from crash_folder import Folder
from crash_recount import Samples, recount, series

CONFIGURATION = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: agentgauge
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
# Each with its zero first: what a family's series rose by is what was counted.
FAMILIES = (
    "agentgauge_inference_calls_total",
    "agentgauge_inference_errors_total",
    "agentgauge_tool_calls_total",
    "agentgauge_runs_total",
    "agentgauge_bad_records_total",
    "gen_ai_client_inference_usage_input_tokens_total",
    "gen_ai_client_inference_duration_seconds_count",
)
Points = list[tuple[float, float]]


class Prometheus:
    """A real server that scrapes one exporter each second."""

    def __init__(self, directory: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = directory / "log"
        directory.mkdir()
        (directory / "prometheus.yml").write_text(CONFIGURATION.format(port=port))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={directory / 'prometheus.yml'}",
                    f"--storage.tsdb.path={directory / 'data'}",
                    f"--web.listen-address={self.url.removeprefix('http://')}",
                ],
                stdout=log,
                stderr=log,
            )

    def query(self, expression: str, at: float) -> list[dict[str, Any]]:
        parameters = urllib.parse.urlencode({"query": expression, "time": f"{at:.3f}"})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{parameters}", timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return found

    def vector(self, expression: str, at: float) -> list[tuple[dict[str, str], tuple[float, str]]]:
        return [(one["metric"], one["value"]) for one in self.query(expression, at)]

    def matrix(self, expression: str, at: float) -> list[tuple[dict[str, str], Points]]:
        return [
            (one["metric"], [(float(when), float(value)) for when, value in one["values"]])
            for one in self.query(expression, at)
        ]

    def scrapes(self) -> int:
        """How many scrapes succeeded."""
        try:
            found = self.vector("sum_over_time(up[1h])", time.time())
        except urllib.error.URLError:
            return 0  # not up yet
        return int(found[0][1][1]) if found else 0

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def name_of(metric: dict[str, str], family: str) -> str:
    """The name of a series as the exporter's page has it."""
    return series(family, **{label: metric[label] for label in metric if label not in ("__name__", "job", "instance")})


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    found = Exporter(tmp_path)
    yield found
    found.kill()


@pytest.fixture
def prometheus(tmp_path: Path, exporter: Exporter) -> Iterator[Prometheus]:
    found = Prometheus(tmp_path / "prometheus", exporter.port)
    yield found
    found.stop()


def extrapolated(points: Points, start: float, end: float) -> float:
    """`increase()` of a counter that never falls, as Prometheus 2 works it out (extrapolatedRate in promql)."""
    if len(points) < 2:
        return 0.0
    rise = points[-1][1] - points[0][1]
    sampled = points[-1][0] - points[0][0]
    between = sampled / (len(points) - 1)
    to_start, to_end = points[0][0] - start, end - points[-1][0]
    if rise > 0 and points[0][1] >= 0:
        to_start = min(to_start, sampled * points[0][1] / rise)
    length = sampled
    for gap in (to_start, to_end):
        length += gap if gap < between * 1.1 else between / 2
    return rise * length / sampled


def write(folder: Folder, seed: int, *agents: str) -> None:
    """Write whole chats."""
    chats = Chats(seed, agents=agents, bad=0.1)
    for line in [*(chats.line() for _ in range(30)), *chats.rest()]:
        folder.write(line)


def of_families(found: Samples) -> Samples:
    return {name: value for name, value in found.items() if value and name.split("{")[0] in FAMILIES}


def seen_twice(exporter: Exporter, folder: Folder, agent: str) -> None:
    """Scrape as somebody else until all that was written is seen, and once more: births at 0, then at their value."""
    name = series("agentgauge_records_total", source="createagents")
    written = len(folder.lines)
    until(lambda: (exporter.scrape(agent) or {}).get(name) == written, 30, exporter.log.read_text)
    assert exporter.scrape(agent)


def test_what_prometheus_saw_rise_is_what_was_written_although_the_exporter_was_killed_after_births(
    exporter: Exporter, prometheus: Prometheus
) -> None:
    folder = Folder(exporter.folder)
    write(folder, 99, "writer")
    # What is there already is shown at its value, and that is no rise.
    before = of_families(dict(recount(folder.lines).totals))
    exporter.start()
    until(lambda: prometheus.scrapes() >= 2, 60, prometheus.log.read_text)
    for born in range(6):
        write(folder, 100 + born, f"agent-{born}", "writer")
        seen_twice(exporter, folder, "curl/7.88.1")
        # Killed before, between and after the two scrapes that a birth takes.
        scrapes_more(prometheus, born % 3)
        exporter.kill()
        # Born while nobody looks.
        write(folder, 200 + born, f"agent-{born}-later")
        exporter.start()
        seen_twice(exporter, folder, "curl/7.88.1")
        exporter.kill()
        exporter.start()
        scrapes_more(prometheus, 1)
    scrapes_more(prometheus, 4)
    now = float(int(time.time()))
    rose, first = Samples(), Samples()
    for family in FAMILIES:
        asked = prometheus.vector(f"increase({family}[5m])", now)
        increases = {name_of(metric, family): float(value) for metric, (_, value) in asked}
        for metric, points in prometheus.matrix(f"{family}[5m]", now):
            name = name_of(metric, family)
            assert all(later >= earlier for (_, earlier), (_, later) in pairwise(points)), name
            first[name], rose[name] = points[0][1], points[-1][1] - points[0][1]
            assert increases[name] == pytest.approx(extrapolated(points, now - 300, now), rel=1e-6)
    truth = of_families(dict(recount(folder.lines).totals))
    assert of_families(first) == before
    assert of_families(rose) == of_families({name: value - before.get(name, 0) for name, value in truth.items()})


def scrapes_more(prometheus: Prometheus, count: int) -> None:
    """Wait for so many scrapes that succeed."""
    seen = prometheus.scrapes()
    until(lambda: prometheus.scrapes() >= seen + count, 60, prometheus.log.read_text)
