"""Which Host and Origin a request may carry, so that no page of another site reads or writes through a browser.

A name that its owner points at this machine (DNS rebinding) would make a page of theirs one of ours, so the name that
the browser asked for is looked at. An IP address cannot be pointed elsewhere, so any may be asked for.
"""

import logging
import os
import re
import socket
from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

VARIABLE = "AGENTGAUGE_HOSTS"
# What Docker Compose, and so Prometheus' configuration, calls the exporter.
SERVICE = "exporter"
# Names and sites that were refused are told in the log once each, and no more than so many.
_TOLD = 20

log = logging.getLogger("agentgauge")

# RFC 6761, section 6.3: localhost and all below it are this machine.
_LOOPBACK = "localhost"
_BESIDES_NAMES = re.compile(r"[\s,]+")
# What nginx lists too: streamlit_portal/proxy.sh.
_NAME = re.compile(r"(\*\.)?([a-z0-9_-]+\.)*[a-z0-9_-]+|[0-9a-f:]+")


class HostError(Exception):
    """A request that is refused, in one line that says how to mend it."""


class Hosts:
    """The names that this service is asked by, besides IP addresses and localhost."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Take host names; a port after one is ignored, `*.example.com` is every name below example.com.

        What cannot be a name is passed over.
        """
        self._names = {name for name in map(_name_of, names) if _NAME.fullmatch(name)}

    def check(self, headers: Mapping[str, str]) -> None:
        """Raise HostError for a Host that is not ours, or an Origin that is another site's.

        `headers` have lower-case names. A browser always sends Host; a client that sends none is no browser.
        A page of another port of the same machine is no other site here: whoever runs a server on it may ask anyway.
        """
        asked = headers.get("host", "")
        host = _name_of(asked)
        if asked and not self._is_ours(host):
            raise HostError(f"The host {asked!r} is not known here; if it is this service's, add it to {VARIABLE}.")
        origin = headers.get("origin")
        if origin is None:
            return
        site = _name_of(origin.partition("://")[2])
        same = site == host or (_is_loopback(site) and _is_loopback(host))
        if not site or not (same or self._is_listed(site)):
            raise HostError(f"Pages of {origin!r} may not ask here; if it is one of yours, add its host to {VARIABLE}.")

    def _is_ours(self, host: str) -> bool:
        return _is_address(host) or _is_loopback(host) or self._is_listed(host)

    def _is_listed(self, host: str) -> bool:
        return host in self._names or any(f"*{host[at:]}" in self._names for at, one in enumerate(host) if one == ".")


def hosts_of(*own: str, environ: Mapping[str, str] = os.environ) -> Hosts:
    """Return this machine's names, the service's `own` (as Docker Compose calls it) and those of AGENTGAUGE_HOSTS."""
    listed = _BESIDES_NAMES.split(environ.get(VARIABLE, ""))
    return Hosts((*own, socket.gethostname(), "host.docker.internal", *listed))


class HostGuard:
    """ASGI middleware that answers 403 to what `Hosts` refuses; websockets are closed before they open."""

    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        self._app = app
        self._hosts = hosts
        self._told: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            try:
                self._hosts.check(Headers(scope=scope))
            except HostError as error:
                await self._refuse(str(error), scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _refuse(self, why: str, scope: Scope, receive: Receive, send: Send) -> None:
        if why not in self._told and len(self._told) < _TOLD:
            self._told.add(why)
            log.warning("refused a request: %s", why)
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
        else:
            answer = PlainTextResponse(f"{why}\n", 403, {"Connection": "close", "Cache-Control": "no-store"})
            await answer(scope, receive, send)


def _name_of(authority: str) -> str:
    """Return the host of `host`, `host:port` or `[address]:port`, in lower case and without the root's dot."""
    authority = authority.strip().lower()
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    if authority.count(":") > 1:
        return authority  # a bare IPv6 address
    return authority.partition(":")[0].removesuffix(".")


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    if host == _LOOPBACK or host.endswith(f".{_LOOPBACK}"):
        return True
    return _is_address(host) and ip_address(host.partition("%")[0]).is_loopback
