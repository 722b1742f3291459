"""A dashboard: rows of signals that together answer one question."""

from dataclasses import dataclass

from exporters.catalogue.signals import SIGNALS
from exporters.catalogue.tables import Table

TAG = "agents"
COLUMNS = 24  # of Grafana's grid


@dataclass(frozen=True, kw_only=True)
class Row:
    """Panels side by side, each a signal's name or a table, under a title of its own or none."""

    entries: tuple[str | Table, ...]
    title: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the panels: cards and states are low, all else is 8 high, but for a table that says.

        ValueError when the panels would leave a gap, or be too narrow to read.
        """
        views = {"table" if isinstance(entry, Table) else SIGNALS[entry].view for entry in self.entries}
        count = len(self.entries)
        if not count or COLUMNS % count or (count > 3 and views != {"stat"}):
            raise ValueError(f"{count} panels do not fill a row: {self.entries}")
        heights = [entry.height for entry in self.entries if isinstance(entry, Table)]
        return COLUMNS // count, 4 if views in ({"stat"}, {"state"}) else max(heights, default=8)


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """One question and the rows that answer it.

    `variables` are the pickers that it shows; it knows the others too, hidden and in no query,
    so that links between dashboards do not lose what was picked. `since` is where its time range
    begins, and `refresh` how often it asks again, "" for never.
    """

    topic: str
    question: str
    rows: tuple[Row, ...]
    variables: tuple[str, ...] = ("source", "environment", "agent", "model")
    since: str = "now-6h"
    refresh: str = "1m"

    @property
    def uid(self) -> str:
        """The uid, which is in every link to it, such as agents-exporter-health."""
        return f"{TAG}-{self.topic.lower().replace(' ', '-')}"
