"""The guard: stands before Prometheus and Alertmanager as processes, so that no web page from elsewhere reaches them.

Both answer whoever asks, and let pages of any origin read the answers. The guard listens on the ports that people know,
lets pass what `exporters.hosts` lets pass, and alone has the password of what is behind it.

    AGENTGAUGE_GUARD_PASSWORD=... python -m exporters.stack.guard 9090=19090 9093=19093
"""

import argparse
import asyncio
import os
import socket
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, aclosing
from http import HTTPStatus

import httpx
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from exporters.connections import IDLE_SECONDS, Connections
from exporters.headers import BROWSERS, AnswerHeaders
from exporters.hosts import HostGuard, hosts_of
from exporters.stack.access import PASSWORD, USER

# RFC 9110, section 7.6.1: these are about one connection, and not about what is said over it. Expect is answered here.
_HOP_BY_HOP = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
        *(b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect"),
    )
)
# What is asked is a query or a batch of alerts.
_BODY_BYTES = 16 << 20
# Between two pieces of a body.
_BODY_SECONDS = 15.0
# Prometheus gives a query two minutes.
_TIMEOUTS = httpx.Timeout(150.0, connect=5.0, pool=None)
_CONNECTIONS = 256
# A request's body, and what Prometheus gives its query.
_BUSY_SECONDS = 180.0
_STOP_SECONDS = 5
# Nobody frames a page of either: a click into a frame that cannot be seen would silence alerts.
_HEADERS = {**BROWSERS, "Content-Security-Policy": "frame-ancestors 'none'"}

Headers = list[tuple[bytes, bytes]]


class BodyError(Exception):
    """A body that is too long or comes too slowly, or a client that is gone."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class _Body:
    """What a client sends: the body of its request, within bounds, then that it goes away."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._complete = asyncio.Event()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes. Raises BodyError."""
        size = 0
        more = True
        while more:
            message = await self._message()
            size += len(message.get("body", b""))
            if size > _BODY_BYTES:
                raise BodyError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            yield message.get("body", b"")
            more = message.get("more_body", False)
        self._complete.set()

    def skip(self) -> None:
        """There is no body."""
        self._complete.set()

    async def client_gone(self) -> None:
        """Return when the client goes away after it has sent everything."""
        await self._complete.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _message(self) -> Message:
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                message = await self._receive()
        except TimeoutError:
            raise BodyError(HTTPStatus.REQUEST_TIMEOUT) from None
        if message["type"] == "http.disconnect":
            raise BodyError(HTTPStatus.BAD_REQUEST)
        return message


class Guard:
    """ASGI application that passes requests on by the port that they came to, and streams the answers back."""

    def __init__(self, backends: Mapping[int, int], client: httpx.AsyncClient, password: str) -> None:
        """Pass what comes to each port on to another, with the password."""
        self._backends = backends
        self._client = client
        self._authorization = b"Basic " + b64encode(f"{USER}:{password}".encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            # Neither of those behind has one.
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        body = _Body(receive)
        answering = asyncio.create_task(self._answer(scope, body, send))
        # When nobody waits any more, a query need not be computed to its end.
        leaving = asyncio.create_task(body.client_gone())
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            answering.cancel()
            leaving.cancel()
        await asyncio.wait((answering, leaving))
        if not answering.cancelled():
            answering.result()

    async def _answer(self, scope: Scope, body: _Body, send: Send) -> None:
        """Pass a request on and its answer back; if that cannot be, say why."""
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._pass(scope, body, watched)
            return
        except BodyError as error:
            status, reason = error.status, str(error)
        except httpx.TimeoutException:
            status, reason = HTTPStatus.GATEWAY_TIMEOUT, "What is behind this port does not answer in time"
        except httpx.TransportError:
            status, reason = HTTPStatus.BAD_GATEWAY, "What is behind this port does not answer; make status shows it"
        # An answer that has begun can only be broken off.
        if not started:
            await _say(status, reason, send)

    async def _pass(self, scope: Scope, body: _Body, send: Send) -> None:
        path, query = scope["raw_path"], scope["query_string"]
        if not path.startswith(b"/"):
            await _say(HTTPStatus.BAD_REQUEST, "Only paths can be asked for here", send)
            return
        url = httpx.URL(f"http://127.0.0.1:{self._backends[scope['server'][1]]}")
        request = httpx.Request(
            scope["method"],
            url.copy_with(raw_path=path + b"?" + query if query else path),
            headers=[*_asked(scope["headers"]), (b"authorization", self._authorization)],
            content=body.pieces() if _has_body(scope["headers"]) else None,
        )
        if not _has_body(scope["headers"]):
            body.skip()
        async with aclosing(await self._client.send(request, stream=True)) as answer:
            headers = [pair for pair in _end_to_end(answer.headers.raw) if not pair[0].startswith(b"access-control-")]
            await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
            async for piece in answer.aiter_raw():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})


def _has_body(headers: Headers) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in headers)


def _asked(headers: Headers) -> Headers:
    """Return the headers of a request as it is passed on. What its client says of a password is about another."""
    chunked = any(name == b"transfer-encoding" for name, _ in headers)
    replaced = (b"authorization", b"content-length") if chunked else (b"authorization",)
    return [pair for pair in _end_to_end(headers) if pair[0] not in replaced]


def _end_to_end(headers: Headers) -> Headers:
    """Return the headers, with names in lower case, that are about what is said and not about the connection."""
    lower = [(name.lower(), value) for name, value in headers]
    named = {one.strip().lower() for name, value in lower if name == b"connection" for one in value.split(b",")}
    return [pair for pair in lower if pair[0] not in _HOP_BY_HOP and pair[0] not in named]


async def _say(status: HTTPStatus, reason: str, send: Send) -> None:
    body = f"{reason}.\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status.value, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def serve(backends: Mapping[int, int], password: str) -> None:
    """Stand before each port until a signal stops it. Raises OSError when a port is taken."""
    with ExitStack() as bound:
        sockets = [bound.enter_context(_listening(port)) for port in backends]
        # Never through a proxy: what is behind is on this machine.
        async with httpx.AsyncClient(
            timeout=_TIMEOUTS, trust_env=False, limits=httpx.Limits(max_connections=None, max_keepalive_connections=32)
        ) as client:
            guarded = HostGuard(Guard(backends, client, password), hosts_of())
            connections = Connections(_CONNECTIONS, _BUSY_SECONDS)
            config = uvicorn.Config(
                AnswerHeaders(guarded, _HEADERS),
                http=connections.make,  # type: ignore[arg-type] # called as a class is, with the same arguments
                ws="none",
                backlog=_CONNECTIONS,
                callback_notify=connections.sweep,
                timeout_notify=1,
                timeout_keep_alive=IDLE_SECONDS,
                timeout_graceful_shutdown=_STOP_SECONDS,
                lifespan="off",
                log_level="warning",
                access_log=False,
                server_header=False,
                date_header=False,
            )
            await uvicorn.Server(config).serve(sockets)


def _listening(port: int) -> socket.socket:
    # With its protocol named, or asyncio leaves Nagle's algorithm on, and an answer waits 40 ms to be acknowledged.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        raise
    return listener


def main(arguments: Sequence[str] | None = None) -> int:
    """Stand before the ports until a signal; return 1, after one line, when one cannot be listened on."""
    parser = argparse.ArgumentParser(prog="python -m exporters.stack.guard", description=__doc__)
    parser.add_argument(
        "ports", nargs="+", metavar="PORT=BACKEND", type=_pair, help="listen on one, pass on to another"
    )
    backends = dict(parser.parse_args(arguments).ports)
    password = os.environ.get(PASSWORD)
    if not password:
        parser.error(f"{PASSWORD} is not set; make up sets it")
    try:
        asyncio.run(serve(backends, password))
    except OSError as error:
        print(f"guard: {error}", file=sys.stderr)
        return 1
    return 0


def _pair(text: str) -> tuple[int, int]:
    port, _, backend = text.partition("=")
    return int(port), int(backend)


if __name__ == "__main__":
    sys.exit(main())
