"""How many connections a receiver holds, and for how long: slow and many ones cost others nothing."""

import asyncio
import time
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# Well below the 1,024 descriptors that a process may commonly have: /metrics needs some, and the state.
CONNECTIONS = 256
# Without a whole head of a request for so long, a connection is closed. Clients send a batch every 5 s.
IDLE_SECONDS = 60


class _Refused(asyncio.Protocol):
    """A connection that is closed at once: all others are busy with a request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class Connections:
    """Makes uvicorn's connections; the one that has sent no request for longest makes room for a new one."""

    def __init__(self) -> None:
        # Connection -> its last request, and since when it waits for another.
        self._waiting: dict[H11Protocol, tuple[object, float]] = {}
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
        return H11Protocol(**made_with)

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
            if connection.conn.their_state is h11.IDLE:
                request, since = self._waiting.get(connection, (connection.cycle, now))
                waiting[connection] = (connection.cycle, since if request is connection.cycle else now)
        self._waiting = waiting

    def _drop(self, connection: H11Protocol) -> None:
        del self._waiting[connection]
        # Discarded by uvicorn itself only in the loop's next round.
        self._held.discard(connection)
        connection.transport.abort()
