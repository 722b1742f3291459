"""Asking a Langfuse server: one GET at a time, bounded in time and size, with the keys going to it alone."""

import logging
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

from exporters.sources import SourceError
from exporters.sources.addresses import refused
from exporters.sources.langfuse.body import ACCEPTED, BodyError, TooLargeError, read_body
from exporters.sources.langfuse.deadline import Deadline
from exporters.sources.langfuse.keys import Keys

# Cloud caps a reply at 5 MB; a self-hosted server sends whole prompts with its older lists.
REPLY_BYTES = 32 << 20
CONNECT_SECONDS = 10.0
# A clock that is less wrong than this is not: the `Date` of a reply has whole seconds.
SKEW_SECONDS = 2.0
# Past a year it is no clock that is wrong; who believed it would read nothing.
_LONGEST_SKEW = 366 * 86_400.0
_LONGEST_WAIT = 86_400.0
_LONGEST_PLACE = 200
_TOO_LONG = "took too long to reply; a longer ?timeout= may help"

# What httpx raises, and ValueError where an address or a header is none.
_BROKEN = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, RuntimeError, ValueError)

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
    looked at before a byte is sent. Redirects are never followed, so no other host sees the keys; certificates are
    verified, proxies of the environment are used."""

    def __init__(self, origin: str, keys: Keys, timeout: float, *, reply_bytes: int = REPLY_BYTES) -> None:
        """`timeout` is that of a whole request in seconds, from its connection to the last byte of its reply."""
        self.origin = origin
        self._timeout = timeout
        self._reply_bytes = reply_bytes
        self._closed = threading.Event()
        # A second handle of the connection's socket, which is ours to shut down whatever becomes of the first.
        self._line: socket.socket | None = None
        self._auth = httpx.BasicAuth(keys.public, keys.secret)
        self._http = httpx.Client(
            timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
            follow_redirects=False,
            headers={"Accept": "application/json", "Accept-Encoding": ACCEPTED, "User-Agent": "agentgauge"},
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
        self._cut()
        self._http.close()
        self._hang_up()

    def get(self, path: str, params: Sequence[tuple[str, str]] = (), *, keyed: bool = True) -> bytes:
        """Return the body of a reply with status 200. Raises RefusedError, or SourceError for a forbidden address."""
        if self._closed.is_set():
            raise RefusedError(f"{self.origin}: closed")
        deadline = Deadline(self._timeout, self._cut)
        with ExitStack() as failed:
            failed.callback(self._hang_up)
            try:
                with deadline:
                    body = self._ask(path, params, deadline, keyed=keyed)
            except (*_BROKEN, BodyError) as error:
                raise RefusedError(f"{self.origin}: {_TOO_LONG if deadline.over else _said(error)}") from None
            if deadline.over:  # a body without a length ends where it is cut
                raise RefusedError(f"{self.origin}: {_TOO_LONG}")
            failed.pop_all()
        return body

    def _ask(self, path: str, params: Sequence[tuple[str, str]], deadline: Deadline, *, keyed: bool) -> bytes:
        with self._http.stream(
            "GET",
            f"{self.origin}/api/public{path}",
            params=list(params),
            auth=self._auth if keyed else None,
            extensions={"trace": partial(self._look_at, deadline)},
        ) as reply:
            self._note(reply.headers)
            if reply.status_code != 200:
                raise self._refusal(reply, path)
            try:
                return read_body(reply.iter_raw(), reply.headers.get("content-encoding", ""), self._reply_bytes)
            except TooLargeError:
                most = self._reply_bytes >> 20
                raise RefusedError(f"{self.origin}: a reply of more than {most} MiB", "too_large") from None

    def _look_at(self, deadline: Deadline, event: str, info: Mapping[str, Any]) -> None:
        """Refuse a peer before anything is sent to it, and keep a handle of the socket to cut it by."""
        if event != "connection.connect_tcp.complete":
            return
        stream = info["return_value"]
        address = stream.get_extra_info("server_addr")[0]
        why = refused(address)
        if why:
            raise SourceError(f"{self.origin}: leads to {address}, {why}; it is not asked")
        self._hang_up()
        self._line = stream.get_extra_info("socket").dup()
        if deadline.over or self._closed.is_set():  # there was nothing to cut yet
            self._cut()

    def _cut(self) -> None:
        """Shut the connection down, in whatever state it is: who reads or writes comes to its end at once."""
        line = self._line
        if line is not None:
            with suppress(OSError):  # it was closed already
                line.shutdown(socket.SHUT_RDWR)

    def _hang_up(self) -> None:
        """Cut the connection and let go of it. httpx may have kept it: then it finds it at its end, and makes another,
        of which there is a handle again."""
        self._cut()
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def _note(self, headers: httpx.Headers) -> None:
        """Note the server's clock and what is left of the rate limit."""
        try:
            skew = parsedate_to_datetime(headers["date"]).timestamp() - time.time()
            self.skew = skew if SKEW_SECONDS < abs(skew) < _LONGEST_SKEW else 0.0
        except (KeyError, ValueError, TypeError, OverflowError):
            pass
        self.remaining = _number(headers.get("x-ratelimit-remaining"), self.remaining)
        self.limit = _number(headers.get("x-ratelimit-limit"), self.limit)

    def _refusal(self, reply: httpx.Response, path: str) -> RefusedError:
        """Say what a status other than 200 means. The reply's text is not read: it may repeat ours, and is of any
        size."""
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
            where = _place(reply.headers.get("location", ""))
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


def _place(location: str) -> str:
    """Say whereto a redirect leads, without its path."""
    try:
        to = urlsplit(location)
    except ValueError:
        return "no address"
    return f"{to.scheme}://{to.hostname}"[:_LONGEST_PLACE] if to.hostname else "another path"


def _said(error: Exception) -> str:
    """Say what went wrong with a connection."""
    if isinstance(error, BodyError):
        return f"the reply {error}"
    if isinstance(error, httpx.ConnectTimeout):
        return "does not answer; check the host, and that this machine may reach it"
    if isinstance(error, httpx.TimeoutException):
        return _TOO_LONG
    if isinstance(error, httpx.ConnectError):
        return f"cannot be reached: {error}"
    if isinstance(error, httpx.RemoteProtocolError):
        return "the reply was cut short"
    return f"the connection broke ({type(error).__name__})"
