"""A runner over a tree-shaped store: files of OTLP's JSON, as the Collector writes them."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import createagents_lines as lines
import pytest

from exporters import check
from exporters.aggregate import Aggregate
from exporters.lock import StateError
from exporters.once import read
from exporters.runner import Runner
from exporters.sources import open_source
from exporters.state import State

START = 1_765_029_600
RUN = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}
CALL = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.usage.input_tokens": 7,
    "gen_ai.usage.output_tokens": 0,
}


def request(*spans: tuple[str, str, dict[str, Any]], trace: str = "a" * 32) -> str:
    """One line of the file: a request with spans of ids, parents and attributes."""
    found = [
        {
            "traceId": trace,
            "spanId": span.rjust(16, "0"),
            "parentSpanId": parent and parent.rjust(16, "0"),
            "name": "x",
            "startTimeUnixNano": str(START * 10**9),
            "endTimeUnixNano": str((START + 2) * 10**9),
            "attributes": [
                {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
                for key, value in attributes.items()
            ],
        }
        for span, parent, attributes in spans
    ]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": found}]}]}) + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "spans").mkdir()
    return tmp_path / "spans"


@pytest.fixture
def serve(folder: Path, tmp_path: Path) -> Iterator[Callable[..., Runner]]:
    running: list[Runner] = []

    def begin(wait: str = "5s") -> Runner:
        source = open_source(f"otlp+file://{folder}?name=s&wait={wait}")
        running.append(Runner([source], tmp_path / "state", Aggregate(time.time), idle=3600.0))
        return running[-1]

    yield begin
    for runner in running:
        runner.stop()


def value(runner: Runner, start: str) -> float | None:
    """The first sample of the page whose line begins so."""
    for line in runner.page("test", openmetrics=False).decode().splitlines():
        if line.startswith(start):
            return float(line.rpartition(" ")[2])
    return None


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


CALLS = 'agentgauge_inference_calls_total{source="s",gen_ai_operation_name="chat",gen_ai_provider_name="openai"'
BY_PLANNER = f'{CALLS},gen_ai_request_model="gpt-4o-mini",gen_ai_agent_name="planner",outcome="ok"'
WAITING = 'agentgauge_waiting_spans{source="s"}'
RUN_CALLS = 'gen_ai_invoke_agent_inference_calls_sum{source="s"'
ADRIFT = 'agentgauge_spans_without_ancestor_total{source="s"}'


def test_what_waits_at_the_end_of_a_store_that_nobody_follows_is_settled_at_once(folder: Path) -> None:
    (folder / "a.jsonl").write_text(request(("c", "1", CALL)) + request(("1", "", RUN), ("d", "2", CALL)))
    source = open_source(f"otlp+file://{folder}?name=s&wait=1h")
    with read([source], Aggregate(time.time), idle=3600.0) as runner:
        assert value(runner, BY_PLANNER) == 2
        assert value(runner, 'gen_ai_invoke_agent_inference_calls_sum{source="s"') == 2
        assert value(runner, 'agentgauge_spans_without_ancestor_total{source="s"}') == 1
        assert value(runner, WAITING) == 0


def test_check_tells_of_wrappers_and_of_what_is_adrift(folder: Path) -> None:
    (folder / "a.jsonl").write_text(
        request(("1", "", RUN), ("a", "1", CALL), ("c", "a", CALL)) + request(("d", "2", CALL), trace="b" * 32)
    )
    source = open_source(f"otlp+file://{folder}?name=s")
    told = "\n".join(check.report([source], Aggregate(time.time), idle=3600.0))
    assert (
        """\
  2 model calls
  1 agent run
  What is odd:
    1 model call without an agent's name on it or above it
    1 model call around another one: left out, but for usage that only they know
    1 span whose parent is not in the store: an agent's name may be missing
    1 trace not ended yet, and not idle for long enough to be given up
"""
        in told
    )


def test_a_store_that_is_followed_makes_no_run_idle_by_a_clock_that_is_behind(tmp_path: Path) -> None:
    (tmp_path / "lines").mkdir()
    file, clock = tmp_path / "lines" / "traces_1.jsonl", [lines.START]
    source = open_source(f"createagents://{tmp_path / 'lines'}?name=s")
    runner = Runner([source], tmp_path / "state", Aggregate(time.time), idle=3600.0, now=lambda: clock[0])

    def read_on(*written: bytes) -> float | None:
        with file.open("ab") as to:
            to.write(b"".join(line + b"\n" for line in written))
        runner.read_to_end(lambda source, size: None)
        return value(runner, 'agentgauge_run_errors_total{source="s"')

    # What was there when the exporter began is of long ago.
    assert read_on(lines.line("trace.start", -7200, "r", trace="old")) == 1
    assert read_on(lines.line("trace.start", -7200, "r", trace="new")) == 1
    clock[0] += 3600
    assert read_on() == 1
    clock[0] += 1
    read_on()
    assert read_on() == 2
    runner.stop()


def test_a_trace_that_is_whole_is_counted_without_another_poll(
    folder: Path, serve: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporters.runner.POLL_SECONDS", 3600.0)
    (folder / "a.jsonl").write_text(request(("c", "1", CALL), ("1", "", RUN)))
    runner = serve()
    reader = runner.sources[0].reader
    polls = []
    poll, reader.poll = reader.poll, lambda: polls.append(1) or poll()  # type: ignore[method-assign, func-returns-value]
    runner.start()
    until(lambda: value(runner, BY_PLANNER) == 1)
    assert value(runner, WAITING) == 0
    # The second was when the folder began to be watched.
    assert len(polls) <= 2


def test_what_waits_survives_a_restart_with_its_time(folder: Path, serve: Callable[..., Runner]) -> None:
    runner = serve(wait="1h")
    runner.start()
    (folder / "a.jsonl").write_text(request(("c", "1", CALL)))
    until(lambda: value(runner, WAITING) == 1)
    runner.stop()
    runner = serve(wait="1s")
    assert value(runner, CALLS) is None
    runner.start()
    until(lambda: value(runner, CALLS) == 1)
    assert value(runner, 'agentgauge_spans_without_ancestor_total{source="s"}') == 1


def test_a_process_that_dies_before_or_after_any_commit_counts_each_span_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch is read by a process whose commit fails, and by another that ends after its commit."""
    clock = [float(START)]

    def step() -> None:
        source = open_source(f"otlp+file://{folder}?name=s")
        runner = Runner([source], tmp_path / "state", Aggregate(time.time), idle=3600.0, now=lambda: clock[0])
        source.reader.seek(runner.committed.cursors["s"])
        runner._step(source, runner.committed.generation)
        pages.append({name: value(runner, name) for name in (WAITING, BY_PLANNER, RUN_CALLS, ADRIFT)})
        runner.stop()

    def failing(*_: object) -> None:
        raise StateError("no")

    pages: list[dict[str, float | None]] = []
    for seconds, spans in (
        (0, [("c", "a", CALL)]),
        (5, [("a", "1", {})]),
        (0, [("d", "1", CALL)]),
        (4, [("1", "", RUN)]),
        (1, []),
        (20, [("e", "2", CALL)]),
        (10, []),
        (60, [("2", "3", RUN), ("3", "", {})]),
        (1, []),
    ):
        clock[0] += seconds
        if spans:
            with (folder / "a.jsonl").open("a") as file:
                file.write(request(*spans))
        with monkeypatch.context() as broken:
            broken.setattr(State, "commit", failing)
            step()
        step()
    # A call, a part and a call wait for their run, which has both; a call is counted before its run comes.
    told = [tuple(page.values()) for page in pages[1::2]]
    assert told == [
        (1, None, None, None),
        (2, None, None, None),
        (3, None, None, None),
        (4, None, None, None),
        (0, 2, 2, None),
        (1, 2, 2, None),
        (0, 2, 2, 1),
        (2, 2, 2, 1),
        (0, 2, 3, 1),
    ]
