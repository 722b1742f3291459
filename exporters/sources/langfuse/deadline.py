"""A deadline that holds whatever the other side does: a timeout of a socket begins anew with every byte."""

import threading
from collections.abc import Callable
from types import TracebackType


class Deadline:
    """Runs `expire` in a thread of its own if the block is not left within so many seconds; afterwards `over` says
    whether it was run."""

    def __init__(self, seconds: float, expire: Callable[[], None]) -> None:
        self.over = False
        self._expire = expire
        self._left = False
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._run)
        self._timer.daemon = True

    def __enter__(self) -> "Deadline":
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._left = True

    def _run(self) -> None:
        # Whoever has left the block may be in the next one, on the same connection.
        with self._lock:
            if not self._left:
                self.over = True
                self._expire()
