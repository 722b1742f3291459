"""The reader of what is pushed: requests wait here for the next poll, and for their commit.

Accepted means committed. A request is answered when the poll after the one that read it says that
its spans are durable; if instead the reading goes back, or ends, its client is asked to send it again.
"""

import asyncio
import socket
import threading
from collections import deque
from collections.abc import Mapping, Sequence

from exporters.hosts import Hosts
from exporters.sources import Batch
from exporters.sources.otlp.body import Body
from exporters.sources.otlp.http import Server

# Of a batch: one commit for what many clients send at once, at most about this much.
_BATCH_BYTES = 2 << 20


class Receiver:
    """Listens on a bound socket from its making to `close`."""

    unit = "bytes"

    def __init__(self, bound: socket.socket, token: bytes, hosts: Hosts) -> None:
        self._changed = threading.Condition()
        self._arrived: deque[Body] = deque()
        # Read by the last poll, and not known to be committed.
        self._read: list[Body] = []
        self._refused: dict[str, int] = {}
        self._closed = False
        self._server = Server(bound, token, self, hosts)

    def put(self, body: Body) -> bool:
        """Take a body in; see Desk."""
        with self._changed:
            if self._closed:
                return False
            self._arrived.append(body)
            self._changed.notify()
        return True

    def withdraw(self, body: Body) -> None:
        """Forget a body if it has not been read; see Desk."""
        with self._changed:
            if body in self._arrived:
                self._arrived.remove(body)

    def refuse(self, reason: str) -> None:
        """Count a refused request; see Desk."""
        with self._changed:
            self._refused[reason] = self._refused.get(reason, 0) + 1
            self._changed.notify()

    def seek(self, _: Mapping[str, bytes]) -> None:
        """Go back: what the last poll brought was not committed, and is sent again by its clients."""
        with self._changed:
            unread, self._read = self._read, []
        _tell(unread, committed=False)

    def poll(self) -> Batch:
        """Return what has arrived, in order; what the last poll brought is committed."""
        batch = Batch([], {})
        with self._changed:
            done, self._read = self._read, []
            while self._arrived and batch.size < _BATCH_BYTES:
                body = self._arrived.popleft()
                self._read.append(body)
                batch.size += len(body.data)
            batch.records = list(self._read)
            batch.more = bool(self._arrived)
            batch.bad, self._refused = self._refused, {}
            batch.retries = batch.bad.pop("", 0)
        _tell(done, committed=True)
        return batch

    def backlog(self) -> int:
        """Return the bytes that wait to be read."""
        with self._changed:
            return sum(len(body.data) for body in self._arrived)

    def wait(self, seconds: float) -> None:
        """Return when there is something to read or to answer, or after `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: self._arrived or self._read or self._refused or self._closed, seconds)

    def close(self) -> None:
        """Ask every client that waits to send again, and stop listening."""
        with self._changed:
            self._closed = True
            waiting = [*self._read, *self._arrived]
            self._read.clear()
            self._arrived.clear()
            self._changed.notify()
        _tell(waiting, committed=False)
        self._server.stop()


def _tell(bodies: Sequence[Body], *, committed: bool) -> None:
    """Resolve what the clients' answers wait for, in their loop, once for all."""
    futures = [body.committed for body in bodies if body.committed is not None]
    if futures:
        futures[0].get_loop().call_soon_threadsafe(_resolve, futures, committed)


def _resolve(futures: "Sequence[asyncio.Future[bool]]", committed: bool) -> None:
    for future in futures:
        if not future.done():  # given up by its client's time limit
            future.set_result(committed)
