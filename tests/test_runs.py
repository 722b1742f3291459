"""Open runs: starts meet ends, each span is counted once, and a run ends, is given up or is remembered."""

from itertools import permutations

import pytest
from createagents_lines import START, Exporter, line
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.open_traces import HELD_IN_ALL, OPEN_TRACES, SPANS_A_TRACE
from exporters.pricing import Prices
from exporters.runs import HELD_SECONDS, IDLE_SECONDS, Runs
from exporters.sources.createagents.translation import translate
from exporters.span import Span

OK = {"status": "success"}


def run_start(at: float, run: str = "r", parent: str = "", **fields: object) -> bytes:
    return line("trace.start", at, run, parent, status="started", **fields)


def run_end(at: float, run: str = "r", parent: str = "", **fields: object) -> bytes:
    return line("trace.end", at, run, parent, duration_ms=1000.0 * at, **{**OK, **fields})


def request(at: float, call: str, parent: str = "r", **fields: object) -> bytes:
    return line("llm.request", at, call, parent, **fields)


def response(at: float, call: str, parent: str = "r", tokens: int | None = 10, **fields: object) -> bytes:
    usage = {"input_tokens": tokens, "output_tokens": 0}
    return line("llm.response", at, call, parent, **{"duration_ms": 500.0, **usage, **fields})


def tool_call(at: float, call: str, parent: str = "r", **fields: object) -> bytes:
    return line("tool.call", at, call, parent, **fields)


def tool_result(at: float, call: str, parent: str = "r", **fields: object) -> bytes:
    return line("tool.result", at, call, parent, duration_ms=100.0, **{**OK, **fields})


RUN = [
    run_start(0),
    request(1, "c"),
    response(2, "c", tokens=12),
    tool_call(3, "t", "c"),
    tool_result(4, "t", "c"),
    run_end(5),
]


def by_agent(exporter: Exporter, name: str) -> dict[str, float]:
    return exporter.samples(name, "gen_ai_agent_name")


# A run that ends.


@pytest.mark.parametrize("size", [1, 2, 3, 6])
@pytest.mark.parametrize("restart", [False, True])
def test_a_run_is_the_same_however_its_lines_are_read(size, restart):
    exporter = Exporter()
    for begin in range(0, len(RUN), size):
        exporter.read(*RUN[begin : begin + size])
        if restart:
            exporter.restart()
    assert exporter.samples("agentgauge_runs_total", "outcome") == {"ok": 1, "error": 0}
    assert exporter.samples("agentgauge_inference_calls_total", "outcome") == {"ok": 1, "error": 0}
    assert exporter.samples("agentgauge_tool_calls_total", "outcome") == {"ok": 1, "error": 0}
    assert exporter.total("gen_ai_invoke_agent_duration_seconds_sum") == 5.0
    assert exporter.total("gen_ai_invoke_agent_inference_calls_sum") == 1
    assert exporter.total("gen_ai_invoke_agent_tool_calls_sum") == 1
    assert exporter.total("agentgauge_run_tokens_sum") == 12
    # gpt-4o-mini: USD 0.15 for a million input tokens.
    assert exporter.total("agentgauge_run_cost_usd_sum") == pytest.approx(12 * 0.15e-6)
    assert (exporter.runs.traces.open, exporter.repeated) == ({}, 0)


@pytest.mark.parametrize("restart", [False, True])
def test_lines_before_the_end_of_a_run_may_come_in_any_order(restart):
    """Starts and ends of calls, and the run's own start, in every order and each in a batch of its own."""
    whole = Exporter()
    whole.read(*RUN)
    for order in permutations(RUN[:-1]):
        exporter = Exporter()
        for record in order:
            exporter.read(record)
            if restart:
                exporter.restart()
        exporter.read(RUN[-1])
        assert (exporter.totals(), exporter.repeated, exporter.runs.traces.open) == (whole.totals(), 0, {})


def test_a_run_of_which_only_the_end_is_known_has_the_calls_before_it():
    exporter = Exporter()
    exporter.read(response(2, "c", tokens=12), tool_result(4, "t", "c"), run_end(5))
    assert exporter.total("gen_ai_invoke_agent_inference_calls_sum") == 1
    assert exporter.total("gen_ai_invoke_agent_tool_calls_sum") == 1
    assert exporter.total("agentgauge_run_tokens_sum") == 12


def test_what_an_end_does_not_say_is_taken_from_its_start():
    exporter = Exporter()
    exporter.read(
        run_start(0, agent_name="Scout", model=None),
        request(1, "c", model="gpt-4o", agent_name="Scout", operation="openai_iteration_1"),
        response(2, "c", model=None, agent_name=None, operation=""),
        run_end(3, agent_name=None, model=None),
    )
    labels = ("gen_ai_agent_name", "gen_ai_request_model", "gen_ai_provider_name")
    assert exporter.samples("gen_ai_client_inference_duration_seconds_count", *labels) == {
        ("Scout", "gpt-4o", "openai"): 1
    }
    assert by_agent(exporter, "gen_ai_invoke_agent_duration_seconds_count") == {"Scout": 1}


def test_what_was_begun_in_a_run_that_ended_has_failed():
    exporter = Exporter()
    exporter.read(run_start(0), request(1, "c"), tool_call(2, "t"), run_end(5))
    assert exporter.samples("agentgauge_inference_errors_total", "error_type") == {"no_response": 1}
    assert exporter.samples("agentgauge_tool_errors_total", "error_type") == {"no_response": 1}
    assert exporter.total("gen_ai_invoke_agent_inference_calls_sum") == 1
    assert exporter.total("gen_ai_invoke_agent_tool_calls_sum") == 1
    assert exporter.samples("agentgauge_runs_total", "outcome") == {"ok": 1, "error": 0}


def test_a_run_with_a_call_of_unknown_usage_or_price_is_in_no_run_total():
    exporter = Exporter()
    exporter.read(
        run_start(0),
        response(1, "c1"),
        response(2, "c2", tokens=None, output_tokens=None),
        run_end(3),
    )
    assert exporter.total("agentgauge_inference_without_usage_total") == 1
    assert exporter.total("agentgauge_run_tokens_count") is None
    assert exporter.total("agentgauge_run_cost_usd_count") is None
    assert exporter.total("gen_ai_client_inference_usage_input_tokens_total") == 10


def test_a_failed_call_without_usage_leaves_the_totals_of_its_run_known():
    exporter = Exporter()
    failed = line("llm.response", 1, "c1", "r", duration_ms=1.0, status="error", error_type="RateLimitError")
    exporter.read(run_start(0), failed, response(2, "c2", tokens=7), run_end(3))
    assert exporter.total("agentgauge_run_tokens_sum") == 7
    assert exporter.total("agentgauge_inference_without_usage_total") is None
    assert exporter.total("gen_ai_invoke_agent_inference_calls_sum") == 2


# Runs within runs.


def test_a_call_belongs_to_the_nearest_run_above_it():
    exporter = Exporter()
    inner = {"agent_name": "Inner"}
    exporter.read(
        run_start(0, "outer", agent_name="Outer"),
        request(1, "c1", "outer"),
        response(2, "c1", "outer", tokens=1),
        tool_call(3, "delegate", "c1"),
        run_start(4, "inner", "delegate", **inner),
        request(5, "c2", "inner", **inner),
        response(6, "c2", "inner", tokens=100, **inner),
        tool_call(7, "t", "c2", **inner),
        tool_result(8, "t", "c2", **inner),
        response(9, "c3", "inner", tokens=1000, **inner),
        run_end(10, "inner", "delegate", **inner),
        tool_result(11, "delegate", "c1"),
        response(12, "c4", "outer", tokens=10),
        run_end(13, "outer", agent_name="Outer"),
    )
    assert by_agent(exporter, "agentgauge_run_tokens_sum") == {"Outer": 11, "Inner": 1100}
    assert by_agent(exporter, "gen_ai_invoke_agent_inference_calls_sum") == {"Outer": 2, "Inner": 2}
    assert by_agent(exporter, "gen_ai_invoke_agent_tool_calls_sum") == {"Outer": 1, "Inner": 1}
    assert exporter.runs.traces.open == {}


def test_parallel_runs_of_one_trace_keep_their_calls_apart_also_over_a_restart():
    exporter = Exporter()
    a, b = {"agent_name": "A"}, {"agent_name": "B"}
    for batch in (
        [run_start(0, "a", **a), run_start(0.1, "b", **b)],
        [response(1, "ca", "a", tokens=1, **a), response(1, "cb", "b", tokens=10, **b)],
        [tool_result(2, "ta", "ca", **a), tool_result(2, "tb", "cb", **b), run_end(3, "a", **a)],
        [tool_result(4, "tb2", "cb", **b), response(5, "cb2", "b", tokens=100, **b), run_end(6, "b", **b)],
    ):
        exporter.read(*batch)
        exporter.restart()
    assert by_agent(exporter, "agentgauge_run_tokens_sum") == {"A": 1, "B": 110}
    assert by_agent(exporter, "gen_ai_invoke_agent_tool_calls_sum") == {"A": 1, "B": 2}


def test_spans_that_are_each_other_s_parent_hang_nothing():
    exporter = Exporter()
    exporter.read(
        run_start(0, "a"),
        run_start(0, "b"),
        request(1, "x", "y"),
        request(1, "y", "x"),
        response(2, "x", "y"),
        run_end(3, "a"),
        run_end(3, "b"),
    )
    assert exporter.samples("agentgauge_runs_total", "outcome") == {"ok": 2, "error": 0}


# An end that may be said again with more.


def held(at: float, **fields: object) -> bytes:
    return line("trace.end", at, "r", status="error", duration_ms=2000.0, outputs={"error": "empty"}, **fields)


def test_a_held_end_is_counted_when_nothing_more_came():
    exporter = Exporter()
    exporter.read(run_start(0), held(2), now=2)
    exporter.sweep(2 + HELD_SECONDS)
    assert exporter.total("agentgauge_runs_total") is None
    exporter.restart()
    exporter.sweep(2.001 + HELD_SECONDS)
    assert exporter.samples("agentgauge_run_errors_total", "error_type") == {"_OTHER": 1}
    assert exporter.total("gen_ai_invoke_agent_duration_seconds_sum") == 2.0
    exporter.sweep(100)
    # Said again after that, it is one that was counted.
    exporter.read(run_end(200, status="error", error_type="ChatException", error_message="timed out"))
    assert exporter.samples("agentgauge_run_errors_total", "error_type") == {"_OTHER": 1}
    assert (exporter.repeated, exporter.runs.traces.open) == (1, {})


def test_a_held_end_of_one_run_keeps_no_other_run_open_for_ever():
    exporter = Exporter()
    exporter.read(run_start(0), run_start(0, "other"), held(2), now=2)
    exporter.sweep(3 + IDLE_SECONDS)
    assert exporter.samples("agentgauge_run_errors_total", "error_type") == {"_OTHER": 1, "abandoned": 1}
    assert exporter.runs.traces.open == {}


# A run that does not end.


def test_a_run_is_idle_from_its_newest_record_on_not_from_its_start():
    exporter = Exporter()
    exporter.read(run_start(0), request(3000, "c"), now=3000)
    exporter.sweep(3000 + IDLE_SECONDS)
    assert exporter.total("agentgauge_runs_total") is None
    exporter.sweep(3001 + IDLE_SECONDS)
    assert exporter.samples("agentgauge_run_errors_total", "error_type") == {"abandoned": 1}


def test_a_backlog_is_swept_by_its_own_clock_an_hour_of_it_at_a_time():
    """Two runs that never end, and one that ends: while they are read, and not only when all is."""
    exporter = Exporter()
    for at in (0, 1800, 3000, 4000, 6000, 9000):
        spans = translate(
            [run_start(at, f"r{at}", trace=f"t{at}"), request(at + 1, "c", f"r{at}", trace=f"t{at}")]
        ).spans
        exporter.take(exporter.runs.add(spans, START + 86400))
        exporter.take(exporter.runs.sweep_behind(spans))
        if at == 1800:
            exporter.read(run_end(1900, "r1800", trace="t1800"))
    # It was swept at 0, 4000 and 9000, an hour apart: idle were those touched before 400, and before 5400.
    assert exporter.samples("agentgauge_run_errors_total", "error_type") == {"abandoned": 3}
    assert list(exporter.runs.traces.open) == ["t6000", "t9000"]


def test_a_file_that_is_read_after_a_newer_one_loses_no_run_of_a_backlog():
    exporter = Exporter()
    newer = [response(86400 + second, f"new{second}", trace="new") for second in range(100)]
    older = [run_start(0), *(response(second, f"old{second}") for second in range(1, 100))]
    for block in (newer, newer[50:] + older[:10], older[10:]):
        spans = translate(block).spans
        exporter.take(exporter.runs.add(spans, START + 10 * 86400))
        exporter.take(exporter.runs.sweep_behind(spans))
    exporter.read(run_end(101))
    assert exporter.samples("agentgauge_runs_total", "outcome") == {"ok": 1, "error": 0}


def test_a_call_of_which_only_the_request_is_known_is_waited_for():
    exporter = Exporter()
    exporter.read(request(0, "c"), now=0)
    exporter.sweep(1)
    assert exporter.total("agentgauge_inference_calls_total") is None
    exporter.read(response(2, "c"), now=2)
    assert exporter.samples("agentgauge_inference_calls_total", "outcome") == {"ok": 1, "error": 0}
    exporter.sweep(3 + IDLE_SECONDS)
    assert exporter.samples("agentgauge_inference_calls_total", "outcome") == {"ok": 1, "error": 0}
    assert exporter.runs.traces.open == {}


def test_a_clock_that_runs_ahead_keeps_no_run_open_for_ever():
    exporter = Exporter()
    exporter.read(run_start(50_000_000), now=0)
    exporter.sweep(1 + IDLE_SECONDS)
    assert exporter.runs.traces.open == {}


@pytest.mark.parametrize("behind", [0, 2 * IDLE_SECONDS, 20 * 365 * 86400])
def test_a_clock_that_is_behind_makes_no_run_idle_that_is_read_as_it_is_written(behind):
    exporter = Exporter()
    exporter.read(run_start(-behind), now=0, live=True)
    exporter.sweep(IDLE_SECONDS)
    exporter.restart()
    exporter.read(request(3500 - behind, "c"), now=3500, live=True)
    exporter.sweep(3500 + IDLE_SECONDS)
    assert exporter.total("agentgauge_runs_total") is None
    exporter.sweep(3501 + IDLE_SECONDS)
    assert exporter.samples("agentgauge_run_errors_total", "error_type") == {"abandoned": 1}


def test_a_backlog_s_runs_are_idle_by_their_own_times():
    exporter = Exporter()
    exporter.read(run_start(-2 * IDLE_SECONDS), run_start(-1, trace="t2"), now=0)
    exporter.sweep(0)
    assert exporter.samples("agentgauge_run_errors_total", "error_type") == {"abandoned": 1}
    assert list(exporter.runs.traces.open) == ["t2"]


def test_a_held_end_of_a_host_whose_clock_is_behind_is_held_for_as_long():
    exporter = Exporter()
    exporter.read(run_start(-7200), held(-7198), now=0, live=True)
    exporter.sweep(HELD_SECONDS)
    assert exporter.total("agentgauge_runs_total") is None
    exporter.sweep(0.1 + HELD_SECONDS)
    assert exporter.samples("agentgauge_run_errors_total", "error_type") == {"_OTHER": 1}


def test_a_long_trace_that_is_opened_again_is_not_remembered_twice():
    exporter = Exporter()
    exporter.read(run_start(0))
    calls = [tool_result(1 + number / 1000, f"c{number}") for number in range(SPANS_A_TRACE + 500)]
    exporter.read(*calls, run_end(100))
    for number in range(3):
        exporter.read(tool_result(200 + number, f"late{number}"))
    assert len(exporter.counted["trace-1"]) == len(set(exporter.counted["trace-1"])) == SPANS_A_TRACE + 504
    # All of it is known while it is open, so none is counted again whatever the order.
    assert len(exporter.read(*calls, tool_result(300, "new"), *calls, run_end(100)).ended) == 1


def test_what_comes_of_a_run_after_it_was_abandoned_is_counted_as_calls_only():
    exporter = Exporter()
    exporter.read(run_start(0), request(1, "c1"), now=1)
    exporter.sweep(2 + IDLE_SECONDS)
    exporter.restart()
    late = IDLE_SECONDS + 100
    exporter.read(response(late, "c1"), response(late, "c2"), tool_result(late, "t"), run_end(late), now=late)
    # c1 and the run were counted as abandoned; c2 and the tool are new.
    assert exporter.samples("agentgauge_inference_calls_total", "outcome") == {"ok": 1, "error": 1}
    assert exporter.samples("agentgauge_tool_calls_total", "outcome") == {"ok": 1, "error": 0}
    assert exporter.samples("agentgauge_runs_total", "outcome") == {"ok": 0, "error": 1}
    assert (exporter.repeated, exporter.runs.traces.open) == (2, {})
    assert exporter.counted["trace-1"] == ["c1", "r", "c2", "t"]


# A trace that was closed.


def test_a_late_tool_result_is_counted_after_the_end_of_its_run():
    exporter = Exporter()
    exporter.read(run_start(0), run_end(5))
    exporter.restart()
    exporter.read(tool_result(6, "t"))
    exporter.read(tool_result(6, "t"), run_end(5))
    assert exporter.samples("agentgauge_tool_calls_total", "outcome") == {"ok": 1, "error": 0}
    assert exporter.samples("agentgauge_runs_total", "outcome") == {"ok": 1, "error": 0}
    assert (exporter.repeated, exporter.runs.traces.open) == (2, {})


def test_a_call_that_begins_and_ends_after_its_run_is_counted_once():
    exporter = Exporter()
    exporter.read(run_start(0), run_end(5))
    exporter.read(request(6, "c"))
    assert list(exporter.runs.traces.open) == ["trace-1"]
    exporter.read(response(7, "c"))
    exporter.sweep(8 + IDLE_SECONDS)
    assert exporter.samples("agentgauge_inference_calls_total", "outcome") == {"ok": 1, "error": 0}
    assert exporter.samples("agentgauge_runs_total", "outcome") == {"ok": 1, "error": 0}
    assert exporter.runs.traces.open == {}


def test_a_trace_id_that_is_used_again_is_a_run_more():
    exporter = Exporter()
    exporter.read(*RUN)
    exporter.restart()
    exporter.read(run_start(100, "r2"), response(101, "c2"), run_end(102, "r2"))
    assert exporter.samples("agentgauge_runs_total", "outcome") == {"ok": 2, "error": 0}
    before = exporter.totals()
    exporter.restart()
    exporter.read(*RUN, run_start(100, "r2"), response(101, "c2"), run_end(102, "r2"))
    assert exporter.totals() == before
    assert exporter.runs.traces.open == {}


def test_a_trace_id_that_is_used_again_and_replayed_in_between_is_counted_once():
    """The memory is not asked when the second run begins; it is when a line older than that comes."""
    exporter = Exporter()
    exporter.read(*RUN)
    exporter.restart()
    exporter.read(run_start(100, "r2"), *RUN)
    exporter.restart()
    exporter.read(run_end(102, "r2"), *RUN)
    exporter.sweep(10 * IDLE_SECONDS)
    assert exporter.samples("agentgauge_runs_total", "outcome") == {"ok": 2, "error": 0}
    assert exporter.samples("agentgauge_inference_calls_total", "outcome") == {"ok": 1, "error": 0}
    assert exporter.counted["trace-1"] == ["c", "t", "r", "r2"]


def test_a_run_that_begins_later_than_all_that_was_counted_asks_no_memory():
    exporter = Exporter()
    exporter.read(*RUN)
    exporter.recalls = 0
    for number in range(1, 50):
        exporter.read(run_start(number * 10, trace=f"t{number}"))
    assert exporter.recalls == 0
    exporter.read(run_start(0))
    assert exporter.recalls == 1


# Bounds.


def test_no_more_traces_are_open_than_the_bound_and_the_oldest_is_given_up():
    runs = Runs(Prices(), lambda _: None)
    starts = [Span("run", False, f"t{number}", "r", time=START + number / 1000) for number in range(OPEN_TRACES + 5)]
    outcome = runs.add(starts, START + 100)
    assert len(runs.traces.open) == OPEN_TRACES
    assert [(span.trace_id, span.error) for span in outcome.ended] == [(f"t{n}", "abandoned") for n in range(5)]
    assert sorted(runs.traces.closed) == ["t0", "t1", "t2", "t3", "t4"]


def test_all_open_traces_together_hold_no_more_than_the_bound_and_the_oldest_is_given_up():
    runs = Runs(Prices(), lambda _: None)
    traces = HELD_IN_ALL // 8 // 1000
    ended = []
    for trace in range(traces + 2):
        calls = [Span("tool", False, f"t{trace}", f"c{n}", time=START + trace, agent=f"a{trace}") for n in range(1000)]
        ended += runs.add(calls, START + 1000).ended
        runs.traces.committed()
    assert len(runs.traces.open) == traces
    assert {(span.agent, span.error) for span in ended} == {("a0", "no_response"), ("a1", "no_response")}
    assert len(ended) == 2000
    runs.traces.restore(dict(list(runs.traces.open.items())[:5]), START)
    assert runs.traces._size == 5 * 8 * 1000
    runs.sweep(START + 10 * IDLE_SECONDS)
    assert (runs.traces._size, runs.traces._sizes, runs.traces.open) == (0, {}, {})


@pytest.mark.parametrize("kind", ["tool", "run"])
def test_a_trace_of_which_too_much_does_not_end_is_closed(kind):
    runs = Runs(Prices(), lambda _: None)
    begun = [Span(kind, False, "t", f"c{n}", time=START) for n in range(SPANS_A_TRACE + 1)]
    outcome = runs.add(begun, START + 1)
    assert len(outcome.ended) == SPANS_A_TRACE + 1
    assert runs.traces.open == {}
    # What comes of it after all was counted already.
    runs = Runs(Prices(), lambda _: spans)
    spans = [span.span_id for span in outcome.ended]
    late = runs.add([Span(kind, True, "t", f"c{n}", time=START + 2) for n in range(9)], START + 2)
    assert (late.ended, late.repeated) == ([], 9)


def test_the_parents_of_one_trace_are_remembered_in_bounded_number():
    runs = Runs(Prices(), lambda _: None)
    runs.add([Span("run", False, "t", "r1", time=START), Span("run", False, "t", "r2", "r1", time=START)], START)
    for begin in range(0, 5 * SPANS_A_TRACE, 1000):
        runs.add([Span("tool", True, "t", f"c{begin + n}", "r2", time=START) for n in range(1000)], START)
        runs.traces.committed()
    assert len(runs.traces.open["t"].parents) <= SPANS_A_TRACE + 1000
    assert runs.traces.open["t"].runs["r2"].tool_calls == 5 * SPANS_A_TRACE


def test_a_trace_of_a_million_calls_remembers_a_bounded_number_of_them():
    runs = Runs(Prices(), lambda _: None)
    runs.add([Span("run", False, "t", "r", time=START)], START)
    for begin in range(0, 5 * SPANS_A_TRACE, 1000):
        calls = [Span("tool", True, "t", f"c{begin + n}", "r", START) for n in range(1000)]
        assert len(runs.add(calls, START).ended) == 1000
        assert len(runs.traces.open["t"].counted) <= SPANS_A_TRACE
    # The newest are known.
    assert runs.add([Span("tool", True, "t", f"c{5 * SPANS_A_TRACE - 1}", "r", START)], START).repeated == 1


def test_a_trace_of_more_calls_than_are_held_in_memory_is_remembered_whole():
    exporter = Exporter()
    exporter.read(run_start(0))
    calls = [tool_result(1 + number / 1000, f"c{number}") for number in range(2 * SPANS_A_TRACE + 500)]
    for begin in range(0, len(calls), 1000):
        exporter.read(*calls[begin : begin + 1000])
    exporter.read(run_end(100))
    assert exporter.runs.traces.open == {}
    before = exporter.totals()

    outcome = exporter.read(run_start(0), *calls, run_end(100))

    # Every call and the run's end; a start that comes again is no span that was counted.
    assert (outcome.ended, outcome.repeated) == ([], 2 * SPANS_A_TRACE + 501)
    assert exporter.totals() == before


def test_a_rollback_forgets_what_was_added_since_the_commit():
    exporter = Exporter()
    exporter.read(run_start(0))
    exporter.runs.add([Span("run", True, "trace-1", "r", time=START + 3)], START + 3)
    assert exporter.runs.traces.open == {}
    exporter.restart()
    traces = exporter.runs.traces
    assert (list(traces.open), traces.changed, traces.closed) == (["trace-1"], set(), {})
    exporter.read(run_end(5))
    assert exporter.samples("agentgauge_runs_total", "outcome") == {"ok": 1, "error": 0}


# Any split of the same lines gives the same totals.


@st.composite
def stories(draw: st.DrawFn) -> list[bytes]:
    """The lines of a few traces, each in order, mixed; some left out, some said again later."""
    queues = []
    for number in range(draw(st.integers(1, 3))):
        trace = f"t{number}"
        begin = draw(st.integers(0, 50))
        lines = [run_start(begin, trace=trace)]
        if draw(st.booleans()):
            lines.append(run_start(begin + 1, "inner", "c0", trace=trace, agent_name="Inner"))
        for call in range(draw(st.integers(0, 3))):
            parent = draw(st.sampled_from(["r", "inner", "c0", "nowhere"]))
            if draw(st.booleans()):
                lines.append(request(begin + 2, f"c{call}", parent, trace=trace))
            if draw(st.booleans()):
                usage = draw(st.sampled_from([{}, {"cost_usd": 0.5}, {"input_tokens": None, "output_tokens": None}]))
                lines.append(response(begin + 3, f"c{call}", parent, trace=trace, **usage))
            if draw(st.booleans()):
                lines.append(tool_result(begin + 3, f"x{call}", f"c{call}", trace=trace))
        if len(lines) > 1 and draw(st.booleans()):
            lines.append(run_end(begin + 4, "inner", "c0", trace=trace, agent_name="Inner"))
        if draw(st.booleans()):
            lines.append(held(begin + 5, trace=trace))
        if draw(st.booleans()):
            usage = draw(st.sampled_from([{}, {"total_tokens": 9}, {"input_tokens": 4, "output_tokens": 5}]))
            lines.append(run_end(begin + 6, trace=trace, **usage))
        if draw(st.booleans()):
            lines += [tool_result(begin + 7, "late", trace=trace), request(begin + 8, "later", trace=trace)]
        if draw(st.booleans()):
            lines += [run_start(begin + 60, "again", trace=trace), run_end(begin + 61, "again", trace=trace)]
        queues.append(lines)
    mixed = []
    while queues:
        queue = draw(st.sampled_from(queues))
        mixed.append(queue.pop(0))
        queues = [queue for queue in queues if queue]
    for _ in range(draw(st.integers(0, 2))):
        begin = draw(st.integers(0, len(mixed) - 1))
        mixed += mixed[begin : begin + draw(st.integers(1, 6))]
    return mixed


@settings(max_examples=250, deadline=None)
@given(stories(), st.data())
def test_any_split_into_batches_with_restarts_between_them_gives_the_same_totals(records, data):
    whole, parts = Exporter(), Exporter()
    whole.read(*records)
    begin = 0
    while begin < len(records):
        end = begin + data.draw(st.integers(1, len(records)))
        parts.read(*records[begin:end])
        if data.draw(st.booleans()):
            parts.restart()
        begin = end
    for exporter in (whole, parts):
        exporter.sweep(10 * IDLE_SECONDS)
        assert exporter.runs.traces.open == {}
    assert parts.totals() == whole.totals()
    assert parts.repeated == whole.repeated
    assert {trace: set(spans) for trace, spans in parts.counted.items()} == {
        trace: set(spans) for trace, spans in whole.counted.items()
    }


@settings(max_examples=100, deadline=None)
@given(stories(), st.booleans())
def test_a_store_that_is_read_a_second_time_adds_nothing(records, restart):
    exporter = Exporter()
    exporter.read(*records)
    exporter.sweep(10 * IDLE_SECONDS)
    before = exporter.totals()
    if restart:
        exporter.restart()
    exporter.read(*records)
    exporter.sweep(20 * IDLE_SECONDS)
    assert exporter.totals() == before
    assert exporter.runs.traces.open == {}


def endless(at: float) -> Span:
    """A run that begins, in a store that never says that one has ended."""
    return Span("run", False, "t", "run", time=at, agent="planner", ends_when_idle=True)


def call(id_: str, at: float, error: str = "") -> Span:
    return Span("inference", True, "t", id_, "run", at, error=error, input_tokens=4, output_tokens=1)


def test_a_run_whose_store_says_no_ends_has_ended_with_its_last_call_when_it_is_idle() -> None:
    runs = Runs(Prices(), lambda _: None)
    # Read half an hour late, and not in the order of time.
    runs.add([endless(100), call("b", 130, "timeout"), call("a", 110)], 2000, live=True)
    assert runs.sweep(2000 + IDLE_SECONDS - 1).ended == []

    [run] = runs.sweep(2000 + IDLE_SECONDS + 1).ended

    assert (run.time, run.duration, run.error) == (130, 30.0, "timeout")
    assert (run.inference_calls, run.total_tokens) == (2, 10)


def test_a_store_that_writes_a_day_again_and_again_keeps_no_run_open() -> None:
    runs = Runs(Prices(), lambda _: None)
    runs.add([endless(100), call("a", 110)], 200, live=True)
    for again in (2000, 3700):
        assert runs.add([endless(100), call("a", 110)], again, live=True).repeated == 1
    assert len(runs.sweep(200 + IDLE_SECONDS + 1).ended) == 1

    runs = Runs(Prices(), lambda _: None)
    runs.add([endless(100), call("a", 110)], 200, live=True)
    runs.add([endless(100), call("a", 110), call("b", 1990)], 2000, live=True)
    assert runs.sweep(200 + IDLE_SECONDS + 1).ended == []
