"""The HTTP of the OTLP receiver: which requests are taken, what is answered, and the thread that does it.

Nothing is decoded here. A request that is taken waits until its spans are committed, and is told then.
"""

import asyncio
import hmac
import socket
import threading
from collections.abc import Callable
from typing import Protocol

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from exporters.connections import IDLE_SECONDS, Connections
from exporters.hosts import HostGuard, Hosts
from exporters.sources.otlp import replies
from exporters.sources.otlp.body import Body
from exporters.sources.otlp.replies import Reply
from exporters.sources.otlp.upload import ENDING, Held, RefusedError, Upload, encoding_of

# Clients give up after 10 s (OTEL_EXPORTER_OTLP_TIMEOUT); told before that, they know when to come again.
COMMIT_SECONDS = 8.0
# Well below the 1,024 descriptors that a process may commonly have: /metrics needs some, and the state.
CONNECTIONS = 256


class Desk(Protocol):
    """Where bodies are handed in."""

    def put(self, body: Body) -> bool:
        """Take a body, of which `committed` will be resolved; False when nothing is taken any more."""

    def withdraw(self, body: Body) -> None:
        """Nobody waits for this body any more."""

    def refuse(self, reason: str) -> None:
        """Count a request that was refused, for a reason; for none, one that is asked to come again."""


class Server:
    """Answers on a bound socket, in a thread and event loop of its own."""

    def __init__(self, bound: socket.socket, token: bytes, desk: Desk, hosts: Hosts) -> None:
        self._token = token
        self._desk = desk
        self._held = Held()
        connections = Connections(CONNECTIONS)
        config = uvicorn.Config(
            HostGuard(self._application(), hosts),
            http=connections.make,  # type: ignore[arg-type] # called as a class is, with the same arguments
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            backlog=128,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=1,
            callback_notify=connections.sweep,
            timeout_notify=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [bound]}, name="otlp receiver", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Close the socket and every connection; what is being answered has a second for it."""
        if self._thread.is_alive():
            self._held.end()
        self._server.should_exit = True
        self._thread.join()

    def _application(self) -> Starlette:
        async def traces(request: Request) -> Response:
            return await self._answer(request, replies.accepted)

        async def msgtrace(request: Request) -> Response:
            return await self._answer(request, replies.queued)

        application = Starlette(
            routes=[
                Route("/v1/traces", traces, methods=["POST"]),
                Route("/api/v1/traces/export", msgtrace, methods=["POST"]),
            ],
            exception_handlers={404: _not_here, 405: _not_so},
        )
        application.router.redirect_slashes = False
        return application

    async def _answer(self, request: Request, accepted: Callable[[str, int, str], Reply]) -> Response:
        upload = Upload(request, self._held)
        encoding = encoding_of(request)
        try:
            self._admit(request)
            return _response(await self._committed(Body(encoding, await upload.read()), accepted))
        except RefusedError as why:
            reply = replies.refused(encoding, why.status, str(why))
            if why.reason or why.status == 503:
                self._desk.refuse(why.reason)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        finally:
            upload.free()
        response = _response(reply)
        if not upload.whole:
            # What else comes is no longer waited for; see Connections.
            response.headers["Connection"] = "close"
        return response

    def _admit(self, request: Request) -> None:
        """Raise RefusedError when a token is wanted and not given."""
        if not self._token:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
            raise RefusedError(401, "this receiver wants its token, as in Authorization: Bearer TOKEN", "unauthorized")

    async def _committed(self, body: Body, accepted: Callable[[str, int, str], Reply]) -> Reply:
        """Hand a body in and wait until it is committed; return what its client is told."""
        body.committed = asyncio.get_running_loop().create_future()
        if not self._desk.put(body):
            raise RefusedError(503, ENDING)
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                done = await body.committed
        except TimeoutError:
            done = False
            self._desk.withdraw(body)
        if not done:
            raise RefusedError(503, "it could not be stored in time; please send it again")
        if body.malformed:
            raise RefusedError(400, body.malformed)
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(body.rejected.items()))
        return accepted(body.encoding, sum(body.rejected.values()), reasons)


async def _not_here(request: Request, _: Exception) -> Response:
    said = "traces are taken at /v1/traces, and at /api/v1/traces/export from clients of msgtrace"
    if request.url.path in ("/v1/metrics", "/v1/logs"):
        said = f"this receiver takes traces, and no {request.url.path.removeprefix('/v1/')}"
    return _response(replies.refused(encoding_of(request), 404, said))


async def _not_so(request: Request, _: Exception) -> Response:
    return _response(replies.refused(encoding_of(request), 405, "send traces with POST"))


def _response(reply: Reply) -> Response:
    return Response(reply.body, status_code=reply.status, headers=reply.headers)
