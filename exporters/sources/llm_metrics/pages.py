"""A page of calls and of the traces that they are of, read the quickest way that their values allow."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from exporters.sources.llm_metrics.layout import Careful, Layout
from exporters.sources.llm_metrics.traces import NOTHING, Traces
from exporters.sources.long_rows import LAST, past_long_rows
from exporters.sources.sqlite import TooLongError

# Bytes of a value that is read without a look at its length: more than the rows of most stores have, and so few that
# a page of them is no matter. To look costs a row a fifteenth of its time.
SHORT_VALUE = 8 << 10
# So many pages are read carefully after one with a long value.
_CAREFUL_PAGES = 16
# Stretches of a page's rows that are looked at for one batch.
_STRETCHES = 64
# Long traces that are remembered, so that each is counted once.
_LONG_TRACES = 1000
_Rows = list[tuple[Any, ...]]


class Asked(Protocol):
    """What this room needs of a database."""

    page_rows: int

    def fetch(
        self,
        statement: Any,
        parameters: Mapping[str, Any] | None = None,
        *,
        longest: int = ...,
        seconds: float | None = None,
    ) -> _Rows: ...


@dataclass(slots=True)
class Read:
    """Rows as they were read, up to a key; their traces where these do not stand in them; how many rows and traces
    had to be passed over; and whether there may be more."""

    rows: _Rows
    after: list[Any]
    more: bool
    traces: Mapping[Any, tuple[Any, ...]] | None = None
    too_long: int = 0


class Pages:
    """The pages of one database, as long as it is the same."""

    def __init__(self, database: Asked, layout: Layout) -> None:
        self._database = database
        self._layout = layout
        self._traces = Traces()
        # Pages that are still to be read carefully.
        self._careful = 0
        self._long_traces: set[Any] = set()

    def ahead(self, bounds: Mapping[str, Any], after: list[Any], *, within: bool) -> Read:
        """Return the next page after a key; `within` says that the one before it was full, and traces may be read
        on beside it. Raises SourceError."""
        layout, careful = self._layout, self._layout.careful
        if not within:
            self._traces = Traces()
        parameters = {**bounds, **key_of(after)}
        if careful is None:
            return self._page(self._database.fetch(layout.ahead, parameters), after)
        if self._careful:
            self._careful -= 1
        else:
            try:
                return self._quickly(parameters, after, within=within)
            except TooLongError:
                self._careful = _CAREFUL_PAGES
        try:
            return self._page(self._database.fetch(careful.page, parameters), after)
        except TooLongError:
            return self._past_long_rows(careful, bounds, after)

    def _quickly(self, parameters: Mapping[str, Any], after: list[Any], *, within: bool) -> Read:
        database, along = self._database, self._layout.along
        if within and along is not None and self._traces.found:
            rows = database.fetch(along.calls, parameters, longest=SHORT_VALUE)
            traces = self._traces.of(database, along, rows, longest=SHORT_VALUE)
            if traces is not None:
                return self._page(rows, after, traces)
        return self._page(database.fetch(self._layout.ahead, parameters, longest=SHORT_VALUE), after)

    def _page(self, rows: _Rows, after: list[Any], traces: Mapping[Any, Any] | None = None) -> Read:
        return Read(
            rows, list(rows[-1][-len(after) :]) if rows else after, len(rows) == self._database.page_rows, traces
        )

    def _past_long_rows(self, careful: Careful, bounds: Mapping[str, Any], after: list[Any]) -> Read:
        [(end,)] = self._database.fetch(careful.page_end, {"place": after[0]})
        if end is None:
            return Read([], after, more=False)
        stretches = list(self._stretches(careful, careful.ahead, bounds, after[0], end))
        return self._gathered(careful, stretches, [end], more=True)

    def behind(self, parameters: Mapping[str, Any]) -> Read:
        """Return a page of a look behind, in the order of time. Raises SourceError; a TooLongError where one of its
        rows holds a value that is too long."""
        return self._page(self._database.fetch(self._layout.behind, parameters), ["", ""])

    def behind_past_long_rows(self, parameters: Mapping[str, Any], place: int) -> Read:
        """Return what a look behind finds in the next stretches of the table after the number of a row."""
        careful = self._layout.careful
        if careful is None:
            return Read([], [place], more=False)
        stretches = list(islice(self._stretches(careful, careful.behind, parameters, place, LAST), _STRETCHES))
        end = stretches[-1][0] if stretches else place
        return self._gathered(careful, stretches, [end], more=len(stretches) == _STRETCHES)

    def _stretches(
        self, careful: Careful, question: Any, bounds: Mapping[str, Any], after: int, last: int
    ) -> Iterator[tuple[int, _Rows | None]]:
        def following(place: int) -> int | None:
            [(number,)] = self._database.fetch(careful.following, {"place": place})
            return number  # type: ignore[no-any-return] # a number, or none

        def ask(first: int, last: int) -> _Rows:
            return self._database.fetch(question, {**bounds, "first": first, "last": last})

        return past_long_rows(following, ask, after=after, last=last, widest=self._database.page_rows)

    def _gathered(
        self, careful: Careful, stretches: Sequence[tuple[int, _Rows | None]], after: list[Any], *, more: bool
    ) -> Read:
        rows = [row for _, calls in stretches for row in calls or ()]
        too_long = sum(calls is None for _, calls in stretches)
        traces = {}
        for trace in dict.fromkeys(row[1] for row in rows):
            traces[trace], is_long = self._trace(careful, trace)
            too_long += is_long
        return Read(rows, after, more, traces, too_long)

    def _trace(self, careful: Careful, trace: Any) -> tuple[tuple[Any, ...], bool]:
        """Return what stands of a trace, and whether it is a long one that has not been counted."""
        try:
            rows = self._database.fetch(careful.trace, {"id": trace})
        except TooLongError:
            if trace in self._long_traces:
                return NOTHING, False
            if len(self._long_traces) >= _LONG_TRACES:
                self._long_traces.clear()
            self._long_traces.add(trace)
            return NOTHING, True
        return (rows[0] if rows else NOTHING), False


def key_of(values: Sequence[Any]) -> dict[str, Any]:
    """Return the parameters of a key."""
    return {f"after_{place}": value for place, value in enumerate(values)}
