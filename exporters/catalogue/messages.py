"""Messages: what people are told when alerts fire and end, as Go templates that Alertmanager and Grafana fill.

Both tell their alerts in the order of labels, and templates cannot sort. So whoever is worst is looked for, and of
the rest whoever is worst then: the annotation `rank` is the value at a fixed width, so that texts compare as their
numbers do.
"""

from collections.abc import Callable
from dataclasses import dataclass

from exporters import __version__

# Offenders that are named; of the rest there is a number.
_NAMED = 5
GREY = "#9e9e9e"
# Characters of a title besides " (+9999)", and of a name in a line: strangers write label values.
_TITLE, _NAME = 72, 60

# Where the portal shows all that fires, and the runbook of an alert, behind the portal's address.
ALERTS = "/alerts"
RUNBOOK = '/runbooks?alert={{ reReplaceAll "^[^#]*#" "" .Annotations.runbook_url }}'

# Takes a pipeline, returns the action that prints its text.
_Write = Callable[[str], str]


@dataclass(frozen=True, kw_only=True)
class Link:
    """Where a word of a message leads.

    `url` is a Go template in which `.` is the alert that is worst and `$` all that is told.
    `when` is a pipeline that is empty where there is no such page; then the word is left out.
    """

    url: str
    when: str


@dataclass(frozen=True, kw_only=True)
class Links:
    """What differs between those who send: the pages for an alert, and the one of all that fire."""

    panel: Link
    runbook: Link
    silence: Link
    others: Link

    @property
    def words(self) -> dict[str, Link]:
        """The links of every message, in their order, by the word that leads there."""
        return {"Panel": self.panel, "Runbook": self.runbook, "Silence": self.silence}


def templates(links: Links) -> str:
    """Return the definitions of every part of a message.

    `agentgauge.slack.title`, `.text`, `.color` and `.footer` are for an attachment in Slack: `&`, `<`
    and `>` are escaped, links are words. `agentgauge.mail.subject` and `.text` are plain text. A
    title has at most 80 characters. What has ended is told in the title, and its text is empty.
    """
    defined = {
        "slack.title": _title(_escaped, _MARK),
        "slack.text": _slack_text(links),
        "slack.color": _COLOUR,
        "slack.footer": _FOOTER,
        "mail.subject": _title(_plain, '{{ $mark := "" }}'),
        "mail.text": _mail_text(links),
    }
    return "\n".join(
        f'{{{{ define "agentgauge.{name}" -}}}}\n{text}\n{{{{- end }}}}\n' for name, text in defined.items()
    )


def _plain(pipeline: str) -> str:
    return "{{ " + pipeline + " }}"


def _escaped(pipeline: str) -> str:
    """As Slack asks (https://docs.slack.dev/messaging/formatting-message-text), so that no value is a mention."""
    return _plain(rf'{pipeline} | reReplaceAll "&" "&amp;" | reReplaceAll "<" "&lt;" | reReplaceAll ">" "&gt;"')


def _code(pipeline: str) -> str:
    """As code, in which Slack reads no marks, no emoji and no addresses."""
    return "`" + _escaped(f"""{pipeline} | reReplaceAll "`" "'" """.strip()) + "`"


def _cut(variable: str, length: int) -> str:
    """Cut a variable to so many characters: `printf` counts those, and `slice` counts bytes."""
    return (
        f'{{{{ if ne {variable} (printf "%.{length}s" {variable}) }}}}'
        f'{{{{ {variable} = printf "%.{length - 1}s…" {variable} }}}}{{{{ end }}}}'
    )


# Of $firing and those that $told does not name, sets $at to the place of the worst. Where a limit is one to stay
# above, that is the lowest. Of two numbers below zero, the one whose text compares higher is the lower.
_WORST = """\
{{- $at := -1 }}{{ $most := "" }}
{{- range $place, $alert := $firing }}{{ if not (match (printf " %d " $place) $told) }}
{{- $rank := or .Annotations.rank "" }}{{ $worse := gt $rank $most }}
{{- if and (match " -" $rank) (match " -" $most) }}{{ $worse = lt $rank $most }}{{ end }}
{{- if match "^lowest" $rank }}{{ $worse = and (ne $rank $most) (not $worse) }}{{ end }}
{{- if or $worse (eq $at -1) }}{{ $at = $place }}{{ $most = $rank }}{{ end }}
{{- end }}{{ end }}
{{- $told = printf "%s%d " $told $at -}}
"""
_FIRING = '{{- $firing := .Alerts.Firing }}{{ $told := " " }}\n' + _WORST
# Whom an alert is about, on one line.
_WHO = r'{{ $who := reReplaceAll "[\\s\\x00-\\x1f\\x7f]+" " " (or .Annotations.who "") }}'
# From the first start of what is told to its last end, as 1 h 5 min; seconds only below a minute.
_LASTED = """\
{{- $start := (index .Alerts 0).StartsAt }}{{ $end := (index .Alerts 0).EndsAt }}
{{- range .Alerts }}
{{- if .StartsAt.Before $start }}{{ $start = .StartsAt }}{{ end }}
{{- if .EndsAt.After $end }}{{ $end = .EndsAt }}{{ end }}
{{- end }}
{{- $lasted := reReplaceAll "m[0-9.]+s$" "m" (($end.Sub $start).Round 1000000000).String }}
{{- $lasted = $lasted | reReplaceAll "h" " h " | reReplaceAll "m" " min" | reReplaceAll "s" " s" -}}
"""
# What ended is green. Grey is what says that numbers are old, unless it is bad enough to wake somebody.
_COLOUR = f"""\
{{{{ if eq .Status "resolved" }}}}good{{{{ else if eq (or .CommonLabels.severity "") "critical" }}}}danger\
{{{{ else if .CommonAnnotations.stale }}}}{GREY}{{{{ else }}}}warning{{{{ end }}}}"""
# The same before a title, for who only looks: the words behind it say it too.
_MARK = """\
{{ $mark := "🟠 " }}{{ if eq .Status "resolved" }}{{ $mark = "🟢 " }}\
{{ else if eq (or .CommonLabels.severity "") "critical" }}{{ $mark = "🔴 " }}\
{{ else if .CommonAnnotations.stale }}{{ $mark = "⚪ " }}{{ end }}"""
# Who tells, and the rule by the name that its runbook has.
_FOOTER = (
    f"Agentgauge v{__version__} · "
    '{{ with .CommonAnnotations.runbook_url }}{{ reReplaceAll "^[^#]*#" "" . }}'
    "{{ else }}{{ .CommonLabels.alertname }}{{ end }}"
)


def _title(write: _Write, mark: str) -> str:
    """The line that is read alone: how things stand, how bad, who it is, and how many more.

    What is too long is cut at its end: of what fires that is who, of what has ended it is what was wrong.
    """
    told = _cut("$line", _TITLE) + write("$line")
    return (
        mark
        + '{{ if eq .Status "firing" }}\n'
        + _FIRING
        + "{{- with index $firing $at }}"
        + _WHO
        + '{{ $line := printf "%sFIRING %s · %s" $mark .Labels.severity (or .Annotations.headline .Labels.alertname) }}'
        + '{{ if $who }}{{ $line = printf "%s · %s" $line $who }}{{ end }}'
        + told
        + "{{ end }}{{ with slice $firing 1 }} (+{{ len . }}){{ end }}\n{{- else }}\n"
        + _LASTED
        + "{{- with index .Alerts 0 }}"
        + _WHO
        + '{{ $line := printf "%sRESOLVED after %s" $mark $lasted }}'
        + '{{ if $who }}{{ $line = printf "%s · %s" $line $who }}{{ end }}'
        + '{{ $line = printf "%s · %s" $line (reReplaceAll "[.]$" "" (or .Annotations.summary .Labels.alertname)) }}'
        + told
        + "{{ end }}{{ with slice .Alerts 1 }} (+{{ len . }}){{ end }}\n{{- end }}"
    )


def _text(write: _Write, name: _Write, linked: str, more: str) -> str:
    """The text of what fires, a line each: what is wrong, how bad since when, what to do first, links, offenders.

    Links stand above the list, because Slack folds a message from five line breaks on.
    """
    since = ' Since {{ .StartsAt.UTC.Format "2 Jan 15:04" }} UTC.'
    who = _WHO + _cut("$who", _NAME)
    return (
        '{{ if eq .Status "firing" }}\n'
        + _FIRING
        + "{{- with index $firing $at }}"
        + write("or .Annotations.summary .Labels.alertname")
        + "\n{{ if gt (len $firing) 1 }}Worst of {{ len $firing }} · {{ else }}"
        + who
        + "{{ if $who }}"
        + name("$who")
        + " · {{ end }}{{ end }}"
        + write('or .Annotations.description "Value unknown."')
        + since
        + "{{ with .Annotations.first }}\nFirst: "
        + write(".")
        + "{{ end }}"
        + linked
        + "{{ end }}\n{{- if gt (len $firing) 1 }}\n"
        + '{{- $told = " " }}{{ range $number, $one := $firing }}{{ if lt $number '
        + f"{_NAMED} }}}}\n"
        + _WORST
        + "{{- with index $firing $at }}"
        + who
        + "\n"
        + name('or $who "unknown"')
        + " · "
        + write('or .Annotations.value "unknown"')
        + "{{ end }}{{ end }}{{ end }}\n"
        + f"{{{{- if gt (len $firing) {_NAMED} }}}}{{{{ with index $firing 0 }}}}\n"
        + more
        + "{{ end }}{{ end }}\n{{- end }}\n{{- end }}"
    )


_REST = f"and {{{{ len (slice $firing {_NAMED}) }}}} more"


def _slack_text(links: Links) -> str:
    linked = '{{ $before := "\\n" }}' + "".join(
        f'{{{{ if {link.when} }}}}{{{{ $before }}}}<{link.url}|{word}>{{{{ $before = " · " }}}}{{{{ end }}}}'
        for word, link in links.words.items()
    )
    more = f"{{{{ if {links.others.when} }}}}<{links.others.url}|{_REST}>{{{{ else }}}}{_REST}{{{{ end }}}}"
    return _text(_escaped, _code, linked, more)


def _mail_text(links: Links) -> str:
    linked = "".join(f"{{{{ if {link.when} }}}}\n{word}: {link.url}{{{{ end }}}}" for word, link in links.words.items())
    return _text(_plain, _plain, linked, _REST)
