"""Which spans were counted in the traces that are closed, for a state that ends with its process.

Nobody asks such a state in years, and no scrape waits while it is written. So a log that has grown is put behind
what there is, as a run in order of its own, many traces a row: a fifth of the time that it takes to put each
trace into its place in one table, which grows with the table.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from heapq import merge
from itertools import groupby, islice
from operator import itemgetter

from exporters.closed_rows import NOTHING, Bits, Spans, decode_ids, decode_row, encode_ids, encode_row, joined
from exporters.open_traces import Closed

_SCHEMA = """
CREATE TABLE passed (run INTEGER, source TEXT, first TEXT, traces BLOB, PRIMARY KEY (run, source, first)) WITHOUT ROWID;
"""
# Traces in the log: about 5 MB.
_LATELY = 16_384
# Traces in a row.
_ROW = 64
# Runs of one size; as many are put together, into one of the next.
_RUNS = 64


class Passing:
    """The traces of one reading, in a database that nothing else survives in either."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Begin with nothing. Raises sqlite3.Error."""
        self._db = db
        db.execute("DROP TABLE IF EXISTS passed")
        db.execute(_SCHEMA)
        self._lately: dict[str, dict[str, Spans]] = {}
        self._size = 0
        # Of what is in the runs.
        self._bits = Bits()
        # Of each size, the smallest first, the numbers of the runs, the oldest first.
        self._runs: list[list[int]] = [[]]
        self._number = 0

    def spans(self, source: str, trace: str) -> list[str] | None:
        """Return the ids of the spans counted in a trace that was closed; None if there is none.

        Raises sqlite3.Error and msgspec.MsgspecError.
        """
        known, complete = self._lately.get(source, _NONE).get(trace, NOTHING)
        if not complete and self._bits.may_have(trace):
            known = self._written(source, trace) + known
        return decode_ids(known)

    def write(self, source: str, closed: Mapping[str, Closed]) -> None:
        """Remember traces, as part of a transaction. Raises sqlite3.Error."""
        lately = self._lately.setdefault(source, {})
        before = len(lately)
        for trace, found in closed.items():
            if spans := encode_ids(found.spans):
                new = (spans, found.complete)
                lately[trace] = joined(lately[trace], new) if trace in lately else new
        self._size += len(lately) - before
        if self._size > _LATELY:
            self._settle()

    def _written(self, source: str, trace: str) -> bytes:
        """Return what the runs have of a trace, as far back as that is all that there was."""
        found = b""
        for run in (run for runs in self._runs for run in reversed(runs)):
            rows = self._db.execute(
                "SELECT traces FROM passed WHERE run = ? AND source = ? AND first <= ? ORDER BY first DESC LIMIT 1",
                (run, source, trace),
            )
            for (row,) in rows:
                spans, complete = decode_row(row).get(trace, NOTHING)
                found = spans + found
                if complete:
                    return found
        return found

    def _settle(self) -> None:
        """Put the log behind, as a run; and runs together while there are too many of a size."""
        run = self._begin(0)
        for source, traces in self._lately.items():
            order = sorted(traces)
            self._bits.mark(order)
            self._write_run(run, source, ((trace, traces[trace]) for trace in order))
        sources = tuple(self._lately)
        self._lately = {source: {} for source in sources}
        self._size = size = 0
        while len(self._runs[size]) == _RUNS:
            self._put_together(size, sources)
            size += 1

    def _put_together(self, size: int, sources: Iterable[str]) -> None:
        """Make one run of all those of a size."""
        runs, self._runs[size] = self._runs[size], []
        run = self._begin(size + 1)
        for source in sources:
            found = merge(*(self._read_run(old, source) for old in runs), key=_TRACE)
            self._write_run(run, source, ((trace, _all(each)) for trace, each in groupby(found, _TRACE)))
        self._db.executemany("DELETE FROM passed WHERE run = ?", [(old,) for old in runs])

    def _begin(self, size: int) -> int:
        self._number += 1
        if size == len(self._runs):
            self._runs.append([])
        self._runs[size].append(self._number)
        return self._number

    def _read_run(self, run: int, source: str) -> Iterator[tuple[str, Spans]]:
        """Yield the traces of a source in a run, in order."""
        query = "SELECT traces FROM passed WHERE run = ? AND source = ? ORDER BY first"
        for (row,) in self._db.execute(query, (run, source)):
            yield from decode_row(row).items()

    def _write_run(self, run: int, source: str, traces: Iterator[tuple[str, Spans]]) -> None:
        """Write traces that come in order."""
        rows = iter(lambda: dict(islice(traces, _ROW)), {})
        self._db.executemany(
            "INSERT INTO passed VALUES (?, ?, ?, ?)", ((run, source, next(iter(row)), encode_row(row)) for row in rows)
        )


_NONE: dict[str, Spans] = {}
_TRACE = itemgetter(0)


def _all(each: Iterable[tuple[str, Spans]]) -> Spans:
    """Return what is known of a trace, of which the oldest comes first."""
    found = NOTHING
    for _, spans in each:
        found = joined(found, spans)
    return found
