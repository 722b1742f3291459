"""The portal on its port: who may ask it, what browsers may load from it, and what its connections may cost.

Streamlit is an ASGI application here (https://docs.streamlit.io/develop/api-reference, `st.App`), so that what guards
it stands around all of it, its websocket included.
"""

from pathlib import Path

import streamlit as st
import uvicorn
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from streamlit.web import bootstrap

from exporters.headers import BROWSERS, AnswerHeaders
from exporters.hosts import HostGuard, hosts_of
from streamlit_portal.settings import Settings, origin

# What the portal and the proxy before it are called in Docker Compose.
_SERVICES = ("portal", "proxy")
# A page of the portal takes one for as long as it is open, and six more while it loads.
_CONNECTIONS = 512
_HEAD_BYTES = 64 << 10
# Streamlit takes uploads up to its own bound, and nothing here offers one: this is of what a browser says in clicks.
_MESSAGE_BYTES = 1 << 20
_IDLE_SECONDS = 15
_STOP_SECONDS = 5
_PING_SECONDS = 30


def policy(chosen: Settings) -> str:
    """Return the Content-Security-Policy of every page.

    Streamlit's scripts come with the page and in modules beside it, and Vega compiles its expressions. A Grafana that
    is another origin, as it is among processes, is named, so that its panels may stand in frames.
    """
    frames = " ".join(filter(None, ("'self'", origin(chosen.grafana))))
    return (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
        f"frame-src {frames}; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
    )


def application(chosen: Settings) -> st.App:
    """Return the portal with all that stands around it."""
    return st.App(
        Path(__file__).with_name("app.py"),
        middleware=[
            Middleware(AnswerHeaders, headers={**BROWSERS, "Content-Security-Policy": policy(chosen)}),
            Middleware(HostGuard, hosts=hosts_of(*_SERVICES)),
            # Streamlit leaves its scripts as they are, for a proxy to compress. As a process there is none.
            Middleware(GZipMiddleware, minimum_size=1024, compresslevel=5),
        ],
    )


def serve(chosen: Settings, *, address: str, port: int, base_path: str) -> None:
    """Serve the portal until it is stopped; a port that is taken ends the process after one line.

    Streamlit's own settings stand in `.streamlit/config.toml` beside app.py, where it finds them from any working
    directory.
    """
    portal = application(chosen)
    bootstrap.load_config_options({"server_address": address, "server_port": port, "server_baseUrlPath": base_path})
    uvicorn.run(
        portal,
        host=address,
        port=port,
        # The one of uvicorn's parsers that bounds the head of a request.
        http="h11",
        h11_max_incomplete_event_size=_HEAD_BYTES,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_STOP_SECONDS,
        ws="websockets-sansio",
        ws_max_size=_MESSAGE_BYTES,
        # As Streamlit has them: a page behind a proxy would be cut off where nothing is said for long.
        ws_ping_interval=_PING_SECONDS,
        ws_ping_timeout=_PING_SECONDS,
        log_level="warning",
        access_log=False,
        server_header=False,
    )
