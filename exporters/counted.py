"""Which spans were counted in the traces that are closed: remembered for ever, so that a replay adds nothing.

Traces close in any order of their ids, and to write each into its place in a large table costs a page
of the disk a trace. So they are written to a log first, those of a commit together, and the log is put
into the table when it has grown, in the order of the table: four times as fast.
"""

import sqlite3
from collections.abc import Iterable, Mapping

from exporters.closed_rows import NOTHING, Bits, Spans, decode_ids, decode_row, encode_ids, encode_row, joined
from exporters.open_traces import Closed

SCHEMA = """
-- The ids of spans; see closed_rows.
CREATE TABLE counted (source TEXT, trace TEXT, spans BLOB, PRIMARY KEY (source, trace)) WITHOUT ROWID;
-- What is newer than the table; `complete` says that it replaces what the table has. From format 6 on a row is
-- what a commit closed of a source: it names no trace, and `spans` has both of each.
CREATE TABLE counted_lately (number INTEGER PRIMARY KEY, source TEXT, trace TEXT, spans BLOB, complete INTEGER);
"""
# Traces in the log, which is held in memory too: about 5 MB.
_LATELY = 16_384
# The most traces of a table that its bits are made of when it is opened, which takes a second.
_READ = 1_000_000


class Counted:
    """The remembered traces, in the database of the state and within its transactions."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Read the log. Raises sqlite3.Error and msgspec.MsgspecError."""
        self._db = db
        # By source and trace.
        self._lately: dict[str, dict[str, Spans]] = {}
        self._size = 0
        rows = db.execute("SELECT source, trace, spans, complete FROM counted_lately ORDER BY number")
        for source, trace, spans, complete in rows:
            self._add(source, decode_row(spans) if trace is None else {trace: (spans, bool(complete))})
        # Of what is in the table.
        self._bits = Bits()
        if db.execute("SELECT 1 FROM counted LIMIT 1 OFFSET ?", (_READ,)).fetchone():
            self._bits.mark_all()
        else:
            self._bits.mark(trace for (trace,) in db.execute("SELECT trace FROM counted"))

    def spans(self, source: str, trace: str) -> list[str] | None:
        """Return the ids of the spans counted in a trace that was closed; None if there is none.

        Raises sqlite3.Error and msgspec.MsgspecError.
        """
        late, complete = self._lately.get(source, _NONE).get(trace, NOTHING)
        found = b""
        if not complete and self._bits.may_have(trace):
            rows = self._db.execute("SELECT spans FROM counted WHERE source = ? AND trace = ?", (source, trace))
            found = b"".join(spans for (spans,) in rows)
        return decode_ids(found + late)

    def write(self, source: str, closed: Mapping[str, Closed]) -> None:
        """Remember traces, as part of a transaction. Raises sqlite3.Error."""
        new: dict[str, Spans] = {}
        for trace, found in closed.items():
            if spans := encode_ids(found.spans):
                new[trace] = (spans, found.complete)
        if new:
            self._db.execute("INSERT INTO counted_lately (source, spans) VALUES (?, ?)", (source, encode_row(new)))
            self._add(source, new)
            if self._size > _LATELY:
                self._settle()

    def _add(self, source: str, new: dict[str, Spans]) -> None:
        lately = self._lately.setdefault(source, {})
        before = len(lately)
        for trace, spans in new.items():
            lately[trace] = joined(lately[trace], spans) if trace in lately else spans
        self._size += len(lately) - before

    def _settle(self) -> None:
        """Put the log into the table, in the table's order."""
        for source in sorted(self._lately):
            traces = self._lately[source]
            self._bits.mark(traces)
            self._put(source, ((trace, traces[trace]) for trace in sorted(traces)))
        self._db.execute("DELETE FROM counted_lately")
        self._lately.clear()
        self._size = 0

    def _put(self, source: str, traces: Iterable[tuple[str, Spans]]) -> None:
        whole: list[tuple[str, str, bytes]] = []
        more: list[tuple[str, str, bytes]] = []
        for trace, (spans, complete) in traces:
            (whole if complete else more).append((source, trace, spans))
        self._db.executemany("INSERT OR REPLACE INTO counted VALUES (?, ?, ?)", whole)
        self._db.executemany(
            # Two blobs put together are text to SQLite.
            "INSERT INTO counted VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET spans = CAST(spans || excluded.spans AS BLOB)",
            more,
        )


_NONE: dict[str, Spans] = {}
