"""Grafana: whether it answers, and the addresses of its panels and boards."""

import time
from urllib.parse import quote, urlencode, urljoin

import requests
import streamlit as st

from exporters.catalogue.model import Signal
from streamlit_portal.scope import Scope
from streamlit_portal.settings import origin

TIMEOUT = 1.0


def answers(internal: str, probe: int) -> bool:
    """Return whether Grafana is healthy, asked at most once in `probe` seconds."""
    return bool(internal) and _healthy(internal, int(time.time() // probe))


@st.cache_data(ttl=600, max_entries=8, show_spinner=False)
def _healthy(internal: str, beat: int) -> bool:
    """Ask /api/health, which needs no login; `beat` only tells one probe from the next."""
    try:
        return requests.get(f"{internal}/api/health", timeout=TIMEOUT).status_code == 200
    except requests.RequestException:
        return False


def panel(base: str, board: str, signal: Signal, scope: Scope) -> str:
    """Return the address of one panel alone, for a frame.

    It names a range relative to now and not a time, so that it stays the same, and the frame
    stays loaded, for as long as nobody picks something else.
    """
    fields = [("orgId", "1"), ("panelId", f"panel-{signal.panel_id}"), *_time_and_variables(scope)]
    fields += [("theme", "dark" if scope.dark else "light"), ("timezone", "browser"), ("hideLogo", "true")]
    if scope.live:
        fields.append(("refresh", "1m" if scope.span.seconds <= 86_400 else "5m"))
    return f"{base}/d-solo/{board}/{board}?{urlencode(fields, quote_via=quote)}"


def link(base: str, board: str, scope: Scope, signal: Signal | None = None) -> str:
    """Return the address of a board, or of one panel of it at full size, for a new browser tab."""
    fields = [("orgId", "1"), *_time_and_variables(scope)]
    if signal:
        fields.append(("viewPanel", f"panel-{signal.panel_id}"))
    return f"{base}/d/{board}/{board}?{urlencode(fields, quote_via=quote)}"


def absolute(base: str, page: str | None) -> str:
    """Return Grafana's address as the browser reaches it, without a slash at the end.

    `base` may be a path of the origin of `page`; a frame needs the whole address.
    """
    return urljoin(origin(page), base).rstrip("/") if base.startswith("/") else base


def _time_and_variables(scope: Scope) -> list[tuple[str, str]]:
    chosen = [(f"var-{name}", value) for name, value in scope.picked]
    return [("from", f"now-{scope.span.name}"), ("to", "now"), *chosen]
