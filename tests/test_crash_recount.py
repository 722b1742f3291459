"""The recount that crash tests hold the exporter against, itself held against numbers worked out by hand."""

import json

from crash_recount import expected, samples

CHAT = {"timestamp": "2026-11-21T04:00:00+00:00", "trace_id": "t", "run_type": "chat", "agent_name": "writer"}
CALL = {**CHAT, "operation": "openai_iteration_1", "model": "m", "data": {"model": "m"}}


def test_a_chat_with_a_lost_call_a_failed_tool_a_repetition_and_two_bad_lines():
    usage = {"duration_ms": 500.0, "input_tokens": 30, "output_tokens": 4, "total_tokens": 34, "cost_usd": 0.25}
    ended = {"status": "error", "error_type": "RateLimitError", "duration_ms": 2000.0}
    tool = {"data": {"tool_name": "search"}, "status": "error", "duration_ms": 250.0}
    lines = [
        {**CHAT, "run_id": "r", "event": "trace.start"},
        {**CALL, "run_id": "c1", "event": "llm.request"},
        {**CALL, "run_id": "c1", "event": "llm.response", **usage},
        {**CHAT, "run_id": "x", "event": "tool.result", **tool},
        {**CALL, "run_id": "c2", "event": "llm.request"},
        {**CALL, "run_id": "c1", "event": "llm.response", **usage},
        {**CHAT, "run_id": "r", "event": "trace.end", **ended},
    ]
    written = [json.dumps(line).encode() for line in lines]
    call = 'gen_ai_agent_name="writer",gen_ai_operation_name="chat",gen_ai_provider_name="openai"'
    on = 'gen_ai_request_model="m"'
    of = 'source="createagents"'
    tool_called = 'gen_ai_agent_name="writer",gen_ai_tool_name="search"'
    assert expected([*written, b"{", b'{"timestamp": "then", "event": "trace.start"}']) == {
        f"agentgauge_records_total{{{of}}}": 9,
        f"agentgauge_repeated_spans_total{{{of}}}": 1,
        f'agentgauge_bad_records_total{{reason="json",{of}}}': 1,
        f'agentgauge_bad_records_total{{reason="timestamp",{of}}}': 1,
        f'agentgauge_spans_total{{kind="inference",{of}}}': 2,
        f'agentgauge_spans_total{{kind="tool",{of}}}': 1,
        f'agentgauge_spans_total{{kind="run",{of}}}': 1,
        f'agentgauge_inference_calls_total{{{call},{on},outcome="ok",{of}}}': 1,
        f'agentgauge_inference_calls_total{{{call},{on},outcome="error",{of}}}': 1,
        f'agentgauge_inference_errors_total{{error_type="no_response",{call},{on},{of}}}': 1,
        f"gen_ai_client_inference_usage_input_tokens_total{{{call},{on},{of}}}": 30,
        f"gen_ai_client_inference_usage_output_tokens_total{{{call},{on},{of}}}": 4,
        f'agentgauge_cost_usd_total{{cost_source="reported",{call},{on},{of}}}': 0.25,
        f"gen_ai_client_inference_duration_seconds_count{{{call},{on},{of}}}": 1,
        f"gen_ai_client_inference_duration_seconds_sum{{{call},{on},{of}}}": 0.5,
        f'agentgauge_tool_calls_total{{{tool_called},outcome="error",{of}}}': 1,
        f'agentgauge_tool_errors_total{{error_type="timeout",{tool_called},{of}}}': 1,
        f'gen_ai_execute_tool_duration_seconds_count{{error_type="timeout",{tool_called},{of}}}': 1,
        f'gen_ai_execute_tool_duration_seconds_sum{{error_type="timeout",{tool_called},{of}}}': 0.25,
        f'agentgauge_runs_total{{gen_ai_agent_name="writer",outcome="error",{of}}}': 1,
        f'agentgauge_run_errors_total{{error_type="rate_limited",gen_ai_agent_name="writer",{of}}}': 1,
        f'gen_ai_invoke_agent_duration_seconds_count{{error_type="rate_limited",gen_ai_agent_name="writer",{of}}}': 1,
        f'gen_ai_invoke_agent_duration_seconds_sum{{error_type="rate_limited",gen_ai_agent_name="writer",{of}}}': 2,
        f'gen_ai_invoke_agent_inference_calls_count{{gen_ai_agent_name="writer",{of}}}': 1,
        f'gen_ai_invoke_agent_inference_calls_sum{{gen_ai_agent_name="writer",{of}}}': 2,
        f'gen_ai_invoke_agent_tool_calls_count{{gen_ai_agent_name="writer",{of}}}': 1,
        f'gen_ai_invoke_agent_tool_calls_sum{{gen_ai_agent_name="writer",{of}}}': 1,
    }


def test_samples_are_named_with_their_labels_in_order():
    page = '# TYPE a_total counter\na_total{z="1",b="x \\" y"} 2\nup 1.5e3\n'
    assert samples(page) == {'a_total{b="x \\" y",z="1"}': 2.0, "up{}": 1500.0}
