"""OTLP: spans that are pushed over HTTP, and spans that a Collector wrote to files."""

import logging
import os
import re
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult

from exporters.sources import Options, Source, SourceError, Translated, seconds_of
from exporters.sources.files import Files, folder_of
from exporters.sources.otlp.http import Body
from exporters.sources.otlp.protobuf import Memory
from exporters.sources.otlp.receiver import Receiver
from exporters.sources.otlp.translation import bodies, lines

PORT = 4318
# As the Collector's file exporter names what it writes and rotates, and what others make of a name when they rotate.
FILE_NAME = re.compile(r".*\.jsonl?(\.\d+|-\d{8})?")
# How long a call waits for the span that names its agent: it ends after the call, and comes later.
_SETTLES = "10s"
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
    settles, token = _settles(url, options), _token(url, options)
    bound = _bind(url)
    host, port = bound.getsockname()[:2]
    log.info("source=%s receives on http://%s:%s/v1/traces", options.name, f"[{host}]" if ":" in host else host, port)
    if not token and not ip_address(host.partition("%")[0]).is_loopback:
        log.warning(
            "source=%s takes spans from whoever reaches %s; set %s to ask for a token", options.name, host, _TOKEN
        )

    memory: Memory = {}

    def spans(records: Sequence[Body]) -> Translated:
        return bodies(records, options.environment, memory)

    return Source(options.name, Receiver(bound, token), spans, settles)


def open_folder(url: SplitResult, options: Options) -> Source:
    """Open the folder of a URL such as `otlp+file:///folder`: OTLP's JSON, one request a line.

    The Collector's file exporter writes such files. The cursor has one part a file. Option: `wait`, as
    a receiver has it. Raises SourceError.
    """
    options.only(url, "wait")
    settles = _settles(url, options)

    def spans(records: Sequence[bytes | memoryview]) -> Translated:
        return lines(records, options.environment)

    return Source(options.name, Files(folder_of(url), FILE_NAME, since=options.since), spans, settles)


def _settles(url: SplitResult, options: Options) -> float:
    try:
        return seconds_of(options.own.get("wait", _SETTLES))
    except ValueError as error:
        raise SourceError(f"{url.geturl()}: wait: {error}") from None


def _token(url: SplitResult, options: Options) -> bytes:
    """Return the token that clients have to send, or nothing. Raises SourceError."""
    where, token = _TOKEN, os.environ.get(_TOKEN)
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


def _bind(url: SplitResult) -> socket.socket:
    """Bind the address of a URL. Raises SourceError with one line that says how to mend it."""
    try:
        host, port = url.hostname or "127.0.0.1", PORT if url.port is None else url.port
    except ValueError as error:
        raise SourceError(f"{url.geturl()}: {error}; check the port") from None
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None) or 0
        why = os.strerror(number) if number > 0 else "there is no such address"
        raise SourceError(f"{url.geturl()}: {why}; choose another address or port") from None
