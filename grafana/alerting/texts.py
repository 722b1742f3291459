"""What Grafana's messages say: the texts that all senders share, with Grafana's own links in them."""

from exporters.catalogue.messages import ALERTS, GREY, RUNBOOK, Link, Links, templates
from grafana.alerting.rules import PORTAL

# The portal shows the runbooks.
_PORTAL = f'{{{{ reReplaceAll "/$" "" .Labels.{PORTAL} }}}}'

LINKS = Links(
    panel=Link(when=".PanelURL", url="{{ .PanelURL }}"),
    runbook=Link(
        when=f"and .Annotations.runbook_url .Labels.{PORTAL}",
        url=_PORTAL + RUNBOOK,
    ),
    silence=Link(when=".SilenceURL", url="{{ .SilenceURL }}"),
    others=Link(when=f".Labels.{PORTAL}", url=_PORTAL + ALERTS),
)

# Grafana's own alert where it cannot ask: it carries the rule's annotations, with nothing in place of the value.
_UNASKED = 'match "^Datasource" (or .CommonLabels.alertname "")'
_UNASKED_TITLE = """\
{{ if eq .Status "firing" }}FIRING · Alert rules cannot be evaluated\
{{ else }}RESOLVED · Alert rules are evaluated again{{ end }}"""
_UNASKED_COLOUR = f'{{{{ if eq .Status "firing" }}}}{GREY}{{{{ else }}}}good{{{{ end }}}}'
_UNASKED_MARK = '{{ if eq .Status "firing" }}⚪ {{ else }}🟢 {{ end }}'
_UNASKED_TEXT = """\
{{ if eq .Status "firing" }}Grafana gets no answer from Prometheus, so that nothing else is told until it does.
First: See whether Prometheus runs and answers on its page of targets.{{ end }}"""


def texts() -> str:
    """Return the templates that contact points name: what Grafana tells of itself, and the messages of alerts."""
    own = "".join(
        f'{{{{ define "agentgauge.grafana.{name}" }}}}{{{{ if {_UNASKED} }}}}{unasked}'
        f'{{{{ else }}}}{{{{ template "agentgauge.{shared}" . }}}}{{{{ end }}}}{{{{ end }}}}\n'
        for name, unasked, shared in (
            ("title", _UNASKED_MARK + _UNASKED_TITLE, "slack.title"),
            ("text", _UNASKED_TEXT, "slack.text"),
            ("color", _UNASKED_COLOUR, "slack.color"),
            ("subject", _UNASKED_TITLE, "mail.subject"),
            ("mail", _UNASKED_TEXT, "mail.text"),
        )
    )
    return own + "\n" + templates(LINKS)
