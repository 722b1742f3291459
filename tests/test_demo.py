"""The demo writes what createagents would: every line in its format, every oddity, every time the same."""

import argparse
import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from exporters import demo
from exporters.demo import framework, writer
from exporters.demo.asked import incident
from exporters.demo.framework import Context, Entry, Failure, Usage
from exporters.demo.scenario import AGENTS
from exporters.demo.weather import Weather, busy
from exporters.span import error_type

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC).timestamp()  # a Wednesday

KEYS = (
    "timestamp", "trace_id", "run_id", "run_type", "operation", "event", "parent_run_id", "session_id",
    "agent_name", "model", "status", "inputs", "outputs", "data", "duration_ms", "error_message",
    "error_type", "error_stack", "input_tokens", "output_tokens", "total_tokens", "cost_usd", "metadata",
)  # fmt: skip
LOG_KEYS = [
    "event", "trace_id", "run_id", "parent_run_id", "level", "message", "logger_name", "timestamp",
    "operation", "run_type",
]  # fmt: skip
MAY_BE_ZERO = {"duration_ms", "input_tokens", "output_tokens", "total_tokens", "cost_usd"}
RUN_TYPES = {
    "trace.start": "chat",
    "trace.end": "chat",
    "llm.request": "llm",
    "llm.response": "llm",
    "tool.call": "tool",
    "tool.result": "tool",
}
OPERATIONS = {
    "chat": r"chat_with_agent",
    "llm": r"(openai|ollama)_iteration_\d+",
    "tool": r"tool_\w+",
}


class Clock:
    """A clock that moves only while somebody waits for it, and says stop at a given time."""

    def __init__(self, at: float, until: float) -> None:
        self.at = at
        self.until = until

    def now(self) -> float:
        return self.at

    def is_set(self) -> bool:
        return self.at >= self.until

    def wait(self, timeout: float) -> bool:
        self.at = min(self.at + timeout, self.until)
        return self.is_set()


def write(
    directory: Path,
    *,
    history: timedelta,
    present: float = 0.0,
    seed: int = 7,
    speed: float = 1.0,
    at: float = NOON,
    rate: float = 8.0,
) -> list[Entry]:
    """Run the demo on a clock of its own for `present` seconds after the past; return the lines in order."""
    clock = Clock(at, at + present)
    if not present:
        clock.until = float("inf")
    written = demo.run(
        directory,
        history=history,
        rate=rate,
        speed=speed,
        seed=seed,
        forever=present > 0,
        now=clock.now,
        stop=clock,
    )
    lines = read(directory)
    assert len(lines) == written
    return lines


def read(directory: Path) -> list[Entry]:
    """Return every line of a folder, file by file in the order of their names."""
    return [
        json.loads(line)
        for path in sorted(directory.glob("traces_*.jsonl"))
        for line in path.read_bytes().decode().removesuffix("\n").split("\n")
    ]


def moment(entry: Entry) -> float:
    return datetime.fromisoformat(str(entry["timestamp"])).timestamp()


@pytest.fixture(autouse=True, scope="module")
def far_west() -> Iterator[None]:
    """Put the machine three hours west of UTC, where the local date is not always UTC's."""
    patch = pytest.MonkeyPatch()
    patch.setenv("TZ", "America/Sao_Paulo")
    time.tzset()
    yield
    patch.undo()
    time.tzset()


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("week")
    write(directory, history=timedelta(days=7), rate=0.5)
    return directory


@pytest.fixture(scope="module")
def lines(week: Path) -> list[Entry]:
    return read(week)


@pytest.fixture(scope="module")
def by_event(lines: list[Entry]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = defaultdict(list)
    for entry in lines:
        found[str(entry["event"])].append(entry)
    return found


def context(**changes: object) -> Context:
    ids = iter(("dc784a9907b4", "cec20601ce0f", "77aa01b2c3d4"))
    given: dict[str, object] = {
        "trace_id": "trace-03bc9a737371",
        "run_id": "run-f18afdc0e9e9",
        "run_type": "chat",
        "operation": "chat_with_agent",
        "agent": "Pesquisador",
        "model": "gpt-4o-mini",
        "dialect": "new",
        "new_id": lambda: next(ids),
        "metadata": {
            "message_length": 24,
            "streaming": False,
            "tools_available": 1,
            "tool_names": ["web_search"],
        },
        **changes,
    }
    return Context(**given)  # type: ignore[arg-type]


def test_the_lines_of_one_chat_are_those_of_the_framework() -> None:
    chat = context()
    at = datetime(2025, 12, 6, 14, 3, 11, 250000, tzinfo=UTC).timestamp()
    call = chat.child("llm", "openai_iteration_1", iteration=1)
    tool = call.child("tool", "tool_web_search", tool_name="web_search", tool_call_id="call_9xK2")
    root = '"metadata": {"message_length": 24, "streaming": false, "tools_available": 1, "tool_names": ["web_search"]'
    who = '"agent_name": "Pesquisador", "model": "gpt-4o-mini"'
    failure = Failure(type="ChatException", message="Max tool calling iterations (100) exceeded", stack="Traceback")
    written = [
        framework.chat_started(at, chat, message="Busque notícias sobre IA", history_length=0),
        framework.model_answered(
            at + 0.75,
            call,
            duration=0.5,
            text="",
            calls=("web_search",),
            usage=Usage(input=312, output=21, total=333),
        ),
        framework.tool_returned(
            at + 1,
            tool,
            tool="web_search",
            call_id="call_9xK2",
            duration=0.25,
            result="Error executing tool 'web_search': timed out",
            ok=False,
        ),
        framework.tool_logged(at + 1, chat, tool="web_search", level="WARNING", message="retry 1"),
        framework.chat_failed(at + 2, chat, duration=2.5, failure=failure),
    ]

    assert [json.dumps(entry, ensure_ascii=False) for entry in written] == [
        '{"timestamp": "2025-12-06T14:03:11.250000+00:00", "trace_id": "trace-03bc9a737371", '
        '"run_id": "run-f18afdc0e9e9", "run_type": "chat", "operation": "chat_with_agent", "event": "trace.start", '
        + who
        + ', "status": "started", "inputs": {"user_message": "Busque notícias sobre IA", "tool_choice": null, '
        '"history_length": 0}, ' + root + "}}",
        # A fraction of exactly zero is not written.
        '{"timestamp": "2025-12-06T14:03:12+00:00", "trace_id": "trace-03bc9a737371", "run_id": "run-dc784a9907b4", '
        '"run_type": "llm", "operation": "openai_iteration_1", "event": "llm.response", '
        '"parent_run_id": "run-f18afdc0e9e9", '
        + who
        + ', "outputs": {"response_preview": "Tool calls: [\'web_search\']", "has_tool_calls": true, '
        '"tool_calls_count": 1}, "data": {"model": "gpt-4o-mini"}, "duration_ms": 500.0, "input_tokens": 312, '
        '"output_tokens": 21, "total_tokens": 333, ' + root + ', "iteration": 1}}',
        '{"timestamp": "2025-12-06T14:03:12.250000+00:00", "trace_id": "trace-03bc9a737371", '
        '"run_id": "run-cec20601ce0f", "run_type": "tool", "operation": "tool_web_search", "event": "tool.result", '
        '"parent_run_id": "run-dc784a9907b4", '
        + who
        + ', "status": "error", "outputs": {"result": "Error executing tool \'web_search\': timed out"}, '
        '"data": {"tool_name": "web_search", "tool_call_id": "call_9xK2"}, "duration_ms": 250.0, '
        + root
        + ', "iteration": 1, "tool_name": "web_search", "tool_call_id": "call_9xK2"}}',
        '{"event": "tool.log", "trace_id": "trace-03bc9a737371", "run_id": "run-77aa01b2c3d4", '
        '"parent_run_id": "run-f18afdc0e9e9", "level": "WARNING", "message": "retry 1", '
        '"logger_name": "tools.web_search", "timestamp": "2025-12-06T14:03:12.250000+00:00", '
        '"operation": "tool.web_search", "run_type": "tool"}',
        '{"timestamp": "2025-12-06T14:03:13.250000+00:00", "trace_id": "trace-03bc9a737371", '
        '"run_id": "run-f18afdc0e9e9", "run_type": "chat", "operation": "chat_with_agent", "event": "trace.end", '
        + who
        + ', "status": "error", "duration_ms": 2500.0, "error_message": "Max tool calling iterations (100) exceeded", '
        '"error_type": "ChatException", "error_stack": "Traceback", ' + root + "}}",
    ]


def test_the_old_dialect_has_a_total_on_answers_only_and_errors_in_the_outputs() -> None:
    chat = context(dialect="old", metadata={})
    usage = Usage(input=150, output=31, total=181)

    answer = framework.model_answered(NOON, chat, duration=0.5, text="ok", calls=(), usage=usage)
    wish = framework.model_answered(NOON, chat, duration=0.5, text="", calls=("a", "b"), usage=usage)
    own = Failure(type="ChatException", message="text", stack="Traceback")
    other = Failure(type="ConnectError", message="refused", stack="Traceback")

    assert answer["data"] == {"model": "gpt-4o-mini", "tokens_used": 181}
    assert wish["data"] == {"model": "gpt-4o-mini", "tokens_used": None}
    assert not {"input_tokens", "output_tokens", "total_tokens"} & (answer.keys() | wish.keys())
    assert framework.chat_failed(NOON, chat, duration=1.0, failure=own)["outputs"] == {"error": "ChatException"}
    failed = framework.chat_failed(NOON, chat, duration=1.0, failure=other)
    assert failed["outputs"] == {"error": "refused", "error_type": "ConnectError"}
    assert not {"error_message", "error_type", "error_stack"} & failed.keys()


def test_the_same_seed_and_start_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, history=timedelta(minutes=20), present=60.0)
    other = write(tmp_path / "other", history=timedelta(minutes=20), present=60.0, seed=8)

    files = sorted((tmp_path / "one").iterdir())
    assert [path.name for path in files] == ["traces_2026-03-04.jsonl"]
    assert files[0].read_bytes() == (tmp_path / "two" / files[0].name).read_bytes()
    assert other != read(tmp_path / "one")


def test_a_week_is_twenty_to_forty_thousand_lines(lines: list[Entry]) -> None:
    assert 20_000 <= len(lines) <= 40_000


def test_every_line_has_the_keys_of_the_format_in_their_order(lines: list[Entry]) -> None:
    for entry in lines:
        if entry["event"] == "tool.log":
            assert list(entry) == LOG_KEYS
            assert entry["run_type"] == "tool"
            assert re.fullmatch(r"tool\.\w+", str(entry["operation"]))
            continue
        places = [KEYS.index(key) for key in entry]
        assert places == sorted(places)
        assert places[:6] == [0, 1, 2, 3, 4, 5]
        assert all(value or key in MAY_BE_ZERO for key, value in entry.items())
        assert entry["run_type"] == RUN_TYPES[str(entry["event"])]
        assert re.fullmatch(OPERATIONS[str(entry["run_type"])], str(entry["operation"]))
        assert re.fullmatch(r"trace-[0-9a-f]{12}", str(entry["trace_id"]))
        assert re.fullmatch(r"run-[0-9a-f]{12}", str(entry["run_id"]))
        assert str(entry["timestamp"]).endswith("+00:00")


def test_every_event_carries_what_the_format_says(lines: list[Entry]) -> None:
    always: dict[str, set[str]] = {
        "trace.start": {"status", "inputs", "metadata"},
        "trace.end": {"status", "duration_ms", "metadata"},
        "llm.request": {"parent_run_id", "inputs", "data", "metadata"},
        "llm.response": {"parent_run_id", "outputs", "data", "duration_ms", "metadata"},
        "tool.call": {"parent_run_id", "data", "metadata"},
        "tool.result": {"parent_run_id", "status", "outputs", "data", "duration_ms", "metadata"},
    }
    sometimes: dict[str, set[str]] = {
        "trace.end": {"outputs", "error_message", "error_type", "error_stack"},
        "llm.response": {"input_tokens", "output_tokens", "total_tokens"},
        "tool.call": {"inputs"},
    }
    who = {"timestamp", "trace_id", "run_id", "run_type", "operation", "event", "agent_name", "model"}
    for entry in lines:
        event = str(entry["event"])
        if event == "tool.log":
            continue
        keys = entry.keys() - who - {"session_id"}
        assert always[event] <= keys <= always[event] | sometimes.get(event, set())


def test_each_file_is_a_local_day_in_the_order_of_time(week: Path) -> None:
    names = [path.name for path in sorted(week.iterdir())]
    assert names == [f"traces_2026-{day}.jsonl" for day in
                     ("02-25", "02-26", "02-27", "02-28", "03-01", "03-02", "03-03", "03-04")]  # fmt: skip
    for path in week.iterdir():
        times = [moment(json.loads(line)) for line in path.read_bytes().split(b"\n")[:-1]]
        assert all(earlier <= later for earlier, later in pairwise(times))
        # Midnight is 03:00 UTC here.
        midnight = datetime.fromisoformat(f"{path.stem.removeprefix('traces_')}T03:00:00+00:00").timestamp()
        assert midnight <= times[0]
        assert times[-1] < midnight + 86_400


def test_nothing_is_from_the_future_or_before_the_past(lines: list[Entry]) -> None:
    assert NOON - 7 * 86_400 <= moment(lines[0]) < NOON - 7 * 86_400 + 7200
    assert NOON - 120 < moment(lines[-1]) <= NOON


def test_starts_meet_ends(by_event: dict[str, list[Entry]]) -> None:
    started = {str(entry["run_id"]): entry for entry in by_event["trace.start"]}
    asked = {str(entry["run_id"]): entry for entry in by_event["llm.request"]}
    called = {str(entry["run_id"]): entry for entry in by_event["tool.call"]}
    assert len(started) == len(by_event["trace.start"])
    assert len(asked) == len(by_event["llm.request"])
    assert len(called) == len(by_event["tool.call"])

    for starts, event in ((started, "trace.end"), (asked, "llm.response"), (called, "tool.result")):
        for end in by_event[event]:
            start = starts[str(end["run_id"])]
            assert start["trace_id"] == end["trace_id"]
            assert moment(end) - moment(start) == pytest.approx(float(str(end["duration_ms"])) / 1000, abs=0.01)
    for request in by_event["llm.request"]:
        assert request["parent_run_id"] in started
    for call in by_event["tool.call"]:
        streaming = dict(call["metadata"])["streaming"]  # type: ignore[call-overload]
        assert (call["parent_run_id"] in asked) is not streaming
    for log in by_event["tool.log"]:
        assert log["run_id"] not in started.keys() | asked.keys() | called.keys()
        assert log["parent_run_id"] is None or log["parent_run_id"] in started


def test_no_line_follows_the_end_of_its_chat(lines: list[Entry]) -> None:
    ended: dict[str, str] = {}
    for entry in lines:
        trace = str(entry["trace_id"])
        if trace in ended:
            assert (entry["event"], entry["run_id"]) == ("trace.end", ended[trace])
        if entry["event"] == "trace.end":
            ended[trace] = str(entry["run_id"])


def test_every_oddity_of_the_format_happens_within_a_week(by_event: dict[str, list[Entry]]) -> None:
    ends = Counter(entry["run_id"] for entry in by_event["trace.end"])
    ended = {entry["trace_id"] for entry in by_event["trace.end"]}
    answered = {entry["run_id"] for entry in by_event["llm.response"]}
    returned = {entry["run_id"] for entry in by_event["tool.result"]}
    asked = {entry["trace_id"] for entry in by_event["llm.request"]}
    streamed = {
        entry["trace_id"]: entry["trace_id"] in ended
        for entry in by_event["trace.start"]
        if dict(entry["metadata"])["streaming"]  # type: ignore[call-overload]
    }
    old = [entry for entry in by_event["llm.response"] if "tokens_used" in dict(entry["data"])]  # type: ignore[call-overload]
    new = [entry for entry in by_event["llm.response"] if entry["agent_name"] != "reports"]

    # Two ends for one chat, the first with what was noticed, the second with what was raised.
    assert set(ends.values()) == {1, 2}
    twice = next(run for run, count in ends.items() if count == 2)
    first, second = [entry for entry in by_event["trace.end"] if entry["run_id"] == twice]
    assert first["outputs"] in ({"error": "Empty response"}, {"error": "Empty stream response"})
    assert "error_type" not in first
    assert second["error_type"] == "ChatException"
    # Streamed chats have no model calls, and some of them no end.
    assert not streamed.keys() & asked
    assert set(streamed.values()) == {True, False}
    # Requests without a response and calls without a result, in chats that ended and in those that did not.
    assert {entry["trace_id"] in ended for entry in by_event["llm.request"] if entry["run_id"] not in answered} == {
        True,
        False,
    }
    assert any(entry["run_id"] not in returned for entry in by_event["tool.call"])
    assert {entry["status"] for entry in by_event["tool.result"]} == {"success", "error"}
    assert any(entry["parent_run_id"] is None for entry in by_event["tool.log"])
    assert any("inputs" not in entry for entry in by_event["tool.call"])
    # The old dialect, with and without a total; Ollama without its part of the prompt; no usage at all.
    assert {entry["agent_name"] for entry in old} == {"reports"}
    assert {dict(entry["data"])["tokens_used"] is None for entry in old} == {True, False}  # type: ignore[call-overload]
    assert any("output_tokens" in entry and "input_tokens" not in entry for entry in new)
    assert any("output_tokens" not in entry for entry in new)


def test_what_goes_wrong_is_of_many_types(by_event: dict[str, list[Entry]]) -> None:
    runs = {
        error_type(str(entry.get("error_type")), str(entry.get("error_message")))
        for entry in by_event["trace.end"]
        if "error_message" in entry
    }
    tools = {
        error_type(str(dict(entry["outputs"])["result"]))  # type: ignore[call-overload]
        for entry in by_event["tool.result"]
        if entry["status"] == "error"
    }
    assert runs >= {
        "timeout",
        "rate_limited",
        "server_error",
        "connection",
        "content_filter",
        "invalid_request",
        "iteration_limit",
        "_OTHER",
    }
    assert tools >= {"timeout", "rate_limited", "connection", "invalid_request", "server_error", "authentication"}


def test_an_agent_that_asks_another_waits_for_a_trace_of_its_own(by_event: dict[str, list[Entry]]) -> None:
    asking = [entry for entry in by_event["tool.result"] if entry["operation"] == "tool_ask_support"]
    call = next(entry for entry in by_event["tool.call"] if entry["run_id"] == asking[0]["run_id"])
    within = [
        entry
        for entry in by_event["trace.start"]
        if entry["agent_name"] == "support" and 0 < moment(entry) - moment(call) < 0.002
    ]
    assert len(within) == 1
    assert within[0]["trace_id"] != call["trace_id"]
    end = next(entry for entry in by_event["trace.end"] if entry["trace_id"] == within[0]["trace_id"])
    assert moment(asking[0]) - moment(end) == pytest.approx(0.001, abs=0.0005)


def test_tools_of_one_round_run_at_the_same_time(by_event: dict[str, list[Entry]]) -> None:
    results = {entry["run_id"]: moment(entry) for entry in by_event["tool.result"]}
    rounds: dict[object, list[Entry]] = defaultdict(list)
    for call in by_event["tool.call"]:
        rounds[call["parent_run_id"]].append(call)
    several = [calls for calls in rounds.values() if len(calls) > 1]
    assert several
    for first, second in (calls[:2] for calls in several):
        assert moment(second) - moment(first) < 0.002
        if first["run_id"] in results:
            assert results[first["run_id"]] > moment(first)


def test_a_bad_deploy_makes_an_agent_fail_and_is_rolled_back(tmp_path: Path) -> None:
    """The deploy at the end of the past: support, from 2.6 to 1.4 hours before the present."""
    lines = write(tmp_path, history=timedelta(hours=4))
    weather = Weather(seed=7, live=NOON)
    broken = Counter(
        weather.incident("deploy", "support", moment(entry)) is not None
        for entry in lines
        if entry["agent_name" if "agent_name" in entry else "event"] == "support"
        and entry.get("error_message") == "Error processing AI response: 'answer'"
    )
    before, during, after = (weather.incident("deploy", "support", NOON - hours * 3600) for hours in (2.61, 2.0, 1.39))
    assert during is not None
    assert (before, during.failing, during.slower, after) == (None, 0.15, 2.2, None)
    assert broken[True] >= 10
    # A chat that began before the end of the deploy may fail after it.
    assert broken[False] <= 3


def test_people_work_by_the_local_clock() -> None:
    office = next(agent for agent in AGENTS if agent.hours == "office")
    day = next(agent for agent in AGENTS if agent.hours == "day")
    always = next(agent for agent in AGENTS if agent.hours == "always")
    wednesday = datetime(2026, 3, 4, 13, 0).timestamp()
    saturday = datetime(2026, 3, 7, 14, 30).timestamp()
    night = datetime(2026, 3, 4, 4, 0).timestamp()

    # 13:00 is the middle of 8..18, 14:30 that of 6..23.
    assert busy(office, wednesday) == pytest.approx(1.0)
    assert busy(office, saturday) == 0.08
    assert busy(office, night) == 0.08
    assert busy(day, saturday) == pytest.approx(0.6)
    assert busy(day, night) == 0.15
    assert busy(always, night) == 1.0


def test_the_present_is_written_when_it_happens(tmp_path: Path) -> None:
    clock = Clock(NOON, NOON + 600)
    seen: list[float] = []

    def now() -> float:
        # Asked before each line: all that is written by then has happened.
        for path in tmp_path.glob("traces_*"):
            last = path.read_bytes().split(b"\n")[-2]
            seen.append(clock.at - moment(json.loads(last)))
        return clock.at

    demo.run(
        tmp_path,
        history=timedelta(0),
        rate=8.0,
        speed=1.0,
        seed=7,
        forever=True,
        now=now,
        stop=clock,
    )

    started = [entry for entry in read(tmp_path) if entry["event"] == "trace.start"]
    # Eight a minute for ten minutes are 80, give or take three times their root; nested ones besides.
    assert 53 <= len(started) <= 125
    assert min(seen) > -1e-5
    assert max(seen) < 1e-5


def test_twice_the_speed_is_twice_the_chats_each_as_long_as_before(tmp_path: Path) -> None:
    slow = write(tmp_path / "slow", history=timedelta(0), present=600.0)
    fast = write(tmp_path / "fast", history=timedelta(0), present=600.0, speed=10.0)
    starts = [sum(entry["event"] == "trace.start" for entry in lines) for lines in (slow, fast)]

    assert starts[1] / starts[0] == pytest.approx(10, rel=0.25)
    for lines in (slow, fast):
        times = [float(str(entry["duration_ms"])) for entry in lines if entry.get("model") == "gpt-4o-mini"
                 and entry["event"] == "llm.response"]  # fmt: skip
        assert 500 < sorted(times)[len(times) // 2] < 3000


def test_a_folder_with_traces_gets_no_second_past(tmp_path: Path) -> None:
    write(tmp_path, history=timedelta(minutes=10))
    before = read(tmp_path)
    clock = Clock(NOON + 60, NOON + 120)
    demo.run(
        tmp_path, history=timedelta(hours=1), rate=60.0, speed=1.0, seed=7, forever=True, now=clock.now, stop=clock
    )

    added = read(tmp_path)[len(before) :]
    assert added
    assert all(moment(entry) >= NOON + 60 for entry in added)
    assert not {entry["trace_id"] for entry in added} & {entry["trace_id"] for entry in before}


def test_past_a_hundred_mebibytes_each_second_has_a_file(tmp_path: Path) -> None:
    full = tmp_path / "traces_2026-03-04.jsonl"
    with full.open("wb") as file:
        file.truncate(100 * 1024 * 1024 - 1)
    for at in (NOON, NOON + 1, NOON + 1.5, NOON + 2):
        writer.write(tmp_path, at, {"at": at})

    sizes = {path.name: path.stat().st_size for path in sorted(tmp_path.iterdir())}
    assert sizes == {
        # One byte was left, so the first line still went here.
        "traces_2026-03-04.jsonl": 100 * 1024 * 1024 - 1 + len('{"at": 1772625600.0}\n'),
        "traces_2026-03-04_090001.jsonl": 2 * len('{"at": 1772625601.0}\n'),
        "traces_2026-03-04_090002.jsonl": len('{"at": 1772625602.0}\n'),
    }


def test_sigterm_ends_it_after_a_whole_line(tmp_path: Path) -> None:
    code = (
        "import argparse, sys; from exporters import demo; parser = argparse.ArgumentParser();"
        "demo.add_arguments(parser); sys.exit(demo.command(parser.parse_args()))"
    )
    arguments = [str(tmp_path), "--history", "1h", "--speed", "20"]
    with subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()

    assert process.returncode == 0
    assert re.fullmatch(r"agentgauge demo: [\d,]+ lines of the past; now the present, until Ctrl-C\n", first)
    written = re.fullmatch(rf"agentgauge demo: wrote ([\d,]+) lines to {re.escape(str(tmp_path))}\n", rest)
    assert written
    assert len(read(tmp_path)) == int(written[1].replace(",", ""))


def test_a_folder_that_cannot_be_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        code = demo.command(parser.parse_args([str(tmp_path / "file"), "--once", "--history", "1m"]))
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)

    assert code == 2
    said = capsys.readouterr().err
    assert said.startswith("agentgauge demo: ")
    assert said.endswith("name a folder that can be written\n")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--history", "7 days"], "'7 days' is not a duration such as 30d, 12h or 15m"),
        (["--rate", "0"], "'0' is not a number above 0"),
        (["--speed", "fast"], "'fast' is not a number above 0"),
        (["--speed", "inf"], "'inf' is not a number above 0"),
    ],
)
def test_a_wrong_argument_says_what_a_right_one_is(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(["somewhere", *arguments])
    assert said in capsys.readouterr().err


def test_an_incident_that_is_asked_for_comes_at_its_time_on_the_clock_and_goes():
    asked = (incident("deploy:support:in=30s,for=10m,failing=1"),)
    # Whatever the story's own pace.
    weather = Weather(seed=7, live=NOON, speed=50.0, asked=asked)
    calm = replace(weather, asked=())
    found = [weather.incident("deploy", "support", NOON + at) == asked[0] for at in (29, 30, 629, 630)]
    assert found == [False, True, True, False]
    for kind, subject in (("deploy", "billing"), ("flaky", "web_search")):
        assert weather.incident(kind, subject, NOON + 60) == calm.incident(kind, subject, NOON + 60)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("storm:support", "'storm' is none of deploy, slow, flaky"),
        ("deploy:nobody", "'nobody' is none of billing, coding,"),
        ("slow:openai:in=soon", "'soon' is not a duration"),
        ("flaky:web_search:until=5m", "'until' is none of in, for, failing"),
        ("deploy:support:failing=2", "a chance is from 0 to 1"),
        ("deploy:support:failing=often", "could not convert string to float"),
    ],
)
def test_an_incident_that_is_not_understood_is_refused_in_a_line(text, says, capsys, tmp_path):
    with pytest.raises(ValueError, match=says):
        incident(text)
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    with pytest.raises(SystemExit) as stopped:
        parser.parse_args([str(tmp_path), "--incident", text])
    assert stopped.value.code == 2
    assert says in capsys.readouterr().err
