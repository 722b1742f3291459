"""Settings: where the portal finds Prometheus and Grafana, from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Addresses without a slash at their end, and the two beats in seconds.

    `grafana` is what the browser opens: an address, or a path of the portal's own origin such as
    `/grafana` behind a proxy; empty means that there is none and panels are drawn here.
    `grafana_internal` is what the portal itself asks for Grafana's health. `notify` are the ways on
    which people are told of alerts; None means that whoever started the portal did not say.
    """

    prometheus: str
    grafana: str
    grafana_internal: str
    refresh: int
    probe: int
    notify: tuple[str, ...] | None = None


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read PROMETHEUS_URL, GRAFANA_URL, GRAFANA_INTERNAL_URL, PORTAL_REFRESH, PORTAL_PROBE and AGENTGAUGE_NOTIFY.

    Raises ValueError with one line that names the variable and says what it should hold.
    """
    grafana = environment.get("GRAFANA_URL", "").strip()
    internal = environment.get("GRAFANA_INTERNAL_URL", "").strip() or grafana
    if grafana.startswith("/") and not grafana.startswith("//"):
        grafana = grafana.rstrip("/") or "/"
    elif grafana:
        grafana = _address("GRAFANA_URL", grafana)
    return Settings(
        prometheus=_address("PROMETHEUS_URL", environment.get("PROMETHEUS_URL", "").strip() or "http://127.0.0.1:9090"),
        grafana=grafana,
        grafana_internal=_address("GRAFANA_INTERNAL_URL", internal) if grafana else "",
        refresh=_seconds("PORTAL_REFRESH", environment.get("PORTAL_REFRESH", "15")),
        probe=_seconds("PORTAL_PROBE", environment.get("PORTAL_PROBE", "60")),
        notify=tuple(notify.split()) if (notify := environment.get("AGENTGAUGE_NOTIFY")) is not None else None,
    )


def origin(page: str | None) -> str:
    """Return scheme, host and port of an address, empty where it has none or is a path."""
    parts = urlsplit(page or "")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.scheme in ("http", "https") else ""


def _address(name: str, value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{name} is {value!r}; it has to be an address such as http://127.0.0.1:9090")
    return value.rstrip("/")


def _seconds(name: str, value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise ValueError(f"{name} is {value!r}; it has to be a whole number of seconds, at least 1")
    return int(value)
