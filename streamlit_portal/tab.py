"""Tab: what one page of the portal shows, in the names of signals."""

from dataclasses import dataclass
from typing import Literal

from exporters.catalogue.tables import Table


@dataclass(frozen=True, kw_only=True)
class Tab:
    """A page: a line of cards, rows of panels side by side, and tables below the first row.

    `path` is its place in the address; the tab that the portal opens with has none.
    `question` is what the page answers. `board` is the uid of the Grafana dashboard on which
    every panel stands too. There are at most four panels, because each embedded one boots all
    of Grafana. A `finding` is a table of what the portal computes itself, below the others.
    """

    title: str
    path: str
    question: str
    board: str
    cards: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    tables: tuple[Table, ...] = ()
    finding: Literal["", "versions", "models"] = ""
