"""Alertmanager's files for this machine: the shipped routes, with the ways out that are set and without the others."""

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import yaml

from exporters.stack import access, addresses
from exporters.stack.debian import program
from exporters.stack.settings import CHECKOUT, Settings, StackError, write_private

_SHIPPED = CHECKOUT / "prometheus" / "alertmanager"
# Longer than the longest interval of the routes, or what was told is forgotten and told again. What is written
# down every few seconds, and not every quarter of an hour, is not told twice after a kill.
FLAGS = ("--data.retention=768h", "--data.maintenance-interval=2s", "--cluster.listen-address=")
DRILL_OF_GRAFANA = (
    "Grafana tells of alerts here, and tries its ways itself: sign in as admin, Alerting, Contact points, Test."
)
_SEVERITIES = ("critical", "warning")

_Block = dict[str, Any]


def write_configuration(settings: Settings) -> Path:
    """Write what Alertmanager starts with, for its owner only, and return the configuration's path.

    Secrets stand in files of their own where Alertmanager reads them from there: it shows its
    configuration to whoever asks. Raises StackError when a setting cannot be right.
    """
    addresses.check(settings.env)
    home = settings.home / "alertmanager"
    (home / "templates").mkdir(parents=True, exist_ok=True)
    for secret in (*home.glob("slack_webhook_url_*"), *home.glob("smtp_password")):
        secret.unlink()
    messages = home / "templates" / "messages.tmpl"
    messages.unlink(missing_ok=True)
    messages.symlink_to(_SHIPPED / "templates" / "messages.tmpl")
    portal = settings.env.get("AGENTGAUGE_ROOT_URL", "").rstrip("/") or settings.url("PORTAL_PORT")
    write_private(home / "templates" / "portal.tmpl", f'{{{{ define "agentgauge.portal" }}}}{portal}{{{{ end }}}}\n')
    routes = yaml.safe_load((_SHIPPED / "alertmanager.yml").read_text("utf-8"))
    # Mail servers are named where mail is sent.
    del routes["global"]
    for receiver in routes["receivers"]:
        if receiver["name"] in _SEVERITIES:
            _choose(settings, home, receiver)
    path = home / "alertmanager.yml"
    write_private(path, yaml.safe_dump(routes, sort_keys=False, allow_unicode=True))
    return path


def command(settings: Settings) -> tuple[str, ...] | None:
    """Return how Alertmanager is started; None where there is none, which is no reason not to start the rest."""
    found = program("prometheus-alertmanager") or program("alertmanager")
    if found is None:
        return None
    home = settings.home / "alertmanager"
    return (
        found,
        f"--config.file={home / 'alertmanager.yml'}",
        f"--storage.path={home / 'data'}",
        f"--web.listen-address=127.0.0.1:{settings.ports['ALERTMANAGER_BACKEND_PORT']}",
        *access.options(settings),
        f"--web.external-url={external_url(settings)}",
        # Behind a proxy its pages are those of the proxy's address, and here they stand at the root.
        "--web.route-prefix=/",
        *FLAGS,
    )


def told(settings: Settings, *, grafana: bool, alertmanager: bool) -> str:
    """Say in one line who is told of alerts."""
    if not settings.notify:
        return "nobody is told of them: set SLACK_WEBHOOK_URL in .env, see docs/alerts.md"
    ways = ", ".join(settings.notify)
    if grafana:
        return f"{ways}, by Grafana"
    if alertmanager:
        return f"{ways}, by Alertmanager"
    return "nobody is told of them: Alertmanager is not installed (apt-get install prometheus-alertmanager)"


def drill(settings: Settings) -> None:
    """Have Alertmanager tell of an alert of each severity that says that it is a drill and ends in two minutes.

    Raises StackError when Alertmanager does not take them.
    """
    now = datetime.now(UTC)
    alerts = [
        {
            "labels": {"alertname": "Drill", "severity": severity},
            "annotations": {
                "summary": "This is a drill, and nothing is wrong.",
                "headline": "A drill, nothing is wrong",
                "description": f"Somebody tries how a {severity} alert is told.",
                "first": "Do nothing: that you read this is what was to be shown.",
            },
            "startsAt": now.isoformat(),
            "endsAt": (now + timedelta(minutes=2)).isoformat(),
        }
        for severity in _SEVERITIES
    ]
    port = settings.ports["ALERTMANAGER_PORT"]
    try:
        with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            connection.request("POST", "/api/v2/alerts", json.dumps(alerts), {"Content-Type": "application/json"})
            if (answer := connection.getresponse()).status != 200:
                raise StackError(f"Alertmanager does not take the drill: {answer.status} {answer.reason}")
    except OSError as error:
        raise StackError(f"Alertmanager does not take the drill: {error}; make status shows how it is.") from None


def external_url(settings: Settings) -> str:
    """Return where people reach Alertmanager, as links in messages say it."""
    return addresses.page(settings.env, "AGENTGAUGE_ALERTMANAGER_URL").rstrip("/") or settings.url("ALERTMANAGER_PORT")


def _choose(settings: Settings, home: Path, receiver: _Block) -> None:
    """Fill in the ways out of a receiver, and take away those that are not set."""
    severity = receiver["name"]
    for way, fill in (("slack_configs", _slack), ("email_configs", _email), ("webhook_configs", _webhook)):
        (shipped,) = receiver.pop(way)
        if filled := fill(settings, home, severity):
            receiver[way] = [shipped | filled]


def _slack(settings: Settings, home: Path, severity: str) -> _Block | None:
    """A webhook of Slack has its channel; only older ones take another."""
    url = settings.env.get("SLACK_WEBHOOK_URL")
    if not url:
        return None
    if severity == "warning":
        url = settings.env.get("SLACK_WEBHOOK_URL_WARNING") or url
    path = home / f"slack_webhook_url_{severity}"
    write_private(path, url)
    mentioned = _mentioned(settings) if severity == "critical" else {}
    return {
        "api_url_file": str(path),
        "channel": settings.env.get(f"SLACK_CHANNEL_{severity.upper()}", ""),
        **mentioned,
    }


def _mentioned(settings: Settings) -> _Block:
    """Have somebody mentioned by what is critical and fires; the drill goes the same way and is not."""
    mention = settings.env.get("SLACK_MENTION", "")
    if not mention:
        return {}
    fires = '{{ if and (eq .Status "firing") (eq .CommonLabels.severity "critical") }}'
    return {"pretext": f"{fires}{mention}{{{{ end }}}}"}


def _email(settings: Settings, home: Path, _: str) -> _Block | None:
    env = settings.env
    if not (to := env.get("ALERT_EMAIL")):
        return None
    filled: _Block = {"to": to, "smarthost": env["SMTP_HOST"], "from": env.get("SMTP_FROM") or addresses.SENDER}
    if env.get("SMTP_TLS") == "off":
        filled["require_tls"] = False
    if user := env.get("SMTP_USER"):
        password = home / "smtp_password"
        write_private(password, env.get("SMTP_PASSWORD", ""))
        filled |= {"auth_username": user, "auth_password_file": str(password)}
    return filled


def _webhook(settings: Settings, home: Path, _: str) -> _Block | None:
    url = settings.env.get("ALERT_WEBHOOK_URL")
    return {"url": url} if url else None
