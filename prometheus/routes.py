"""Routes: who is told of which alert, as the configuration of an Alertmanager and the templates of what it says."""

from exporters.catalogue.messages import Link, Links

# The address of the portal, which a template of its own says.
_ROOT = '{{ template "agentgauge.root" }}'
_TAB = _ROOT + '/{{ reReplaceAll "^agents-(overview)?" "" .Annotations.dashboard_uid }}'
# The portal's pickers that an alert's labels set; not those whose value would make up the whole message.
_PICKED = '{{ $mark := "?" }}' + "".join(
    f"{{{{ with .Labels.{label} }}}}{{{{ $value := urlquery . }}}}{{{{ if lt (len $value) 60 }}}}"
    f'{{{{ $mark }}}}{picker}={{{{ reReplaceAll "[+]" "%20" $value }}}}{{{{ $mark = "&" }}}}{{{{ end }}}}{{{{ end }}}}'
    for picker, label in (("agent", "gen_ai_agent_name"), ("model", "gen_ai_request_model"), ("source", "source"))
)
# A silence of what all that is told has in common; of the alert by its name where that would be too long.
_SILENCE = """{{ $labels := "" }}{{ $comma := "" }}\
{{ range $.CommonLabels.SortedPairs }}\
{{ $labels = printf "%s%s%s=%q" $labels $comma .Name .Value }}{{ $comma = ", " }}{{ end }}\
{{ $labels = reReplaceAll "[+]" "%20" (urlquery $labels) }}\
{{ if gt (len $labels) 200 }}{{ $labels = urlquery (printf "alertname=%q" .Labels.alertname) }}{{ end }}\
{{ $.ExternalURL }}/#/silences/new?filter=%7B{{ $labels }}%7D"""
_RUNBOOK = '/runbooks{{ reReplaceAll "^[^#]*" "" .Annotations.runbook_url }}'

LINKS = Links(
    panel=Link(when=".Annotations.dashboard_uid", url=_TAB + _PICKED),
    runbook=Link(when=".Annotations.runbook_url", url=_ROOT + _RUNBOOK),
    silence=Link(when="$.ExternalURL", url=_SILENCE),
    board=Link(when=".Annotations.dashboard_uid", url=_TAB),
)
