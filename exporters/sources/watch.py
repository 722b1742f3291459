"""The operating system's word that files of a folder changed."""

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
        self._stop = threading.Event()
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
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._follow, name="watch", daemon=True)
            self._thread.start()
        self._changed.wait(seconds)

    def close(self) -> None:
        """Stop watching; a `wait` under way returns."""
        self._stop.set()
        self._changed.set()
        if self._thread is not None:
            self._thread.join()

    def _follow(self) -> None:
        try:
            for changes in watch(
                self._folder,
                watch_filter=None,
                debounce=_DEBOUNCE,
                step=_STEP,
                rust_timeout=500,
                yield_on_timeout=False,
                stop_event=self._stop,
                raise_interrupt=False,
                recursive=False,
            ):
                with self._lock:
                    self._names |= {Path(path).name for _, path in changes}
                    self._changed.set()
        except OSError:
            return  # the folder is gone or cannot be watched; the next wait tries again
