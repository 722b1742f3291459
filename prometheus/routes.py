"""Routes: who is told of which alert, as the configuration of an Alertmanager and the templates of what it says."""

from collections.abc import Iterable
from typing import Any

from exporters.catalogue.alerts import DRILL, ONCE, Alert
from exporters.catalogue.messages import ALERTS, RUNBOOK, Link, Links, templates

# The address of the portal, which a template of its own says.
_ROOT = '{{ template "agentgauge.portal" }}'
_PANEL = _ROOT + "/panel?id={{ .Annotations.panel_id }}"
# The portal's pickers that an alert's labels set; not those whose value would make up the whole message.
_PICKED = "".join(
    f"{{{{ with .Labels.{label} }}}}{{{{ $value := urlquery . }}}}{{{{ if lt (len $value) 60 }}}}"
    f'&{picker}={{{{ reReplaceAll "[+]" "%20" $value }}}}{{{{ end }}}}{{{{ end }}}}'
    for picker, label in (("agent", "gen_ai_agent_name"), ("model", "gen_ai_request_model"), ("source", "source"))
)
# A silence of what all that is told has in common; of the alert by its name where that would be too long.
_SILENCE = """{{ $labels := "" }}{{ $comma := "" }}\
{{ range $.CommonLabels.SortedPairs }}\
{{ $labels = printf "%s%s%s=%q" $labels $comma .Name .Value }}{{ $comma = ", " }}{{ end }}\
{{ $labels = reReplaceAll "[+]" "%20" (urlquery $labels) }}\
{{ if gt (len $labels) 200 }}{{ $labels = urlquery (printf "alertname=%q" .Labels.alertname) }}{{ end }}\
{{ $.ExternalURL }}/#/silences/new?filter=%7B{{ $labels }}%7D"""

LINKS = Links(
    panel=Link(when=".Annotations.panel_id", url=_PANEL + _PICKED),
    runbook=Link(when=".Annotations.runbook_url", url=_ROOT + RUNBOOK),
    silence=Link(when="$.ExternalURL", url=_SILENCE),
    others=Link(when=".Annotations.runbook_url", url=_ROOT + ALERTS),
)

# What `make up` and a reader of the file put their own in place of.
PORTAL = '{{ define "agentgauge.portal" }}http://127.0.0.1:8501{{ end }}\n'
_SLACK_URL, _WEBHOOK_URL = "/etc/alertmanager/slack_webhook_url", "http://127.0.0.1:9095/"
_TO, _FROM, _SMARTHOST = "oncall@example.org", "agentgauge@example.org", "127.0.0.1:25"

Block = dict[str, Any]


def message_templates() -> str:
    """Return the templates of the messages, which ask for the one of the portal's address."""
    return templates(LINKS)


def configuration(alerts: Iterable[Alert]) -> Block:
    """Return Alertmanager's configuration (https://prometheus.io/docs/alerting/0.25/configuration/).

    One cause is one message. Critical and warning differ in channel, and in how often they are
    told again; only of what is critical it is told that it has ended. A budget is told of once in its
    period, so each is a message of its own. Severity `info` is never sent. The drill tries the way of
    what is critical.
    """
    budgets = [alert.name for alert in alerts if alert.limit.once]
    once = {"group_by": ["..."], "repeat_interval": ONCE}
    routes: list[Block] = [
        {"receiver": "nobody", "matchers": ['severity="info"']},
        {"receiver": "critical", "matchers": [f'alertname="{DRILL}"']},
    ]
    for severity, repeat in (("critical", "4h"), ("warning", "24h")):
        chosen = f'severity="{severity}"'
        if budgets:
            among = f'alertname=~"{"|".join(budgets)}"'
            routes.append({"receiver": severity, "matchers": [chosen, among], **once})
        routes.append({"receiver": severity, "matchers": [chosen], "repeat_interval": repeat})
    return {
        "global": {"smtp_smarthost": _SMARTHOST, "smtp_from": _FROM},
        "templates": ["templates/*.tmpl"],
        "route": {
            "receiver": "warning",
            "group_by": ["alertname", "severity"],
            "group_wait": "30s",
            "group_interval": "5m",
            "repeat_interval": "24h",
            "routes": routes,
        },
        "receivers": [_receiver("critical", ends=True), _receiver("warning", ends=False), {"name": "nobody"}],
    }


def _receiver(severity: str, *, ends: bool) -> Block:
    return {
        "name": severity,
        "slack_configs": [
            {
                "api_url_file": _SLACK_URL,
                "channel": f"#alerts-{severity}",
                "send_resolved": ends,
                "title": _said("slack.title"),
                "text": _said("slack.text"),
                "color": _said("slack.color"),
                "fallback": _said("slack.title"),
                "footer": _said("slack.footer"),
                "username": "Agentgauge",
            }
        ],
        "email_configs": [
            {
                "to": _TO,
                "send_resolved": ends,
                "headers": {"Subject": _said("mail.subject")},
                "text": _said("mail.text"),
                # Without this, it is Alertmanager's own page, of every label and annotation.
                "html": "",
            }
        ],
        "webhook_configs": [{"url": _WEBHOOK_URL, "send_resolved": ends}],
    }


def _said(name: str) -> str:
    return f'{{{{ template "agentgauge.{name}" . }}}}'
