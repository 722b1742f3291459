"""Which spans were counted in the traces that are closed: remembered for ever, so that a replay adds nothing.

Traces close in any order of their ids, and to write each into its place in a large table costs a page
of the disk a trace. So they are written to a log first, those of a commit together, and the log is put
into the table when it has grown, in the order of the table: four times as fast.
"""

import sqlite3
from collections.abc import Iterable, Mapping

import msgspec

from exporters.open_traces import Closed

SCHEMA = """
-- JSON strings, each with a comma after it, so that more can be put behind without reading.
CREATE TABLE counted (source TEXT, trace TEXT, spans BLOB, PRIMARY KEY (source, trace)) WITHOUT ROWID;
-- What is newer than the table; `complete` says that it replaces what the table has. From format 6 on a row is
-- what a commit closed of a source: it names no trace, and `spans` has both of each.
CREATE TABLE counted_lately (number INTEGER PRIMARY KEY, source TEXT, trace TEXT, spans BLOB, complete INTEGER);
"""
# Traces in the log, which is held in memory too: about 5 MB.
_LATELY = 16_384
# Bits that say of most traces which are not in the table that they are not, 2 MB; and the most traces of a table
# that these are made of when it is opened, which takes a second.
_BITS = 1 << 24
_READ = 1_000_000

# The ids of counted spans, as JSON strings with a comma after each, and whether they replace what the table has.
_Spans = tuple[bytes, bool]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[str]).decode
_encode_row = msgspec.msgpack.Encoder().encode
_decode_row = msgspec.msgpack.Decoder(dict[str, _Spans]).decode


class Counted:
    """The remembered traces, in the database of the state and within its transactions."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Read the log. Raises sqlite3.Error and msgspec.MsgspecError."""
        self._db = db
        # By source and trace.
        self._lately: dict[str, dict[str, _Spans]] = {}
        self._size = 0
        rows = db.execute("SELECT source, trace, spans, complete FROM counted_lately ORDER BY number")
        for source, trace, spans, complete in rows:
            self._add(source, _decode_row(spans) if trace is None else {trace: (spans, bool(complete))})
        self._bits = bytearray(_BITS // 8)
        settled = db.execute("SELECT trace FROM counted LIMIT ?", (_READ,))
        self._mark(trace for (trace,) in settled)
        if db.execute("SELECT 1 FROM counted LIMIT 1 OFFSET ?", (_READ,)).fetchone():
            self._bits = bytearray(b"\xff") * (_BITS // 8)

    def spans(self, source: str, trace: str) -> list[str] | None:
        """Return the ids of the spans counted in a trace that was closed; None if there is none.

        Raises sqlite3.Error and msgspec.MsgspecError.
        """
        late, complete = self._lately.get(source, _NONE).get(trace, (b"", False))
        found, place = b"", hash(trace) % _BITS
        if not complete and self._bits[place >> 3] >> (place & 7) & 1:
            rows = self._db.execute("SELECT spans FROM counted WHERE source = ? AND trace = ?", (source, trace))
            found = b"".join(spans for (spans,) in rows)
        known = found + late
        return _decode(b"[" + known[:-1] + b"]") if known else None

    def write(self, source: str, closed: Mapping[str, Closed]) -> None:
        """Remember traces, as part of a transaction. Raises sqlite3.Error."""
        new: dict[str, _Spans] = {}
        for trace, found in closed.items():
            spans = _encode(list(found.spans))[1:-1]
            if spans:
                new[trace] = (spans + b",", found.complete)
        if new:
            self._db.execute("INSERT INTO counted_lately (source, spans) VALUES (?, ?)", (source, _encode_row(new)))
            self._add(source, new)
            if self._size > _LATELY:
                self._settle()

    def _add(self, source: str, new: dict[str, _Spans]) -> None:
        lately = self._lately.setdefault(source, {})
        before = len(lately)
        for trace, (spans, complete) in new.items():
            known = lately.get(trace)
            lately[trace] = (spans, complete) if known is None or complete else (known[0] + spans, known[1])
        self._size += len(lately) - before

    def _settle(self) -> None:
        """Put the log into the table, in the table's order."""
        for source in sorted(self._lately):
            traces = self._lately[source]
            self._mark(traces)
            self._put(source, ((trace, traces[trace]) for trace in sorted(traces)))
        self._db.execute("DELETE FROM counted_lately")
        self._lately.clear()
        self._size = 0

    def _mark(self, traces: Iterable[str]) -> None:
        """Have the table asked for these."""
        bits = self._bits
        for trace in traces:
            place = hash(trace) % _BITS
            bits[place >> 3] |= 1 << (place & 7)

    def _put(self, source: str, traces: Iterable[tuple[str, _Spans]]) -> None:
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


_NONE: dict[str, _Spans] = {}
