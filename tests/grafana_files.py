"""What Grafana reads in files of provisioning, for tests where there is no Grafana. Paths as in grafana_rules."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from grafana_rules import among, is_address, is_duration, is_recipients

# `!` behind a key: it has to be there, and not empty. A list of one is of any length.


def is_uid(text: str) -> bool:
    """pkg/util/shortid_generator.go, ValidateUID."""
    return bool(re.fullmatch(r"[A-Za-z0-9_-]{1,40}", text))


def _is_interval(text: str) -> bool:
    """A multiple of ten seconds (pkg/services/ngalert/models/alert_rule.go, ValidateRuleGroupInterval)."""
    seconds = {"s": 1, "m": 60, "h": 3600}
    total = sum(int(number) * seconds[unit] for number, unit in re.findall(r"(\d+)([smh])", text))
    return is_duration(text) and total > 0 and total % 10 == 0


def _is_title(text: str) -> bool:
    """pkg/services/ngalert/store/alert_rule.go, AlertRuleMaxTitleLength and AlertRuleMaxRuleGroupNameLength."""
    return 0 < len(text.encode()) <= 190


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) and word for word in value)


def _is_map(value: Any) -> bool:
    return isinstance(value, dict) and all(is_text(key) and is_text(text) for key, text in value.items())


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_switch(value: Any) -> bool:
    return isinstance(value, bool)


def _is_anything(_: Any) -> bool:
    return True


def _is_matchers(value: Any) -> bool:
    """definition/alertmanager.go, ObjectMatchers.UnmarshalJSON."""
    return all(
        len(matcher) == 3 and all(map(is_text, matcher)) and matcher[1] in ("=", "!=", "=~", "!~") for matcher in value
    )


# pkg/services/provisioning/alerting/rules_types.go, models.RelativeTimeRange.
_QUERY = {
    "refId!": is_text,
    "queryType": is_text,
    "datasourceUid!": is_text,
    "relativeTimeRange!": {"from!": _is_number, "to!": _is_number},
    "model!": _is_anything,
}
_RULE = {
    "uid!": is_uid,
    "title!": _is_title,
    "condition!": is_text,
    "data!": [_QUERY],
    "dashboardUid": is_uid,
    "panelId": _is_number,
    # pkg/services/ngalert/models/alert_rule.go, NoDataStateFromString and ErrStateFromString.
    "noDataState": among("NoData", "Alerting", "OK", "KeepLast"),
    "execErrState": among("Error", "Alerting", "OK", "KeepLast"),
    "for": is_duration,
    "keepFiringFor": is_duration,
    "missing_series_evals_to_resolve": _is_number,
    "annotations": _is_map,
    "labels": _is_map,
    "isPaused": _is_switch,
}
_GROUP = {"orgId": _is_number, "name!": _is_title, "folder!": is_text, "interval!": _is_interval, "rules!": [_RULE]}
# pkg/services/provisioning/alerting/contact_point_types.go; settings below.
_POINT = {
    "orgId": _is_number,
    "name!": is_text,
    "receivers!": [
        {
            "uid!": is_uid,
            "type!": among("slack", "email", "webhook"),
            "settings!": _is_anything,
            "disableResolveMessage": _is_switch,
        }
    ],
}
# definition/alertmanager.go, Route.
_ROUTE: dict[str, Any] = {
    "receiver": is_text,
    "group_by": _is_words,
    "object_matchers": _is_matchers,
    "mute_time_intervals": _is_words,
    "active_time_intervals": _is_words,
    "continue": _is_switch,
    "group_wait": is_duration,
    "group_interval": is_duration,
    "repeat_interval": is_duration,
}
_ROUTE["routes"] = [_ROUTE]
# definition/alertmanager_validation.go, Route.Validate: the root has a receiver, no matchers and no mute timings.
_POLICY = {"orgId": _is_number, "receiver!": is_text} | {
    key: _ROUTE[key] for key in ("group_by", "group_wait", "group_interval", "repeat_interval", "routes")
}


def _is_time(text: str) -> bool:
    """github.com/prometheus/alertmanager/timeinterval: two digits each, and 24:00 is the end of the day."""
    return bool(re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d|24:00", text))


_TIMING = {
    "orgId": _is_number,
    "name!": is_text,
    "time_intervals!": [{"times": [{"start_time!": _is_time, "end_time!": _is_time}], "location": is_text}],
}
ALERTING = {
    "apiVersion!": among(1),
    "groups": [_GROUP],
    "contactPoints": [_POINT],
    "policies": [_POLICY],
    "muteTimes": [_TIMING],
    "templates": [{"orgId": _is_number, "name!": is_text, "template!": is_text}],
}
# pkg/services/provisioning/datasources/types.go; jsonData is the plugin's.
DATASOURCES = {
    "apiVersion!": among(1),
    "prune": _is_switch,
    "datasources!": [
        {
            "orgId": _is_number,
            "name!": is_text,
            "uid!": is_uid,
            "type!": among("prometheus"),
            "access!": among("proxy"),
            "url!": is_text,
            "isDefault": _is_switch,
            "editable": _is_switch,
            # packages/grafana-prometheus/src/types.ts, PromOptions.
            "jsonData": {
                "httpMethod": among("POST", "GET"),
                "timeInterval": is_duration,
                "prometheusType": among("Prometheus", "Cortex", "Mimir", "Thanos"),
                "manageAlerts": _is_switch,
            },
        }
    ],
}
# pkg/services/provisioning/dashboards/types.go and file_reader.go.
DASHBOARDS = {
    "apiVersion!": among(1),
    "providers!": [
        {
            "name!": is_text,
            "type!": among("file"),
            "orgId": _is_number,
            "folder": is_text,
            "folderUid": is_uid,
            "disableDeletion": _is_switch,
            "editable": _is_switch,
            "allowUiUpdates": _is_switch,
            "updateIntervalSeconds": _is_number,
            "options!": {"path!": is_text, "foldersFromFilesStructure": _is_switch},
        }
    ],
}
# pkg/services/provisioning/plugins/types.go.
PLUGINS = {"apiVersion!": among(1), "apps": [{"type!": is_text}]}


def misfits(value: Any, schema: Any, where: str = "") -> list[str]:
    """What in a file is not as its schema says, each with where it stands."""
    if callable(schema):
        return [] if schema(value) else [f"{where}: not accepted: {value!r}"]
    if isinstance(schema, list):
        if not isinstance(value, list):
            return [f"{where}: not a list"]
        return [said for at, one in enumerate(value) for said in misfits(one, schema[0], f"{where}[{at}]")]
    known = {key.rstrip("!"): inner for key, inner in schema.items()}
    if not isinstance(value, dict):
        return [f"{where}: not a mapping"]
    wanted = {key.rstrip("!") for key in schema if key.endswith("!")}
    missing = [f"{where}.{key}: missing" for key in sorted(wanted) if value.get(key) in (None, "", [], {})]
    unknown = [f"{where}.{key}: no such key" for key in value.keys() - known.keys()]
    return (
        missing
        + unknown
        + [said for key, one in value.items() if key in known for said in misfits(one, known[key], f"{where}.{key}")]
    )


# Contact points

_CHAT_API = "https://slack.com/api/chat.postMessage"


def _slack(found: Mapping[str, Any]) -> str:
    """receivers/slack/config.go: without an address it is the chat API, which wants a token and a recipient."""
    url = found.get("url") or _CHAT_API
    if not is_address(url):
        return f"not an address: {url!r}"
    if url == _CHAT_API and not (found.get("token") and found.get("recipient")):
        return "token must be specified when using the Slack chat API"
    return ""


def _email(found: Mapping[str, Any]) -> str:
    """receivers/email/config.go; whom mail cannot go to is noticed when it is sent."""
    return "" if is_recipients(found.get("addresses") or "") else f"not addresses: {found.get('addresses')!r}"


def _webhook(found: Mapping[str, Any]) -> str:
    """receivers/webhook/config.go."""
    return "" if is_address(found.get("url") or "") else f"not an address: {found.get('url')!r}"


_RECEIVERS: dict[str, tuple[Callable[[Mapping[str, Any]], str], set[str]]] = {
    # What may be set: pkg/services/ngalert/notifier/channels_config/available_channels.go. All of it is text. Of
    # a footer 12.2.0 knows nothing and puts its own, which harms nothing.
    "slack": (_slack, {"url", "recipient", "username", "color", "footer", "title", "text", "token"}),
    "email": (_email, {"addresses", "singleEmail", "subject", "message"}),
    "webhook": (_webhook, {"url", "httpMethod", "title", "message"}),
}


def receiver_fault(kind: str, found: Mapping[str, Any]) -> str:
    """Why Grafana would not start with a receiver of these settings, once they are expanded; "" where it would."""
    accepts, known = _RECEIVERS[kind]
    if strange := found.keys() - known:
        return f"no such setting: {sorted(strange)}"
    if odd := {name: value for name, value in found.items() if not is_text(value) and name != "singleEmail"}:
        return f"not text: {odd}"
    return accepts(found)


def expanded(value: Any, environment: Mapping[str, str]) -> Any:
    """A value of a file as Grafana has it: pkg/services/provisioning/values/values.go, JSONValue.

    Variables are put in twice over, so a dollar in one's value is a variable too, and what is then a number or a word
    for yes or no is no text any more.
    """
    if isinstance(value, dict):
        return {key: expanded(inner, environment) for key, inner in value.items()}
    if isinstance(value, list):
        return [expanded(inner, environment) for inner in value]
    if not isinstance(value, str):
        return value
    text = value
    for _ in range(2):
        text = re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda name: environment.get(name[1] or name[2], ""), text)
    if text != value:
        # strconv.ParseInt, ParseFloat, ParseBool.
        if re.fullmatch(r"(?i)[+-]?(\d[\d_]*\.?\d*(e[+-]?\d+)?|\.\d+|inf|infinity|nan|0x[\da-f.]+p?[+-]?\d*)", text):
            return float("nan")
        if text in ("1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False"):
            return True
    return text
