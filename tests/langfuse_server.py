"""A server that speaks Langfuse's public API over HTTP, older or newer, with what goes wrong in life.

It holds itself and its client to the published contracts: a path or parameter that its version does not have is a
breach, and so is a reply of its own that is not as the schema says. `breaches` should be empty after every test.
"""

import base64
import gzip
import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from jsonschema import Draft202012Validator

Row = dict[str, Any]
CONTRACTS = json.loads((Path(__file__).parent / "fixtures" / "langfuse" / "contracts.json").read_text())
PUBLIC, SECRET = "pk-lf-canary-0", "sk-lf-canary-1"

_GROUPS = {
    "core": "id traceId startTime endTime projectId parentObservationId type",
    "basic": "name level statusMessage version environment bookmarked public userId sessionId isRootObservation",
    "time": "completionStartTime createdAt updatedAt",
    "io": "input output",
    "metadata": "metadata",
    "model": "model providedModelName internalModelId modelParameters modelId inputPrice outputPrice totalPrice",
    "usage": "usageDetails costDetails totalCost usagePricingTierName",
    "prompt": "promptId promptName promptVersion",
    "metrics": "latency timeToFirstToken",
    "trace_context": "tags release traceName",
}
# What only the newer surface has on its rows; the older one has it on traces.
_OF_TRACE = (
    "tags",
    "release",
    "traceName",
    "userId",
    "sessionId",
    "isRootObservation",
    "providedModelName",
    "totalCost",
)


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@dataclass
class Fault:
    """A reply instead of the right one. `cut` sends half of the right one, `hang` none for so many seconds, and `drip`
    a byte of the right one each so many seconds."""

    status: int = 200
    body: bytes = b'{"message":"no"}'
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    hang: float = 0.0
    drip: float = 0.0


@dataclass
class Request:
    path: str
    params: list[tuple[str, str]]
    headers: dict[str, str]

    def get(self, name: str, otherwise: str = "") -> str:
        return dict(self.params).get(name, otherwise)


class Langfuse:
    """A project: its rows by list, and how the server behaves. A row with `_at` is not seen before that time."""

    def __init__(self, version: str = "4.35.0", *, contract: str = "", validate: bool = True) -> None:
        self.version = version
        self.observations: list[Row] = []
        self.traces: list[Row] = []
        self.scores: list[Row] = []
        self.requests: list[Request] = []
        self.breaches: list[str] = []
        # Called for each request; a fault is sent instead of the reply.
        self.fault: Callable[[Request], Fault | None] = lambda _: None
        # Called with the rows of a page of the newer surface; returns how many of them it has after all.
        self.short: Callable[[int], int] = lambda rows: rows
        self.gzip = False
        # The header `Date`, where it is not the clock's.
        self.dated = ""
        # What stands in a reply in place of a text, and need not be JSON.
        self.raw: dict[str, bytes] = {}
        self.limit_a_minute = 0
        self.skew = 0.0
        self.clock: Callable[[], float] = time.time
        self.lock = threading.RLock()
        self.served = 0
        self._window = (0.0, 0)
        self._contract = CONTRACTS["versions"][contract or version]
        self.validates = validate
        self.stopping = threading.Event()

    @property
    def newer(self) -> bool:
        return int(self.version.split(".")[0]) >= 4

    def now(self) -> float:
        return self.clock() + self.skew

    def add(self, **columns: Any) -> Row:
        """Put in an observation, by the columns that differ from a plain one; return it."""
        row = observation(**columns)
        with self.lock:
            self.observations.append(row)
        return row

    def answer(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body."""
        with self.lock:
            self.requests.append(request)
            self.served += 1
        headers = {"Date": self.dated or formatdate(self.now(), usegmt=True), "Content-Type": "application/json"}
        if request.path != "/health" and request.headers.get("authorization") != authorization():
            return 401, headers, b'{"message":"Invalid credentials"}'
        limited = self._limited(headers)
        if limited:
            return 429, headers, b"429 - rate limit exceeded"
        self._hold_to_contract(request)
        status, reply = self._reply(request)
        if self.validates and status == 200:
            self._check(request.path, reply)
        body = json.dumps(reply).encode()
        for text, value in self.raw.items():
            body = body.replace(json.dumps(text).encode(), value)
        if self.gzip and "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"], body = "gzip", gzip.compress(body)
        return status, headers, body

    def _limited(self, headers: dict[str, str]) -> bool:
        """The limiter rejects when nothing is left, so that the last request of a window is refused already."""
        if not self.limit_a_minute:
            return False
        with self.lock:
            began, used = self._window
            if self.clock() >= began + 60:
                began, used = self.clock(), 0
            used += 1
            self._window = (began, used)
        remaining = max(0, self.limit_a_minute - used)
        reset = datetime.fromtimestamp(began + 60, UTC).strftime("%a %b %d %Y %H:%M:%S GMT+0000")
        headers |= {
            "X-RateLimit-Limit": str(self.limit_a_minute),
            "X-RateLimit-Remaining": str(remaining),
            "X-RateLimit-Reset": f"{reset} (Coordinated Universal Time)",
        }
        if remaining < 1:
            headers["Retry-After"] = str(max(1, int(began + 60 - self.clock()) + 1))
        return remaining < 1

    def _hold_to_contract(self, request: Request) -> None:
        parameters = self._contract.get(request.path)
        if parameters is None and request.path != "/metrics/daily":  # in the code of 3.x, though not in its contract
            self.breach(f"{self.version} has no {request.path}")
        unknown = {name for name, _ in request.params} - set(parameters or ())
        if parameters is not None and unknown:
            self.breach(f"{self.version} {request.path} has no {sorted(unknown)}")

    def breach(self, said: str) -> None:
        with self.lock:
            if said not in self.breaches:
                self.breaches.append(said)

    def _check(self, path: str, reply: Any) -> None:
        name = CONTRACTS["schemas"]["of"].get(path)
        if name:
            schema = {"$ref": f"#/$defs/{name}", "$defs": CONTRACTS["schemas"]["$defs"]}
            for error in Draft202012Validator(schema).iter_errors(reply):
                self.breach(f"reply of {path}: {error.json_path}: {error.message[:200]}")

    def _reply(self, request: Request) -> tuple[int, Any]:
        most = {"/v2/observations": 1000}.get(request.path, 100)
        if int(request.get("limit", "50")) > most:
            return 400, {"message": f"limit is at most {most}"}
        match request.path:
            case "/health":
                return 200, {"status": "OK", "version": self.version}
            case "/v2/observations" if self.newer:
                return 200, self._newer_page(request)
            case "/v2/observations":
                return 404, {"message": "The observations v2 API is only available in a Langfuse v4 write mode."}
            case "/observations":
                # A server of version 4 has nothing there, and says so with an empty list.
                found = [] if self.newer else self._observations(request)
                return 200, _numbered(request, [_older(row) for row in found])
            case "/traces":
                return 200, _numbered(request, [] if self.newer else self._traces(request))
            case "/v3/scores" if "/v3/scores" in self._contract:
                return 200, self._scores_by_cursor(request)
            case "/v2/scores" | "/scores" if request.path in self._contract and not self.newer:
                return 200, _numbered(request, [_older_score(row) for row in self._scores(request)])
            case "/v2/metrics" if self.newer:
                return 200, {"data": self._sums(json.loads(request.get("query")), text=True)}
            case "/metrics" if "/metrics" in self._contract and not self.newer:
                return 200, {"data": self._sums(json.loads(request.get("query")), text=False)}
            case "/metrics/daily" if not self.newer:
                return 200, self._daily(request)
        return 404, {"message": "not found"}

    def _visible(self, rows: list[Row]) -> list[Row]:
        now = self.now()
        with self.lock:
            return [row for row in rows if row.get("_at", 0.0) <= now]

    def _observations(self, request: Request) -> list[Row]:
        """The rows that were asked for, the latest start first."""
        tests = [_condition(each) for each in json.loads(request.get("filter", "[]"))]
        if not tests:
            since, until = request.get("fromStartTime"), request.get("toStartTime")
            tests = [lambda row: not since or seconds(row["startTime"]) >= seconds(since)]
            tests.append(lambda row: not until or seconds(row["startTime"]) < seconds(until))
        found = [row for row in self._visible(self.observations) if all(test(row) for test in tests)]
        return sorted(found, key=lambda row: (row["startTime"], row["traceId"], row["id"]), reverse=True)

    def _newer_page(self, request: Request) -> Any:
        limit = int(request.get("limit", "50"))
        found, place = self._observations(request), 0
        cursor = request.get("cursor")
        if cursor:
            after = json.loads(base64.b64decode(cursor))
            key = (after["lastStartTimeTo"], after["lastTraceId"], after["lastId"])
            place = sum((row["startTime"], row["traceId"], row["id"]) >= key for row in found) if after["skip"] else 0
        page = found[place : place + limit]
        page = page[: self.short(len(page))]
        meta: Row = {}
        if place + len(page) < len(found):
            last = page[-1] if page else None
            if last is not None:
                # Duplicate rows share a key: a page never ends between them.
                same = [row for row in found if _key(row) == _key(last)]
                page = [row for row in page if _key(row) != _key(last)] + same
            meta["cursor"] = _cursor(last) if last is not None else cursor or _cursor(None)
            if last is not None and sum(_key(row) >= _key(last) for row in found) >= len(found):
                del meta["cursor"]
        groups = request.get("fields", "core,basic").split(",")
        columns = [column for group in groups for column in _GROUPS[group].split()]
        return {"data": [{name: row[name] for name in columns if name in row} for row in page], "meta": meta}

    def _traces(self, request: Request) -> list[Row]:
        since, until = request.get("fromTimestamp"), request.get("toTimestamp")
        found = [
            row
            for row in self._visible(self.traces)
            if (not since or seconds(row["timestamp"]) >= seconds(since))
            and (not until or seconds(row["timestamp"]) < seconds(until))
        ]
        found.sort(key=lambda row: row["timestamp"], reverse=request.get("orderBy") != "timestamp.asc")
        return [{name: value for name, value in row.items() if name != "_at"} for row in found]

    def _scores(self, request: Request) -> list[Row]:
        since, until = request.get("fromTimestamp"), request.get("toTimestamp")
        found = [
            row
            for row in self._visible(self.scores)
            if (not since or seconds(row["timestamp"]) >= seconds(since))
            and (not until or seconds(row["timestamp"]) < seconds(until))
        ]
        return sorted(found, key=lambda row: (row["timestamp"], row["id"]), reverse=True)

    def _scores_by_cursor(self, request: Request) -> Any:
        limit, place = int(request.get("limit", "50")), int(request.get("cursor", "0") or 0)
        found = self._scores(request)
        with_subject = "subject" in request.get("fields")
        rows = []
        for row in found[place : place + limit]:
            kept = {name: row[name] for name in _SCORE_CORE if name in row}
            if with_subject:
                kept["subject"] = _subject(row)
            rows.append(kept)
        meta: Row = {"limit": limit}
        if place + limit < len(found):
            meta["cursor"] = str(place + limit)
        return {"data": rows, "meta": meta}

    def _sums(self, query: Row, *, text: bool) -> list[Row]:
        """The one question that is asked of the metrics: the model calls of a period, and what they took."""
        since, until = seconds(query["fromTimestamp"]), seconds(query["toTimestamp"])
        types = next((each["value"] for each in query["filters"] if each["column"] == "type"), None)
        found = [
            row
            for row in self._visible(self.observations)
            if since <= seconds(row["startTime"]) < until and (types is None or row["type"] in types)
        ]
        # The server's own roll-up goes by the beginning of a key.
        sums = {
            "count_count": len(found),
            "sum_inputTokens": _rolled(found, "input"),
            "sum_totalTokens": _total(found),
            "sum_outputTokens": _rolled(found, "output"),
            "sum_totalCost": sum((row.get("costDetails") or {}).get("total", 0.0) for row in found),
        }
        return [{name: str(value) if text else value for name, value in sums.items()}]

    def _daily(self, request: Request) -> Any:
        since, until = seconds(request.get("fromTimestamp")), seconds(request.get("toTimestamp"))
        days: dict[str, dict[str | None, list[Row]]] = {}
        for row in self._visible(self.observations):
            if since <= seconds(row["startTime"]) < until:
                days.setdefault(row["startTime"][:10], {}).setdefault(row.get("model"), []).append(row)
        data = [
            {
                "date": day,
                "countTraces": 0,
                "countObservations": sum(map(len, models.values())),
                "totalCost": 0,
                "usage": [
                    {
                        "model": model,
                        "inputUsage": _rolled(rows, "input"),
                        "outputUsage": _rolled(rows, "output"),
                        "totalUsage": _total(rows),
                        "countObservations": len(rows),
                        "countTraces": 0,
                        "totalCost": sum((row.get("costDetails") or {}).get("total", 0.0) for row in rows),
                    }
                    for model, rows in models.items()
                ],
            }
            for day, models in sorted(days.items(), reverse=True)
        ]
        return _numbered(request, data)


_SCORE_CORE = (
    "id",
    "projectId",
    "name",
    "value",
    "dataType",
    "source",
    "timestamp",
    "environment",
    "createdAt",
    "updatedAt",
)


def observation(**columns: Any) -> Row:
    """A model call that began at `start` (Unix seconds) and took a second, unless columns say otherwise."""
    start = columns.pop("start", 1_770_000_000.0)
    end = columns.pop("end", start + 1.0)
    row: Row = {
        "id": "obs-1",
        "traceId": "trace-1",
        "projectId": "project-1",
        "type": "GENERATION",
        "parentObservationId": None,
        "startTime": iso(start),
        "endTime": None if end is None else iso(end),
        "completionStartTime": None,
        "name": "call",
        "level": "DEFAULT",
        "statusMessage": None,
        "version": None,
        "environment": "default",
        "bookmarked": False,
        "public": False,
        "userId": "user-canary",
        "sessionId": None,
        "createdAt": iso(start),
        "updatedAt": iso(start),
        "input": "prompt-canary",
        "output": "answer-canary",
        "metadata": {"note": "metadata-canary"},
        "model": None,
        "modelParameters": {},
        "usageDetails": {},
        "costDetails": {},
        "totalCost": None,
        "promptId": None,
        "promptName": None,
        "promptVersion": None,
        "latency": None if end is None else round(end - start, 3),
        "timeToFirstToken": None,
        "tags": [],
        "release": None,
        "traceName": None,
    }
    row |= columns
    row.setdefault("isRootObservation", row["parentObservationId"] is None)
    return row


def trace(**columns: Any) -> Row:
    """A trace of an older server."""
    start = columns.pop("start", 1_770_000_000.0)
    plain: Row = {
        "id": "trace-1",
        "timestamp": iso(start),
        "name": "support",
        "input": "prompt-canary",
        "output": "answer-canary",
        "sessionId": None,
        "release": None,
        "version": None,
        "userId": "user-canary",
        "metadata": {},
        "tags": [],
        "public": False,
        "environment": "default",
        "htmlPath": "/project/project-1/traces/trace-1",
        "latency": -1,
        "totalCost": -1,
        "observations": [],
        "scores": [],
    }
    return plain | columns


def score(**columns: Any) -> Row:
    """A number given to a trace at `start`."""
    start = columns.pop("start", 1_770_000_000.0)
    plain: Row = {
        "id": "score-1",
        "projectId": "project-1",
        "name": "helpfulness",
        "value": 0.5,
        "dataType": "NUMERIC",
        "source": "EVAL",
        "timestamp": iso(start),
        "environment": "default",
        "createdAt": iso(start),
        "updatedAt": iso(start),
        "traceId": "trace-1",
        "observationId": None,
        "sessionId": None,
        "comment": "comment-canary",
    }
    return plain | columns


def authorization() -> str:
    return "Basic " + base64.b64encode(f"{PUBLIC}:{SECRET}".encode()).decode()


def _key(row: Row) -> tuple[str, str, str]:
    return row["startTime"], row["traceId"], row["id"]


def _cursor(last: Row | None) -> str:
    place = {"lastStartTimeTo": "", "lastTraceId": "", "lastId": "", "skip": False}
    if last is not None:
        place = {
            "lastStartTimeTo": last["startTime"],
            "lastTraceId": last["traceId"],
            "lastId": last["id"],
            "skip": True,
        }
    return base64.b64encode(json.dumps(place).encode()).decode()


def _condition(each: Row) -> Callable[[Row], bool]:
    column, operator, value = each["column"], each["operator"], each.get("value")
    if column not in ("startTime", "endTime"):
        raise AssertionError(f"{column} is no column of a filter")
    if each["type"] == "null":
        return lambda row: row[column] is None
    assert each["type"] == "datetime"
    bound = seconds(value)
    compare: dict[str, Callable[[float], bool]] = {
        ">=": lambda at: at >= bound,
        "<": lambda at: at < bound,
        ">": lambda at: at > bound,
        "<=": lambda at: at <= bound,
    }
    holds = compare[operator]
    return lambda row: row[column] is not None and holds(seconds(row[column]))


def _numbered(request: Request, rows: list[Row]) -> Any:
    page, limit = int(request.get("page", "1")), int(request.get("limit", "50"))
    meta = {"page": page, "limit": limit, "totalItems": len(rows), "totalPages": -(-len(rows) // limit)}
    return {"data": rows[(page - 1) * limit : page * limit], "meta": meta}


def _older(row: Row) -> Row:
    """A row as the older surface has it: with the prompt, without what is the trace's."""
    found = {name: value for name, value in row.items() if name not in _OF_TRACE and not name.startswith("_")}
    usage = _map(row, "usageDetails")
    counts = {name: usage.get(name, 0) for name in ("input", "output", "total")}
    found["usage"] = {"unit": "TOKENS", **counts}
    found |= {"promptTokens": counts["input"], "completionTokens": counts["output"], "totalTokens": counts["total"]}
    found.setdefault("calculatedTotalCost", _map(row, "costDetails").get("total"))
    if row.get("providedModelName"):
        found["model"] = row["providedModelName"]
    return found


def _map(row: Row, column: str) -> Row:
    """A map of a row; nothing where something else is to stand in its place."""
    found = row.get(column)
    return found if isinstance(found, dict) else {}


def _older_score(row: Row) -> Row:
    found = {name: value for name, value in row.items() if name not in ("projectId", "_at")}
    found["metadata"] = {}
    if row["dataType"] == "CATEGORICAL":
        found |= {"value": 0, "stringValue": row["value"]}
    if row["dataType"] == "BOOLEAN":
        found |= {"value": int(row["value"]), "stringValue": str(row["value"])}
    return found


def _subject(row: Row) -> Row | None:
    if row.get("observationId"):
        return {"kind": "observation", "id": row["observationId"], "traceId": row["traceId"]}
    if row.get("traceId"):
        return {"kind": "trace", "id": row["traceId"]}
    return {"kind": "session", "id": row["sessionId"]} if row.get("sessionId") else None


def _total(rows: list[Row]) -> int:
    """The total that was given, else all that was."""
    details = [row.get("usageDetails") or {} for row in rows]
    return sum(each.get("total", sum(each.values())) for each in details)


def _rolled(rows: list[Row], side: str) -> int:
    return sum(
        count for row in rows for name, count in (row.get("usageDetails") or {}).items() if name.startswith(side)
    )


@contextmanager
def served(project: Langfuse) -> Iterator[str]:
    """Serve a project on a free port of this machine; the address of it, as in `http://127.0.0.1:4711`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            request = Request(
                parts.path.removeprefix("/api/public"),
                parse_qsl(parts.query),
                {name.lower(): value for name, value in self.headers.items()},
            )
            fault = project.fault(request)
            if fault is not None and not fault.cut and not fault.drip:
                with project.lock:
                    project.requests.append(request)
                project.stopping.wait(fault.hang)
                self._send(fault.status, fault.headers, fault.body)
                return
            status, headers, body = project.answer(request)
            self._send(status, headers, body, fault)

        def _send(self, status: int, headers: Mapping[str, str], body: bytes, fault: Fault | None = None) -> None:
            cut = fault is not None and fault.cut
            self.send_response_only(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            try:
                self.end_headers()
                if fault is not None and fault.drip:
                    drip(self.connection, project.stopping, (body[at : at + 1] for at in range(len(body))), fault.drip)
                else:
                    self.wfile.write(body[: len(body) // 2] if cut else body)
            except OSError:
                self.close_connection = True  # the client was killed in the middle
            self.close_connection = self.close_connection or cut

        def log_message(self, *_: Any) -> None:
            """Nothing: a test says what it wants to see."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            error = sys.exc_info()[1]
            if not isinstance(error, OSError):
                project.breach(f"the server: {type(error).__name__}: {error}")

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            project.stopping.set()
            server.shutdown()
            thread.join()


@contextmanager
def answering(
    answer: Callable[[socket.socket, threading.Event], None], tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """Serve what `answer` does with each connection, behind TLS if that is given; the address of it.

    It also gets an event that is set when the test is over.
    """
    stopping = threading.Event()

    def speak(plain: socket.socket) -> None:
        # Whoever is cut off has had enough, and so has who hangs up.
        with suppress(OSError), plain if tls is None else tls.wrap_socket(plain, server_side=True) as connection:
            answer(connection, stopping)

    def listen(server: socket.socket) -> None:
        with suppress(OSError):  # closed: the test is over
            while True:
                threading.Thread(target=speak, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=listen, args=(server,), daemon=True)
        thread.start()
        try:
            yield f"{'http' if tls is None else 'https'}://127.0.0.1:{server.getsockname()[1]}"
        finally:
            stopping.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def await_head(connection: socket.socket) -> None:
    """Read a request's head. Raises OSError when the client hangs up instead."""
    head = b""
    while b"\r\n\r\n" not in head:
        part = connection.recv(1 << 16)
        if not part:
            raise ConnectionError
        head += part


def drip(connection: socket.socket, stopping: threading.Event, parts: Iterable[bytes], every: float = 0.1) -> None:
    """Write a part at a time."""
    for part in parts:
        connection.sendall(part)
        if stopping.wait(every):
            return
