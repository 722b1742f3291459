"""A bad deploy of the demo becomes a message in Slack: real exporter, Prometheus and Alertmanager, which is killed.

The committed rules and routes, with one change: every duration is a sixtieth, so that minutes are seconds.
"""

import contextlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from slack_stage import Alertmanager, Slack, alertmanager, configured, slack
from whole_stack import Prometheus, free_ports, until

from exporters import __version__
from exporters.catalogue.alerts import alerts
from exporters.catalogue.signals import SIGNALS
from exporters.demo.scenario import AGENTS
from exporters.demo.weather import Weather
from exporters.stack.parts import INSTANCE, PROMETHEUS_FLAGS

CHECKOUT = Path(__file__).parents[1]
PORTAL = "http://127.0.0.1:8501"
_MILLISECONDS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
# Not within a name such as rate5m.
_DURATION = re.compile(r"(?<![\w.])(\d+)([smhdw])\b")


def sixtieth(text: str) -> str:
    """Make every duration of a text a sixtieth, and a second at least."""
    return _DURATION.sub(lambda found: f"{max(1000, int(found[1]) * _MILLISECONDS[found[2]] // 60)}ms", text)


def hurried(rule: dict[str, Any]) -> dict[str, Any]:
    """A rule whose windows and holds are a sixtieth; what it says stays."""
    timed = {name: sixtieth(rule[name]) for name in ("expr", "for", "keep_firing_for") if name in rule}
    return rule | timed


@dataclass
class Stage:
    """What runs, and what Slack got, each with when it came."""

    home: Path
    slack: Slack
    alertmanager: Alertmanager
    prometheus: Prometheus
    serve: list[str]
    running: contextlib.ExitStack
    exporter: subprocess.Popen[bytes] | None = None
    got: list[tuple[float, dict[str, Any]]] = field(default_factory=list)

    def told(self, alert: str) -> list[tuple[float, dict[str, Any]]]:
        """What Slack was told of an alert until now."""
        while not self.slack.posted.empty():
            (attachment,) = self.slack.posted.get()["attachments"]
            self.got.append((time.time(), attachment))
        (uid,) = (one.anchor for one in alerts(SIGNALS.values()) if one.name == alert)
        return [(at, one) for at, one in self.got if one["footer"] == f"Agentgauge v{__version__} · {uid}"]

    def state(self, alert: str, **labels: str) -> dict[str, Any]:
        """The alert as Prometheus has it, empty when it has none."""
        alerts = self.prometheus.get("alerts")["alerts"]
        wanted = {"alertname": alert, **labels}.items()
        return next((one for one in alerts if wanted <= one["labels"].items()), {})

    def kill_alertmanager(self) -> None:
        """Kill it once what it told is written down, which it does every other second."""
        log, told = self.home / "data" / "nflog", time.time()
        until(lambda: log.exists() and log.stat().st_mtime > told, "Alertmanager has written down what it told")
        self.alertmanager.kill()

    def start_exporter(self) -> None:
        self.exporter = self.running.enter_context(started(self.serve, self.home / "exporter.log"))


@contextlib.contextmanager
def started(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("a") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def write_prometheus(home: Path, exporter: int, sends: Alertmanager) -> None:
    """The committed configuration in a hurry, and targets as `make up` writes them."""
    configuration = yaml.safe_load((CHECKOUT / "prometheus" / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for job in configuration["scrape_configs"]:
        job.pop("scrape_interval", None)
    (home / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    (home / "targets").mkdir()
    targets = {
        "agentgauge": {"targets": [f"127.0.0.1:{exporter}"], "labels": {"instance": INSTANCE}},
        "alertmanager": {"targets": [sends.url.removeprefix("http://")]},
    }
    for name, target in targets.items():
        (home / "targets" / f"{name}.yml").write_text(yaml.safe_dump([target]))


def write_rules(home: Path) -> None:
    """The committed rules in a hurry."""
    (home / "rules").mkdir()
    for path in (CHECKOUT / "prometheus" / "rules").glob("*.yml"):
        (group,) = yaml.safe_load(path.read_text())["groups"]
        group |= {"interval": sixtieth(group["interval"]), "rules": [hurried(rule) for rule in group["rules"]]}
        (home / "rules" / path.name).write_text(yaml.safe_dump({"groups": [group]}))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("slack")
    exporter, port = free_ports(2)
    with contextlib.ExitStack() as running:
        receives = running.enter_context(slack())
        # A sixtieth of 30 s, 5 m, and of how often a warning is told again.
        path = configured(home, receives, PORTAL, group_wait="500ms", group_interval="5s", repeat_interval="24m")
        sends = running.enter_context(alertmanager(path, home / "data"))
        write_prometheus(home, exporter, sends)
        command = [
            "prometheus",
            f"--config.file={home / 'prometheus.yml'}",
            f"--storage.tsdb.path={home / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
            # How often what fires is sent again: a sixtieth too.
            "--rules.alert.resend-delay=1s",
            *PROMETHEUS_FLAGS,
        ]
        program = [sys.executable, "-m", "exporters"]
        found = Stage(
            home=home,
            slack=receives,
            alertmanager=sends,
            prometheus=Prometheus(f"http://127.0.0.1:{port}"),
            serve=[
                *(*program, "serve", f"createagents://{home / 'traces'}"),
                *("--listen", f"127.0.0.1:{exporter}", "--state", str(home / "state")),
            ],
            running=running,
        )
        (home / "traces").mkdir()
        found.start_exporter()
        server = running.enter_context(started(command, home / "prometheus.log"))
        until(found.prometheus.ready, "Prometheus is ready")
        # It learns of its targets within five seconds, and the hurried rules find them missing sooner.
        up = 'up{job="agentgauge"} == 1'
        until(lambda: found.prometheus.instant(up, time.time()), "the exporter is scraped")
        write_rules(home)
        server.send_signal(signal.SIGHUP)
        until(lambda: found.prometheus.get("rules")["groups"], "the rules are read")
        yield found


def calm_seed(now: float) -> int:
    """A seed of the demo in whose story nothing else goes wrong for five minutes."""
    agents = [("deploy", agent.name) for agent in AGENTS]
    tools = [("flaky", tool.name) for agent in AGENTS for tool in agent.tools]
    subjects: list[tuple[Any, str]] = [*agents, *tools, ("slow", "openai")]
    for seed in range(1000):
        weather = Weather(seed=seed, live=now)
        if not any(weather.incident(*subject, now + 30 * at) for at in range(11) for subject in subjects):
            return seed
    raise AssertionError("something goes wrong in every story")


# One after the other, as told.


def test_a_bad_deploy_is_told_once_though_alertmanager_is_killed(stage):
    trouble = "deploy:support:in=20s,for=30s,failing=0.9"
    demo = [sys.executable, "-m", "exporters", "demo", str(stage.home / "traces")]
    seed = str(calm_seed(time.time()))
    command = [*demo, "--history", "0s", "--rate", "240", "--incident", trouble, "--seed", seed]
    stage.running.enter_context(started(command, stage.home / "demo.log"))

    alert, who = "RunErrorRatioByAgent", {"gen_ai_agent_name": "support"}
    until(lambda: stage.state(alert, **who).get("state") == "firing", "the limit is crossed for as long as its hold")
    crossed = stage.state(alert, **who)
    since = datetime.fromisoformat(crossed["activeAt"].partition(".")[0].rstrip("Z") + "+00:00").timestamp()
    (came, message), *_ = until(lambda: stage.told(alert), "the message comes")
    # The hold is five minutes, here seconds; the rest is a scrape, an evaluation, the wait of a group, a busy machine.
    assert came - since < 5 + 10

    assert re.fullmatch(r"🟠 FIRING warning · [\d.]+% of runs fail · agent support", message["title"])
    what, value, first, links = message["text"].splitlines()
    assert what == "Too many runs of an agent fail."
    assert re.fullmatch(
        r"`agent support` · Failed runs by agent: [\d.]+%, limit 20%, over 15m\. Since \d+ \w{3} \d\d:\d\d UTC\.", value
    )
    assert first == "First: Open the Errors dashboard for this agent."
    silence = quote('{alertname="RunErrorRatioByAgent", gen_ai_agent_name="support", severity="warning"}')
    assert links == (
        f"<{PORTAL}/panel?id=1721450763&agent=support|Panel> · "
        f"<{PORTAL}/runbooks?alert=run_error_ratio_by_agent|Runbook> · "
        f"<{stage.alertmanager.url}/#/silences/new?filter={silence}|Silence>"
    )
    assert message["color"] == "warning"

    stage.kill_alertmanager()
    stage.alertmanager.start()
    here = {"filter": f'alertname="{alert}"', "active": "true"}
    until(lambda: stage.alertmanager.get("alerts", **here), "Alertmanager knows of it again")
    until(lambda: not stage.state(alert, **who), "the deploy is rolled back")
    until(lambda: not stage.alertmanager.get("alerts", **here), "Alertmanager knows that it is over")
    # Told once; that a warning has ended is not told.
    assert [one["title"][:16] for _, one in stage.told(alert)] == ["🟠 FIRING warning"]


def test_what_happens_while_alertmanager_is_down_is_told_when_it_is_back_and_once(stage):
    alert = "ExporterUp"
    stage.kill_alertmanager()
    stage.exporter.kill()
    until(lambda: stage.state(alert).get("state") == "firing", "the exporter is gone for too long")
    stage.alertmanager.start()
    ((_, message),) = until(lambda: stage.told(alert), "the message comes")
    assert message["title"] == "🔴 FIRING critical · An exporter does not answer · instance exporter:9464"
    assert message["color"] == "danger"

    stage.kill_alertmanager()
    stage.start_exporter()
    until(lambda: not stage.state(alert), "the exporter is back")
    stage.alertmanager.start()
    _, (_, message) = until(lambda: len(told := stage.told(alert)) > 1 and told, "its end is told")
    title = r"🟢 RESOLVED after \d+ s · instance exporter:9464 · An exporter does not \w*…"
    assert re.fullmatch(title, message["title"])
    assert (message["text"], message["color"]) == ("", "good")
    # What the others do is of no account here, but nothing is said twice.
    titles = [one["title"] for _, one in stage.told(alert)]
    assert [title.split()[1] for title in titles] == ["FIRING", "RESOLVED"]


EXAMPLE = re.compile(r"```text\n(.*?)```", re.DOTALL)


def without_numbers(text: str) -> str:
    """What differs from one day to the next: percentages, times, and the ports of this machine."""
    text = re.sub(r"(?<![%\d.])\d+(\.\d+)?%(?=[ ,])", "N%", text)
    text = re.sub(r"\d+ \w{3} \d\d:\d\d UTC", "TIME", text)
    text = re.sub(r"after [\d a-z]+ ·", "after TIME ·", text)
    # How long it took says how much else has room in a title.
    text = re.sub(r"\w*…$", "…", text)
    return re.sub(r"127\.0\.0\.1:\d+", "HERE", text)


def test_the_examples_in_the_documentation_are_what_came(stage):
    examples = EXAMPLE.findall((CHECKOUT / "docs" / "alerts.md").read_text(encoding="utf-8"))
    came = [
        f"{one['title']}\n{one['text']}".strip()
        for name in ("RunErrorRatioByAgent", "ExporterUp")
        for _, one in stage.told(name)
    ]
    assert [without_numbers(example.strip()) for example in examples] == [without_numbers(one) for one in came]
