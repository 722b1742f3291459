"""Scrapers, and up to which birth of a series each has been shown.

`increase()` ignores the value at which a series first appears. So a series is shown at 0 on the
first scrape that sees it, and at its value from the next on: to each scraper for itself, since one
that looks in between must not use up another's zero, and also when we are killed in between.
"""

from collections.abc import Callable, Mapping
from hashlib import blake2b

# How many scrapers are told apart; past it the one that came longest ago is forgotten.
_SCRAPERS = 64

# Commits that a scraper may be shown series up to a birth at their value, and forgets another.
Promise = Callable[[str, int, str], None]


class Scrapers:
    """What each scraper was shown, known by a digest of its address and agent."""

    def __init__(self) -> None:
        # Up to which birth values may be shown, as committed; who scraped last is last.
        self._promised: dict[str, int] = {}
        self._promised_to_any = 0
        # The last birth there was in a scraper's last scrape: it has been seen, at 0 at least.
        self._there: dict[str, int] = {}

    def restore(self, promised: Mapping[str, int], to_any: int, born: int) -> None:
        """Go back to what is committed; `born` is the last birth in it."""
        self._promised = dict(promised)
        self._promised_to_any = to_any
        self._there = {scraper: min(there, born) for scraper, there in self._there.items()}

    def scrape(self, name: str, born: int, promise: Promise | None) -> int:
        """Return up to which birth a scraper that asks now is shown series at their value.

        `born` is the last birth that is committed. Without `promise`, that is what was promised
        before. What `promise` raises goes through, and then nothing is changed.
        """
        scraper = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        # A stranger's own counting begins with the first sample it takes.
        promised = self._promised.get(scraper, self._promised_to_any)
        if promise is None:
            return promised
        seen = max(promised, self._there.get(scraper, 0))
        known = scraper in self._promised
        if not known or seen > promised:
            forgotten = "" if known or len(self._promised) < _SCRAPERS else next(iter(self._promised))
            promise(scraper, seen, forgotten)
            self._promised.pop(forgotten, None)
            self._there.pop(forgotten, None)
            self._promised_to_any = max(self._promised_to_any, seen)
        self._promised.pop(scraper, None)
        self._promised[scraper] = seen
        self._there[scraper] = born
        return seen
