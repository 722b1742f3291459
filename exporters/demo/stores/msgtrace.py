"""The demo's msgtrace database: its published schema, and rows as its server writes them, spans before their root."""

import json
import sqlite3
import time
from pathlib import Path

from exporters.demo.operations import Operation

_SCHEMA = """
CREATE TABLE traces (trace_id TEXT PRIMARY KEY, start_time INTEGER NOT NULL, end_time INTEGER NOT NULL,
    duration_ms REAL NOT NULL, root_span_id TEXT, service_name TEXT, workflow_name TEXT, span_count INTEGER DEFAULT 0,
    error_count INTEGER DEFAULT 0, metadata TEXT, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE spans (span_id TEXT PRIMARY KEY, trace_id TEXT NOT NULL, parent_span_id TEXT, name TEXT NOT NULL,
    kind TEXT NOT NULL, start_time INTEGER NOT NULL, end_time INTEGER NOT NULL, duration_ms REAL NOT NULL,
    attributes TEXT, events TEXT, status_code TEXT, status_description TEXT, resource_attributes TEXT,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP);
CREATE INDEX idx_spans_trace_id ON spans (trace_id);
"""
_OPERATIONS = {"run": "agent", "call": "chat", "tool": "tool"}


class Spans:
    """The table of spans, and the traces that are replaced with each of them."""

    def __init__(self, path: Path) -> None:
        """Open the database; make it where there is none."""
        self.has_past = not path.exists()
        self._db = sqlite3.connect(path, isolation_level=None)
        if self.has_past:
            self._db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")

    def take(self, operation: Operation) -> None:
        """Write a span, and its trace anew."""
        start, end = round(operation.start * 1e9), round(operation.end * 1e9)
        milliseconds = (end - start) / 1e6
        created = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(operation.end))
        status = "ERROR" if operation.error else "UNSET"
        resource = json.dumps({"service.name": "helpdesk", "deployment.environment": "production"})
        root = not operation.parent_id
        self._db.execute("BEGIN")
        self._db.execute(
            "INSERT OR REPLACE INTO spans VALUES (?, ?, ?, ?, 'INTERNAL', ?, ?, ?, ?, '[]', ?, ?, ?, ?)",
            (operation.span_id, operation.trace_id, operation.parent_id or None, operation.name, start, end,
             milliseconds, json.dumps(_attributes(operation)), status, operation.error, resource, created),
        )  # fmt: skip
        self._db.execute(
            "INSERT OR REPLACE INTO traces SELECT trace_id, min(start_time), max(end_time),"
            " (max(end_time) - min(start_time)) / 1e6, ?, ?, ?, count(*), sum(status_code = 'ERROR'), NULL, ?"
            " FROM spans WHERE trace_id = ? GROUP BY trace_id",
            (operation.span_id if root else None, "helpdesk" if root else None, operation.agent if root else None,
             created, operation.trace_id),
        )  # fmt: skip
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the database."""
        self._db.close()


def _attributes(operation: Operation) -> dict[str, object]:
    found: dict[str, object] = {"gen_ai.operation.name": _OPERATIONS[operation.kind]}
    if operation.kind == "run":
        found["gen_ai.agent.name"] = operation.agent
    elif operation.kind == "tool":
        found["gen_ai.tool.name"] = operation.name
    else:
        found |= {"gen_ai.system": operation.provider, "gen_ai.request.model": operation.model}
        usage = {"input_tokens": operation.input_tokens, "output_tokens": operation.output_tokens}
        found |= {f"gen_ai.usage.{name}": count for name, count in usage.items() if count is not None}
    return found
