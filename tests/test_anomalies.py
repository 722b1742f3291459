"""Four weeks made by hand in a real Prometheus: what is usual, how far from it the present is, and what is an alert."""

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from whole_stack import Prometheus, until

from exporters.catalogue.alerts import alerts
from exporters.catalogue.metrics import labels_by_series
from exporters.catalogue.model import fill
from exporters.catalogue.signals import SIGNALS

RULES = Path(__file__).parents[1] / "prometheus" / "rules"
HOUR, DAY, WEEK = 3600, 86400, 7 * 86400
STEP = 600
# Dollars in the hour before now, one to four weeks ago: the usual is 4; (-2, -1, 1, 2) squared is 10, by 3 is 3.3333,
# and the root of that is 1.8257.
WEEKS = {1: 2.0, 2: 3.0, 3: 5.0, 4: 6.0}
# The bot spends 14, which is 5.477 deviations above. The other spends 5, as in the two weeks that it is known for: 4
# and 6. Of the third there is one week only. Calls are 100 an hour.
HOURS = {
    "bot": ({**WEEKS}, 14.0),
    "calm": ({1: 4.0, 2: 6.0}, 5.0),
    "new": ({1: 1.0}, 50.0),
}


def history(now: int) -> str:
    """Write counters whose last hours, now and in past weeks, bring what HOURS says; as OpenMetrics."""
    lines: dict[str, list[str]] = {"agentgauge_cost_usd": [], "agentgauge_inference_calls": []}
    for agent, (weeks, present) in HOURS.items():
        label, total, calls = f'{{gen_ai_agent_name="{agent}"}}', 0.0, 0.0
        for week, spent in [*sorted(weeks.items(), reverse=True), (0, present)]:
            end = now - week * WEEK
            for at in range(end - 2 * HOUR, end + 1, STEP):
                within = at > end - HOUR
                total += spent * STEP / HOUR if within else 0.0
                calls += 100 * STEP / HOUR if within else 0.0
                lines["agentgauge_cost_usd"].append(f"agentgauge_cost_usd_total{label} {total} {at}")
                lines["agentgauge_inference_calls"].append(f"agentgauge_inference_calls_total{label} {calls} {at}")
    return "".join(f"# TYPE {name} counter\n" + "\n".join(found) + "\n" for name, found in lines.items()) + "# EOF\n"


@pytest.fixture(scope="module")
def now() -> int:
    """A whole step that is over, so that every sample is in the past."""
    return int(time.time()) // STEP * STEP - STEP


@pytest.fixture(scope="module")
def server(now: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus with that history and the rules of derived series and alerts, all evaluated every second."""
    folder = tmp_path_factory.mktemp("weeks")
    (folder / "past.om").write_text(history(now))
    blocks = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", "past.om", "data"]
    subprocess.run(blocks, cwd=folder, check=True, capture_output=True)
    (folder / "rules").mkdir()
    for path in sorted(RULES.glob("agentgauge.derived.*.yml")):
        document = yaml.safe_load(path.read_text())
        for group in document["groups"]:
            # As of the moment that the history was made for, however long loading it has taken.
            group["rules"] = [
                rule | {"expr": rule["expr"].replace("[1h]", f"[1h] @ {now}").replace("[1d]", f"[1d] @ {now}")}
                for rule in group["rules"]
            ]
            group["interval"] = "1s"
        (folder / "rules" / path.name).write_text(yaml.safe_dump(document))
    (folder / "prometheus.yml").write_text(yaml.safe_dump({"rule_files": ["rules/*.yml"]}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"]
    command += ["--storage.tsdb.retention.time=90d", f"--web.listen-address={address}"]
    with (folder / "log").open("w") as log, subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process:
        try:
            found = Prometheus(f"http://{address}")
            until(lambda: process.poll() is not None or found.ready(), "Prometheus is ready")
            assert process.poll() is None, (folder / "log").read_text()
            until(
                lambda: found.instant(":agentgauge_cost_usd:increase1h_score", time.time()), "the rules have recorded"
            )
            yield found
        finally:
            process.terminate()
            process.wait(30)


def of_agents(server: Prometheus, name: str) -> dict[str, float]:
    return server.by("gen_ai_agent_name", f"agent:agentgauge_cost_usd:{name}", time.time())


def near(values: dict[str, float]) -> object:
    return pytest.approx(values, rel=1e-6)


def test_the_usual_is_the_mean_of_the_weeks_that_there_are_and_of_two_at_least(server: Prometheus) -> None:
    assert of_agents(server, "increase1h") == near({"bot": 14.0, "calm": 5.0, "new": 50.0})
    assert of_agents(server, "increase1h_usual") == near({"bot": 4.0, "calm": 5.0})
    weeks = 'agent_week:agentgauge_cost_usd:increase1h{gen_ai_agent_name="bot"}'
    assert server.by("week", weeks, time.time()) == near({"1": 2.0, "2": 3.0, "3": 5.0, "4": 6.0})


def test_the_deviation_is_that_of_a_sample_and_a_quarter_of_the_usual_at_least(server: Prometheus) -> None:
    # Calm: (-1, 1) squared is 2, by 1, of which the root is 1.4142; a quarter of 5 is 1.25.
    assert of_agents(server, "increase1h_deviation") == near({"bot": (10 / 3) ** 0.5, "calm": 2**0.5})
    assert of_agents(server, "increase1h_score") == near({"bot": 10 / (10 / 3) ** 0.5, "calm": 0.0})


def test_in_total_each_week_is_the_sum_of_those_who_were_there(server: Prometheus) -> None:
    at = time.time()
    # 2 + 4 + 1, 3 + 6, 5, 6.
    assert server.by("week", "week:agentgauge_cost_usd:increase1h", at) == near(
        {"1": 7.0, "2": 9.0, "3": 5.0, "4": 6.0}
    )
    assert list(server.instant(":agentgauge_cost_usd:increase1h_usual", at).values()) == [pytest.approx(27 / 4)]


def test_only_what_is_far_above_its_own_usual_is_an_alert(server: Prometheus) -> None:
    named = {alert.name: alert for alert in alerts(SIGNALS.values())}
    assert server.by("gen_ai_agent_name", named["SpendAnomalyByAgent"].breach, time.time()) == near(
        {"bot": 10 / (10 / 3) ** 0.5}
    )
    # The total is far above its usual too, and is not told beside the agent whose doing it is.
    (total,) = server.instant(named["SpendAnomaly"].value, time.time()).values()
    assert total > 4
    assert server.instant(named["SpendAnomaly"].breach, time.time()) == {}


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ("bot", {"present": 14.0, "usual": 4.0, "upper": 4 + 2 * (10 / 3) ** 0.5, "lower": 4 - 2 * (10 / 3) ** 0.5}),
        ("new", {"present": 50.0}),
        # Of 7, 9, 5 and 6 dollars: (0.25, 2.25, -1.75, -0.75) squared is 8.75, by 3, and the root of that is 1.7078.
        (
            ".*",
            {
                "present": 69.0,
                "usual": 6.75,
                "upper": 6.75 + 2 * (8.75 / 3) ** 0.5,
                "lower": 6.75 - 2 * (8.75 / 3) ** 0.5,
            },
        ),
    ],
)
def test_a_band_is_of_the_agent_that_is_picked_or_of_all(
    server: Prometheus, agent: str, expected: dict[str, float]
) -> None:
    band = fill(SIGNALS["spend_band"].expr, {"gen_ai_agent_name": f'=~"{agent}"'}, "1h", labels_by_series())
    assert server.by("stat", band, time.time()) == near(expected)
