"""How the places of settled spans are written into the state: a row for what each commit settled."""

import sqlite3
from collections import deque
from collections.abc import Mapping

import msgspec

from exporters.places import REMEMBERED, size_of
from exporters.tree import Known

# In a table by a number rows of up to a page lie side by side; by a key of their own they would take a page
# each from a kilobyte on.
SCHEMA = """
-- Where the spans stand that one commit settled.
CREATE TABLE places (number INTEGER PRIMARY KEY, source TEXT, spans INTEGER, traces BLOB);
"""
# Rows go some at a time: a commit of a few spans would write one more page.
_TOO_MANY = REMEMBERED // 16

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, Known]).decode


class PlaceRows:
    """The rows, in the database of the state and within its transactions."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Look which rows there are, but not into them. Raises sqlite3.Error."""
        self._db = db
        # By source, the number of each row and how many spans it has; and of how many all are.
        self._rows: dict[str, deque[tuple[int, int]]] = {}
        self._spans: dict[str, int] = {}
        for number, source, spans in db.execute("SELECT number, source, spans FROM places ORDER BY number"):
            self._add(source, number, spans)

    def read(self, source: str) -> list[dict[str, Known]]:
        """Return what was new in each commit, the oldest first. Raises sqlite3.Error and msgspec.MsgspecError."""
        rows = self._db.execute("SELECT traces FROM places WHERE source = ? ORDER BY number", (source,))
        return [_decode(traces) for (traces,) in rows]

    def write(self, source: str, traces: Mapping[str, Known]) -> None:
        """Keep what is new, and let go of what is too old, as part of a transaction. Raises sqlite3.Error."""
        if not traces:
            return
        spans = sum(map(size_of, traces.values()))
        row = (source, spans, _encode(traces))
        number = self._db.execute("INSERT INTO places (source, spans, traces) VALUES (?, ?, ?)", row).lastrowid
        self._add(source, number or 0, spans)
        if self._spans[source] > REMEMBERED + _TOO_MANY:
            self._forget(source)

    def _add(self, source: str, number: int, spans: int) -> None:
        self._rows.setdefault(source, deque()).append((number, spans))
        self._spans[source] = self._spans.get(source, 0) + spans

    def _forget(self, source: str) -> None:
        rows, gone = self._rows[source], []
        while self._spans[source] - rows[0][1] >= REMEMBERED:
            number, spans = rows.popleft()
            self._spans[source] -= spans
            gone.append((number,))
        self._db.executemany("DELETE FROM places WHERE number = ?", gone)
