"""Fifty kills at random moments, while clients send and send again: what was accepted is counted, once."""

import threading
import time
import urllib.error
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from crash_exporter import Exporter, Ledger, free_port, until
from crash_recount import Samples
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from otlp_stage import START, body, call, pairs, post

from exporters.slices import SLICE

KILLS = 50
# A trace that is whole is counted after a tenth of what a span may wait for the rest of it.
WAIT = 20.0
LATE = 0.15 * WAIT
# Tool calls of some traces, in one request, which is then counted and committed in two slices.
MANY = SLICE + 200
AGENTS = ("planner", "support")
# What is compared, by agent; and what each client adds to it when all of a trace has been accepted.
SERIES = {
    "calls": "agentgauge_inference_calls_total",
    "input": "gen_ai_client_inference_usage_input_tokens_total",
    "output": "gen_ai_client_inference_usage_output_tokens_total",
    "durations": "gen_ai_client_inference_duration_seconds_count",
    "tools": "agentgauge_tool_calls_total",
    "runs": "agentgauge_runs_total",
    "calls of runs": "gen_ai_invoke_agent_inference_calls_sum",
    "tokens of runs": "agentgauge_run_tokens_sum",
}


class Client(threading.Thread):
    """Sends one trace after another, the root last, each request until it is accepted, and some of them twice.

    Of every other trace one more tool call comes when the rest has been counted.
    """

    def __init__(self, port: int, seed: int) -> None:
        super().__init__(name=f"client {seed}")
        self._port = port
        self._random = Random(seed)
        self._stopped = threading.Event()
        self.sent: Counter[tuple[str, str]] = Counter()
        self._late: deque[tuple[float, Span]] = deque()
        self.requests = self.again = self.late = 0

    def run(self) -> None:
        while not self._stopped.is_set():
            self._send_trace()
            self._send_late(time.monotonic())
        self._send_late(float("inf"))

    def stop(self) -> None:
        """End after the trace that is being sent; the exporter has to run for it."""
        self._stopped.set()

    def _send_trace(self) -> None:
        random = self._random
        agent, trace, root = random.choice(AGENTS), random.randbytes(16), random.randrange(1, 2**63)
        calls = [(random.randrange(1, 4000), random.randrange(1, 900)) for _ in range(random.randrange(1, 5))]
        spans = [self._call(trace, root, given, taken) for given, taken in calls]
        tools = MANY if random.random() < 0.02 else 1
        spans += [self._span(trace, root, "execute_tool", {"gen_ai.tool.name": "search"}) for _ in range(tools)]
        run = self._span(trace, 0, "invoke_agent", {"gen_ai.agent.name": agent})
        run.span_id = root.to_bytes(8, "big")
        while spans:
            many = random.randrange(1, 4) if tools == 1 else len(spans)
            self._send(spans[:many])
            spans = spans[many:]
        self._send([run])
        late = random.random() < 0.5
        if late:
            tool = self._span(trace, root, "execute_tool", {"gen_ai.tool.name": "note"})
            self._late.append((time.monotonic() + LATE, tool))
        given, taken = sum(given for given, _ in calls), sum(taken for _, taken in calls)
        for name, by in {
            "calls": len(calls), "input": given, "output": taken, "durations": len(calls), "tools": tools + late,
            "runs": 1, "calls of runs": len(calls), "tokens of runs": given + taken,
        }.items():  # fmt: skip
            self.sent[name, agent] += by

    def _send_late(self, now: float) -> None:
        while self._late and self._late[0][0] <= now:
            self._send([self._late.popleft()[1]])
            self.late += 1

    def _span(self, trace: bytes, parent: int, operation: str, said: dict[str, object]) -> Span:
        attributes = pairs({"gen_ai.operation.name": operation, **said})
        number = self._random.randrange(1, 2**63)
        return call(number, parent=parent, start=START, trace_id=trace, name=operation, attributes=attributes)

    def _call(self, trace: bytes, parent: int, given: int, taken: int) -> Span:
        said = {
            "gen_ai.usage.input_tokens": given,
            "gen_ai.usage.output_tokens": taken,
            "gen_ai.request.model": "gpt-4o",
        }
        return self._span(trace, parent, "chat", said)

    def _send(self, spans: list[Span]) -> None:
        sent = body(*spans)
        while not self._accepted(sent):
            self.again += 1
            time.sleep(0.01)  # nobody tells when the exporter is there again
        self.requests += 1
        if self._random.random() < 0.2:
            self._accepted(sent)

    def _accepted(self, sent: bytes) -> bool:
        try:
            return post(self._port, sent).status == 200
        except (OSError, urllib.error.URLError):
            return False


def totals(page: Samples) -> Counter[tuple[str, str]]:
    """What a page says of each agent."""
    names = {series: name for name, series in SERIES.items()}
    found: Counter[tuple[str, str]] = Counter()
    for sample, value in page.items():
        series, _, labels = sample.partition("{")
        agent = labels.partition('gen_ai_agent_name="')[2].partition('"')[0]
        if series in names and value:
            found[names[series], agent] += int(value)
    return found


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    # Long enough for a trace whose root has to be sent again and again.
    found = Exporter(tmp_path, url=f"otlp://127.0.0.1:{free_port()}?wait={WAIT:g}s")
    yield found
    found.kill()


def test_after_fifty_kills_all_that_was_accepted_is_counted_once(exporter: Exporter) -> None:
    port = int(exporter.url.partition(":")[2].rpartition(":")[2].partition("?")[0])
    random, ledger = Random(7), Ledger()
    began = time.monotonic()
    exporter.start().awaited()
    start_up = time.monotonic() - began
    clients = [Client(port, seed) for seed in range(3)]
    for client in clients:
        client.start()
    answered = 0
    for kill in range(KILLS):
        if kill % 2:
            # On a busy machine every other life would end before its first page.
            ledger.note(exporter.awaited())
            answered += 1
        end = time.monotonic() + start_up * (0.4 + 0.8 * random.random())
        while time.monotonic() < end:
            page = exporter.scrape()
            if page is not None:
                answered += 1
                ledger.note(page)
            time.sleep(min(0.05, max(0.0, end - time.monotonic())))
        exporter.kill()
        exporter.start()
    for client in clients:
        client.stop()
    for client in clients:
        client.join(120)
        assert not client.is_alive()
    truth = sum((client.sent for client in clients), Counter())

    def arrived() -> bool:
        page = exporter.scrape()
        if page is not None:
            ledger.note(page)
        return page is not None and totals(page) == truth

    until(arrived, 120, lambda: f"{totals(exporter.awaited())} should be {truth}\n{exporter.log.read_text()}")
    assert ledger.falls == []
    # That much did happen.
    assert answered >= KILLS / 4
    assert sum(client.requests for client in clients) >= KILLS
    assert sum(client.again for client in clients) >= KILLS
    assert sum(client.late for client in clients) >= KILLS / 2
    assert "Traceback" not in exporter.log.read_text()
