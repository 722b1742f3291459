"""Where Grafana sends messages: contact points, the routes to them, and times at which it keeps silent.

Settings of contact points and the labels of rules go through Grafana's expansion of `${NAME}`, templates and
routes do not. So what is configured is said in the environment, reaches each alert as its label `notify`, and
is what the routes look for: `slack`, `email` and `webhook`, each if it is there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from exporters.catalogue.alerts import ONCE, Alert
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


_CRITICAL = ("severity", "=", "critical")
_SHOWN = {"title": '{{ template "agentgauge.grafana.title" . }}', "text": '{{ template "agentgauge.grafana.text" . }}'}
_MAIL = {
    "title": '{{ template "agentgauge.grafana.subject" . }}',
    "message": '{{ template "agentgauge.grafana.mail" . }}',
}


def _slack(name: str, *, resolves: bool) -> ContactPoint:
    """A channel of Slack. An incoming webhook of today has its channel; older ones take the recipient."""
    settings = {
        "url": "${SLACK_WEBHOOK_URL_" + name.upper() + "}",
        "recipient": "${SLACK_CHANNEL_" + name.upper() + "}",
        "username": "Agentgauge",
        "color": '{{ template "agentgauge.slack.color" . }}',
        "footer": "Agentgauge",
        **_SHOWN,
    }
    receiver = Receiver(uid=f"slack_{name}", type="slack", settings=settings, disable_resolve_message=not resolves)
    return ContactPoint(name=f"slack-{name}", receivers=(receiver,))


CONTACT_POINTS = (
    # Only what wakes somebody says when it is over.
    _slack("critical", resolves=True),
    _slack("warning", resolves=False),
    ContactPoint(
        name="email",
        receivers=(
            Receiver(
                uid="email",
                type="email",
                settings={
                    "addresses": "${ALERT_EMAIL}",
                    "singleEmail": True,
                    "subject": _MAIL["title"],
                    "message": _MAIL["message"],
                },
            ),
        ),
    ),
    ContactPoint(
        name="webhook",
        receivers=(
            Receiver(
                uid="webhook",
                type="webhook",
                settings={
                    "url": "${ALERT_WEBHOOK_URL}",
                    "httpMethod": "POST",
                    **_MAIL,
                },
            ),
        ),
    ),
)

MUTE_TIMINGS = (
    # Grafana knows no contact point that does nothing.
    MuteTiming(name="always", time_intervals=({"times": [{"start_time": "00:00", "end_time": "24:00"}]},)),
)


def policy(alerts: Iterable[Alert]) -> Policy:
    """Return the routes; critical and warning differ in channel, and in how often they are told again."""
    budgets = "|".join(alert.name for alert in alerts if alert.once)
    return Policy(
        receiver="slack-warning",
        routes=(
            Route(
                receiver="slack-warning",
                object_matchers=((NOTIFY, "=~", ".*slack.*"),),
                goes_on=True,
                repeat_interval="24h",
                routes=(
                    _once("slack-critical", budgets, _CRITICAL),
                    _once("slack-warning", budgets),
                    Route(receiver="slack-critical", object_matchers=(_CRITICAL,), repeat_interval="4h"),
                ),
            ),
            _way("email", budgets),
            _way("webhook", budgets),
            # What no way was given for.
            Route(
                receiver="slack-warning",
                object_matchers=((NOTIFY, "!~", ".*[a-z].*"),),
                mute_time_intervals=("always",),
            ),
        ),
    )


def _way(name: str, budgets: str) -> Route:
    matcher = (NOTIFY, "=~", f".*{name}.*")
    once = (_once(name, budgets),)
    return Route(receiver=name, object_matchers=(matcher,), goes_on=True, repeat_interval="24h", routes=once)


def _once(receiver: str, names: str, *matchers: tuple[str, str, str]) -> Route:
    return Route(
        receiver=receiver,
        object_matchers=(("alertname", "=~", names), *matchers),
        group_by=("...",),
        repeat_interval=ONCE,
    )
