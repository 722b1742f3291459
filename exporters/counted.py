"""Which spans were counted in the traces that are closed: remembered for ever, so that a replay adds nothing.

Traces close in any order of their ids, and to write each into its place in a large table costs a page
of the disk a trace. So they are written to a log first, in the order of their closing, and the log is
put into the table when it has grown, in the order of the table: four times as fast.
"""

import sqlite3
from collections.abc import Mapping

import msgspec

from exporters.open_traces import Closed

SCHEMA = """
-- JSON strings, each with a comma after it, so that more can be put behind without reading.
CREATE TABLE counted (source TEXT, trace TEXT, spans BLOB, PRIMARY KEY (source, trace)) WITHOUT ROWID;
-- What is newer than the table; `complete` says that it replaces what the table has.
CREATE TABLE counted_lately (number INTEGER PRIMARY KEY, source TEXT, trace TEXT, spans BLOB, complete INTEGER);
"""
# Traces in the log, which is held in memory too: about 5 MB.
_LATELY = 16_384

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[str]).decode


class Counted:
    """The remembered traces, in the database of the state and within its transactions."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Read the log. Raises sqlite3.Error."""
        self._db = db
        self._lately: dict[tuple[str, str], tuple[bytes, bool]] = {}
        rows = db.execute("SELECT source, trace, spans, complete FROM counted_lately ORDER BY number")
        for source, trace, spans, complete in rows:
            self._add((source, trace), spans, bool(complete))

    def spans(self, source: str, trace: str) -> list[str] | None:
        """Return the ids of the spans counted in a trace that was closed; None if there is none.

        Raises sqlite3.Error and msgspec.MsgspecError.
        """
        late, complete = self._lately.get((source, trace), (b"", False))
        found = b""
        if not complete:
            rows = self._db.execute("SELECT spans FROM counted WHERE source = ? AND trace = ?", (source, trace))
            found = b"".join(spans for (spans,) in rows)
        known = found + late
        return _decode(b"[" + known[:-1] + b"]") if known else None

    def write(self, source: str, closed: Mapping[str, Closed]) -> None:
        """Remember traces, as part of a transaction. Raises sqlite3.Error."""
        rows = []
        for trace, found in closed.items():
            spans = _encode(list(found.spans))[1:-1]
            if spans:
                rows.append((source, trace, spans + b",", found.complete))
                self._add((source, trace), spans + b",", found.complete)
        self._db.executemany("INSERT INTO counted_lately (source, trace, spans, complete) VALUES (?, ?, ?, ?)", rows)
        if len(self._lately) > _LATELY:
            self._settle()

    def _add(self, key: tuple[str, str], spans: bytes, complete: bool) -> None:
        before = self._lately.get(key)
        if before is not None and not complete:
            spans, complete = before[0] + spans, before[1]
        self._lately[key] = (spans, complete)

    def _settle(self) -> None:
        """Put the log into the table, in the table's order."""
        rows = [(*key, *self._lately[key]) for key in sorted(self._lately)]
        self._db.executemany("INSERT OR REPLACE INTO counted VALUES (?, ?, ?)", [row[:3] for row in rows if row[3]])
        self._db.executemany(
            # Two blobs put together are text to SQLite.
            "INSERT INTO counted VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET spans = CAST(spans || excluded.spans AS BLOB)",
            [row[:3] for row in rows if not row[3]],
        )
        self._db.execute("DELETE FROM counted_lately")
        self._lately.clear()
