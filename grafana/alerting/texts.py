"""What Grafana's messages say: the texts that all senders share, with Grafana's own links in them."""

from exporters.catalogue.messages import Link, Links

# Grafana stands behind the portal's door, under /grafana/, and the portal shows the runbooks.
_PORTAL = '{{ reReplaceAll "/grafana/?$" "" $.ExternalURL }}'

LINKS = Links(
    panel=Link(when=".PanelURL", url="{{ .PanelURL }}"),
    runbook=Link(
        when=".Annotations.runbook_url",
        url=_PORTAL + '/runbooks{{ reReplaceAll "^[^#]*" "" .Annotations.runbook_url }}',
    ),
    silence=Link(when=".SilenceURL", url="{{ .SilenceURL }}"),
    board=Link(when=".DashboardURL", url="{{ .DashboardURL }}"),
)
