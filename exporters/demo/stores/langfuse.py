"""The demo's Langfuse: the part of its public API that is read, over a project of the last thousands of operations.

Paths, parameters and fields are those of the published contracts, version 4.
"""

import base64
import hmac
import json
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from urllib.parse import parse_qs, urlsplit

from exporters.demo.operations import Operation

VERSION = "4.35.0"
_KEPT = 10_000
_TYPES = {"run": "AGENT", "call": "GENERATION", "tool": "TOOL"}

Row = dict[str, object]


class Project:
    """A project that is served, with the keys that LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY name."""

    has_past = False

    def __init__(self, listen: str) -> None:
        """Serve at `host:port`. Raises OSError when that cannot be listened on."""
        host, _, port = listen.rpartition(":")
        if not port.isdecimal():
            raise OSError(f"{listen} is not HOST:PORT")
        keys = f"{os.environ.get('LANGFUSE_PUBLIC_KEY', '')}:{os.environ.get('LANGFUSE_SECRET_KEY', '')}"
        self.authorization = "Basic " + base64.b64encode(keys.encode()).decode()
        self._observations: deque[Row] = deque(maxlen=_KEPT)
        self._scores: deque[Row] = deque(maxlen=_KEPT)
        self._random = Random(7)  # noqa: S311 -- a story, not a secret
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer((host or "127.0.0.1", int(port)), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, operation: Operation) -> None:
        """Keep an operation as an observation, and of a run what an evaluator thinks of it."""
        with self._lock:
            self._observations.append(_observation(operation))
            if operation.kind == "run" and operation.error is None:
                self._scores.append(_score(operation, round(self._random.betavariate(8, 2), 2)))

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, asked: Mapping[str, list[str]]) -> "Row | None":
        """Return the reply to a question, None where there is no such path."""
        with self._lock:
            observations, scores = list(self._observations), list(self._scores)
        if path == "/health":
            return {"status": "OK", "version": VERSION}
        if path == "/v2/observations":
            return _page(sorted(filter(_chosen(asked), observations), key=_newest_first, reverse=True), asked)
        if path == "/v3/scores":
            since, until = asked.get("fromTimestamp", [""])[0], asked.get("toTimestamp", ["9"])[0]
            return _page([row for row in scores if since <= str(row["timestamp"]) < until], asked)
        if path == "/v2/metrics":
            return {"data": [_totals(observations, json.loads(asked["query"][0]))]}
        return None


def _handler(project: Project) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            path = parts.path.removeprefix("/api/public")
            reply: Row | None = {"message": "Invalid credentials"}
            status = 401
            if path == "/health" or hmac.compare_digest(self.headers.get("Authorization", ""), project.authorization):
                reply = project.answer(path, parse_qs(parts.query))
                status = 404 if reply is None else 200
            body = json.dumps(reply or {"message": "not found"}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: the demo has no log of requests."""

    return Handler


def _observation(operation: Operation) -> Row:
    usage = {"input": operation.input_tokens, "output": operation.output_tokens}
    call = operation.kind == "call"
    return {
        "id": operation.span_id,
        "traceId": operation.trace_id,
        "projectId": "demo",
        "type": _TYPES[operation.kind],
        "parentObservationId": operation.parent_id or None,
        "isRootObservation": not operation.parent_id,
        "startTime": _iso(operation.start),
        "endTime": _iso(operation.end),
        "name": operation.name,
        "level": "ERROR" if operation.error else "DEFAULT",
        "statusMessage": operation.error,
        "environment": "production",
        "model": operation.model if call else None,
        "usageDetails": {name: count for name, count in usage.items() if count is not None} if call else {},
        "costDetails": {},
        "latency": round(operation.end - operation.start, 3),
        "traceName": operation.agent,
        "promptName": f"{operation.agent}-system" if call else None,
        "promptVersion": 3 if call else None,
    }


def _score(operation: Operation, value: float) -> Row:
    return {
        "id": f"score-{operation.span_id}",
        "projectId": "demo",
        "name": "helpfulness",
        "value": value,
        "dataType": "NUMERIC",
        "source": "EVAL",
        "timestamp": _iso(operation.end),
        "createdAt": _iso(operation.end),
        "updatedAt": _iso(operation.end),
        "environment": "production",
        "subject": {"kind": "observation", "id": operation.span_id, "traceId": operation.trace_id},
    }


def _chosen(asked: Mapping[str, list[str]]) -> Callable[[Row], bool]:
    """Return whether a row is in the times that are asked for; ISO times in UTC sort as their text does."""
    conditions = json.loads(asked["filter"][0]) if "filter" in asked else []
    conditions += [
        {"column": "startTime", "operator": operator, "value": asked[name][0], "type": "datetime"}
        for name, operator in (("fromStartTime", ">="), ("toStartTime", "<"))
        if name in asked
    ]

    def holds(row: Row) -> bool:
        for condition in conditions:
            value = str(row[condition["column"]])
            if condition["type"] == "null":
                return False
            if (condition["operator"] == ">=" and value < condition["value"]) or (
                condition["operator"] == "<" and value >= condition["value"]
            ):
                return False
        return True

    return holds


def _newest_first(row: Row) -> tuple[str, str]:
    return str(row["startTime"]), str(row["id"])


def _page(rows: list[Row], asked: Mapping[str, list[str]]) -> Row:
    begin, limit = int(asked.get("cursor", ["0"])[0]), int(asked.get("limit", ["50"])[0])
    more = {"cursor": str(begin + limit)} if len(rows) > begin + limit else {}
    return {"data": rows[begin : begin + limit], "meta": {"limit": limit, **more}}


def _totals(rows: list[Row], query: Mapping[str, str]) -> Row:
    found: Row = {"count_count": 0, "sum_inputTokens": 0, "sum_outputTokens": 0, "sum_totalCost": None}
    for row in rows:
        if row["type"] == "GENERATION" and query["fromTimestamp"] <= str(row["startTime"]) < query["toTimestamp"]:
            usage = row["usageDetails"]
            given = (1, *((usage.get(name) or 0) if isinstance(usage, dict) else 0 for name in ("input", "output")))
            for name, count in zip(found, given, strict=False):
                found[name] = int(str(found[name])) + count
    return found


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
