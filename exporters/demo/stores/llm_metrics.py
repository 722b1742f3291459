"""The demo's llm_metrics database, in the layout of its SQLAlchemy models: a row a trace, and one a call."""

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from exporters.demo.operations import Operation

_SCHEMA = """
CREATE TABLE traces (id VARCHAR(255) PRIMARY KEY, name VARCHAR(255), user_id VARCHAR(255), session_id VARCHAR(255),
    trace_metadata JSON, input JSON, output JSON, created_at DATETIME NOT NULL, updated_at DATETIME,
    release VARCHAR(100), tags JSON);
CREATE TABLE generations (id VARCHAR(255) PRIMARY KEY, trace_id VARCHAR(255) NOT NULL, name VARCHAR(255),
    model VARCHAR(255), model_parameters JSON, input TEXT, output TEXT, input_tokens INTEGER, output_tokens INTEGER,
    total_tokens INTEGER, input_cost FLOAT, output_cost FLOAT, total_cost FLOAT, latency_ms FLOAT,
    created_at DATETIME NOT NULL, updated_at DATETIME, completion_start_time DATETIME, completion_end_time DATETIME,
    generation_metadata JSON, level VARCHAR(50), status_message TEXT);
CREATE INDEX idx_generation_created_at ON generations (created_at);
"""


class Generations:
    """The tables of traces and of generations."""

    def __init__(self, path: Path) -> None:
        """Open the database; make it where there is none."""
        self.has_past = not path.exists()
        self._db = sqlite3.connect(path, isolation_level=None)
        if self.has_past:
            self._db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")

    def take(self, operation: Operation) -> None:
        """Write a model call, after the trace that it is of; nothing else is kept there."""
        if operation.kind != "call":
            return
        known = operation.input_tokens is not None and operation.output_tokens is not None
        total = (operation.input_tokens or 0) + (operation.output_tokens or 0) if known else None
        self._db.execute("BEGIN")
        self._db.execute(
            "INSERT OR IGNORE INTO traces (id, name, trace_metadata, created_at, tags) VALUES (?, ?, ?, ?, 'null')",
            (operation.trace_id, "chat", json.dumps({"agent_name": operation.agent}), _stamp(operation.start)),
        )
        self._db.execute(
            "INSERT OR IGNORE INTO generations (id, trace_id, name, model, input_tokens, output_tokens, total_tokens,"
            " latency_ms, created_at, completion_start_time, completion_end_time, level, status_message)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (operation.span_id, operation.trace_id, f"llm_call_{operation.provider}_{operation.model}",
             f"{operation.provider}/{operation.model}", operation.input_tokens, operation.output_tokens, total,
             (operation.end - operation.start) * 1000.0, _stamp(operation.end), _stamp(operation.start),
             _stamp(operation.end), "ERROR" if operation.error else "DEFAULT", operation.error),
        )  # fmt: skip
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the database."""
        self._db.close()


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
