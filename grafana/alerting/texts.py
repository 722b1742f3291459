"""What Grafana's messages say: the texts that all senders share, with Grafana's own links in them."""

from exporters.catalogue.messages import Link, Links
from grafana.alerting.rules import PORTAL

# The portal shows the runbooks.
_PORTAL = f'{{{{ reReplaceAll "/$" "" .Labels.{PORTAL} }}}}'

LINKS = Links(
    panel=Link(when=".PanelURL", url="{{ .PanelURL }}"),
    runbook=Link(
        when=f"and .Annotations.runbook_url .Labels.{PORTAL}",
        url=_PORTAL + '/runbooks{{ reReplaceAll "^[^#]*" "" .Annotations.runbook_url }}',
    ),
    silence=Link(when=".SilenceURL", url="{{ .SilenceURL }}"),
    board=Link(when=".DashboardURL", url="{{ .DashboardURL }}"),
)
