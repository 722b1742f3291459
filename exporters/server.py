"""The exporter's pages over HTTP: /metrics, /-/healthy, /-/ready, /-/status, and / that says where to look."""

import gzip
import logging
import signal
import socket
import sys
from collections.abc import Callable
from html import escape

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from exporters import __version__
from exporters.beginning import NOT_YET, Beginning
from exporters.connections import IDLE_SECONDS, Connections, bind
from exporters.exposition import OPENMETRICS, negotiate
from exporters.hosts import HostGuard, Hosts
from exporters.runner import Runner
from exporters.sources import Source

log = logging.getLogger("agentgauge")

# A few scrapers, and people who look.
CONNECTIONS = 128

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


def application(beginning: Beginning) -> Starlette:
    """Return the ASGI application of an exporter."""

    async def metrics(request: Request) -> Response:
        runner = beginning.runner
        if runner is None:
            return _not_yet()
        content_type = negotiate(request.headers.get("accept", ""))
        address = request.client.host if request.client else ""
        body = await run_in_threadpool(
            runner.page,
            f"{address} {request.headers.get('user-agent', '')}",
            openmetrics=content_type == OPENMETRICS,
            created="created" in request.query_params,
        )
        headers = {"Vary": "Accept, Accept-Encoding", **_HEADERS}
        if _takes_gzip(request.headers.get("accept-encoding", "")):
            # Level 1: a page is read by a machine next door, and once.
            body = await run_in_threadpool(gzip.compress, body, 1)
            headers["Content-Encoding"] = "gzip"
        return Response(body, media_type=content_type, headers=headers)

    async def healthy(_: Request) -> Response:
        return PlainTextResponse("The exporter runs.\n", headers=_HEADERS)

    async def ready(_: Request) -> Response:
        runner = beginning.runner
        if runner is None:
            return _not_yet()
        if runner.ready:
            return PlainTextResponse("Every source has been caught up.\n", headers=_HEADERS)
        why = runner.problem or "A source's backlog is still being read."
        return PlainTextResponse(f"{why}\n", status_code=503, headers=_HEADERS)

    async def status(_: Request) -> Response:
        runner = beginning.runner
        if runner is None:
            return _not_yet()
        problems = [f"state: {runner.problem}"] if runner.problem else []
        problems += [f"source {source.name}: {why}" for source in runner.sources if (why := _problem(runner, source))]
        text = "".join(f"{line}\n" for line in problems) or "The state works and every source can be read.\n"
        return PlainTextResponse(text, status_code=503 if problems else 200, headers=_HEADERS)

    async def front(_: Request) -> Response:
        runner = beginning.runner
        return _not_yet() if runner is None else HTMLResponse(_front(runner), headers=_HEADERS)

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/-/healthy", healthy),
            Route("/-/ready", ready),
            Route("/-/status", status),
            Route("/", front),
        ]
    )


def _not_yet() -> Response:
    return PlainTextResponse(f"{NOT_YET}\n", status_code=503, headers=_HEADERS)


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header names gzip, and not to refuse it."""
    for part in accepted.lower().split(","):
        name, _, parameter = part.partition(";")
        if name.strip() == "gzip":
            return parameter.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _problem(runner: Runner, source: Source) -> str:
    """Why a source could not be read at the last attempt; empty if it could."""
    return runner.standing.problem_of(source.name)


def _standing(runner: Runner, source: Source) -> str:
    """How a source is doing, in words."""
    problem = _problem(runner, source)
    read = "read to its end" if source.name in runner.aggregate.caught_up else "its backlog is being read"
    return f"{read}; cannot be read now: {problem}" if problem else read


def _front(runner: Runner) -> str:
    rows = "".join(
        f"<li><code>{escape(source.name)}</code>: {escape(_standing(runner, source))}</li>" for source in runner.sources
    )
    problems = "".join(
        f"<p><strong>{escape(problem)}</strong></p>" for problem in (runner.problem, *runner.broken_files) if problem
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Agentgauge exporter</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 3rem auto; max-width: 44rem; padding: 0 1rem; }}
body {{ color: #0f172a; background: #fff }}
@media (prefers-color-scheme: dark) {{ body {{ color: #e2e8f0; background: #111217 }} a {{ color: #93c5fd }} }}
</style>
</head>
<body>
<h1>Agentgauge exporter</h1>
<p>Version {__version__}. Reads the traces that LLM agents write, and exposes them to Prometheus.</p>
{problems}
<h2>Where to look</h2>
<ul>
<li><a href="/metrics">/metrics</a>: the page that Prometheus scrapes</li>
<li><a href="/-/ready">/-/ready</a>: whether every source's backlog has been read</li>
<li><a href="/-/status">/-/status</a>: whether the state works and every source can be read</li>
<li><a href="/-/healthy">/-/healthy</a>: whether the process runs</li>
</ul>
<h2>Sources</h2>
<ul>{rows}</ul>
</body>
</html>
"""


def listen(address: str) -> socket.socket:
    """Bind `host:port` (port 0: a free one). Raises OSError with one line that says how to mend it."""
    host, colon, port = address.rpartition(":")
    # A port alone must not open every address of the machine by mistake.
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise OSError(f"--listen {address}: should be HOST:PORT, such as 127.0.0.1:9464")
    try:
        return bind(host.strip("[]"), int(port))
    except OSError as error:
        raise OSError(f"--listen {address}: {error}; choose another address or port") from None


def serve(begin: Callable[[], Runner], bound: socket.socket, hosts: Hosts) -> None:
    """Follow the sources of a runner and answer on a bound socket, also while `begin` makes it, until SIGTERM or
    SIGINT; `hosts` may be asked for. Raises what that does."""
    # uvicorn shuts down on it and then raises it again, to which the default is to end here and now.
    signal.signal(signal.SIGTERM, _ended)
    host, port = bound.getsockname()[:2]

    def begun(runner: Runner) -> None:
        log.info("listening on http://%s:%s/ sources=%s", host, port, ",".join(one.name for one in runner.sources))

    beginning = Beginning(begin, begun, failed=lambda: setattr(server, "should_exit", True))
    connections = Connections(CONNECTIONS)
    server = uvicorn.Server(
        uvicorn.Config(
            HostGuard(application(beginning), hosts),
            http=connections.make,  # type: ignore[arg-type] # called as a class is, with the same arguments
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            # So many are accepted in a row, before the first of them is looked at.
            backlog=CONNECTIONS,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=5,
            callback_notify=connections.sweep,
            timeout_notify=1,
        )
    )
    beginning.start()
    try:
        server.run(sockets=[bound])
    finally:
        beginning.stop()
    if beginning.error is not None:
        raise beginning.error


def _ended(*_: object) -> None:
    sys.exit(0)
