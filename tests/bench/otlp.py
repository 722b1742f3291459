"""OTLP's protobuf: spans per second through the exporter, against reading the same bytes with the bindings.

`python -m tests.bench.otlp bindings FILE...` does the latter, `python -m tests.bench.otlp records FILE...` makes our
records of them, and does nothing else; both print the seconds of CPU that it took.
"""

import http.client
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from exporters.sources.otlp.body import Body
from exporters.sources.otlp.layouts import Memory
from exporters.sources.otlp.translation import bodies
from tests.bench.figures import Figure, Rounds
from tests.bench.processes import AGENTGAUGE, ROOT, Page, free_port, serving

# Of a request, as exporters send by default; every fourth is a run, the others are model calls.
_SPANS = 512
_ROUNDS = 5
_WARM_UP = 4
_CONNECTIONS = 4
_COUNTED = re.compile(rb"^agentgauge_spans_total\{[^}]*\} (\S+)", re.M)


def figures(directory: Path, core: int, requests: int) -> list[Figure]:
    """Send requests to an exporter, and have the bindings read them before and after; some rounds of that."""
    files = _make(directory / "otlp", _WARM_UP + requests)
    whole, records = Rounds(), Rounds()
    with tempfile.TemporaryDirectory(prefix="otlp-", dir=directory) as states:
        for number in range(_ROUNDS):
            before = _read("bindings", files[_WARM_UP:], core)
            of_records = _read("records", files[_WARM_UP:], core)
            of_whole = _taken_by_exporter(files, Path(states) / str(number), core)
            after = _read("bindings", files[_WARM_UP:], core)
            whole.add(before, of_whole, after)
            records.add(before, of_records, after)
    of = "against reading them with opentelemetry-proto"
    spans = _SPANS * requests
    return [
        whole.figure(f"OTLP spans received, settled, counted and committed, {of}", spans, "spans", 0.4),
        records.figure(f"OTLP spans made into records only, {of}", spans, "spans", 0.4),
    ]


def _read(how: str, files: list[Path], core: int) -> float:
    command = ["taskset", "--cpu-list", str(core), sys.executable, "-m", "tests.bench.otlp", how, *map(str, files)]
    return float(subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout)


def _taken_by_exporter(files: list[Path], state: Path, core: int) -> float:
    """Return the seconds of CPU from when requests are sent until their spans are on the page.

    Some are sent before, so that what is loaded once, such as the list of prices, has been.
    """
    page_port, port = free_port(), free_port()
    command = [*AGENTGAUGE, "serve", f"otlp://127.0.0.1:{port}?wait=1s", "--listen", f"127.0.0.1:{page_port}"]
    with serving([*command, "--state", str(state)], core, page_port, "/-/ready"):
        _send(files[:_WARM_UP], port)
        _await(page_port, _WARM_UP * _SPANS)
        begin = _cpu_of(page_port)
        _send(files[_WARM_UP:], port)
        _await(page_port, len(files) * _SPANS)
        return _cpu_of(page_port) - begin


def _send(files: list[Path], port: int) -> None:
    """Send requests over several connections, as the workers of a Collector's queue do."""

    def send(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for path in files[number::_CONNECTIONS]:
            connection.request("POST", "/v1/traces", path.read_bytes(), {"Content-Type": "application/x-protobuf"})
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b"")
        connection.close()

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        list(pool.map(send, range(_CONNECTIONS)))


def _await(port: int, spans: int) -> None:
    page = Page(port)
    while sum(map(float, _COUNTED.findall(page.read()))) < spans:
        time.sleep(0.2)


def _cpu_of(port: int) -> float:
    """Return the seconds of CPU of the process that was told to listen there."""
    for found in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            told = found.read_bytes()
            fields = (found.parent / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if b"exporters" in told and f"127.0.0.1:{port}".encode() in told:
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    raise LookupError(f"nobody listens on {port}")


def _make(directory: Path, requests: int) -> list[Path]:
    """Write requests to files, once."""
    directory.mkdir(parents=True, exist_ok=True)
    files = [directory / f"{number:05}" for number in range(requests)]
    for number, path in enumerate(files):
        if not path.exists():
            path.write_bytes(_request(number))
    return files


def _request(place: int) -> bytes:
    rng = random.Random(place)
    found = ExportTraceServiceRequest()
    group = found.resource_spans.add()
    _put(group.resource, {"service.name": "support", "deployment.environment.name": "production"})
    scope = group.scope_spans.add()
    scope.scope.name = "opentelemetry.instrumentation.openai.v1"
    trace, root = b"", b""
    for number in range(_SPANS):
        if number % 4 == 0:
            trace, root = rng.randbytes(16), rng.randbytes(8)
        span = scope.spans.add(trace_id=trace, flags=256)
        # Sixteen spans begin in a second.
        span.start_time_unix_nano = 1_770_112_800_000_000_000 + (place * _SPANS + number) * 62_500_000
        span.end_time_unix_nano = span.start_time_unix_nano + rng.randrange(10**10)
        if number % 4 == 3:
            span.span_id, span.name, span.kind = root, "invoke_agent support", 1
            _put(span, {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "support"})
        else:
            span.span_id, span.parent_span_id, span.name, span.kind = rng.randbytes(8), root, "openai.chat", 3
            _put(span, _call(rng))
    return found.SerializeToString()


def _call(rng: random.Random) -> dict[str, Any]:
    """What OpenLLMetry says of a call."""
    given, taken = rng.randrange(1, 4000), rng.randrange(1, 900)
    messages = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "lorem ipsum " * 30}]}])
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": rng.choice(("gpt-4o-mini", "gpt-4.1")),
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.response.id": f"chatcmpl-{rng.randbytes(12).hex()}",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.is_streaming": False,
        "gen_ai.openai.api_base": "https://api.openai.com/v1/",
        "gen_ai.usage.input_tokens": given,
        "gen_ai.usage.output_tokens": taken,
        "gen_ai.usage.total_tokens": given + taken,
        "gen_ai.usage.cache_read.input_tokens": given // 3,
        "gen_ai.usage.reasoning_tokens": taken // 2,
        "gen_ai.input.messages": messages,
        "gen_ai.output.messages": messages,
    }


def _put(holder: Any, attributes: dict[str, Any]) -> None:
    for name, value in attributes.items():
        into = holder.attributes.add(key=name).value
        if isinstance(value, list):
            into.array_value.values.extend(AnyValue(string_value=item) for item in value)
        else:
            setattr(into, {str: "string_value", bool: "bool_value", int: "int_value"}[type(value)], value)


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return None if kind is None else getattr(value, kind)


def _with_bindings(body: bytes) -> None:
    """Decode a request and read every attribute into a dictionary."""
    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in group.scope_spans:
            for span in scope.spans:
                {pair.key: _value(pair.value) for pair in span.attributes}


def _taken(read: Callable[[bytes], object], requests: list[bytes]) -> float:
    begin = time.process_time()
    for body in requests:
        read(body)
    return time.process_time() - begin


if __name__ == "__main__":
    known = Memory()
    reading = {
        "bindings": _with_bindings,
        "records": lambda body: bodies([Body("application/x-protobuf", body)], memory=known),
    }
    print(_taken(reading[sys.argv[1]], [Path(name).read_bytes() for name in sys.argv[2:]]))
