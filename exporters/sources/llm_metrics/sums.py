"""The store's own sums over a period, in its own SQL, for holding the exporter's totals against."""

from collections.abc import Callable
from typing import Any

from exporters.sources import Sums
from exporters.sources.llm_metrics.layout import layout_of
from exporters.sources.llm_metrics.reader import Connect, day_of

# Rows of layout A are stamped when they were exported, up to a day after the call ended, and any stamp
# may be of another time zone. So far from a period, in seconds, a row of it may be stamped.
_APART = 2 * 86400.0


def sums_of(connect: Connect) -> Callable[[float, float], Sums]:
    """Return the function that asks a store for its sums. It raises SourceError."""

    def sums(since: float, until: float) -> Sums:
        database = connect()
        try:
            layout = layout_of(database.columns(), database, bounded=False)
            days = {"day": day_of(since - _APART), "end_day": day_of(until + _APART)}
            [row] = database.fetch(layout.sums, {**days, "since": since, "until": until})
        finally:
            database.close()
        return Sums(calls=row[0], input_tokens=_whole(row[1]), output_tokens=_whole(row[2]), cost=float(row[3] or 0.0))

    return sums


def _whole(total: Any) -> int:
    return int(total or 0)
