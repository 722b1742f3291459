"""Who is told of which alert: the shipped routes, what `make up` makes of them, and what a real Alertmanager does."""

import json
import queue
import socketserver
import stat
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
import yaml
from slack_stage import alertmanager, configured, slack
from whole_stack import free_ports, until

from exporters.catalogue.alerts import CAUSES, Alert, alerts
from exporters.catalogue.model import Limit
from exporters.catalogue.signals import SIGNALS
from exporters.sources import seconds_of
from exporters.stack import alerting, compose, parts, processes
from exporters.stack.parts import Part
from exporters.stack.settings import Settings, StackError, load, recall, remember
from prometheus import routes

CHECKOUT = Path(__file__).parents[1]
SHIPPED = CHECKOUT / "prometheus" / "alertmanager"
SECRET = "http://127.0.0.1:9/services/T0/B0/canary"


def amtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["amtool", *arguments], capture_output=True, text=True, check=False)


def receiver(configuration: Path, *labels: str) -> str:
    done = amtool("config", "routes", "test", f"--config.file={configuration}", *labels)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def told(tmp_path: Path, **settings: str) -> Settings:
    return load({"AGENTGAUGE_HOME": str(tmp_path / "home"), "TRACE_SOURCES": "createagents:///nowhere", **settings})


def written(tmp_path: Path, **settings: str) -> dict[str, dict[str, Any]]:
    """The receivers that `make up` writes, by name, once amtool has accepted the file."""
    path = alerting.write_configuration(told(tmp_path, **settings))
    done = amtool("check-config", path)
    assert done.returncode == 0, done.stdout + done.stderr
    return {receiver.pop("name"): receiver for receiver in yaml.safe_load(path.read_text())["receivers"]}


def test_alertmanager_accepts_the_files_that_are_mounted():
    done = amtool("check-config", SHIPPED / "alertmanager.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " - 3 receivers" in done.stdout
    # amtool says how many entries name templates, and reads the files of each.
    assert sorted(path.name for path in (SHIPPED / "templates").iterdir()) == ["messages.tmpl", "portal.tmpl"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("alertname=SourceUp", "severity=critical"), "critical"),
        (("alertname=RunErrorRatioByAgent", "severity=warning"), "warning"),
        (("alertname=Anything", "severity=info"), "nobody"),
        # The drill proves the way of what wakes somebody.
        (("alertname=WeeklyDrill", "severity=warning"), "critical"),
        # A rule of somebody else's without a severity is told too.
        (("alertname=DiskFull",), "warning"),
    ],
)
def test_the_severity_says_who_is_told(labels, expected):
    assert receiver(SHIPPED / "alertmanager.yml", *labels) == expected


def test_one_cause_is_one_message_and_how_often_it_is_told_again_is_the_severity():
    route = yaml.safe_load((SHIPPED / "alertmanager.yml").read_text())["route"]
    assert (route["group_by"], route["group_wait"], route["group_interval"]) == (["alertname", "severity"], "30s", "5m")
    repeats = {one["receiver"]: one["repeat_interval"] for one in route["routes"] if "repeat_interval" in one}
    assert repeats == {"critical": "4h", "warning": "24h"}


def test_an_alert_is_told_within_two_minutes_of_its_hold():
    route = yaml.safe_load((SHIPPED / "alertmanager.yml").read_text())["route"]
    (group,) = yaml.safe_load((SHIPPED.parent / "rules" / "agentgauge.alerts.yml").read_text())["groups"]
    scraped = yaml.safe_load((SHIPPED.parent / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert sum(map(seconds_of, (scraped, group["interval"], route["group_wait"]))) <= 120


def test_a_budget_is_told_once_in_its_period_and_by_itself(tmp_path):
    limit = Limit(
        says="A budget is spent.",
        headline="{} of a budget is spent",
        do="Look who spends.",
        dashboard="agents-budgets",
        above=1.0,
        severity="critical",
        once=True,
    )
    configuration = routes.configuration([Alert(signal=SIGNALS["spend"], limit=limit)])
    budget = configuration["route"]["routes"][2]
    assert budget == {
        "receiver": "critical",
        "matchers": ['severity="critical"', 'alertname=~"Spend"'],
        "group_by": ["..."],
        "repeat_interval": "744h",
    }
    path = tmp_path / "alertmanager.yml"
    path.write_text(json.dumps(configuration | {"templates": []}))
    assert amtool("check-config", path).returncode == 0
    assert receiver(path, "alertname=Spend", "severity=critical") == "critical"
    # Alertmanager forgets what it told after its retention, 768 h here, and would tell it again.
    assert "--data.retention=768h" in alerting.FLAGS


def test_ways_that_are_not_set_are_left_out(tmp_path):
    found = written(tmp_path)
    assert found == {"critical": {}, "warning": {}, "nobody": {}}


def test_slack_gets_a_file_with_the_address_that_only_its_owner_reads(tmp_path):
    found = written(tmp_path, SLACK_WEBHOOK_URL=SECRET, SLACK_CHANNEL_CRITICAL="#pager")
    (critical,) = found["critical"].pop("slack_configs")
    (warning,) = found["warning"].pop("slack_configs")
    assert (critical["channel"], warning["channel"]) == ("#pager", "")
    assert (critical["send_resolved"], warning["send_resolved"]) == (True, False)
    assert found == {"critical": {}, "warning": {}, "nobody": {}}
    home = tmp_path / "home" / "alertmanager"
    assert critical["api_url_file"] == str(home / "slack_webhook_url_critical")
    for path in (*home.glob("*.yml"), *home.glob("slack*"), home / "templates" / "portal.tmpl"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert (home / "slack_webhook_url_critical").read_text() == SECRET
    assert "canary" not in (home / "alertmanager.yml").read_text()


def test_warnings_can_have_a_webhook_of_their_own_and_one_that_is_unset_again_is_gone(tmp_path):
    home = tmp_path / "home" / "alertmanager"
    written(tmp_path, SLACK_WEBHOOK_URL=SECRET, SLACK_WEBHOOK_URL_WARNING="http://127.0.0.1:9/other")
    assert (home / "slack_webhook_url_critical").read_text() == SECRET
    assert (home / "slack_webhook_url_warning").read_text() == "http://127.0.0.1:9/other"
    written(tmp_path)
    assert list(home.glob("slack*")) == []


def test_only_what_is_critical_and_fires_mentions_somebody(tmp_path):
    mention = "<!subteam^S0123456789> <@U0123456789>"
    with slack() as receives:
        path = configured(tmp_path, receives, group_wait="1s", group_interval="1s", mention=mention)
        with alertmanager(path, tmp_path / "data") as sends:

            def told_of(name: str, severity: str, **more: str) -> tuple[str, str | None]:
                sends.post([{"labels": {"alertname": name, "severity": severity}, **more}])
                (found,) = receives.message()["attachments"]
                return found["title"].split()[1], found.get("pretext")

            assert told_of("Bad", "critical") == ("FIRING", mention)
            assert told_of("Bad", "critical", endsAt=datetime.now(UTC).isoformat()) == ("RESOLVED", None)
            assert told_of("WeeklyDrill", "warning") == ("FIRING", None)
            assert told_of("Slow", "warning") == ("FIRING", None)


def test_mail_and_a_webhook_are_ways_too(tmp_path):
    mail = {
        "ALERT_EMAIL": "oncall@agents.example",
        "SMTP_HOST": "mail.agents.example:587",
        "SMTP_USER": "agentgauge",
        "SMTP_PASSWORD": "canary",
    }
    found = written(tmp_path, ALERT_WEBHOOK_URL="http://127.0.0.1:9/hook/", **mail)
    assert found["warning"]["webhook_configs"] == [{"url": "http://127.0.0.1:9/hook/", "send_resolved": False}]
    (to,) = found["critical"]["email_configs"]
    assert (to["to"], to["smarthost"], to["html"]) == ("oncall@agents.example", "mail.agents.example:587", "")
    password = tmp_path / "home" / "alertmanager" / "smtp_password"
    assert to["auth_password_file"] == str(password)
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert "canary" not in (password.parent / "alertmanager.yml").read_text()


MAIL = {"ALERT_EMAIL": "a@b.example", "SMTP_HOST": "mail.example:25"}
REFUSED = [
    ({"SLACK_WEBHOOK_URL": "hooks.slack.example/canary"}, "SLACK_WEBHOOK_URL is not an address"),
    ({"SLACK_WEBHOOK_URL": "https:///canary"}, "SLACK_WEBHOOK_URL is not an address"),
    ({"SLACK_WEBHOOK_URL": "https://host:canary/"}, "SLACK_WEBHOOK_URL is not an address"),
    # Grafana puts variables in place of names in it: $canary is "".
    ({"SLACK_WEBHOOK_URL": "https://host/$canary"}, "a dollar in it is written %24"),
    # Grafana: "token must be specified when using the Slack chat API".
    ({"SLACK_WEBHOOK_URL": "https://slack.com/api/chat.postMessage?canary"}, "Slack's interface for programs"),
    ({"SLACK_WEBHOOK_URL_WARNING": "http://host/%-canary"}, "SLACK_WEBHOOK_URL_WARNING is not an address"),
    ({"SLACK_WEBHOOK_URL": SECRET, "SLACK_MENTION": "@canary"}, "SLACK_MENTION is not as Slack writes it"),
    ({"SLACK_WEBHOOK_URL": SECRET, "SLACK_MENTION": "<@canary>\n<@canary>"}, "SLACK_MENTION is not as Slack"),
    ({"SLACK_CHANNEL_CRITICAL": "{{canary}}"}, "SLACK_CHANNEL_CRITICAL is not a channel as Slack writes it"),
    # A number to Grafana, which reads no number there.
    ({"SLACK_CHANNEL_WARNING": "911"}, "SLACK_CHANNEL_WARNING is not a channel as Slack writes it"),
    ({"AGENTGAUGE_ROOT_URL": "https://canary}}{{"}, "AGENTGAUGE_ROOT_URL is not an address"),
    ({"AGENTGAUGE_ALERTMANAGER_URL": "canary:9093"}, "AGENTGAUGE_ALERTMANAGER_URL is not an address"),
    ({"ALERT_WEBHOOK_URL": "http://[::1/canary"}, "ALERT_WEBHOOK_URL is not an address"),
    ({"ALERT_EMAIL": "a@b.example", "SMTP_HOST": "canary"}, "SMTP_HOST has to be a server and its port"),
    ({"ALERT_EMAIL": "a@b.example"}, "ALERT_EMAIL is set, so SMTP_HOST has to be a server and its port"),
    ({"SMTP_HOST": "canary"}, "SMTP_HOST has to be a server and its port"),
    (MAIL | {"SMTP_HOST": "canary:65536"}, "SMTP_HOST has to be a server and its port"),
    (MAIL | {"ALERT_EMAIL": "canary"}, "ALERT_EMAIL is not an address of mail"),
    (MAIL | {"ALERT_EMAIL": "a@b.example; canary@b.example"}, "or several with commas between"),
    (MAIL | {"ALERT_EMAIL": "{{canary}}@b.example"}, "ALERT_EMAIL is not an address of mail"),
    # Grafana: "invalid email address for SMTP from_address config".
    (MAIL | {"SMTP_FROM": "canary@localhost"}, "SMTP_FROM is not one address of mail with a dot in its domain"),
    ({"SMTP_FROM": "canary@localhost"}, "SMTP_FROM is not one address of mail with a dot in its domain"),
    ({"SMTP_FROM": "Canary <canary@b.example>"}, "SMTP_FROM is not one address of mail"),
    ({"SMTP_FROM": "canary@10.0.0.1"}, "SMTP_FROM is not one address of mail"),
    ({"SMTP_PASSWORD": "${canary}"}, r"SMTP_PASSWORD has a \$\{...\} or"),
    ({"GRAFANA_ADMIN_PASSWORD": "0123456789-%(canary)s"}, "GRAFANA_ADMIN_PASSWORD has a"),
]


@pytest.mark.parametrize("start", [processes.up, compose.up, alerting.write_configuration])
@pytest.mark.parametrize(("settings", "says"), REFUSED)
def test_a_setting_that_cannot_be_right_is_named_and_not_shown_before_anything_starts(
    tmp_path, monkeypatch, start, settings, says
):
    # Nothing can be started from here.
    monkeypatch.setenv("PATH", str(tmp_path))
    found = told(tmp_path, **settings)
    with pytest.raises(StackError, match=says) as raised:
        start(found)
    assert "canary" not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert [path.name for path in found.home.iterdir()] == [".env"]


def test_links_lead_to_where_people_reach_the_portal(tmp_path):
    template = tmp_path / "home" / "alertmanager" / "templates" / "portal.tmpl"
    written(tmp_path, PORTAL_PORT="8600")
    assert template.read_text() == '{{ define "agentgauge.portal" }}http://127.0.0.1:8600{{ end }}\n'
    written(tmp_path, AGENTGAUGE_ROOT_URL="https://agents.example/")
    assert template.read_text() == '{{ define "agentgauge.portal" }}https://agents.example{{ end }}\n'


@pytest.mark.parametrize(
    ("settings", "parts_there", "says"),
    [
        ({}, {"alertmanager": True}, "nobody is told of them: set SLACK_WEBHOOK_URL in .env, see docs/alerts.md"),
        ({"SLACK_WEBHOOK_URL": SECRET}, {"alertmanager": True}, "slack, by Alertmanager"),
        ({"SLACK_WEBHOOK_URL": SECRET, "ALERT_EMAIL": "a@b"}, {"grafana": True}, "slack, email, by"),
        ({"SLACK_WEBHOOK_URL": SECRET}, {}, "nobody is told of them: Alertmanager is not installed"),
    ],
)
def test_it_is_said_who_is_told(tmp_path, settings, parts_there, says):
    there = {"grafana": False, "alertmanager": False} | parts_there
    found = told(tmp_path, **settings)
    assert alerting.told(found, **there).startswith(says)
    names = [
        Part(name=name, title=name, command=()) for name, is_there in there.items() if is_there and name != "grafana"
    ]
    # The portal is told as much.
    assert parts.environment(found, names)["AGENTGAUGE_NOTIFY"] == ("slack" if "by Alert" in says else "")
    remember(found)
    assert recall(told(tmp_path)).notify == found.notify


def test_prometheus_sends_to_alertmanager_where_it_is_a_part_and_to_nobody_else(tmp_path):
    found = told(tmp_path, ALERTMANAGER_PORT="9193")
    targets = found.home / "prometheus" / "targets" / "alertmanager.yml"
    parts.write_prometheus_configuration(found, [Part(name="alertmanager", title="Alertmanager", command=())])
    assert yaml.safe_load(targets.read_text()) == [{"targets": ["127.0.0.1:9193"]}]
    parts.write_prometheus_configuration(found, [])
    assert yaml.safe_load(targets.read_text()) == []
    # In compose Grafana tells, and Prometheus must not.
    assert yaml.safe_load((SHIPPED.parent / "targets" / "alertmanager.yml").read_text()) == []


def test_what_explains_and_is_explained_exists_and_nothing_explains_itself():
    by_name = {alert.name: alert for alert in alerts(SIGNALS.values())}
    for cause in CAUSES:
        assert {*cause.alerts, *cause.explains} <= by_name.keys()
        assert not {*cause.alerts} & {*cause.explains}
        for name in (*cause.alerts, *cause.explains) if cause.of else ():
            assert {*cause.of} <= {*by_name[name].signal.by}


@pytest.mark.parametrize("unread", ["SourceUp", "SourceLastSuccessAge"])
def test_a_source_that_is_not_read_explains_whatever_is_told_of_that_source(unread):
    explained = {name for cause in CAUSES for name in cause.explains if unread in cause.alerts and cause.of}
    of_a_source = {alert.name for alert in alerts(SIGNALS.values()) if "source" in alert.signal.by}
    assert of_a_source - explained == {unread}


def test_one_cause_is_one_message_whoever_evaluates():
    (prometheus,) = yaml.safe_load((SHIPPED.parent / "rules" / "agentgauge.alerts.yml").read_text())["groups"]
    grafana = yaml.safe_load((CHECKOUT / "grafana" / "provisioning" / "alerting" / "rules.yaml").read_text())["groups"]
    asked = {rule["alert"]: rule["expr"] for rule in prometheus["rules"]}
    asked_by_grafana = {
        rule["title"]: rule["data"][0]["model"]["expr"] for group in grafana for rule in group["rules"]
    }  # fmt: skip
    explained = {name for cause in CAUSES for name in cause.explains}
    assert len(explained) == 13
    for name in explained:
        clauses = [found[found.index("unless on") :] for found in (asked[name], asked_by_grafana[name])]
        assert clauses[0] == clauses[1]
        assert clauses[0].count("ALERTS{") >= sum(name in cause.explains for cause in CAUSES)


class Post(socketserver.StreamRequestHandler):
    """A mail server that takes what it is given, as much of RFC 5321 as that needs."""

    def handle(self) -> None:
        self.wfile.write(b"220 mail.example\r\n")
        for line in self.rfile:
            verb = line[:4].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                self.server.mails.put(b"".join(iter(self.rfile.readline, b".\r\n")))  # type: ignore[attr-defined]  # ours
            self.wfile.write(b"250 mail.example\r\n" if verb != b"QUIT" else b"221 bye\r\n")
            if verb == b"QUIT":
                return


@pytest.fixture
def post() -> Iterator[tuple[str, queue.Queue[bytes]]]:
    """Where a mail server listens, and what it was given."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Post) as server:
        server.mails = queue.Queue()  # type: ignore[attr-defined]  # for the handler
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}", server.mails  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


def test_mail_says_what_slack_is_told_and_a_webhook_gets_it_as_json(tmp_path, post):
    host, mails = post
    with slack() as receives:
        settings = told(
            tmp_path,
            ALERT_EMAIL="oncall+night@agents.example,root@localhost",
            SMTP_HOST=host,
            SMTP_TLS="off",
            ALERT_WEBHOOK_URL=receives.url,
        )
        path = alerting.write_configuration(settings)
        path.write_text(path.read_text().replace("group_wait: 30s", "group_wait: 1s"))
        with alertmanager(path, tmp_path / "data") as sends:
            alert = {"alertname": "UnpricedShare", "severity": "warning"}
            said = {"summary": "Costs are too low.", "headline": "33% of calls have no price", "description": "33%."}
            sends.post([{"labels": alert, "annotations": said}])
            assert receives.message()["alerts"][0]["labels"] == alert
            mail = message_from_bytes(mails.get(timeout=60), policy=policy.default)
    assert mail["Subject"] == "FIRING warning · 33% of calls have no price"
    assert (mail["To"], mail["From"]) == (
        "oncall+night@agents.example, root@localhost",
        "agentgauge@agentgauge.invalid",
    )
    (text,) = mail.iter_parts() if mail.is_multipart() else [mail]
    assert text.get_content_type() == "text/plain"
    what, value, silence = text.get_content().strip().splitlines()
    assert what == "Costs are too low."
    assert value.startswith("33%. Since ")
    assert silence.startswith("Silence: http://127.0.0.1:")


def test_a_drill_is_told_in_every_channel_and_says_that_nothing_is_wrong(tmp_path):
    with slack() as receives, alertmanager(configured(tmp_path, receives, group_wait="1s"), tmp_path / "data") as sends:
        settings = told(tmp_path, ALERTMANAGER_PORT=sends.url.rpartition(":")[2])
        alerting.drill(settings)
        assert {receives.title(), receives.title()} == {
            "🔴 FIRING critical · A drill, nothing is wrong",
            "🟠 FIRING warning · A drill, nothing is wrong",
        }
        sends.kill()
        with pytest.raises(StackError, match=r"Alertmanager does not take the drill: .*refused"):
            alerting.drill(settings)


def test_without_a_stack_or_anybody_to_tell_there_is_no_drill(tmp_path, capsys):
    assert processes.drill(told(tmp_path, SLACK_WEBHOOK_URL=SECRET)) == 1
    assert capsys.readouterr().out == "No drill: Agentgauge does not run\n"


def test_slacks_address_is_in_no_log_when_it_does_not_answer(tmp_path):
    (closed,) = free_ports(1)
    gone = f"http://127.0.0.1:{closed}/services/canary"
    settings = told(tmp_path, SLACK_WEBHOOK_URL=gone)
    path = alerting.write_configuration(settings)
    path.write_text(path.read_text().replace("group_wait: 30s", "group_wait: 1s"))
    with alertmanager(path, tmp_path / "data") as sends:
        sends.post([{"labels": {"alertname": "X", "severity": "critical"}}])
        until(lambda: "Notify attempt failed" in sends.log.read_text(), "it is tried")
        log = sends.log.read_text()
    assert "canary" not in log
