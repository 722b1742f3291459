"""Spans of instrumented calls: every generation of names becomes the same record."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.sources.genai import Described, RecordError, environment_of, spans_of
from exporters.sources.records import LONGEST
from exporters.span import ERROR_TYPES, Span

END = 1_760_531_001.5


def described(name: str = "chat gpt-5", **given: Any) -> Described:
    """A span of 1.5 seconds; attributes and the rest as given."""
    fields: dict[str, Any] = {
        "trace_id": "t", "span_id": "s", "parent_id": "p", "name": name, "start": END - 1.5, "end": END,
        "error": False, "message": "", "attributes": {}, "environment": environment_of(given.pop("resource", {})),
    }  # fmt: skip
    return Described(**{**fields, **given})


def one(name: str = "x", *, environment: str = "", **given: Any) -> Span:
    [span] = spans_of(described(name, **given), environment)
    return span


def call(**attributes: Any) -> Span:
    """The span of a model call with these attributes besides those that make it one."""
    return one(attributes={"gen_ai.operation.name": "chat", **attributes})


def inference(**fields: Any) -> Span:
    """The model call that nearly every generation of names below speaks of."""
    usual = {
        "operation": "chat", "model": "gpt-5", "provider": "openai", "duration": 1.5, "input_tokens": 412,
        "output_tokens": 96, "cache_read_tokens": 256, "reasoning_tokens": 64,
    }  # fmt: skip
    return Span("inference", True, "t", "s", "p", END, **{**usual, **fields})


# The same call, by every generation of names.

CONVENTIONS = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.response.model": "gpt-5-2026-08-07",
    "gen_ai.usage.input_tokens": 412,
    "gen_ai.usage.output_tokens": 96,
    "gen_ai.usage.cache_read.input_tokens": 256,
    "gen_ai.usage.cache_write.input_tokens": 100,
    "gen_ai.usage.reasoning.output_tokens": 64,
    "gen_ai.agent.name": "planner",
    "gen_ai.agent.version": "2.1",
    "gen_ai.prompt.name": "plan",
    "gen_ai.prompt.version": 7,
    "gen_ai.request.stream": True,
    "gen_ai.response.time_to_first_chunk": 0.25,
}
FIRST_CONVENTIONS = {
    "gen_ai.operation.name": "chat",
    "gen_ai.system": "openai",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.usage.prompt_tokens": 412,
    "gen_ai.usage.completion_tokens": 96,
    "gen_ai.usage.cache_read.input_tokens": 256,
    "gen_ai.usage.cache_creation.input_tokens": 100,
    "gen_ai.usage.reasoning_tokens": 64,
}
# opentelemetry-instrumentation-openai 0.62.4, as it was seen on the wire.
OPENLLMETRY = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.response.model": "gpt-5-2026-08-07",
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.is_streaming": False,
    "gen_ai.usage.input_tokens": 412,
    "gen_ai.usage.output_tokens": 96,
    "gen_ai.usage.total_tokens": 508,
    "gen_ai.usage.cache_read.input_tokens": 256,
    "gen_ai.usage.reasoning_tokens": 64,
    "gen_ai.input.messages": '[{"role": "user"}]',
}
OLD_OPENLLMETRY = {
    "llm.request.type": "chat",
    "gen_ai.system": "OpenAI",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.usage.prompt_tokens": 412,
    "gen_ai.usage.completion_tokens": 96,
    "llm.usage.total_tokens": 508,
    "gen_ai.usage.cache_read_input_tokens": 256,
    "llm.usage.reasoning_tokens": 64,
    "llm.is_streaming": "false",
}
# openinference-instrumentation-openai 0.1.66, as it was seen on the wire.
OPENINFERENCE = {
    "openinference.span.kind": "LLM",
    "llm.system": "openai",
    "llm.model_name": "gpt-5",
    "llm.token_count.prompt": 412,
    "llm.token_count.completion": 96,
    "llm.token_count.total": 508,
    "llm.token_count.prompt_details.cache_read": 256,
    "llm.token_count.completion_details.reasoning": 64,
    "llm.finish_reason": "stop",
    "input.value": "{}",
}
# opentelemetry-instrumentation-openai-v2 2.3b0, as it was seen on the wire.
OPENAI_V2 = {
    "gen_ai.operation.name": "chat",
    "gen_ai.system": "openai",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.usage.input_tokens": 412,
    "gen_ai.usage.output_tokens": 96,
}
LANGFUSE = {
    "langfuse.observation.type": "generation",
    "langfuse.observation.model.name": "gpt-5",
    "gen_ai.system": "openai",
    "langfuse.observation.usage_details": '{"input": 156, "input_cached_tokens": 256, "output": 32,'
    ' "output_reasoning_tokens": 64, "total": 508}',
    "langfuse.observation.cost_details": '{"input": 0.003, "output": 0.0015, "total": 0.0045}',
    "langfuse.observation.prompt.name": "plan",
    "langfuse.observation.prompt.version": 7,
    "langfuse.observation.completion_start_time": '"2025-10-15T12:23:20.250Z"',
    "langfuse.environment": "staging",
}
VERCEL = {
    "ai.operationId": "ai.streamText.doStream",
    "ai.model.id": "gpt-5",
    "ai.model.provider": "openai.chat",
    "ai.usage.promptTokens": 412,
    "ai.usage.completionTokens": 96,
    "ai.usage.cachedInputTokens": 256,
    "ai.usage.reasoningTokens": 64,
    "ai.response.msToFirstChunk": 250,
}


@pytest.mark.parametrize(
    ("attributes", "span"),
    [
        (
            CONVENTIONS,
            inference(
                agent="planner", agent_version="2.1", prompt="plan", prompt_version="7", streaming=True,
                time_to_first_chunk=0.25, cache_write_tokens=100,
            ),
        ),
        (FIRST_CONVENTIONS, inference(cache_write_tokens=100)),
        (OPENLLMETRY, inference()),
        (OLD_OPENLLMETRY, inference()),
        (OPENINFERENCE, inference()),
        (OPENAI_V2, inference(cache_read_tokens=None, reasoning_tokens=None)),
        (
            LANGFUSE,
            inference(
                cost=0.0045, prompt="plan", prompt_version="7", time_to_first_chunk=0.25, streaming=True,
                environment="staging",
            ),
        ),
        (VERCEL, inference(time_to_first_chunk=0.25, streaming=True)),
    ],
    ids=["conventions", "first_conventions", "openllmetry", "old_openllmetry", "openinference", "openai_v2",
         "langfuse", "vercel"],
)  # fmt: skip
def test_every_generation_of_names_becomes_the_same_model_call(attributes: dict[str, Any], span: Span) -> None:
    assert one(attributes=attributes) == span


@pytest.mark.parametrize(
    ("attributes", "cost"),
    [
        ({"llm.cost.total": 0.0021, "llm.cost.input": 0.001}, 0.0021),
        ({"llm.cost.input": 0.0005, "llm.cost.output": 0.0015}, 0.002),
        ({"gen_ai.usage.cost.input_tokens": 0.003, "gen_ai.usage.cost.output_tokens": 0.0015}, 0.0045),
        ({"gen_ai.usage.cost.input_tokens": 3, "gen_ai.usage.cost.output_tokens": "1", "x": 0}, 4.0),
        ({"llm.cost.prompt": 0.003, "llm.cost.completion": 0.0015}, 0.0045),
        ({"gen_ai.cost.total_cost": 0.5, "gen_ai.cost.input_cost": 0.1}, 0.5),
        ({"operation.cost": 0.25}, 0.25),
        ({"gen_ai.usage.cost": 0}, 0.0),
        ({"gen_ai.usage.cost": " "}, None),
        # Half a cost is no cost where the other half has tokens.
        ({"gen_ai.usage.cost.input_tokens": 0.003, "gen_ai.usage.output_tokens": 5}, None),
        ({"gen_ai.usage.cost.input_tokens": 0.003, "gen_ai.usage.output_tokens": 0}, 0.003),
        ({"gen_ai.usage.cost.output_tokens": 0.003, "gen_ai.usage.input_tokens": 5}, None),
        ({"langfuse.observation.cost_details": {"input": 0.25, "output": 0.5}}, 0.75),
        ({}, None),
    ],
)
def test_money_is_what_a_span_reports(attributes: dict[str, Any], cost: float | None) -> None:
    assert call(**attributes).cost == (None if cost is None else pytest.approx(cost))


@pytest.mark.parametrize(("currency", "cost"), [("USD", 0.5), ("usd", 0.5), ("EUR", None), (["USD"], None)])
def test_money_of_another_currency_is_not_counted_as_dollars(currency: Any, cost: float | None) -> None:
    assert call(**{"gen_ai.usage.cost": 0.5, "gen_ai.usage.cost.currency": currency}).cost == cost


@pytest.mark.parametrize(
    ("details", "tokens"),
    [
        # (input, output, cache read, cache written, reasoning, unsplit)
        ({"input": 100, "output": 20}, (100, 20, None, None, None, None)),
        ({"input": 100, "output": 20, "input_cache_read": 50, "input_cache_creation_5m": 5,
          "input_cache_creation_1h": 6, "output_reasoning": 7}, (161, 27, 50, 11, 7, None)),
        ({"input": 0, "output": 0, "input_cached_tokens": 0}, (0, 0, 0, None, None, None)),
        ({"input": 10, "input_audio_tokens": 5, "output": 3, "output_audio_tokens": 2},
         (15, 5, None, None, None, None)),
        # Anthropic's own: input without what was cached.
        ({"input_tokens": 10, "cache_read_input_tokens": 90, "cache_creation_input_tokens": 20, "output_tokens": 5},
         (120, 5, 90, 20, None, None)),
        # OpenAI's own: everything is in.
        ({"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, "prompt_tokens_details":
          {"cached_tokens": 64, "audio_tokens": None}, "completion_tokens_details": {"reasoning_tokens": 8}},
         (100, 20, 64, None, 8, None)),
        ({"input_tokens": 100, "output_tokens": 20, "input_tokens_details": {"cached_tokens": 64},
          "output_tokens_details": {"reasoning_tokens": 8}}, (100, 20, 64, None, 8, None)),
        ({"total": 33}, (None, None, None, None, None, 33)),
        ({"input": 30, "total": 33}, (30, None, None, None, None, None)),
    ],
)  # fmt: skip
def test_a_map_of_usage_is_counted_as_whose_it_is_counts(details: dict[str, Any], tokens: tuple[int | None]) -> None:
    span = call(**{"langfuse.observation.usage_details": details})
    assert tokens == (
        span.input_tokens, span.output_tokens, span.cache_read_tokens, span.cache_write_tokens, span.reasoning_tokens,
        span.unsplit_tokens,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("attributes", "tokens"),
    [
        ({"gen_ai.usage.total_tokens": 33}, (None, None, 33)),
        ({"gen_ai.usage.total_tokens": 33, "gen_ai.usage.output_tokens": 3}, (30, 3, None)),
        ({"gen_ai.usage.total_tokens": 33, "gen_ai.usage.input_tokens": 30}, (30, 3, None)),
        ({"gen_ai.usage.total_tokens": 33, "gen_ai.usage.input_tokens": 40}, (40, None, None)),
        ({"gen_ai.usage.input_tokens": 0, "gen_ai.usage.output_tokens": 0}, (0, 0, None)),
        ({"gen_ai.usage.input_tokens": "412", "gen_ai.usage.output_tokens": 96.0}, (412, 96, None)),
        ({"gen_ai.usage.input_tokens": "", "gen_ai.usage.output_tokens": None}, (None, None, None)),
        # A total is asked for nothing that is known.
        *(
            (
                {
                    "gen_ai.usage.input_tokens": given,
                    "gen_ai.usage.output_tokens": 96,
                    "gen_ai.usage.total_tokens": "?",
                },
                (412, 96, None),
            )
            for given in (412, "412")
        ),
        # The newer name is believed, wherever it stands.
        ({"gen_ai.usage.prompt_tokens": 1, "gen_ai.usage.input_tokens": 0}, (0, None, None)),
        ({"gen_ai.usage.input_tokens": 0, "gen_ai.usage.prompt_tokens": 1}, (0, None, None)),
    ],
)
def test_tokens_are_numbers_however_they_are_written_and_nothing_is_not_zero(
    attributes: dict[str, Any], tokens: tuple[int | None]
) -> None:
    span = call(**attributes)
    assert (span.input_tokens, span.output_tokens, span.unsplit_tokens) == tokens


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"gen_ai.usage.input_tokens": -1}, "out_of_range"),
        ({"gen_ai.usage.input_tokens": 2**53}, "out_of_range"),
        ({"gen_ai.usage.input_tokens": 10**5000}, "out_of_range"),
        ({"gen_ai.usage.input_tokens": "1" * 400}, "non_finite"),
        ({"gen_ai.usage.input_tokens": math.nan}, "non_finite"),
        ({"gen_ai.usage.input_tokens": 1.5}, "wrong_type"),
        ({"gen_ai.usage.input_tokens": True}, "wrong_type"),
        ({"gen_ai.usage.input_tokens": [1]}, "wrong_type"),
        ({"gen_ai.usage.input_tokens": "many"}, "wrong_type"),
        ({"gen_ai.usage.output_tokens": {}}, "wrong_type"),
        ({"gen_ai.usage.output_tokens": 1, "gen_ai.usage.total_tokens": "?"}, "wrong_type"),
        ({"gen_ai.usage.cost": "-0.5"}, "out_of_range"),
        ({"gen_ai.usage.cost": math.inf}, "non_finite"),
        ({"gen_ai.response.time_to_first_chunk": -1}, "out_of_range"),
        ({"langfuse.observation.usage_details": "{"}, "json"),
        ({"langfuse.observation.usage_details": {"input": -1}}, "out_of_range"),
        ({"langfuse.observation.cost_details": {"total": -1}}, "out_of_range"),
        ({"langfuse.observation.completion_start_time": "soon"}, "timestamp"),
    ],
)
def test_a_number_that_cannot_be_makes_a_bad_record(attributes: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecordError) as raised:
        call(**attributes)
    assert str(raised.value) == reason


# What a span is.


@pytest.mark.parametrize(
    ("name", "attributes", "kind", "operation"),
    [
        ("x", {"gen_ai.operation.name": "chat"}, "inference", "chat"),
        ("x", {"gen_ai.operation.name": "CHAT"}, "inference", "chat"),
        ("x", {"gen_ai.operation.name": "text_completion"}, "inference", "text_completion"),
        ("x", {"gen_ai.operation.name": "generate_content"}, "inference", "generate_content"),
        ("x", {"gen_ai.operation.name": "embeddings"}, "inference", "embeddings"),
        ("x", {"gen_ai.operation.name": "embedding"}, "inference", "embeddings"),
        ("x", {"gen_ai.operation.name": "rerank", "gen_ai.request.model": "r"}, "inference", "rerank"),
        ("x", {"gen_ai.operation.name": "fetch_response", "gen_ai.usage.input_tokens": 9}, "part", ""),
        ("x", {"gen_ai.operation.name": "create_agent", "gen_ai.request.model": "m"}, "part", ""),
        ("x", {"gen_ai.operation.name": "execute_tool"}, "tool", ""),
        ("x", {"gen_ai.operation.name": "tool"}, "tool", ""),
        ("x", {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 9}, "run", ""),
        ("x", {"gen_ai.operation.name": "agent"}, "run", ""),
        ("x", {"gen_ai.operation.name": "invoke_workflow"}, "run", ""),
        ("x", {"openinference.span.kind": "EMBEDDING"}, "inference", "embeddings"),
        ("x", {"openinference.span.kind": "TOOL"}, "tool", ""),
        ("x", {"openinference.span.kind": "AGENT"}, "run", ""),
        ("x", {"openinference.span.kind": "CHAIN"}, "part", ""),
        ("x", {"langfuse.observation.type": "span", "gen_ai.operation.name": "chat"}, "inference", "chat"),
        ("x", {"langfuse.observation.type": "tool"}, "tool", ""),
        ("x", {"langfuse.observation.type": "agent"}, "run", ""),
        ("x", {"langfuse.observation.type": "span"}, "part", ""),
        ("x", {"traceloop.span.kind": "agent"}, "run", ""),
        ("x", {"traceloop.span.kind": "workflow"}, "run", ""),
        ("x", {"traceloop.span.kind": "task"}, "part", ""),
        ("x", {"traceloop.span.kind": "tool"}, "tool", ""),
        ("x", {"llm.request.type": "completion"}, "inference", "text_completion"),
        ("x", {"ai.operationId": "ai.toolCall"}, "tool", ""),
        ("x", {"ai.operationId": "ai.generateText", "ai.usage.promptTokens": 9}, "run", ""),
        ("x", {"gen_ai.tool.name": "search"}, "tool", ""),
        ("Tool Usage", {}, "tool", ""),
        ("Workflow Initialized", {"msgflux.workflow.name": "w"}, "run", ""),
        ("Module Initialized", {"msgflux.nn.module.name": "Predictor"}, "part", ""),
        ("Prepare Model Execution", {}, "part", ""),
        ("x", {"span.type": "flow"}, "run", ""),
        ("x", {"span.type": "module"}, "part", ""),
        ("x", {"llm.model": "m", "llm.usage.prompt_tokens": 1}, "inference", "chat"),
        ("x", {"llm.usage.prompt_tokens": 0}, "inference", "chat"),
        ("x", {"msgflux.workflow.name": "w"}, "part", ""),
        ("GET /", {"http.request.method": "GET"}, "part", ""),
        ("x", {}, "part", ""),
    ],
)
def test_what_a_span_is(name: str, attributes: dict[str, Any], kind: str, operation: str) -> None:
    span = one(name, attributes=attributes)
    assert (span.kind, span.operation) == (kind, operation)
    assert (span.trace_id, span.span_id, span.parent_id, span.time, span.duration) == ("t", "s", "p", END, 1.5)


def test_only_a_root_is_the_run_of_the_workflow_that_it_names() -> None:
    root = one("step", attributes={"workflow.name": "Predictor"}, parent_id="")
    assert (root.kind, root.agent) == ("run", "Predictor")


@pytest.mark.parametrize(
    ("name", "attributes", "agent"),
    [
        ("invoke_agent planner", {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "p"}, "p"),
        ("invoke_agent planner", {"gen_ai.operation.name": "invoke_agent"}, "planner"),
        ("invoke_agent", {"gen_ai.operation.name": "invoke_agent"}, ""),
        ("invoke_workflow trip", {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": "w"}, "w"),
        ("Triage", {"openinference.span.kind": "AGENT"}, "Triage"),
        ("Triage", {"openinference.span.kind": "AGENT", "agent.name": "t"}, "t"),
        ("planner.agent", {"traceloop.span.kind": "agent", "traceloop.entity.name": "planner"}, "planner"),
        ("answer", {"langfuse.observation.type": "agent"}, "answer"),
        ("Workflow Initialized", {"msgflux.workflow.name": "Predictor"}, "Predictor"),
        ("Workflow Initialized", {}, ""),
        ("Module Initialized", {"msgflux.nn.module.name": "Predictor"}, "Predictor"),
        # The name of a workflow or a trace that stands on every span is no agent's.
        ("x", {"gen_ai.operation.name": "chat", "workflow.name": "w", "langfuse.trace.name": "t"}, ""),
        ("x", {"traceloop.span.kind": "task", "traceloop.entity.name": "step"}, ""),
    ],
)
def test_the_agent_is_what_the_span_itself_says(name: str, attributes: dict[str, Any], agent: str) -> None:
    assert one(name, attributes=attributes).agent == agent


def test_the_root_of_a_trace_in_langfuse_is_its_run() -> None:
    said = {"langfuse.observation.type": "span", "langfuse.trace.name": "support", "langfuse.release": "v3"}
    root = one("answer", attributes=said, parent_id="")
    assert (root.kind, root.agent, root.agent_version) == ("run", "support", "v3")
    agent = one("answer", attributes={**said, "langfuse.observation.type": "agent"}, parent_id="")
    assert (agent.kind, agent.agent) == ("run", "answer")
    event = one("answer", attributes={**said, "langfuse.observation.type": "event"}, parent_id="")
    assert (event.kind, event.agent) == ("part", "support")


@pytest.mark.parametrize(
    ("name", "attributes", "tool"),
    [
        ("execute_tool search", {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "s"}, "s"),
        ("execute_tool search", {"gen_ai.operation.name": "execute_tool"}, "search"),
        ("search", {"openinference.span.kind": "TOOL"}, "search"),
        ("search", {"openinference.span.kind": "TOOL", "tool.name": "s"}, "s"),
        ("search.tool", {"traceloop.span.kind": "tool", "traceloop.entity.name": "search"}, "search"),
        ("search", {"langfuse.observation.type": "tool"}, "search"),
        ("ai.toolCall", {"ai.operationId": "ai.toolCall", "ai.toolCall.name": "s"}, "s"),
        ("Tool Usage", {"msgflux.nn.tool.callings": '[{"id":"1","name":"s","parameters":{}}]'}, "s"),
        ("Tool Usage", {"msgflux.nn.tool.callings": b'[{"id":"1","name":"s","parameters":{}}]'}, "s"),
        ("Tool Usage", {"msgflux.nn.tool.callings": "[{"}, ""),
        ("Tool Usage", {"msgflux.nn.tool.callings": '{"name": "s"}'}, ""),
        ("Tool Usage", {}, ""),
    ],
)
def test_the_tool_is_named_by_the_span_or_by_its_name(name: str, attributes: dict[str, Any], tool: str) -> None:
    span = one(name, attributes=attributes)
    assert (span.kind, span.tool, span.duration) == ("tool", tool, 1.5)


def test_a_span_of_several_tools_side_by_side_is_as_many_calls_of_unknown_length() -> None:
    callings = '[{"id":"1","name":"search"},{"id":"2","name":"search"},{"id":"3","name":"fetch"}]'
    spans = spans_of(described("Tool Usage", attributes={"msgflux.nn.tool.callings": callings}, error=True))
    assert [(span.span_id, span.tool, span.duration, span.error) for span in spans] == [
        ("s", "search", None, "_OTHER"), ("s/1", "search", None, "_OTHER"), ("s/2", "fetch", None, "_OTHER"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "provider"),
    [
        ("openai", "openai"), ("OpenAI", "openai"), ("az.ai.openai", "azure.ai.openai"), ("Azure", "azure.ai.openai"),
        ("AWS", "aws.bedrock"), ("vertex_ai", "gcp.vertex_ai"), ("mistralai", "mistral_ai"), ("xai", "x_ai"),
        ("anthropic.messages", "anthropic"), ("google.generative-ai", "gcp.gen_ai"), ("amazon-bedrock", "aws.bedrock"),
        ("gcp.gemini", "gcp.gemini"), ("hosted_vllm", "hosted_vllm"), (7.5, "7.5"), (["openai"], ""),
    ],
)  # fmt: skip
def test_a_provider_has_one_name(said: Any, provider: str) -> None:
    assert call(**{"gen_ai.provider.name": said}).provider == provider


def test_the_model_asked_for_is_named_before_the_one_that_answered() -> None:
    assert call(**{"gen_ai.response.model": "gpt-5-2026"}).model == "gpt-5-2026"
    assert call(**{"gen_ai.response.model": "gpt-5-2026", "gen_ai.request.model": "gpt-5"}).model == "gpt-5"


@pytest.mark.parametrize("nothing", [None, "", "  ", True, ["gpt-5"], {}])
def test_a_name_that_says_nothing_hides_no_other(nothing: Any) -> None:
    said = {"gen_ai.request.model": nothing, "gen_ai.response.model": "gpt-5-2026", "gen_ai.operation.name": "chat"}
    call = one(attributes={**said, "gen_ai.agent.name": nothing, "agent.name": "planner"})
    assert (call.model, call.agent) == ("gpt-5-2026", "planner")
    run = one(
        "invoke_agent planner", attributes={"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": nothing}
    )
    assert (run.kind, run.agent) == ("run", "planner")


def test_the_environment_is_said_by_the_span_its_resource_or_the_option() -> None:
    resource = {"deployment.environment": "old", "deployment.environment.name": "prod"}
    assert one(environment="option").environment == "option"
    assert one(environment="option", resource=resource).environment == "prod"
    assert one(resource={"deployment.environment": "old"}).environment == "old"
    assert one(resource=resource, attributes={"langfuse.environment": "dev"}).environment == "dev"


# Errors and times.


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({}, ""),
        ({"error": True}, "_OTHER"),
        ({"error": True, "message": "RateLimitError: 429"}, "rate_limited"),
        ({"error": True, "attributes": {"error.type": "timeout"}, "message": "x"}, "timeout"),
        ({"error": True, "events": [("exception", {"exception.type": "openai.APIConnectionError"})]}, "connection"),
        ({"error": True, "events": [("log", {"exception.type": "APIConnectionError"})]}, "_OTHER"),
        ({"attributes": {"langfuse.observation.level": "ERROR",
                         "langfuse.observation.status_message": "content_filter"}}, "content_filter"),
        # Without the status of an error it is none: an exception that was caught.
        ({"attributes": {"error.type": "timeout"}}, ""),
        ({"error": True, "attributes": {"error.type": ["timeout"]}, "message": "\ud800" * 9999}, "_OTHER"),
    ],
)  # fmt: skip
def test_an_error_is_told_by_all_that_the_span_says_of_it(given: dict[str, Any], error: str) -> None:
    assert one(**given).error == error


@pytest.mark.parametrize(
    ("start", "duration"), [(END - 1.5, 1.5), (END, 0.0), (END + 1, None), (None, None), (0.0, None), (math.nan, None)]
)
def test_a_span_that_does_not_begin_before_its_end_has_no_duration(start: float | None, duration: float | None) -> None:
    assert one(start=start).duration == duration


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"end": None}, "timestamp"),
        ({"end": 0.0}, "timestamp"),
        ({"end": -1.0}, "timestamp"),
        ({"end": math.nan}, "timestamp"),
        ({"end": 4102444800.0}, "timestamp"),
        ({"trace_id": ""}, "missing_field"),
        ({"span_id": ""}, "missing_field"),
        ({"span_id": "s" * (LONGEST + 1)}, "id_too_long"),
        ({"parent_id": "s" * (LONGEST + 1)}, "id_too_long"),
    ],
)
def test_a_span_without_a_time_or_an_id_is_a_bad_record(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecordError) as raised:
        one(**given)
    assert str(raised.value) == reason


def test_names_are_cut_and_can_be_written() -> None:
    span = call(**{"gen_ai.request.model": "m" * 9999, "gen_ai.agent.name": "a\ud800b", "gen_ai.provider.name": True})
    assert (span.model, span.agent, span.provider) == ("m" * LONGEST, "a?b", "")


def test_evaluations_on_a_span_are_scores_of_it() -> None:
    events = [
        ("gen_ai.evaluation.result", {"gen_ai.evaluation.name": "relevance", "gen_ai.evaluation.score.value": 0.75}),
        ("gen_ai.evaluation.result", {"gen_ai.evaluation.name": "label only", "gen_ai.evaluation.score.label": "ok"}),
        ("gen_ai.evaluation.result", {"gen_ai.evaluation.name": "nan", "gen_ai.evaluation.score.value": math.nan}),
        ("gen_ai.evaluation.result", {"gen_ai.evaluation.name": "tone", "gen_ai.evaluation.score.value": -1}),
        ("exception", {}),
    ]
    chat, relevance, tone = spans_of(
        described(attributes={**OPENAI_V2, "gen_ai.agent.name": "a"}, events=events), "prod"
    )
    assert chat.kind == "inference"
    wanted = Span(
        "score", True, "t", "s/score/0", "s", END, "a", environment="prod", score_name="relevance", score=0.75
    )
    assert relevance == wanted
    assert (tone.span_id, tone.score_name, tone.score) == ("s/score/1", "tone", -1.0)


NAMES = st.sampled_from(
    [
        *CONVENTIONS, *FIRST_CONVENTIONS, *OLD_OPENLLMETRY, *OPENINFERENCE, *LANGFUSE, *VERCEL, "gen_ai.usage.cost",
        "gen_ai.usage.cost.currency", "gen_ai.usage.cost.input_tokens", "msgflux.nn.tool.callings", "error.type",
        "gen_ai.tool.name", "traceloop.span.kind", "workflow.name", "langfuse.observation.level",
    ]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    | st.sampled_from(["chat", "LLM", "execute_tool", "invoke_agent", "generation", "{}", '{"input": 1e999}', 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
ATTRIBUTES = st.dictionaries(NAMES | st.text(max_size=9), VALUES, max_size=12)


@given(
    name=st.sampled_from(["Tool Usage", "x", "\ud800", "execute_tool "]),
    attributes=ATTRIBUTES,
    resource=ATTRIBUTES,
    ids=st.tuples(st.text(max_size=3), st.text(max_size=3), st.text(max_size=3)),
    times=st.tuples(st.none() | st.floats(), st.none() | st.floats()) | st.just((END - 1, END)),
    events=st.lists(st.tuples(st.sampled_from(["exception", "gen_ai.evaluation.result"]), ATTRIBUTES), max_size=2),
    error=st.booleans(),
)
def test_whatever_a_span_says_it_is_spans_or_a_bad_record(
    name: str, attributes: Any, resource: Any, ids: Any, times: Any, events: Any, error: bool
) -> None:
    trace_id, span_id, parent_id = ids
    start, end = times
    found = Described(
        trace_id=trace_id, span_id=span_id, parent_id=parent_id, name=name, start=start, end=end, error=error,
        message=name, attributes=attributes, environment=environment_of(resource), events=events,
    )  # fmt: skip
    try:
        spans = spans_of(found, "env")
    except RecordError as reason:
        assert str(reason) in {
            "out_of_range", "non_finite", "wrong_type", "json", "timestamp", "missing_field", "id_too_long",
        }  # fmt: skip
        return
    assert spans
    for span in spans:
        assert span.ended
        assert 0 < span.time < 4102444800
        assert span.duration is None or span.duration >= 0
        assert span.error == "" or span.error in ERROR_TYPES
        for amount in (span.input_tokens, span.output_tokens, span.cost, span.unsplit_tokens):
            assert amount is None or amount >= 0
        for label in (span.agent, span.model, span.provider, span.tool, span.operation, span.environment):
            assert len(label.encode()) <= LONGEST * 4


def test_openinferences_model_is_the_one_that_was_asked_for() -> None:
    parameters = '{"tools": [{"model": "x"}], "temperature": 0, "model": "gpt-4o-mini"}'
    said = {"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o-mini-2024-07-18"}
    assert (
        one(attributes={**said, "llm.invocation_parameters": '{"n": 1, "model": "gpt-4o-mini"}'}).model == "gpt-4o-mini"
    )
    for unclear in (parameters, "{", 7, ["model"]):
        assert one(attributes={**said, "llm.invocation_parameters": unclear}).model == "gpt-4o-mini-2024-07-18"
