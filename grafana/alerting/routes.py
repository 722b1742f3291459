"""Where Grafana sends messages: contact points, the routes to them, and times at which it keeps silent.

Settings of contact points and the labels of rules go through Grafana's expansion of `${NAME}`, templates and
routes do not. So what is configured is said in the environment, reaches each alert as its label `notify`, and
is what the routes look for: `slack`, `email` and `webhook`, each if it is there.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from exporters.catalogue.alerts import DRILL, ONCE, Alert
from grafana.alerting.rules import NOTIFY

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """One way out of a contact point."""

    uid: str
    type: Literal["slack", "email", "webhook"]
    settings: Mapping[str, Any]
    disable_resolve_message: bool = False


@dataclass(frozen=True, kw_only=True)
class ContactPoint:
    """Whom a route reaches."""

    name: str
    receivers: tuple[Receiver, ...]
    org_id: int = 1


@dataclass(frozen=True, kw_only=True)
class Route:
    """Alerts whose labels match all of `object_matchers`, and how their messages are timed."""

    receiver: str
    object_matchers: tuple[tuple[str, str, str], ...] = ()
    # `continue`: whether the routes after this one are looked at too.
    goes_on: bool = False
    # Empty is what the route above has.
    group_by: tuple[str, ...] = ()
    repeat_interval: str = ""
    mute_time_intervals: tuple[str, ...] = ()
    routes: tuple["Route", ...] = ()


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The root of the routes, which replaces the organisation's."""

    receiver: str
    routes: tuple[Route, ...]
    # One cause is one message: the agents that fail together stand in it together.
    group_by: tuple[str, ...] = ("alertname", "severity")
    group_wait: str = "30s"
    group_interval: str = "5m"
    repeat_interval: str = "4h"
    org_id: int = 1


@dataclass(frozen=True, kw_only=True)
class MuteTiming:
    """Times at which routes that name it send nothing."""

    name: str
    time_intervals: tuple[Mapping[str, Any], ...]
    org_id: int = 1


_SEVERITIES = ("critical", "warning")
_CRITICAL, _INFO, _DRILL = ("severity", "=", "critical"), ("severity", "=", "info"), ("alertname", "=", DRILL)
_MAIL = {
    "title": '{{ template "agentgauge.grafana.subject" . }}',
    "message": '{{ template "agentgauge.grafana.mail" . }}',
}
# Of what is critical and fires. Grafana's own settings for mentions would have them in what has ended too.
_MENTIONED = (
    '{{ if and (eq .Status "firing") (eq .CommonLabels.severity "critical") }}'
    '{{ with "${SLACK_MENTION}" }}{{ . }} {{ end }}{{ end }}'
)


def _slack(severity: str) -> Mapping[str, Any]:
    """A channel of Slack. An incoming webhook of today has its channel; older ones take the recipient."""
    return {
        "url": "${SLACK_WEBHOOK_URL_" + severity.upper() + "}",
        "recipient": "${SLACK_CHANNEL_" + severity.upper() + "}",
        "username": "Agentgauge",
        "color": '{{ template "agentgauge.grafana.color" . }}',
        "footer": '{{ template "agentgauge.slack.footer" . }}',
        "title": '{{ template "agentgauge.grafana.title" . }}',
        "text": (_MENTIONED if severity == "critical" else "") + '{{ template "agentgauge.grafana.text" . }}',
    }


def _email(_: str) -> Mapping[str, Any]:
    return {
        "addresses": "${ALERT_EMAIL}",
        "singleEmail": True,
        "subject": _MAIL["title"],
        "message": _MAIL["message"],
    }


def _webhook(_: str) -> Mapping[str, Any]:
    return {"url": "${ALERT_WEBHOOK_URL}", "httpMethod": "POST", **_MAIL}


_WAYS: Mapping[Literal["slack", "email", "webhook"], Callable[[str], Mapping[str, Any]]] = {
    "slack": _slack,
    "email": _email,
    "webhook": _webhook,
}

CONTACT_POINTS = tuple(
    ContactPoint(
        name=f"{way}-{severity}",
        receivers=(
            Receiver(
                uid=f"{way}_{severity}",
                type=way,
                settings=settings(severity),
                # Only what wakes somebody says when it is over.
                disable_resolve_message=severity != "critical",
            ),
        ),
    )
    for way, settings in _WAYS.items()
    for severity in _SEVERITIES
)

MUTE_TIMINGS = (
    # Grafana knows no contact point that does nothing.
    MuteTiming(name="always", time_intervals=({"times": [{"start_time": "00:00", "end_time": "24:00"}]},)),
)


def policy(alerts: Iterable[Alert]) -> Policy:
    """Return the routes; critical and warning differ in channel, and in how often they are told again.

    Of severity `info`, and where no way is given, nothing is sent. The drill tries the way of what is critical.
    """
    once = "|".join(alert.name for alert in alerts if alert.limit.once)
    return Policy(
        receiver="slack-warning",
        routes=(
            _silent(_INFO),
            *(_way(way, once) for way in _WAYS),
            _silent((NOTIFY, "!~", ".*[a-z].*")),
        ),
    )


def _silent(matcher: tuple[str, str, str]) -> Route:
    return Route(receiver="slack-warning", object_matchers=(matcher,), mute_time_intervals=("always",))


def _way(way: str, once: str) -> Route:
    critical, warning = (f"{way}-{severity}" for severity in _SEVERITIES)
    return Route(
        receiver=warning,
        object_matchers=((NOTIFY, "=~", f".*{way}.*"),),
        goes_on=True,
        repeat_interval="24h",
        routes=(
            Route(receiver=critical, object_matchers=(_DRILL,)),
            _once(critical, once, _CRITICAL),
            _once(warning, once),
            Route(receiver=critical, object_matchers=(_CRITICAL,), repeat_interval="4h"),
        ),
    )


def _once(receiver: str, names: str, *matchers: tuple[str, str, str]) -> Route:
    return Route(
        receiver=receiver,
        object_matchers=(("alertname", "=~", names), *matchers),
        group_by=("...",),
        repeat_interval=ONCE,
    )
