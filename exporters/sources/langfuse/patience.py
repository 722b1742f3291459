"""When a project that refused may be asked again, and when that is a trouble that is told."""

import time

from exporters.sources import SourceError
from exporters.sources.langfuse.client import RefusedError

# A pause up to this is the budget of a rate limit at work, whose window is a minute; a longer one is told.
_SHORT_PAUSE = 65.0
_LONGEST_PAUSE = 300.0
# Between two steps while a problem is shown.
_STEP_PAUSE = 1.0
# Failures in a row that are tried again at once, before the source is said to be down.
_RETRIES = 2


class Patience:
    """A pause as long as the server asks for, or a little longer after each failure."""

    def __init__(self) -> None:
        # Until when nothing is asked, on the monotonic clock, and why, where that is a trouble.
        self.until = 0.0
        self.problem = ""
        self._failures = 0

    @property
    def left(self) -> float:
        """The seconds that are left of the pause."""
        return max(0.0, self.until - time.monotonic())

    def answered(self) -> None:
        """Begin anew: there was an answer."""
        self._failures, self.problem = 0, ""

    def slow_down(self, problem: str) -> None:
        """Go on step by step: there was an answer, and a problem with it that is to be shown."""
        self.until, self.problem = time.monotonic() + _STEP_PAUSE, problem

    def refused(self, refusal: RefusedError) -> str:
        """Pause; return the trouble if it is to be told beside what is read. Raises SourceError when nothing can be."""
        if refusal.kind == "limited":
            self.until = time.monotonic() + refusal.seconds
            self.problem = str(refusal) if refusal.seconds > _SHORT_PAUSE else ""
            return self.problem
        self._failures += 1
        retried = refusal.kind == "trouble" and self._failures <= _RETRIES
        pause = 0.25 * 2**self._failures if retried else min(2.0 ** (self._failures - 1), _LONGEST_PAUSE)
        self.until = time.monotonic() + pause
        if retried:
            return ""
        self.problem = str(refusal)
        raise SourceError(self.problem)
