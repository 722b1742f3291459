"""The OTLP receiver, as it is opened: where it listens, and what token it asks for."""

import logging
import os
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult

from exporters.connections import bind
from exporters.hosts import SERVICE, hosts_of
from exporters.sources import Options, Source, SourceError, Translated
from exporters.sources.otlp.body import Body
from exporters.sources.otlp.folder import settles_of
from exporters.sources.otlp.layouts import Memory
from exporters.sources.otlp.receiver import Receiver
from exporters.sources.otlp.translation import bodies

PORT = 4318
_TOKEN = "AGENTGAUGE_OTLP_TOKEN"  # noqa: S105 -- a variable's name
_SHORTEST_TOKEN = 32

log = logging.getLogger("agentgauge")


def open_receiver(url: SplitResult, options: Options) -> Source:
    """Listen where a URL such as `otlp://127.0.0.1:4318` says; the cursor is empty.

    Options: `wait`, how long a span may wait for the rest of its trace (10s), and `token_file`, whose
    text clients have to send, as that of AGENTGAUGE_OTLP_TOKEN. Raises SourceError.
    """
    options.only(url, "wait", "token_file")
    if not options.follows:
        raise SourceError(
            f"{url.geturl()}: a receiver has no end; use `agentgauge serve`, or otlp+file:///folder for files"
        )
    if url.path.strip("/") or "@" in url.netloc:
        raise SourceError(f"{url.scheme}://...: should be an address and a port, as in otlp://127.0.0.1:{PORT}")
    settles, token = settles_of(url, options), _token(url, options)
    bound = listen(url)
    host, port = bound.getsockname()[:2]
    log.info("source=%s receives on http://%s:%s/v1/traces", options.name, f"[{host}]" if ":" in host else host, port)
    if not token and not ip_address(host.partition("%")[0]).is_loopback:
        log.warning(
            "source=%s takes spans from whoever reaches %s; set %s to ask for a token", options.name, host, _TOKEN
        )

    memory = Memory()

    def spans(records: Sequence[Body]) -> Translated:
        return bodies(records, options.environment, memory)

    return Source(options.name, Receiver(bound, token, hosts_of(SERVICE, url.hostname or "")), spans, settles)


def _token(url: SplitResult, options: Options) -> bytes:
    """Return the token that clients have to send, or nothing. Raises SourceError."""
    # Empty is unset: Docker Compose hands over what `.env` leaves empty.
    where, token = _TOKEN, os.environ.get(_TOKEN, "").strip() or None
    if "token_file" in options.own:
        where = options.own["token_file"]
        try:
            token = Path(where).expanduser().read_text()
        except (OSError, UnicodeDecodeError, RuntimeError, ValueError) as error:
            raise SourceError(f"{url.geturl()}: token_file: {error}") from None
    if token is None:
        return b""
    token = token.strip()
    if len(token) < _SHORTEST_TOKEN or not (token.isascii() and token.isprintable()):
        raise SourceError(
            f"{where}: a token has at least {_SHORTEST_TOKEN} ASCII characters; make one with: openssl rand -hex 32"
        )
    return token.encode()


def listen(url: SplitResult) -> socket.socket:
    """Bind the address of a URL. Raises SourceError with one line that says how to mend it."""
    try:
        host, port = url.hostname or "127.0.0.1", PORT if url.port is None else url.port
    except ValueError as error:
        raise SourceError(f"{url.geturl()}: {error}; check the port") from None
    try:
        return bind(host, port)
    except OSError as error:
        raise SourceError(f"{url.geturl()}: {error}; choose another address or port") from None
