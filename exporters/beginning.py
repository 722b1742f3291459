"""The beginning of an exporter that answers already: its state is opened and checked before anything is counted."""

import threading
from collections.abc import Callable

from exporters.runner import Runner

# A state of 400 MB is checked in two seconds or three.
NOT_YET = "The state is being opened and checked; nothing is counted or shown before that is done."


class Beginning:
    """Makes a runner and starts it, in a thread; `begun` is told when it answers, `failed` when it cannot be made,
    and `error` is why."""

    def __init__(
        self, begin: Callable[[], Runner], begun: Callable[[Runner], None], failed: Callable[[], None]
    ) -> None:
        self.runner: Runner | None = None
        self.error: Exception | None = None
        self._begin = begin
        self._begun = begun
        self._failed = failed
        self._stopped = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin. A thread that is still at it when the process ends is left: it has changed nothing yet."""
        threading.Thread(target=self._run, name="beginning", daemon=True).start()

    def stop(self) -> None:
        """Stop the runner, or see to it that it does not start."""
        with self._lock:
            self._stopped = True
        if self.runner is not None:
            self.runner.stop()

    def _run(self) -> None:
        try:
            runner = self._begin()
        except Exception as error:  # noqa: BLE001 -- raised again where the process ends, which has a line for it
            self.error = error
            self._failed()
            return
        with self._lock:
            if self._stopped:
                runner.stop()
                return
            runner.start()
            self.runner = runner
        self._begun(runner)
