"""The store's own sums over a period, in its own SQL, for holding the exporter's totals against."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from exporters.sources import SourceError, Sums
from exporters.sources.llm_metrics.layout import Careful, layout_of
from exporters.sources.llm_metrics.reader import Connect, Database, day_of
from exporters.sources.long_rows import FIRST, past_long_rows
from exporters.sources.sqlite import SUM_SECONDS, TooLongError

# Rows of layout A are stamped when they were exported, up to a day after the call ended, and any stamp
# may be of another time zone. So far from a period, in seconds, a row of it may be stamped.
_APART = 2 * 86400.0


def sums_of(connect: Connect, *, seconds: float = SUM_SECONDS) -> Callable[[float, float], Sums]:
    """Return the function that asks a store for its sums. It raises SourceError, also when that takes longer than
    `seconds`."""

    def sums(since: float, until: float) -> Sums:
        database = connect()
        try:
            layout = layout_of(database.columns(), database, bounded=False)
            days = {"day": day_of(since - _APART), "end_day": day_of(until + _APART)}
            parameters = {**days, "since": since, "until": until}
            try:
                rows = database.fetch(layout.sums, parameters, seconds=seconds)
            except TooLongError:
                if layout.careful is None:
                    raise
                rows = _past_long_rows(database, layout.careful, parameters, seconds)
        finally:
            database.close()
        calls, inputs, outputs, cost = (sum(value or 0 for value in column) for column in zip(*rows, strict=True))
        return Sums(calls=calls, input_tokens=int(inputs), output_tokens=int(outputs), cost=float(cost))

    return sums


def _past_long_rows(
    database: Database, careful: Careful, parameters: Mapping[str, Any], seconds: float
) -> list[tuple[Any, ...]]:
    """Return the sums of stretches of the table, without the rows with a value that is too long: these are bad, and in
    no total of ours."""
    deadline = time.monotonic() + seconds

    def following(place: int) -> int | None:
        if time.monotonic() > deadline:
            raise SourceError(f"the sums of generations took longer than {seconds:g} s; delete values past 16 MiB")
        [(number,)] = database.fetch(careful.following, {"place": place})
        return number  # type: ignore[no-any-return] # a number, or none

    def ask(first: int, last: int) -> list[tuple[Any, ...]]:
        return database.fetch(careful.sums, {**parameters, "first": first, "last": last})

    none = (0, 0, 0, 0)
    return [none, *(row for _, rows in past_long_rows(following, ask, after=FIRST) for row in rows or ())]
