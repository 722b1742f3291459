"""The operating system's word that files of a folder changed."""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

# Documented: https://watchfiles.helpmanual.io/api/rust_backend/ -- `watchfiles.watch` does not say from when on
# it watches, and what happens before that would be told by nobody.
from watchfiles._rust_notify import RustNotify

# Changes are gathered until none came for a step, at most for the debounce: milliseconds.
_STEP = 5
_DEBOUNCE = 20
# So long at most, milliseconds, until it is noticed that watching is to stop.
_TIMEOUT = 500
# Between two beginnings, seconds: one that fails at once would else be tried again and again.
_PAUSE = 1.0


class Watch:
    """Gathers the names of changed files. Without events (a network file system, a folder that is
    gone for a while) nothing is gathered and `wait` returns by its time-out: the reader's own
    look at the folder is the net."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changed = threading.Event()
        self._closed = False
        # Of the thread that watches: how to stop it, and which folder was under the name then.
        self._stop = threading.Event()
        self._watched: tuple[int, int] | None = None
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._thread: threading.Thread | None = None
        self._not_before = 0.0

    def taken(self) -> set[str]:
        """Return the names that changed since the last call."""
        with self._lock:
            self._changed.clear()
            names, self._names = self._names, set()
        return names

    def begin(self) -> bool:
        """Watch, unless this very folder is watched already: events are of a folder, not of its name.

        Returns whether watching began now: what changed before this is told by no event.
        """
        with self._lock:
            if self._closed or time.monotonic() < self._not_before:
                return False
            try:
                found = self._folder.stat()
                folder = (found.st_dev, found.st_ino)
                if self._thread is not None and self._thread.is_alive() and folder == self._watched:
                    return False
                self._not_before = time.monotonic() + _PAUSE
                watcher = RustNotify([str(self._folder)], False, False, 0, False, False)
            # The folder is gone, or the system's watches are used up, which is a RuntimeError of the
            # library; the next call tries again.
            except (OSError, RuntimeError):
                return False
            self._stop.set()
            self._stop, self._watched = threading.Event(), folder
            self._thread = threading.Thread(target=self._follow, args=(watcher, self._stop), name="watch", daemon=True)
            self._thread.start()
            return True

    def wait(self, seconds: float) -> None:
        """Return when something changed, or after `seconds`."""
        self._changed.wait(seconds)

    def close(self) -> None:
        """Stop watching; a `wait` under way returns."""
        with self._lock:
            self._closed = True
            self._stop.set()
            self._changed.set()
        if self._thread is not None:
            self._thread.join()

    def _follow(self, watcher: RustNotify, stop: threading.Event) -> None:
        with watcher, suppress(OSError, RuntimeError):
            while not stop.is_set():
                changes = watcher.watch(_DEBOUNCE, _STEP, _TIMEOUT, stop)
                if isinstance(changes, set):
                    with self._lock:
                        self._names |= {os.path.basename(path) for _, path in changes}  # noqa: PTH119 -- hot
                        self._changed.set()
