"""Asking a Langfuse server: one GET at a time, bounded in time and size, with the keys going to it alone."""

import logging
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

from exporters.sources import SourceError
from exporters.sources.addresses import refused
from exporters.sources.langfuse.keys import Keys

# Cloud caps a reply at 5 MB; a self-hosted server sends whole prompts with its older lists.
REPLY_BYTES = 32 << 20
CONNECT_SECONDS = 10.0
# A clock that is less wrong than this is not: the `Date` of a reply has whole seconds.
SKEW_SECONDS = 2.0
_LONGEST_WAIT = 86_400.0

logging.getLogger("httpx").setLevel(logging.WARNING)  # else a line for every request


class RefusedError(Exception):
    """A request without a usable reply, said in one line without keys.

    `kind` says what to do: `limited` waits `seconds`, `absent` is a path that this server does not have, `too_much`
    and `too_large` ask for less, `keys` and `wrong` need a person, and `trouble` is tried again.
    """

    def __init__(
        self,
        said: str,
        kind: Literal["limited", "absent", "too_much", "too_large", "keys", "wrong", "trouble"] = "trouble",
        seconds: float = 0.0,
    ) -> None:
        super().__init__(said)
        self.kind = kind
        self.seconds = seconds


class Client:
    """The API below `origin`. httpx rather than requests: its trace of a connection lets the peer's address be
    looked at before a byte is sent, and a socket under way be cut by `close`. Redirects are never followed, so no
    other host sees the keys; certificates are verified, proxies of the environment are used."""

    def __init__(self, origin: str, keys: Keys, timeout: float, *, reply_bytes: int = REPLY_BYTES) -> None:
        self.origin = origin
        self._timeout = timeout
        self._reply_bytes = reply_bytes
        self._closed = threading.Event()
        self._socket: socket.socket | None = None
        self._auth = httpx.BasicAuth(keys.public, keys.secret)
        self._http = httpx.Client(
            timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
            follow_redirects=False,
            headers={"Accept": "application/json", "User-Agent": "agentgauge"},
        )
        # Of the last reply that told them: what is left of the rate limit, and the limit.
        self.remaining: float | None = None
        self.limit: float | None = None
        # Seconds by which the server's clock is ahead of ours.
        self.skew = 0.0

    def now(self) -> float:
        """Return the server's time in Unix seconds, as far as its replies have told it."""
        return time.time() + self.skew

    def close(self) -> None:
        """End a request under way, and let go of the connection."""
        self._closed.set()
        cut = self._socket
        if cut is not None:
            with suppress(OSError):  # it was closed already
                cut.shutdown(socket.SHUT_RDWR)
        self._http.close()

    def get(self, path: str, params: Sequence[tuple[str, str]] = (), *, keyed: bool = True) -> bytes:
        """Return the body of a reply with status 200. Raises RefusedError, or SourceError for a forbidden address."""
        if self._closed.is_set():
            raise RefusedError(f"{self.origin}: closed")
        try:
            with self._http.stream(
                "GET",
                f"{self.origin}/api/public{path}",
                params=list(params),
                auth=self._auth if keyed else None,
                extensions={"trace": self._look_at},
            ) as reply:
                self._note(reply.headers)
                body = self._body(reply)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, RuntimeError) as error:
            raise RefusedError(f"{self.origin}: {_said(error)}") from None
        if reply.status_code != 200:
            raise self._refusal(reply, path, body)
        return body

    def _look_at(self, event: str, info: Mapping[str, Any]) -> None:
        """Refuse a peer before anything is sent to it, and keep the socket for `close`."""
        if event not in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            return
        stream = info["return_value"]
        if event == "connection.connect_tcp.complete":
            address = stream.get_extra_info("server_addr")[0]
            why = refused(address)
            if why:
                raise SourceError(f"{self.origin}: leads to {address}, {why}; it is not asked")
        self._socket = stream.get_extra_info("socket")

    def _body(self, reply: httpx.Response) -> bytes:
        """Read a reply, decompressed, up to a bound in bytes and in time."""
        deadline = time.monotonic() + 4 * self._timeout
        body = bytearray()
        for chunk in reply.iter_bytes(1 << 16):
            body += chunk
            if len(body) > self._reply_bytes:
                raise RefusedError(f"{self.origin}: a reply of more than {self._reply_bytes >> 20} MiB", "too_large")
            if time.monotonic() > deadline:
                raise RefusedError(f"{self.origin}: a reply that takes more than {4 * self._timeout:.0f} s")
        return bytes(body)

    def _note(self, headers: httpx.Headers) -> None:
        """Note the server's clock and what is left of the rate limit."""
        try:
            skew = parsedate_to_datetime(headers["date"]).timestamp() - time.time()
            self.skew = skew if abs(skew) > SKEW_SECONDS else 0.0
        except (KeyError, ValueError, TypeError, OverflowError):
            pass
        self.remaining = _number(headers.get("x-ratelimit-remaining"), self.remaining)
        self.limit = _number(headers.get("x-ratelimit-limit"), self.limit)

    def _refusal(self, reply: httpx.Response, path: str, body: bytes) -> RefusedError:
        """Say what a status other than 200 means. No text of the server's is repeated: it may repeat ours."""
        status, asked = reply.status_code, f"{self.origin}/api/public{path}"
        if status in (401, 403):
            return RefusedError(
                f"{self.origin}: the keys are not accepted (HTTP {status}); check that LANGFUSE_PUBLIC_KEY and "
                "LANGFUSE_SECRET_KEY are those of one project on this host",
                "keys",
            )
        if status == 404:
            return RefusedError(
                f"{asked}: not there (HTTP 404); check that the URL is that of Langfuse, and ?api= if given",
                "absent",
            )
        if status == 429:
            wait = self._wait(reply.headers)
            return RefusedError(f"{self.origin}: rate limited for another {wait:.0f} s (HTTP 429)", "limited", wait)
        if status in (413, 422, 504, 524):
            return RefusedError(f"{asked}: asked for too much at once (HTTP {status})", "too_much")
        if 300 <= status < 400:
            to = urlsplit(reply.headers.get("location", ""))
            where = f"{to.scheme}://{to.hostname}" if to.hostname else "another path"
            return RefusedError(
                f"{asked}: sends us to {where} (HTTP {status}), which is not followed with keys; "
                "if that is where Langfuse is, use its address as the source's URL",
                "wrong",
            )
        return RefusedError(f"{asked}: HTTP {status}", "trouble" if status >= 500 else "wrong")

    def _wait(self, headers: httpx.Headers) -> float:
        """Return the seconds of `Retry-After`, given as such or as a date; a minute when it says nothing usable."""
        given = headers.get("retry-after", "")
        seconds = _number(given, None)
        if seconds is None:
            try:
                seconds = parsedate_to_datetime(given).timestamp() - self.now()
            except (ValueError, TypeError, OverflowError):
                seconds = 60.0
        return min(max(seconds, 1.0), _LONGEST_WAIT)


def _number(text: str | None, otherwise: float | None) -> float | None:
    return float(text) if text is not None and text.strip().isdecimal() and len(text) < 16 else otherwise


def _said(error: Exception) -> str:
    """Say what went wrong with a connection."""
    if isinstance(error, httpx.ConnectTimeout):
        return "does not answer; check the host, and that this machine may reach it"
    if isinstance(error, httpx.TimeoutException):
        return "took too long to reply; a longer ?timeout= may help"
    if isinstance(error, httpx.ConnectError):
        return f"cannot be reached: {error}"
    if isinstance(error, httpx.RemoteProtocolError):
        return "the reply was cut short"
    if isinstance(error, httpx.DecodingError):
        return "the reply cannot be decompressed"
    return f"the connection broke ({type(error).__name__})"
