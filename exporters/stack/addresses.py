"""Addresses among the settings, of pages, mail and Slack: only such as Grafana and Alertmanager both accept.

Either ends where it cannot read one, long after whoever set it has looked away, so they are checked before anything
starts. What is asked is what both accept: who tells of alerts depends on what is installed.
"""

import re
from collections.abc import Mapping

from exporters.stack.settings import StackError

# Whom mail is from until SMTP_FROM says so. Grafana does not start with a domain without a dot, not even where no mail
# is sent, and nobody can have a name below .invalid (RFC 2606).
SENDER = "agentgauge@agentgauge.invalid"
# Where mail would go that no route leads to: Grafana does not start with a contact point without an address.
NOBODY = "nobody@agentgauge.invalid"

_PAGES = (
    "AGENTGAUGE_ROOT_URL",
    "AGENTGAUGE_ALERTMANAGER_URL",
    "SLACK_WEBHOOK_URL",
    "SLACK_WEBHOOK_URL_WARNING",
    "ALERT_WEBHOOK_URL",
)
# What Go's net/url reads, which is what reads them, in characters that end neither a template, nor a link of Slack, nor
# a list: and without a dollar, since Grafana puts variables in place of names in what it has just put in place.
_ESCAPED = r"%[0-9A-Fa-f]{2}"
_PAGE = re.compile(
    rf"https?://(?:(?:[\w.~!&'()*+,;=:-]|{_ESCAPED})+@)?"
    r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]+))?"
    rf"(?:/(?:[^\s\x00-\x1f\x7f{{}}<>|\"`\\^$%]|{_ESCAPED})*)?"
)
# Slack's interface for programs, which takes a token and no message without one.
_CHAT_API = "https://slack.com/api/"

# https://docs.slack.dev/legacy/legacy-custom-integrations/legacy-custom-integrations-incoming-webhooks: a channel, a
# person, or the id of one. A bare number would be one to Grafana, and no text.
_CHANNEL = re.compile(r"[#@][\w.-]+|[CDGUW][A-Z0-9]{7,}")
# One or several groups, people, or everybody, by their ids (https://docs.slack.dev/messaging/formatting-message-text).
_MENTION = re.compile(r"(?:<(?:!subteam\^|@|!)\w+> *)+")

# RFC 5322's dot-atom, without what opens a template or names a variable, and a name of a machine (RFC 1123).
_LOCAL = r"[\w!#%&'*+/=?^`|~-]+(?:\.[\w!#%&'*+/=?^`|~-]+)*"
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_RECIPIENT = re.compile(rf"{_LOCAL}@{_PART}(?:\.{_PART})*", re.ASCII)
_SENDER = re.compile(rf"{_LOCAL}@(?:{_PART}\.)+[A-Za-z](?:[A-Za-z0-9-]*[A-Za-z])?", re.ASCII)
_SERVER = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]+)")

# What Grafana would put something in place of in a setting of its own (pkg/setting/expanders.go, gopkg.in/ini.v1).
_EXPANDED = re.compile(r"\$(?:__\w+)?\{[^}]+\}|%\([^)]+\)s")
_VERBATIM = ("SMTP_USER", "SMTP_PASSWORD", "GRAFANA_ADMIN_PASSWORD", "GRAFANA_SECRET_KEY")


def check(env: Mapping[str, str]) -> None:
    """Raise StackError, which names the setting and not its value: it may be a secret."""
    for name in _PAGES:
        page(env, name)
    for name in ("SLACK_WEBHOOK_URL", "SLACK_WEBHOOK_URL_WARNING"):
        if env.get(name, "").startswith(_CHAT_API):
            raise StackError(f"{name} is Slack's interface for programs: it has to be an incoming webhook.")
    for name in ("SLACK_CHANNEL_CRITICAL", "SLACK_CHANNEL_WARNING"):
        if not _fits(_CHANNEL, env.get(name, "")):
            raise StackError(f"{name} is not a channel as Slack writes it: #alerts, or an id such as C0123456789.")
    if not _fits(_MENTION, env.get("SLACK_MENTION", "")):
        raise StackError("SLACK_MENTION is not as Slack writes it: <!subteam^S0123456789>, <@U0123456789> or <!here>.")
    _check_mail(env)
    for name in _VERBATIM:
        if _EXPANDED.search(env.get(name, "")):
            raise StackError(f"{name} has a ${{...}} or %(...)s in it, which Grafana takes for a name: choose another.")


def page(env: Mapping[str, str], name: str) -> str:
    """Return a setting that is the address of a page, "" where it is not set. Raises StackError like check()."""
    url = env.get(name, "")
    if not _fits(_PAGE, url):
        raise StackError(
            f"{name} is not an address: it has to begin with http:// or https://, without blanks, quotes and braces; "
            "a dollar in it is written %24."
        )
    return url


def _check_mail(env: Mapping[str, str]) -> None:
    to, host, sender = (env.get(name, "") for name in ("ALERT_EMAIL", "SMTP_HOST", "SMTP_FROM"))
    if to and not all(_RECIPIENT.fullmatch(part.strip()) for part in to.split(",")):
        raise StackError("ALERT_EMAIL is not an address of mail, or several with commas between: oncall@example.com")
    if (to and not host) or not _fits(_SERVER, host):
        why = "ALERT_EMAIL is set, so " if to else ""
        raise StackError(f"{why}SMTP_HOST has to be a server and its port: mail.example:587")
    if not _fits(_SENDER, sender):
        raise StackError("SMTP_FROM is not one address of mail with a dot in its domain: agentgauge@example.com")


def _fits(pattern: re.Pattern[str], text: str) -> bool:
    """Say whether a setting is not set or is as it has to be, with a port that can be one."""
    if not text:
        return True
    match = pattern.fullmatch(text)
    port = match and match.groupdict().get("port")
    return bool(match) and (not port or 0 < int(port) <= 65535)
