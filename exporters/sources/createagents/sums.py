"""What a folder of createagents traces says itself of a period: its answered model calls, each once.

Read another way than the exporter reads, so that the two can be held against each other: no cursor, no open
runs; whole files, a set of ids, and a sum. Only ids and numbers are kept, in a temporary database, so
memory is bounded whatever the size of the folder.
"""

import json
import math
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any

from exporters.sources import SourceError, Sums
from exporters.sources.records import MOST

# The day in a file's name is the writer's own, which may be a day off from that of its lines in UTC.
_DATED = re.compile(r"traces_(\d{4}-\d\d-\d\d)")
_SLACK = timedelta(days=2)
_EVENTS = (b"llm.response", b"trace.end")
# As long as the reading of the exporter takes a line.
_LINE_BYTES = 16 << 20

_SCHEMA = """
PRAGMA journal_mode = OFF;
-- 32 MiB in memory; only more than that, half a million calls, goes to the temporary directory.
PRAGMA cache_size = -32768;
CREATE TABLE ends (id INTEGER, trace INTEGER, call INTEGER, inside INTEGER, input INTEGER, output INTEGER,
  cost REAL, used INTEGER);
"""
# The first line of an id is the one that counts; the columns beside min() are of its row. Usage on the end
# of a run is of its calls, and counts only where none of them has any.
_SUMS = """
WITH first AS (SELECT min(rowid), * FROM ends WHERE {which} GROUP BY id)
SELECT count(*), sum(used), total(input), total(output), total(cost), count(cost) FROM first WHERE inside
"""
_CALLS = _SUMS.format(which="call")
_RUNS = _SUMS.format(which="NOT call AND used AND trace NOT IN (SELECT trace FROM ends WHERE call AND used)")


def sums(folder: Path, name: re.Pattern[str], since: float, until: float) -> Sums:
    """Return the totals of what ended in [since, until), in Unix seconds; of a time that files are gone of, nothing.

    Raises SourceError or OSError.
    """
    # A link may lead out of the folder, and a pipe to nobody who writes: the exporter reads neither.
    with os.scandir(folder) as entries:
        files = sorted(
            Path(entry) for entry in entries if name.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
        )
    dates = [match[1] for path in files if (match := _DATED.match(path.name))]
    begins = datetime.fromtimestamp(since, UTC).date()
    if dates and min(dates) > (begins + timedelta(days=1)).isoformat():
        return Sums()
    earliest = (datetime.fromtimestamp(since, UTC) - _SLACK).timestamp()
    try:
        # Without a name SQLite keeps it in a file of its own, which goes when it is closed.
        with closing(sqlite3.connect("", isolation_level=None)) as db:
            db.executescript(_SCHEMA)
            db.execute("BEGIN")
            for path in files:
                # Files are only ever added to.
                if path.stat().st_mtime >= earliest:
                    db.executemany("INSERT INTO ends VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _ends(path, since, until))
            calls, used, given, taken, cost, priced = db.execute(_CALLS).fetchone()
            _, used_by_runs, *of_runs, priced_runs = db.execute(_RUNS).fetchone()
    except sqlite3.Error as error:
        raise SourceError(f"{folder}: cannot be summed: {error}; see that the temporary directory has room") from None
    known = bool(used or used_by_runs or not calls)
    return Sums(
        calls=calls,
        input_tokens=round(given + of_runs[0]) if known else None,
        output_tokens=round(taken + of_runs[1]) if known else None,
        cost=cost + of_runs[2] if priced or priced_runs else None,
    )


def _ends(path: Path, since: float, until: float) -> Iterator[tuple[Any, ...]]:
    """Yield a row for each end of a call or a run that can be used."""
    with open(path, "rb", opener=_opened) as file:
        while line := file.readline(_LINE_BYTES):
            if any(event in line for event in _EVENTS) and line.endswith(b"\n"):
                try:
                    row = _row(json.loads(line.strip(b"\0 \t\r\n").decode("utf-8-sig", "replace")), since, until)
                except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
                    continue  # the exporter counts it as a bad record
                if row is not None:
                    yield row


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _row(found: dict[str, Any], since: float, until: float) -> tuple[Any, ...] | None:
    if found["event"] not in ("llm.response", "trace.end"):
        return None
    time = datetime.fromisoformat(found["timestamp"])
    seconds = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    total = found.get("total_tokens")
    if total is None:
        total = (found.get("data") or {}).get("tokens_used")
    given, taken, cost = found.get("input_tokens"), found.get("output_tokens"), found.get("cost_usd")
    for number in (given, taken, total, cost, found.get("duration_ms")):
        if number is not None and not (math.isfinite(number) and 0 <= number < MOST):
            return None
    used = any(number is not None for number in (given, taken, total, cost))
    if total is not None and given is None and taken is not None and taken <= total:
        given = total - taken
    elif total is not None and taken is None and given is not None and given <= total:
        taken = total - given
    trace = found["trace_id"]
    is_call = found["event"] == "llm.response"
    return (
        _digest(f"{trace}\0{found['run_id']}"), _digest(trace), is_call, since <= seconds < until, given, taken, cost,
        used,
    )  # fmt: skip


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), signed=True)
