"""createagents: both dialects, every event, every pitfall of the format, and lines that mean harm."""

import json
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import pytest
from createagents_lines import START, Exporter, line
from file_stage import whole_lines
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.runs import IDLE_SECONDS
from exporters.sources import Options, Translated, open_source
from exporters.sources.createagents import FILE_NAME
from exporters.sources.createagents.translation import translate
from exporters.span import ERROR_TYPES, Span

# Lines as the framework wrote them, cut to what is looked at.
RUN_START = (
    b'{"timestamp": "2025-12-06T14:03:11.204381+00:00", "trace_id": "trace-03bc9a737371", "run_id": "run-f18afdc0e9e9",'
    b' "run_type": "chat", "operation": "chat_with_agent", "event": "trace.start", "agent_name": "Pesquisador",'
    b' "model": "gpt-4o-mini", "status": "started", "inputs": {"user_message": "Busque not\xc3\xadcias",'
    b' "tool_choice": null, "history_length": 0}, "metadata": {"message_length": 24, "streaming": false,'
    b' "tools_available": 1, "tool_names": ["web_search"]}}'
)
CALL_END = (
    b'{"timestamp": "2025-12-06T14:03:12.017902+00:00", "trace_id": "trace-03bc9a737371", "run_id": "run-dc784a9907b4",'
    b' "run_type": "llm", "operation": "openai_iteration_1", "event": "llm.response",'
    b' "parent_run_id": "run-f18afdc0e9e9", "agent_name": "Pesquisador", "model": "gpt-4o-mini",'
    b' "outputs": {"response_preview": "Tool calls: [\'web_search\']", "has_tool_calls": true, "tool_calls_count": 1},'
    b' "data": {"model": "gpt-4o-mini"}, "duration_ms": 812.5031471252441, "input_tokens": 312, "output_tokens": 21,'
    b' "total_tokens": 333, "metadata": {"streaming": false, "iteration": 1}}'
)
TOOL_END = (
    b'{"timestamp": "2025-12-06T14:03:12.421003+00:00", "trace_id": "trace-03bc9a737371", "run_id": "run-cec20601ce0f",'
    b' "run_type": "tool", "operation": "tool_web_search", "event": "tool.result",'
    b' "parent_run_id": "run-dc784a9907b4", "agent_name": "Pesquisador", "model": "gpt-4o-mini", "status": "error",'
    b' "outputs": {"result": "Error executing tool \'web_search\': timed out"},'
    b' "data": {"tool_name": "web_search", "tool_call_id": "call_9xK2"}, "duration_ms": 401.2}'
)
TOOL_LOG = (
    b'{"event": "tool.log", "trace_id": "trace-03bc9a737371", "run_id": "run-77aa01b2c3d4", "parent_run_id": null,'
    b' "level": "WARNING", "message": "retry 1", "logger_name": "my_tools",'
    b' "timestamp": "2025-12-06T14:03:12.300114+00:00", "operation": "tool.web_search", "run_type": "tool"}'
)
RUN_END = (
    b'{"timestamp": "2025-12-06T14:03:13.865623+00:00", "trace_id": "trace-03bc9a737371", "run_id": "run-f18afdc0e9e9",'
    b' "run_type": "chat", "operation": "chat_with_agent", "event": "trace.end", "agent_name": "Pesquisador",'
    b' "model": "gpt-4o-mini", "status": "error", "duration_ms": 2661.242,'
    b' "error_message": "Max tool calling iterations (100) exceeded", "error_type": "ChatException",'
    b' "error_stack": "Traceback (most recent call last):\\n  ..."}'
)
FIRST_DIALECT = (
    b'{"timestamp": "2025-12-04T09:00:02.000120+00:00", "trace_id": "trace-aa11bb22cc33", "run_id": "run-0102030405aa",'
    b' "run_type": "llm", "operation": "ollama_iteration_1", "event": "llm.response",'
    b' "parent_run_id": "run-0102030405ab", "agent_name": "Local", "model": "llama3.2",'
    b' "outputs": {"response_preview": "ok", "has_tool_calls": false, "tool_calls_count": 0},'
    b' "data": {"model": "llama3.2", "tokens_used": 181}, "duration_ms": 930.1, "metadata": {"iteration": 1}}'
)
OK = {"status": "success"}


def one(record: bytes, environment: str = "") -> Span:
    """The only span of a line that is fine."""
    found = translate([record], environment)
    assert (len(found.spans), found.records, found.bad) == (1, 1, {})
    return found.spans[0]


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def changed(record: bytes, **fields: Any) -> bytes:
    """A line with some of its fields set to something else."""
    return json.dumps({**json.loads(record), **fields}).encode()


# What each event becomes.


def test_every_event_of_the_framework_becomes_the_span_that_it_means():
    assert one(RUN_START, "prod") == Span(
        "run", False, "trace-03bc9a737371", "run-f18afdc0e9e9", "", seconds("2025-12-06T14:03:11.204381"),
        "Pesquisador", environment="prod",
    )  # fmt: skip
    assert one(CALL_END) == Span(
        "inference", True, "trace-03bc9a737371", "run-dc784a9907b4", "run-f18afdc0e9e9",
        seconds("2025-12-06T14:03:12.017902"), "Pesquisador", "gpt-4o-mini", "openai", "chat",
        duration=812.5031471252441 / 1000, input_tokens=312, output_tokens=21,
    )  # fmt: skip
    assert one(TOOL_END) == Span(
        "tool", True, "trace-03bc9a737371", "run-cec20601ce0f", "run-dc784a9907b4",
        seconds("2025-12-06T14:03:12.421003"), "Pesquisador", tool="web_search", error="timeout", duration=0.4012,
    )  # fmt: skip
    assert one(RUN_END) == Span(
        "run", True, "trace-03bc9a737371", "run-f18afdc0e9e9", "", seconds("2025-12-06T14:03:13.865623"),
        "Pesquisador", "gpt-4o-mini", error="iteration_limit", duration=2.661242,
    )  # fmt: skip
    request = one(line("llm.request", 1, "c", "r", model=None, data={"model": "gpt-4.1"}))
    assert (request.kind, request.ended, request.model, request.operation) == ("inference", False, "gpt-4.1", "chat")
    call = one(line("tool.call", 1, "c", "r", data={"tool_name": "calc"}))
    assert (call.kind, call.ended, call.tool) == ("tool", False, "calc")


def test_the_first_dialect_gives_a_total_that_cannot_be_split():
    span = one(FIRST_DIALECT)
    assert (span.unsplit_tokens, span.input_tokens, span.output_tokens) == (181, None, None)
    assert (span.provider, span.duration) == ("ollama", 0.9301)
    unknown = one(changed(FIRST_DIALECT, data={"model": "llama3.2", "tokens_used": None}))
    assert (unknown.unsplit_tokens, unknown.input_tokens, unknown.output_tokens) == (None, None, None)


def test_the_start_of_a_call_that_ends_in_the_same_block_is_left_out_where_its_end_says_all():
    """Not where a run's line or the end of a call below comes between, the end lacks a name, or is of another trace."""
    begin, end = line("llm.request", 1, "c", "r"), line("llm.response", 2, "c", "r")
    assert translate([begin + b"\n" + end]).spans == [one(end)]
    assert translate([begin, end]).spans == [one(begin), one(end)]
    between = translate([b"\n".join((begin, RUN_END, end))])
    assert between.spans == [one(begin), one(RUN_END), one(end)]
    below = line("tool.result", 2, "t", "c", status="success")
    assert translate([b"\n".join((begin, below, end))]).spans == [one(begin), one(below), one(end)]
    for nameless in (changed(end, agent_name=None), changed(end, model=None, data=None), changed(end, trace_id="t2")):
        assert translate([begin + b"\n" + nameless]).spans == [one(begin), one(nameless)]
    begin, end = line("tool.call", 1, "c", "r"), line("tool.result", 2, "c", "r", status="success")
    assert translate([begin + b"\n" + end]).spans == [one(end)]
    assert translate([begin + b"\n" + begin]).spans == [one(begin), one(begin)]


def test_logs_and_empty_lines_are_passed_over_without_a_remark():
    assert translate([TOOL_LOG, b"", b"\r", b"  \t", TOOL_LOG]) == Translated([], 5, {})


@pytest.mark.parametrize(
    ("fields", "tool"),
    [
        ({"data": {"tool_name": "calc"}, "metadata": {"tool_name": "other"}}, "calc"),
        ({"data": None, "metadata": {"tool_name": "calc"}}, "calc"),
        ({"data": {"tool_name": ""}, "operation": "tool_calc"}, "calc"),
        ({"operation": "tool_tool_box"}, "tool_box"),
    ],
)
def test_a_tool_s_name_is_taken_from_the_first_place_that_has_it(fields, tool):
    assert one(line("tool.result", 1, "c", **fields)).tool == tool


@pytest.mark.parametrize(
    ("kind", "text", "error"),
    [
        ("APITimeoutError", "Request timed out.", "timeout"),
        ("RateLimitError", "Error code: 429", "rate_limited"),
        ("AuthenticationError", "Incorrect API key provided", "authentication"),
        ("APIConnectionError", "Connection error.", "connection"),
        ("BadRequestError", "context_length_exceeded", "invalid_request"),
        ("InternalServerError", "", "server_error"),
        ("ChatException", "Max tool calling iterations (100) exceeded", "iteration_limit"),
        ("CancelledError", "", "cancelled"),
        ("ZeroDivisionError", "division by zero", "_OTHER"),
    ],
)
def test_an_exception_s_name_and_text_become_one_of_a_closed_set(kind, text, error):
    span = one(line("trace.end", 1, "r", status="error", error_type=kind, error_message=text))
    assert (span.error, span.provisional) == (error, False)


def test_files_are_known_by_the_names_that_the_framework_and_a_rotation_give_them():
    names = (
        "traces_2025-12-06.jsonl", "traces_2025-12-06_140311.jsonl", "traces_2025-12-06.jsonl.1",
        "traces_2025-12-06.jsonl-20251207", "traces_2025-12-06.jsonl.gz", "traces_2025-12-06.jsonl.tmp",
        "traces.jsonl", "x_traces_2025-12-06.jsonl",
    )  # fmt: skip
    assert [bool(FILE_NAME.fullmatch(name)) for name in names] == [True] * 4 + [False] * 4


# The fifteen pitfalls of the format, each with the totals that a person would count.


def test_pitfall_1_duplicate_trace_end_is_one_run_with_the_error_of_the_second():
    exporter = Exporter()
    exporter.read(
        line("trace.start", 0, "r", status="started"),
        line("trace.end", 2, "r", status="error", duration_ms=2000.0, outputs={"error": "empty response"}),
        line("trace.end", 2.01, "r", status="error", duration_ms=2010.0, error_type="ChatException",
             error_message="Request timed out."),
    )  # fmt: skip
    assert exporter.samples("agentgauge_runs_total", "outcome") == {"ok": 0, "error": 1}
    assert exporter.samples("agentgauge_run_errors_total", "error_type") == {"timeout": 1}
    assert exporter.samples("gen_ai_invoke_agent_duration_seconds_count", "error_type") == {"timeout": 1}
    assert exporter.total("gen_ai_invoke_agent_duration_seconds_sum") == 2.01
    assert exporter.repeated == 1


def test_pitfall_2_streamed_runs_without_model_calls_are_counted_and_in_no_usage():
    exporter = Exporter()
    streaming = {"metadata": {"streaming": True}}
    exporter.read(
        line("trace.start", 0, "r", status="started", **streaming),
        # The parent never appears as a run_id.
        line("tool.call", 1, "t", "nowhere", data={"tool_name": "calc"}, **streaming),
        line("tool.result", 2, "t", "nowhere", data={"tool_name": "calc"}, duration_ms=1000.0, **OK, **streaming),
        line("trace.end", 3, "r", duration_ms=3000.0, **OK, **streaming),
    )
    assert exporter.total("agentgauge_streamed_runs_without_usage_total") == 1
    assert exporter.total("agentgauge_runs_total", outcome="ok") == 1
    # One tool call; the number of model calls, tokens and cost are unknown, not zero.
    assert exporter.total("gen_ai_invoke_agent_tool_calls_sum") == 1
    assert exporter.total("gen_ai_invoke_agent_inference_calls_count") is None
    assert exporter.total("agentgauge_run_tokens_count") is None
    assert exporter.total("agentgauge_run_cost_usd_count") is None
    assert exporter.total("gen_ai_client_inference_usage_input_tokens_total") is None


def test_pitfall_2_a_run_that_is_not_streamed_and_calls_no_model_took_none():
    exporter = Exporter()
    exporter.read(line("trace.start", 0, "r"), line("trace.end", 3, "r", duration_ms=3000.0, **OK))
    assert exporter.total("agentgauge_streamed_runs_without_usage_total") is None
    assert exporter.total("gen_ai_invoke_agent_inference_calls_sum") == 0
    assert exporter.total("gen_ai_invoke_agent_inference_calls_count") == 1


def test_pitfall_3_orphan_llm_request_is_a_failed_call_once_the_run_has_ended():
    exporter = Exporter()
    exporter.read(
        line("trace.start", 0, "r"),
        line("llm.request", 1, "c1", "r"),
        line("llm.request", 5, "c2", "r"),
        line("llm.response", 6, "c2", "r", duration_ms=1000.0, input_tokens=10, output_tokens=2, total_tokens=12),
    )
    assert exporter.samples("agentgauge_inference_calls_total", "outcome") == {"ok": 1, "error": 0}
    exporter.read(line("trace.end", 7, "r", duration_ms=7000.0, **OK))
    assert exporter.samples("agentgauge_inference_calls_total", "outcome") == {"ok": 1, "error": 1}
    assert exporter.samples("agentgauge_inference_errors_total", "error_type") == {"no_response": 1}
    # It has no duration, so it is in no latency; and it is no gap in the usage.
    assert exporter.total("gen_ai_client_inference_duration_seconds_count") == 1
    assert exporter.total("agentgauge_inference_without_usage_total") is None
    assert exporter.total("gen_ai_invoke_agent_inference_calls_sum") == 2
    assert exporter.total("agentgauge_run_tokens_sum") == 12


def test_pitfall_4_never_ending_traces_are_abandoned_after_the_limit():
    exporter = Exporter()
    exporter.read(line("trace.start", 0, "r"), line("llm.request", 1, "c", "r"), now=2)
    exporter.sweep(1 + IDLE_SECONDS)
    assert exporter.total("agentgauge_runs_total") is None
    exporter.sweep(2 + IDLE_SECONDS)
    assert exporter.samples("agentgauge_runs_total", "outcome") == {"ok": 0, "error": 1}
    assert exporter.samples("agentgauge_run_errors_total", "error_type") == {"abandoned": 1}
    assert exporter.samples("agentgauge_inference_errors_total", "error_type") == {"abandoned": 1}
    assert exporter.total("gen_ai_invoke_agent_duration_seconds_count") is None
    assert exporter.runs.traces.open == {}


def test_pitfall_5_nested_durations_are_summed_within_one_kind_only():
    exporter = Exporter()
    exporter.read(
        line("trace.start", 0, "r"),
        line("llm.response", 2, "c", "r", duration_ms=2000.0),
        # Two tools at the same time, 3 s each, within a run of 5 s.
        line("tool.result", 5, "t1", "c", duration_ms=3000.0, **OK),
        line("tool.result", 5, "t2", "c", duration_ms=3000.0, **OK),
        line("trace.end", 5, "r", duration_ms=5000.0, **OK),
    )
    assert exporter.total("gen_ai_client_inference_duration_seconds_sum") == 2.0
    assert exporter.total("gen_ai_execute_tool_duration_seconds_sum") == 6.0
    assert exporter.total("gen_ai_invoke_agent_duration_seconds_sum") == 5.0


def test_pitfall_6_double_counted_tokens_of_the_generator_are_counted_once_and_the_model_joined():
    """Usage on both the call and the run, and the model on the request only."""
    exporter = Exporter()
    both = {"input_tokens": 100, "output_tokens": 50, "total_tokens": 150, "cost_usd": 0.25}
    exporter.read(
        line("trace.start", 0, "r", model=None),
        line("llm.request", 1, "c", "r", model="gpt-4o"),
        line("llm.response", 2, "c", "r", model=None, duration_ms=1000.0, **both),
        line("trace.end", 3, "r", model=None, duration_ms=3000.0, **both, **OK),
    )
    model = "gen_ai_request_model"
    assert exporter.samples("gen_ai_client_inference_usage_input_tokens_total", model) == {"gpt-4o": 100}
    assert exporter.samples("gen_ai_client_inference_usage_output_tokens_total", model) == {"gpt-4o": 50}
    assert exporter.samples("agentgauge_cost_usd_total", model, "cost_source") == {("gpt-4o", "reported"): 0.25}
    assert exporter.total("agentgauge_run_cost_usd_sum") == 0.25
    assert exporter.total("agentgauge_run_tokens_sum") == 150


def test_pitfall_6_usage_of_the_run_is_taken_when_no_call_has_any():
    exporter = Exporter()
    exporter.read(
        line("trace.start", 0, "r"),
        line("trace.end", 3, "r", duration_ms=3000.0, input_tokens=100, output_tokens=50, cost_usd=0.25, **OK),
    )
    assert exporter.total("gen_ai_client_inference_usage_input_tokens_total") == 100
    assert exporter.total("gen_ai_client_inference_usage_output_tokens_total") == 50
    assert exporter.total("agentgauge_cost_usd_total", cost_source="reported") == 0.25
    assert exporter.total("agentgauge_run_cost_usd_sum") == 0.25
    assert exporter.total("agentgauge_run_tokens_sum") == 150
    # No call was seen, so none is counted, and no call's size is known.
    assert exporter.samples("agentgauge_inference_calls_total", "outcome") == {"ok": 0, "error": 0}
    assert exporter.total("gen_ai_client_inference_operation_input_tokens_count") is None


def test_pitfall_6_a_cost_on_a_call_without_tokens_is_not_counted_again_with_the_run():
    exporter = Exporter()
    exporter.read(
        line("trace.start", 0, "r"),
        line("llm.response", 2, "c", "r", duration_ms=1000.0, cost_usd=0.25),
        line("trace.end", 3, "r", duration_ms=3000.0, total_tokens=150, cost_usd=0.25, **OK),
    )
    assert exporter.total("agentgauge_cost_usd_total", cost_source="reported") == 0.25


def test_pitfall_7_ollama_without_a_total_is_summed_from_its_parts():
    exporter = Exporter()
    ollama = {"operation": "ollama_iteration_1", "model": "llama3.2"}
    exporter.read(
        line("trace.start", 0, "r"),
        line("llm.response", 1, "c1", "r", input_tokens=40, output_tokens=0, **ollama),
        line("llm.response", 2, "c2", "r", input_tokens=7, output_tokens=3, **ollama),
        line("trace.end", 3, "r", **OK),
    )
    provider = "gen_ai_provider_name"
    assert exporter.samples("gen_ai_client_inference_usage_input_tokens_total", provider) == {"ollama": 47}
    assert exporter.samples("gen_ai_client_inference_usage_output_tokens_total", provider) == {"ollama": 3}
    assert exporter.total("agentgauge_run_tokens_sum") == 50


def test_pitfall_7_a_total_without_a_split_is_in_neither_input_nor_output():
    exporter = Exporter()
    exporter.read(FIRST_DIALECT)
    assert exporter.total("agentgauge_inference_unsplit_tokens_total") == 181
    assert exporter.total("gen_ai_client_inference_usage_input_tokens_total") is None
    assert exporter.total("gen_ai_client_inference_usage_output_tokens_total") is None
    assert exporter.total("agentgauge_inference_without_usage_total") is None
    assert exporter.samples("agentgauge_inference_unpriced_total", "reason") == {"no_split": 1}


@pytest.mark.parametrize(
    ("usage", "split"),
    [
        ({"input_tokens": 30, "total_tokens": 50}, (30, 20, None)),
        ({"output_tokens": 20, "total_tokens": 50}, (30, 20, None)),
        # A total below its part explains nothing: the other part stays unknown.
        ({"output_tokens": 60, "total_tokens": 50}, (None, 60, None)),
        ({"input_tokens": 30, "output_tokens": 20, "total_tokens": 7}, (30, 20, None)),
        ({"total_tokens": 0}, (None, None, 0)),
        ({"input_tokens": 0, "output_tokens": 0}, (0, 0, None)),
    ],
)
def test_pitfall_7_a_missing_part_is_the_total_less_the_other(usage, split):
    span = one(line("llm.response", 1, "c", "r", **usage))
    assert (span.input_tokens, span.output_tokens, span.unsplit_tokens) == split


def test_pitfall_8_deletion_rewrites_replay_what_was_counted_and_add_nothing():
    exporter = Exporter()
    lines = [
        line("trace.start", 0, "r"),
        line("llm.request", 1, "c", "r"),
        line("llm.response", 2, "c", "r", duration_ms=1000.0, input_tokens=10, output_tokens=2),
        line("tool.call", 3, "t", "c"),
        line("tool.result", 4, "t", "c", duration_ms=500.0, **OK),
        line("trace.end", 5, "r", duration_ms=5000.0, **OK),
    ]
    exporter.read(*lines)
    before = exporter.totals()
    exporter.read(*lines)
    exporter.restart()
    exporter.read(*lines[3:], *lines[:3])
    assert exporter.totals() == before
    assert exporter.runs.traces.open == {}
    # Three ends, shown twice more.
    assert exporter.repeated == 6


def test_pitfall_9_late_discovery_reads_the_base_file_of_a_day_first(tmp_path):
    source = open_source(f"createagents://{tmp_path}")
    (tmp_path / "traces_2025-12-06_140311.jsonl").write_bytes(b"second\n")
    (tmp_path / "traces_2025-12-07.jsonl").write_bytes(b"third\n")
    (tmp_path / "traces_2025-12-06.jsonl").write_bytes(b"first\n")
    try:
        source.reader.seek({})
        assert whole_lines(source.reader.poll()) == [b"first", b"second", b"third"]
    finally:
        source.reader.close()


def test_pitfall_10_huge_lines_are_translated_without_taking_their_texts_apart():
    """Sixteen megabytes of a tool's result cost less than a copy of them."""
    record = line("tool.result", 1, "t", "c", outputs={"result": "x" * (16 << 20)}, duration_ms=5.0, **OK)
    tracemalloc.start()
    try:
        span = one(record)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert (span.tool, span.duration, span.error) == ("web_search", 0.005, "")
    failed = one(record.replace(b'"success"', b'"error"'))
    assert failed.error == "_OTHER"


@pytest.mark.parametrize("field", ["agent_name", "model", "operation"])
def test_a_name_of_sixteen_megabytes_is_cut_before_it_is_kept_anywhere(field):
    kind = "tool.result" if field == "operation" else "llm.response"
    span = one(line(kind, 1, "c", **{field: "tool_" + "x" * (16 << 20)}))
    assert max(len(span.agent), len(span.model), len(span.tool)) == (1019 if field == "operation" else 1024)
    assert len(span.provider) < 10


@pytest.mark.parametrize("field", ["trace_id", "run_id", "parent_run_id"])
def test_an_id_of_sixteen_megabytes_is_refused_because_a_part_of_it_is_no_id(field):
    assert translate([changed(CALL_END, **{field: "x" * (16 << 20)})]) == Translated([], 1, {"id_too_long": 1})


def test_pitfall_10_partial_lines_are_counted_and_the_next_one_is_read():
    exporter = Exporter()
    exporter.read(CALL_END[:200], CALL_END, CALL_END[200:])
    assert exporter.bad == {"json": 2}
    assert exporter.total("gen_ai_client_inference_usage_input_tokens_total") == 312


def test_pitfall_10_line_separators_of_unicode_inside_a_string_are_part_of_it():
    record = line("llm.response", 1, "c", "r", agent_name="a\u2028b\u0085c\u2029d")
    raw = json.dumps(json.loads(record), ensure_ascii=False).encode()
    assert one(raw).agent == "a\u2028b\u0085c\u2029d"


def test_pitfall_11_nan_and_surrogates_in_texts_that_are_not_ours_do_no_harm():
    infinite = b'"inputs": {"x": NaN, "y": [Infinity, -Infinity]}, "agent_name"'
    assert one(CALL_END.replace(b'"agent_name"', infinite)) == one(CALL_END)
    assert one(CALL_END.replace(b"Tool calls", b"\\ud800 \xff\xfe")) == one(CALL_END)
    assert one(CALL_END.replace(b"Pesquisador", b"Pes\xffq")).agent == "Pes\ufffdq"
    assert one(CALL_END.replace(b"Pesquisador", b"Pes\\udcffq")).agent == "Pes?q"
    assert one(TOOL_END.replace(b'"web_search", "tool', b'"web\\ud83d", "tool')).tool == "web?"


def test_pitfall_11_the_error_of_a_tool_is_found_also_in_a_result_that_is_not_utf_8():
    assert one(TOOL_END.replace(b"timed out", b"\xff\xfe timed out")).error == "timeout"
    assert one(TOOL_END.replace(b"timed out", b'timed out", "n": NaN, "x": "')).error == "timeout"
    assert one(TOOL_END.replace(b'{"result"', b'{"n": NaN, "no_result"')).error == "_OTHER"
    assert one(TOOL_END.replace(b'"outputs": {', b'"outputs": [{').replace(b'out"}', b'out"}]')).error == "_OTHER"


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
@pytest.mark.parametrize("field", [b"duration_ms", b"input_tokens", b"cost_usd"])
def test_pitfall_11_a_number_of_ours_that_is_not_finite_is_refused(field, number):
    record = line("llm.response", 1, "c", "r", **{field.decode(): 1}).replace(
        b'"%b": 1' % field, b'"%b": %b' % (field, number)
    )
    assert translate([record]) == Translated([], 1, {"non_finite": 1})


@pytest.mark.parametrize(
    "stamp",
    [
        "", "yesterday", "2025-13-01T00:00:00+00:00", "2025-12-06T25:00:00+00:00", 1765029791, 1765029791.5, None, True,
        "1969-12-31T23:59:59+00:00", "2101-01-01T00:00:00+00:00", "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00", "2025-12-06T14:00:00+99:00", "\ud800", "2016-12-31T23:59:60Z", [], {},
    ],
)  # fmt: skip
def test_pitfall_12_a_bad_timestamp_is_counted_and_skipped(stamp):
    assert translate([changed(CALL_END, timestamp=stamp), CALL_END]) == Translated([one(CALL_END)], 2, {"timestamp": 1})


@pytest.mark.parametrize(
    "stamp",
    [
        "2025-12-06T14:03:12.017902+00:00",
        "2025-12-06T14:03:12.017902Z",
        # Without an offset it is UTC, as the framework's own are.
        "2025-12-06T14:03:12.017902",
        "2025-12-06 14:03:12.017902+00:00",
        "2025-12-06T11:03:12.017902-03:00",
    ],
)
def test_pitfall_12_a_timestamp_in_any_iso_form_is_the_same_moment(stamp):
    assert one(changed(CALL_END, timestamp=stamp)) == one(CALL_END)


def test_pitfall_13_two_agents_in_one_file_are_told_apart_by_the_line():
    exporter = Exporter()
    exporter.read(
        line("trace.start", 0, "r1", trace="a", agent_name="First"),
        line("llm.response", 1, "c1", "r1", trace="a", agent_name="First", input_tokens=1, output_tokens=0),
        line("llm.response", 1, "c2", "r2", trace="b", agent_name="Second", input_tokens=10, output_tokens=0),
    )
    assert exporter.samples("gen_ai_client_inference_usage_input_tokens_total", "gen_ai_agent_name") == {
        "First": 1,
        "Second": 10,
    }


def test_pitfall_14_labels_do_not_grow_with_iterations_and_may_be_missing():
    exporter = Exporter()
    for number in range(1, 51):
        operation = f"openai_stream_iteration_{number}"
        exporter.read(line("llm.response", number, f"c{number}", "r", operation=operation, agent_name=None, model=None))
    labels = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_agent_name")
    assert exporter.samples("agentgauge_inference_calls_total", *labels, "outcome") == {
        ("chat", "openai", "", "", "ok"): 50,
        ("chat", "openai", "", "", "error"): 0,
    }


def test_pitfall_15_content_never_reaches_a_span_or_the_page():
    exporter = Exporter()
    canary = "canary-7f3a"
    texts = {
        "inputs": {"user_message": canary, "arguments": {"query": canary}},
        "outputs": {"response": canary, "response_preview": canary, "result": f"timeout {canary}"},
        "error_message": f"timeout {canary}",
        "error_stack": canary,
        "session_id": canary,
        "metadata": {"user": canary},
    }
    outcome = exporter.read(
        line("trace.start", 0, "r", **texts),
        line("llm.request", 1, "c", "r", **texts),
        line("llm.response", 2, "c", "r", **texts),
        line("tool.call", 3, "t", "c", **texts),
        line("tool.result", 4, "t", "c", status="error", **texts),
        line("trace.end", 5, "r", status="error", error_type=canary, **texts),
    )
    assert len(outcome.ended) == 3
    assert canary not in repr(outcome.ended)
    assert canary not in exporter.page()


# Lines that mean harm.


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"[]", "not_an_object"),
        (b'"x"', "not_an_object"),
        (b"17", "not_an_object"),
        (b"null", "not_an_object"),
        (b"NaN", "not_an_object"),
        (b"{", "json"),
        (b"\0" * 4096, "json"),
        (b"\xff\xfe\x00", "json"),
        (CALL_END.decode().encode("utf-16"), "json"),
        (CALL_END + CALL_END, "json"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep"),
        (b"[" * 100_000, "too_deep"),
        (b'{"a":' * 100_000, "too_deep"),
        (
            CALL_END.replace(b'"data": {"model": "gpt-4o-mini"}', b'"data": ' + b"[" * 100_000 + b"]" * 100_000),
            "too_deep",
        ),
        (b"{}", "missing_field"),
        (b'{"event": "llm.response", "timestamp": "2025-12-06T14:03:12+00:00", "run_id": "c"}', "missing_field"),
        (changed(CALL_END, event="chat.start"), "unknown_event"),
        (changed(CALL_END, event=""), "unknown_event"),
        (changed(CALL_END, event=["llm.response"]), "wrong_type"),
        (changed(CALL_END, trace_id=7), "wrong_type"),
        (changed(CALL_END, run_id=None), "wrong_type"),
        (changed(CALL_END, agent_name={"x": 1}), "wrong_type"),
        (changed(CALL_END, model=["gpt"]), "wrong_type"),
        (changed(CALL_END, data=[1]), "wrong_type"),
        (changed(CALL_END, data={"model": 4}), "wrong_type"),
        (changed(CALL_END, duration_ms="812"), "wrong_type"),
        (changed(CALL_END, input_tokens="312"), "wrong_type"),
        (changed(CALL_END, input_tokens=312.5), "wrong_type"),
        (changed(CALL_END, input_tokens=True), "wrong_type"),
        (changed(CALL_END, duration_ms=-0.001), "out_of_range"),
        (changed(CALL_END, duration_ms=1e300), "out_of_range"),
        (changed(CALL_END, input_tokens=-1), "out_of_range"),
        (changed(CALL_END, output_tokens=2**53), "out_of_range"),
        (changed(CALL_END, total_tokens=10**30), "out_of_range"),
        (changed(CALL_END, cost_usd=-0.01), "out_of_range"),
        (CALL_END.replace(b'"input_tokens": 312', b'"input_tokens": ' + b"9" * 5000), "json"),
    ],
)
def test_a_line_that_cannot_be_used_is_counted_with_its_reason_and_the_next_is_read(record, reason):
    assert translate([record, CALL_END]) == Translated([one(CALL_END)], 2, {reason: 1})


@pytest.mark.parametrize(
    "record",
    [
        b"\0" * 4096 + CALL_END,
        b"\xef\xbb\xbf" + CALL_END,
        CALL_END + b"\r",
        CALL_END + b"\0\0",
        # Of two values for a key the last one holds, as in every reader of JSON.
        CALL_END.replace(b'"event"', b'"event": "tool.log", "event"'),
        CALL_END[:-1] + b', "unknown": {"nested": [1, {"deep": [null]}]}}',
        CALL_END[:-1] + b', "error_type": null, "cost_usd": null, "status": null, "metadata": null}',
    ],
)
def test_a_line_that_only_looks_odd_is_read(record):
    assert one(record) == one(CALL_END)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["\ud800", "\0", "x" * 5000]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = (
    "timestamp", "trace_id", "run_id", "event", "operation", "parent_run_id", "agent_name", "model", "status",
    "duration_ms", "error_type", "error_message", "input_tokens", "output_tokens", "total_tokens", "cost_usd", "data",
    "metadata", "outputs", "inputs",
)  # fmt: skip
REAL = [RUN_START, CALL_END, TOOL_END, TOOL_LOG, RUN_END, FIRST_DIALECT, line("llm.request", 1, "c")]
EVENTS = ["trace.start", "trace.end", "llm.request", "llm.response", "tool.call", "tool.result", "tool.log", "x"]


@st.composite
def hostile(draw: st.DrawFn) -> bytes:
    """A real line with some of its fields put wrong, and some of its bytes."""
    record = json.loads(draw(st.sampled_from(REAL)))
    record["event"] = draw(st.sampled_from(EVENTS))
    record |= draw(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3))
    for name in draw(st.sets(st.sampled_from(FIELDS), max_size=2)):
        record.pop(name, None)
    data = json.dumps(record).encode()
    if draw(st.booleans()):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=4)) + data[at + draw(st.integers(0, 6)) :]
    return data


def is_known_skip(record: bytes) -> bool:
    """Whether a line is one of those that are passed over: empty, or a tool's log."""
    if not record.strip():
        return True
    try:
        return bool(json.loads(record.strip(b"\0 \t\r").decode("utf-8-sig", "replace"))["event"] == "tool.log")
    except (ValueError, TypeError, KeyError):
        return False


@settings(max_examples=500, deadline=None)
@given(st.lists(hostile() | st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()), max_size=4))
def test_every_record_is_a_span_a_known_skip_or_counted_and_no_exception_leaves(records):
    records = [record.replace(b"\n", b" ") for record in records]
    found = translate(records)
    together = translate([b"".join(record + b"\n" for record in records)] if records else [])
    assert (together.records, together.bad) == (found.records, found.bad)
    assert [span for span in together.spans if span.ended] == [span for span in found.spans if span.ended]
    skipped = len(records) - len(found.spans) - sum(found.bad.values())
    assert 0 <= skipped <= sum(map(is_known_skip, records))
    assert found.bad.keys() <= {
        "json", "not_an_object", "missing_field", "wrong_type", "timestamp", "non_finite", "out_of_range",
        "unknown_event", "id_too_long",
    }  # fmt: skip
    for span in found.spans:
        assert span.error in ("", *ERROR_TYPES)
        assert 0 <= span.time < 4102444800
        assert all(number is None or 0 <= number < 2**53 for number in (span.duration, span.input_tokens, span.cost))
        assert json.dumps([span.trace_id, span.agent, span.model, span.tool], ensure_ascii=False).encode()


@settings(max_examples=60, deadline=None)
@given(st.lists(hostile(), max_size=8))
def test_whatever_a_hostile_line_says_the_totals_stay_a_page_that_can_be_parsed(records):
    exporter = Exporter()
    exporter.read(*records, now=0)
    exporter.restart()
    exporter.sweep(4102444800 - START)
    assert exporter.runs.traces.open == {}
    exporter.samples("agentgauge_runs_total")


def test_the_environment_of_the_url_is_on_every_span(tmp_path):
    source = open_source(f"createagents://{tmp_path}?environment=staging&name=blue")
    try:
        found = source.spans([RUN_START, CALL_END, TOOL_END, RUN_END, line("llm.request", 1, "c")])
        assert [span.environment for span in found.spans] == ["staging"] * 5
        assert source.name == "blue"
        assert Options(name="x").environment == ""
    finally:
        source.reader.close()


@pytest.mark.parametrize("block", [CALL_END + CALL_END + b"\n", CALL_END.replace(b", ", b",\n", 1) + b"\n"])
def test_a_record_is_a_line_whatever_a_lenient_decoder_makes_of_two_on_one_or_one_on_two(block):
    found = translate([block, CALL_END + b"\n"])
    assert (found.spans, found.bad) == ([one(CALL_END)], {"json": block.count(b"\n")})
