"""Objectives in a real Prometheus: what the committed rules record of series written by hand is what a pencil says."""

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from whole_stack import Prometheus, until

from exporters.stack.past import record

HERE = Path(__file__).parents[1] / "prometheus"
RECORDED = "agent_objective:agentgauge_objective:"

# Four days, in minutes, of 100 runs each. Before the last 12 hours 1 of them fails, and of
# 100 that succeed 2 are slow; since then 5 and 10.
PAST, BAD_SINCE = 4 * 1440, 12 * 60
OLD, NEW = (1, 2), (5, 10)
BUCKET = "gen_ai_invoke_agent_duration_seconds_bucket"
AGENT = 'gen_ai_agent_name="bot"'


def openmetrics(now: int) -> str:
    """The counters, and the objectives as the exporter tells them: 98 % success and 95 % within 25.6 s, over a week."""
    first = now - PAST * 60
    failed = slow = 0
    rows: dict[str, list[str]] = {}

    def put(series: str, value: float, at: int) -> None:
        rows.setdefault(series, []).append(f"{series} {value} {at}")

    for minute in range(PAST + 1):
        at = first + 60 * minute
        put(f'agentgauge_runs_total{{{AGENT},outcome="error"}}', failed, at)
        put(f'agentgauge_runs_total{{{AGENT},outcome="ok"}}', 100 * minute - failed, at)
        put(f'{BUCKET}{{{AGENT},le="12.8"}}', 10 * minute, at)
        put(f'{BUCKET}{{{AGENT},le="25.6"}}', 100 * minute - slow, at)
        put(f'{BUCKET}{{{AGENT},le="+Inf"}}', 100 * minute, at)
        put(f'agentgauge_objective_ratio{{{AGENT},objective="success"}}', 0.98, at)
        put(f'agentgauge_objective_ratio{{{AGENT},objective="latency",le="25.6"}}', 0.95, at)
        for objective in ("success", "latency"):
            put(f'agentgauge_objective_window_seconds{{{AGENT},objective="{objective}"}}', 7 * 86_400, at)
        more = NEW if minute >= PAST - BAD_SINCE else OLD
        failed, slow = failed + more[0], slow + more[1]
    text = ["# TYPE agentgauge_runs counter"]
    return "\n".join([*text, *(line for lines in rows.values() for line in lines), "# EOF\n"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus on these series, with the committed rules: those of a minute or two are evaluated every second."""
    folder = tmp_path_factory.mktemp("burning")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (folder / "written").write_text(openmetrics(int(time.time())))
    data = folder / "data"
    command = ["promtool", "tsdb", "create-blocks-from", "--max-block-duration=18h", "openmetrics"]
    subprocess.run([*command, folder / "written", data], check=True, capture_output=True)
    record(data, url=f"http://{address}", seconds=PAST * 60)
    for every in ("1m", "2m", "5m"):
        rules = (HERE / "rules" / f"agentgauge.derived.{every}.yml").read_text()
        quick = rules if every == "5m" else rules.replace(f"interval: {every}", "interval: 1s")
        (folder / f"agentgauge.derived.{every}.yml").write_text(quick)
    (folder / "prometheus.yml").write_text("rule_files: [agentgauge.*.yml]\n")
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address={address}",
        "--storage.tsdb.retention.time=90d",
    ]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            found = Prometheus(f"http://{address}")
            until(lambda: process.poll() is not None or found.ready(), "Prometheus is ready")
            assert process.poll() is None, (folder / "log").read_text()
            until(lambda: found.instant(f"{RECORDED}budget_left", time.time()), "the rules were evaluated")
            yield found
        finally:
            process.terminate()
            process.wait(30)


def asked(server: Prometheus, name: str) -> dict[str, float]:
    found = server.instant(f"{RECORDED}{name}{{{AGENT}}}", time.time())
    return {dict(labels)["objective"]: value for labels, value in found.items()}


@pytest.mark.parametrize(
    ("window", "success", "latency"),
    [
        # All of it bad: 5 % where 2 % may be, 10 % where 5 % may be.
        *((window, 2.5, 2.0) for window in ("5m", "30m", "1h", "2h", "6h")),
        # Half of it: (5 + 1) / 2 = 3 % of 2 %, (10 + 2) / 2 = 6 % of 5 %.
        ("1d", 1.5, 1.2),
        # A sixth: (5 + 5 * 1) / 6 = 1.667 % of 2 %, (10 + 5 * 2) / 6 = 3.333 % of 5 %.
        ("3d", 0.8333, 0.6667),
    ],
)
def test_burn_rates(server: Prometheus, window: str, success: float, latency: float) -> None:
    # A window of sums may hold one sample more at its edge, 5 minutes of a day.
    assert asked(server, f"burn_rate{window}") == pytest.approx({"success": success, "latency": latency}, rel=0.01)


def test_the_budget_that_is_left(server: Prometheus) -> None:
    # Of the 96 hours 12 are bad: (12 * 5 + 84 * 1) / 96 = 1.5 % of 2 %, and (12 * 10 + 84 * 2) / 96 = 3 % of 5 %.
    assert asked(server, "bad_ratio") == pytest.approx({"success": 0.015, "latency": 0.03}, rel=0.01)
    assert asked(server, "budget_left") == pytest.approx({"success": 0.25, "latency": 0.4}, abs=0.01)
    # 100 a minute; what a latency is judged of are those in the histogram.
    runs = 100 * PAST
    assert asked(server, "runs") == pytest.approx({"success": runs, "latency": runs}, rel=0.01)
    assert asked(server, "runs1d") == pytest.approx({"success": 144_000, "latency": 144_000}, rel=0.01)
