"""A receiver on a free port, requests to it, and bodies that the bindings of opentelemetry-proto make."""

import http.client
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPMessage
from pathlib import Path
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from exporters import span as record
from exporters.aggregate import Aggregate
from exporters.hosts import hosts_of
from exporters.runner import Runner
from exporters.sources import Source
from exporters.sources.otlp.receiver import Receiver
from exporters.sources.otlp.translation import bodies

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
TRACE = bytes.fromhex("5b8efff798038103d269b633813fc60c")
START = 1_760_531_000_000_000_000


class Answer(NamedTuple):
    """What a request was answered."""

    status: int
    headers: HTTPMessage
    body: bytes


def post(
    port: int, body: bytes, encoding: str = PROTOBUF, *, path: str = "/v1/traces", method: str = "POST", **headers: str
) -> Answer:
    """Send a request; underscores in header names stand for hyphens."""
    asked = {"Content-Type": encoding, **{name.replace("_", "-"): value for name, value in headers.items()}}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body, headers=asked, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


def value(given: Any) -> AnyValue:
    """A value as OTLP has it."""
    if isinstance(given, bool):
        return AnyValue(bool_value=given)
    if isinstance(given, int):
        return AnyValue(int_value=given)
    if isinstance(given, float):
        return AnyValue(double_value=given)
    if isinstance(given, bytes):
        return AnyValue(bytes_value=given)
    found = AnyValue()
    if isinstance(given, list):
        found.array_value.SetInParent()
        found.array_value.values.extend(value(item) for item in given)
    elif isinstance(given, Mapping):
        found.kvlist_value.SetInParent()
        found.kvlist_value.values.extend(pairs(given))
    elif given is not None:
        found.string_value = given
    return found


def pairs(given: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=name, value=value(item)) for name, item in given.items()]


def call(number: int, *, parent: int = 0, name: str = "chat", start: int = START, **fields: Any) -> Span:
    """A model call of 1.5 seconds; `fields` are the span's own."""
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.usage.input_tokens": 412,
        "gen_ai.usage.output_tokens": 96,
    }
    usual = {
        "trace_id": TRACE,
        "span_id": number.to_bytes(8, "big"),
        "parent_span_id": parent.to_bytes(8, "big") if parent else b"",
        "name": name,
        "start_time_unix_nano": start,
        "end_time_unix_nano": start + 1_500_000_000,
        "attributes": pairs(attributes),
    }
    return Span(**{**usual, **fields})


def request(*spans: Span, resource: Mapping[str, Any] | None = None) -> ExportTraceServiceRequest:
    """One request with these spans."""
    found = ExportTraceServiceRequest()
    group = found.resource_spans.add()
    group.resource.attributes.extend(pairs(resource or {}))
    group.scope_spans.add(spans=spans).scope.name = "tests"
    return found


def body(*spans: Span, resource: Mapping[str, Any] | None = None) -> bytes:
    return request(*spans, resource=resource).SerializeToString()


@contextmanager
def receiving(token: bytes = b"") -> Iterator[tuple[Receiver, int]]:
    """A receiver that nobody reads yet, and its port."""
    bound = socket.create_server(("127.0.0.1", 0))
    port = bound.getsockname()[1]
    receiver = Receiver(bound, token, hosts_of())
    try:
        yield receiver, port
    finally:
        receiver.close()


def arrived(receiver: Receiver, many: int = 1) -> None:
    """Wait until so many requests are to be read."""
    with receiver._changed:
        assert receiver._changed.wait_for(lambda: len(receiver._arrived) >= many, 10)


def connect(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=20)


class Counting:
    """A receiver whose spans are counted, and those that were."""

    def __init__(self, runner: Runner, receiver: Receiver, port: int) -> None:
        self.runner = runner
        self.receiver = receiver
        self.port = port
        self.spans: list[record.Span] = []

    def post(self, sent: bytes, encoding: str = PROTOBUF, **options: str) -> Answer:
        return post(self.port, sent, encoding, **options)

    def page(self) -> str:
        return self.runner.page("", openmetrics=False).decode()


@contextmanager
def counted(directory: Path, token: bytes = b"") -> Iterator[Counting]:
    """An exporter that counts what a receiver takes, in this process."""
    with receiving(token) as (receiver, port):
        runner = Runner(
            [Source("otlp", receiver, bodies)],
            directory / "state",
            Aggregate(time.time),
            idle=3600,
            counted=lambda _, spans: found.spans.extend(spans),
        )
        found = Counting(runner, receiver, port)
        runner.start()
        try:
            yield found
        finally:
            runner.stop()
