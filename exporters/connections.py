"""How many connections a server of ours holds, and for how long: slow and many ones cost others nothing."""

import asyncio
import os
import socket
import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Without a whole head of a request for so long, a connection is closed. Clients send a batch every 5 s.
IDLE_SECONDS = 60
# From the head of a request to the end of its answer: who reads that slowly keeps a place no longer.
BUSY_SECONDS = 60
# After an answer that did not wait for its request's body, the rest of that is read and thrown away, so that its
# sender reads the answer and does not only see a broken pipe: as long as it comes, and in all.
QUIET_SECONDS = 2
LINGER_SECONDS = 15
# Of a request before its body, besides what came in one piece with its first byte, at most 256 KiB of asyncio's.
_HEAD_BYTES = 64 << 10


def bind(host: str, port: int) -> socket.socket:
    """Listen on an address (port 0: a free one). Raises OSError, whose text is the reason alone."""
    try:
        bound = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None) or 0
        raise OSError(os.strerror(number) if number > 0 else "there is no such address") from None
    # Connections take it over: else an answer's second piece waits until the first is acknowledged, up to 40 ms.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound


class _Connection(HttpToolsProtocol):
    """As uvicorn's, with a bound for the heads of requests, which the parser lacks, and a close that lingers."""

    def __init__(self, busy: float, **made_with: Any) -> None:
        super().__init__(**made_with)
        self._busy = busy
        # Of a head that is coming in, so many bytes; of a body nothing is counted here.
        self._head: int | None = None
        # When it was made, or its last request began or was answered; and when the last unwanted byte came.
        self.since = self.heard = time.monotonic()
        # Whether it is answered and closed on our side; and whether there is time for that.
        self.lingers = False
        self._may_linger = True

    @property
    def waits(self) -> bool:
        """Whether there is no request under way, but for the beginning of a head."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        self.transport = _Transport(transport, self)  # type: ignore[assignment] # all that is asked of one

    def data_received(self, data: bytes) -> None:
        if self.lingers:
            self.heard = time.monotonic()
            return
        super().data_received(data)
        # Counted only while the head goes on: what it ended with may have been much of the body.
        if self._head is not None and not self.transport.is_closing():
            self._head += len(data)
            if self._head > _HEAD_BYTES:
                self.send_400_response("The head of the request is too long.")

    def on_message_begin(self) -> None:
        self._head = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head = None
        self.since = time.monotonic()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        self.since = time.monotonic()
        super().on_response_complete()

    def shutdown(self) -> None:
        self._may_linger = False
        if self.lingers:
            self.transport.abort()
        else:
            super().shutdown()

    def linger(self) -> bool:
        """Begin to linger, where a request was answered before its body came; return whether it does."""
        cycle = self.cycle
        if self._may_linger and not self.lingers and cycle and cycle.response_complete and cycle.more_body:
            self.lingers, self.since, self.heard = True, time.monotonic(), time.monotonic()
            self.flow.resume_reading()
        return self.lingers

    def is_over(self, now: float) -> bool:
        """Whether it has had its time."""
        if self.lingers:
            return now > min(self.heard + QUIET_SECONDS, self.since + LINGER_SECONDS)
        return now > self.since + (IDLE_SECONDS if self.waits else self._busy)


class _Transport:
    """A connection's transport; to close it shuts our side only while the connection lingers."""

    def __init__(self, transport: asyncio.Transport, connection: _Connection) -> None:
        self._transport = transport
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._connection.lingers or self._transport.is_closing()

    def close(self) -> None:
        if self._transport.is_closing() or not self._connection.linger():
            self._transport.close()
        elif self._transport.can_write_eof():
            self._transport.write_eof()


class _Refused(asyncio.Protocol):
    """A connection that is closed at once: all others are busy with a request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class Connections:
    """Makes uvicorn's connections, `most` at once; one that lingers, or else the one that has sent no request for
    longest, makes room for a new one."""

    def __init__(self, most: int, busy: float | None = None) -> None:
        """`busy` is how many seconds a request may take in all, BUSY_SECONDS if it is not said."""
        self._most = most
        self._busy = BUSY_SECONDS if busy is None else busy
        self._held: set[Any] = set()

    def make(self, **made_with: Any) -> asyncio.Protocol:
        """Return the protocol of a connection that was just accepted; uvicorn calls this."""
        self._held = made_with["server_state"].connections
        if len(self._held) >= self._most:
            idle = [connection for connection in self._held if connection.lingers or connection.waits]
            if not idle:
                return _Refused()
            self._drop(min(idle, key=lambda connection: (not connection.lingers, connection.since)))
        return _Connection(self._busy, **made_with)

    async def sweep(self) -> None:
        """Close what has had its time; to be called every second."""
        now = time.monotonic()
        for connection in [connection for connection in self._held if connection.is_over(now)]:
            self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        # Discarded by uvicorn itself only in the loop's next round.
        self._held.discard(connection)
        connection.transport.abort()
