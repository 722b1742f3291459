"""How many connections a receiver holds, and for how long: slow and many ones cost others nothing."""

import asyncio
import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Well below the 1,024 descriptors that a process may commonly have: /metrics needs some, and the state.
CONNECTIONS = 256
# Without a whole head of a request for so long, a connection is closed. Clients send a batch every 5 s.
IDLE_SECONDS = 60
# Of a request before its body, besides what came in one piece with its first byte, at most 256 KiB of asyncio's.
_HEAD_BYTES = 64 << 10


class _Connection(HttpToolsProtocol):
    """As uvicorn's, with a bound for the heads of requests: the parser has none."""

    def __init__(self, **made_with: Any) -> None:
        super().__init__(**made_with)
        # Of a head that is coming in, so many bytes; of a body nothing is counted here.
        self._head: int | None = None

    @property
    def waits(self) -> bool:
        """Whether there is no request under way, but for the beginning of a head."""
        return self.cycle is None or self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += len(data)
            if self._head > _HEAD_BYTES:
                self.send_400_response("The head of the request is too long.")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._head = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head = None
        super().on_headers_complete()


class _Refused(asyncio.Protocol):
    """A connection that is closed at once: all others are busy with a request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class Connections:
    """Makes uvicorn's connections; the one that has sent no request for longest makes room for a new one."""

    def __init__(self) -> None:
        # Connection -> its last request, and since when it waits for another.
        self._waiting: dict[_Connection, tuple[object, float]] = {}
        self._held: set[Any] = set()

    def make(self, **made_with: Any) -> asyncio.Protocol:
        """Return the protocol of a connection that was just accepted; uvicorn calls this."""
        self._held = made_with["server_state"].connections
        if len(self._held) >= CONNECTIONS:
            self._look()
            if not self._waiting:
                return _Refused()
            longest = min(self._waiting, key=lambda connection: self._waiting[connection][1])
            self._drop(longest)
        return _Connection(**made_with)

    async def sweep(self) -> None:
        """Close what has waited too long; to be called every second."""
        self._look()
        latest = time.monotonic() - IDLE_SECONDS
        for connection, (_, since) in list(self._waiting.items()):
            if since < latest:
                self._drop(connection)

    def _look(self) -> None:
        now = time.monotonic()
        waiting = {}
        for connection in self._held:
            if connection.waits:
                request, since = self._waiting.get(connection, (connection.cycle, now))
                waiting[connection] = (connection.cycle, since if request is connection.cycle else now)
        self._waiting = waiting

    def _drop(self, connection: _Connection) -> None:
        del self._waiting[connection]
        # Discarded by uvicorn itself only in the loop's next round.
        self._held.discard(connection)
        connection.transport.abort()
