"""A database as msgtrace writes it: spans one by one, and with each the row of its trace anew."""

import json
import sqlite3
from pathlib import Path
from typing import Any

from exporters.sources.msgtrace.rows import Rows

SCHEMA = (Path(__file__).parent / "fixtures" / "msgtrace" / "schema.sql").read_text()
# 2025-10-15 12:23:20
START = 1_760_531_000
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 50,
    "gen_ai.usage.cost.input_tokens": 0.25,
    "gen_ai.usage.cost.output_tokens": 0.125,
    "gen_ai.usage.cost.currency": "USD",
}

_SPAN = """
    INSERT OR REPLACE INTO spans (span_id, trace_id, parent_span_id, name, kind, start_time, end_time, duration_ms,
                                  attributes, events, status_code, status_description, resource_attributes)
    VALUES (?, ?, ?, ?, 'INTERNAL', ?, ?, ?, ?, ?, ?, ?, ?)
"""
_TRACE = """
    INSERT OR REPLACE INTO traces (trace_id, start_time, end_time, duration_ms, root_span_id, workflow_name, span_count,
                                   error_count)
    SELECT trace_id, min(start_time), max(end_time), (max(end_time) - min(start_time)) / 1e6,
           max(CASE WHEN parent_span_id IS NULL THEN span_id END),
           max(CASE WHEN parent_span_id IS NULL AND json_valid(attributes)
               THEN attributes ->> '$."msgflux.workflow.name"' END),
           count(*), sum(status_code = 'ERROR')
    FROM spans WHERE trace_id = ?
"""


class Store:
    """Writes a database. `times` are seconds after START."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        # The tests end processes, not the machine.
        self.connection.execute("PRAGMA synchronous = OFF")
        if not self.connection.execute("SELECT * FROM sqlite_schema").fetchall():
            self.connection.executescript(SCHEMA)

    def span(self, span_id: str, attributes: Any = CHAT, **given: Any) -> None:
        """Write a span, see `put`, as one transaction."""
        with self.transaction():
            self.put(span_id, attributes, **given)

    def put(
        self,
        span_id: str,
        attributes: Any = CHAT,
        *,
        trace: str = "t",
        parent: str | None = None,
        name: str = "chat",
        times: tuple[float, float] = (0.0, 1.5),
        status: str | None = "UNSET",
        description: str | None = None,
        events: Any = (),
        resource: Any = None,
    ) -> None:
        """Write a span, and its trace anew."""
        start, end = (START * 10**9 + round(time * 10**9) for time in times)
        encoded = attributes if isinstance(attributes, str | bytes) else json.dumps(attributes)
        self.connection.execute(
            _SPAN,
            (span_id, trace, parent, name, start, end, (end - start) / 1e6, encoded, json.dumps(list(events)),
             status, description, json.dumps(resource or {"service.name": "msgtrace-app"})),
        )  # fmt: skip
        self.connection.execute(_TRACE, (trace,))

    def transaction(self) -> sqlite3.Connection:
        """Begin; used in a `with`, it commits."""
        self.connection.execute("BEGIN IMMEDIATE")
        return self.connection

    def execute(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement, parameters).fetchall()

    def close(self) -> None:
        self.connection.close()


def given(reader: Rows) -> list[str]:
    """Read to the end; return the ids of the spans that were given, in order."""
    found: list[str] = []
    more = True
    while more:
        batch = reader.poll()
        found += [row[1].decode() for row in batch.records]
        more = batch.more
    return found
