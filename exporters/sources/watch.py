"""The operating system's word that files of a folder changed."""

import os
import threading
from pathlib import Path

from watchfiles import watch

# Changes are gathered until none came for a step, at most for the debounce: milliseconds.
_STEP = 5
_DEBOUNCE = 20


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

    def taken(self) -> set[str]:
        """Return the names that changed since the last call."""
        with self._lock:
            self._changed.clear()
            names, self._names = self._names, set()
        return names

    def wait(self, seconds: float) -> None:
        """Return when something changed, or after `seconds`. The first call begins to watch."""
        with self._lock:
            if self._closed:
                return
            self._begin()
        self._changed.wait(seconds)

    def close(self) -> None:
        """Stop watching; a `wait` under way returns."""
        with self._lock:
            self._closed = True
            self._stop.set()
            self._changed.set()
        if self._thread is not None:
            self._thread.join()

    def _begin(self) -> None:
        """Watch, unless this very folder is watched already: events are of a folder, not of its name."""
        try:
            found = self._folder.stat()
        except OSError:
            return
        folder = (found.st_dev, found.st_ino)
        if self._thread is not None and self._thread.is_alive() and folder == self._watched:
            return
        self._stop.set()
        self._stop, self._watched = threading.Event(), folder
        self._thread = threading.Thread(target=self._follow, args=(self._stop,), name="watch", daemon=True)
        self._thread.start()

    def _follow(self, stop: threading.Event) -> None:
        try:
            for changes in watch(
                self._folder,
                watch_filter=None,
                debounce=_DEBOUNCE,
                step=_STEP,
                rust_timeout=500,
                yield_on_timeout=False,
                stop_event=stop,
                raise_interrupt=False,
                recursive=False,
            ):
                with self._lock:
                    self._names |= {os.path.basename(path) for _, path in changes}  # noqa: PTH119 -- hot
                    self._changed.set()
        # The folder is gone, or the system's watches are used up, which is a RuntimeError of the
        # library; the next wait tries again.
        except (OSError, RuntimeError):
            return
