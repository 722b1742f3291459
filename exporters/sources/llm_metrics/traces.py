"""The traces of pages of a backlog, read on beside the calls: to look each up took a fifth of the time of a page."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

from exporters.sources import SourceError
from exporters.sources.llm_metrics.layout import Along
from exporters.sources.long_rows import FIRST
from exporters.sources.sqlite import TooLongError

# Traces held at once: those of a few pages.
_HELD = 2000
# Pages one after another whose traces are not found; after them nothing is tried any more.
_TRIES = 3
# Name, metadata and time of a trace that is not there.
NOTHING = (None, None, None)


class Asked(Protocol):
    """What this room needs of a database."""

    def fetch(
        self, statement: Any, parameters: Mapping[str, Any] | None = None, *, longest: int = ...
    ) -> list[tuple[Any, ...]]: ...


class Traces:
    """What stands in `traces`, along one stretch of pages.

    Who writes a trace writes its calls next, so both tables have nearly always the same order. A trace is told as it
    was when it was read, which may be a few pages before its calls.
    """

    def __init__(self) -> None:
        self._held: dict[Any, tuple[Any, ...]] = {}
        # The number of the last row that was read.
        self._after: int | None = None
        self._missed = 0

    @property
    def found(self) -> bool:
        """Whether traces have been found where they are looked for."""
        return self._missed < _TRIES

    def of(
        self, database: Asked, along: Along, rows: Sequence[tuple[Any, ...]], *, longest: int
    ) -> dict[Any, tuple[Any, ...]] | None:
        """Return name, metadata and time of the traces of a page of calls, by id; None when one of them is not there,
        or cannot be told by its id alone: then the database is to be asked for the page with its traces.

        Raises TooLongError at a value of more than `longest` bytes; the next call looks behind it."""
        wanted = dict.fromkeys(row[1] for row in rows)
        try:
            found = self._read_to(database, along, wanted, longest)
        except TooLongError:
            self._after = None
            raise
        except SourceError:  # a table without rowids
            self._missed = _TRIES
            return None
        self._missed = 0 if found else self._missed + 1
        traces = {trace: self._held[trace] for trace in wanted} if found else None
        for trace in list(islice(self._held, max(0, len(self._held) - _HELD))):
            del self._held[trace]
        return traces

    def _read_to(self, database: Asked, along: Along, wanted: Mapping[Any, None], longest: int) -> bool:
        """Read on until all that is wanted is held; say whether it is."""
        missing = [trace for trace in wanted if trace not in self._held]
        for anew in (self._after is None, True):
            if missing and anew:
                places = database.fetch(along.place, {"id": missing[0]}, longest=longest)
                [place] = places[0] if places else [None]
                # A view has none, and a table may call a column of its own so.
                self._after = max(place - 1, FIRST) if isinstance(place, int) else None
            before = len(missing) + 1
            while missing and self._after is not None and len(missing) < before:
                before = len(missing)
                for *trace, place in database.fetch(along.traces, {"place": self._after}, longest=longest):
                    self._held[trace[0]], self._after = tuple(trace[1:]), place
                missing = [trace for trace in missing if trace not in self._held]
        return not missing
