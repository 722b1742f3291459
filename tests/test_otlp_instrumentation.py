"""Spans as real packages make them and as OpenTelemetry's own exporter sends them become the calls that were made."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from otlp_stage import arrived, counted, receiving

from exporters.span import Span

CLIENT = Path(__file__).with_name("otlp_client.py")
PACKAGES = ("opentelemetry.instrumentation.openai", "openinference.instrumentation.openai")
USAGE = {
    "prompt_tokens": 412, "completion_tokens": 96, "total_tokens": 508,
    "prompt_tokens_details": {"cached_tokens": 256}, "completion_tokens_details": {"reasoning_tokens": 64},
}  # fmt: skip


class Model(BaseHTTPRequestHandler):
    """OpenAI's chat completions, as far as its client asks: an answer, the same in pieces, or too many requests."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked["messages"][0]["content"] == "busy":
            self.answer(429, json.dumps({"error": {"message": "Rate limit reached", "type": "requests"}}))
        elif asked.get("stream"):
            pieces = [self.piece(delta={"role": "assistant", "content": "Eight."}), self.piece(finish_reason="stop")]
            pieces.append({**self.piece(), "choices": [], "usage": USAGE})
            told = "".join(f"data: {json.dumps(piece)}\n\n" for piece in pieces)
            self.answer(200, f"{told}data: [DONE]\n\n", "text/event-stream")
        else:
            message = {"role": "assistant", "content": "Eight."}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self.answer(
                200, json.dumps({**COMPLETION, "object": "chat.completion", "choices": [choice], "usage": USAGE})
            )

    def piece(self, **choice: Any) -> dict[str, Any]:
        choices = [{"index": 0, "delta": {}, "finish_reason": None, **choice}]
        return {**COMPLETION, "object": "chat.completion.chunk", "choices": choices}

    def answer(self, status: int, text: str, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        """Nothing: the tests' own output is enough."""


COMPLETION = {"id": "chatcmpl-1", "created": 1760531000, "model": "gpt-4o-mini-2024-07-18"}


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    """The URL of a model's API."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module", params=PACKAGES)
def spans(request: pytest.FixtureRequest, model: str, tmp_path_factory: pytest.TempPathFactory) -> list[Span]:
    """What was counted of the calls of a process that one package watches."""
    with counted(tmp_path_factory.mktemp("counted")) as counting:
        traces = f"http://127.0.0.1:{counting.port}/v1/traces"
        command = [sys.executable, str(CLIENT), request.param, traces, model]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return sorted(counting.spans, key=lambda span: span.time)


def test_a_call_is_the_same_call_whichever_package_saw_it(spans: list[Span]) -> None:
    call, run, *_ = spans
    assert [span.kind for span in spans] == ["inference", "run", "inference", "inference"]
    assert (call.trace_id, call.parent_id) == (run.trace_id, run.span_id)
    assert (call.operation, call.provider, call.model) == ("chat", "openai", "gpt-4o-mini")
    assert (call.input_tokens, call.output_tokens) == (412, 96)
    assert (call.cache_read_tokens, call.reasoning_tokens) == (256, 64)
    assert (call.environment, call.error) == ("staging", "")
    assert call.duration is not None
    assert run.duration is not None
    assert 0 < call.duration < run.duration
    assert run.agent == "planner"


def test_a_call_that_failed_says_why(spans: list[Span]) -> None:
    failed = spans[2]
    assert (failed.error, failed.model) == ("rate_limited", "gpt-4o-mini")
    assert (failed.input_tokens, failed.output_tokens) == (None, None)


def test_a_call_that_streams_has_its_usage_too(spans: list[Span]) -> None:
    streamed = spans[3]
    assert (streamed.model, streamed.input_tokens, streamed.output_tokens, streamed.error) == (
        "gpt-4o-mini", 412, 96, "",
    )  # fmt: skip


def test_the_sdk_sends_again_what_was_not_committed() -> None:
    """On 503 it comes again, as it does not on 429."""
    with receiving() as (receiver, port):
        provider = TracerProvider()
        exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{port}/v1/traces")
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        ended = threading.Thread(target=provider.get_tracer("tests").start_span("work").end)
        ended.start()
        arrived(receiver)
        first = receiver.poll().records
        receiver.seek({})  # the commit failed
        arrived(receiver)
        second = receiver.poll().records
        receiver.poll()
        ended.join(10)
        provider.shutdown()
        assert not ended.is_alive()
        assert len(first) == 1
        assert [again.data for again in second] == [before.data for before in first]
