"""What each fact of a model call, a tool call or a run is called on a span, by every generation of names.

The conventions: opentelemetry.io/docs/specs/semconv/gen-ai and semantic-conventions-genai (main). Others:
OpenInference (llm.token_count.*), OpenLLMetry (traceloop.*, llm.*), msgtrace and msgflux, Langfuse
(langfuse.*), Vercel's AI SDK (ai.*), LiteLLM (gen_ai.cost.*) and Pydantic AI (gen_ai.usage.details.*).
"""

from exporters.span import Kind

# A fact -> its names, the one to be believed first.
_NAMES = {
    "operation": ("gen_ai.operation.name",),
    "openinference": ("openinference.span.kind",),
    "langfuse": ("langfuse.observation.type",),
    "traceloop": ("traceloop.span.kind",),
    "request_type": ("llm.request.type",),
    "vercel": ("ai.operationId",),
    "msgtrace": ("span.type",),
    # Asked for first, because that is what users configure; the one that answered where that is not said.
    "model": (
        "gen_ai.request.model",
        "llm.request.model_name",
        "llm.request.model",
        "langfuse.observation.model.name",
        "llm.model_name",
        "llm.model",
        "ai.model.id",
        "embedding.model_name",
        "gen_ai.response.model",
        "llm.response.model_name",
        "llm.response.model",
        "ai.response.model",
    ),
    "parameters": ("llm.invocation_parameters",),
    "provider": ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system", "ai.model.provider"),
    "agent": ("gen_ai.agent.name", "agent.name", "msgflux.nn.module.name", "module.name", "ai.telemetry.functionId"),
    "agent_version": ("gen_ai.agent.version", "langfuse.release", "langfuse.version"),
    "workflow": ("gen_ai.workflow.name", "msgflux.workflow.name", "workflow.name"),
    "entity": ("traceloop.entity.name",),
    "trace_name": ("langfuse.trace.name",),
    "tool": ("gen_ai.tool.name", "tool.name", "ai.toolCall.name", "tool_name"),
    "callings": ("msgflux.nn.tool.callings",),
    "prompt": ("gen_ai.prompt.name", "langfuse.observation.prompt.name", "traceloop.prompt.key"),
    "prompt_version": (
        "gen_ai.prompt.version",
        "langfuse.observation.prompt.version",
        "traceloop.prompt.version",
        "llm.prompt_template.version",
    ),
    "environment": ("langfuse.environment", "deployment.environment.name", "deployment.environment", "environment"),
    "streaming": (
        "gen_ai.request.stream",
        "gen_ai.is_streaming",
        "llm.is_streaming",
        "gen_ai.request.is_stream",
    ),
    "first_chunk": ("gen_ai.response.time_to_first_chunk", "gen_ai.server.time_to_first_token"),
    "first_chunk_ms": ("ai.response.msToFirstChunk",),
    "first_chunk_at": ("langfuse.observation.completion_start_time",),
    "error": ("error.type", "exception.type"),
    "level": ("langfuse.observation.level",),
    "status_message": ("langfuse.observation.status_message",),
    "usage_details": ("langfuse.observation.usage_details",),
    "cost_details": ("langfuse.observation.cost_details",),
    "input_tokens": (
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.prompt_tokens",
        "llm.token_count.prompt",
        "llm.usage.prompt_tokens",
        "ai.usage.inputTokens",
        "ai.usage.promptTokens",
        "ai.usage.tokens",
    ),
    "output_tokens": (
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.completion_tokens",
        "llm.token_count.completion",
        "llm.usage.completion_tokens",
        "ai.usage.outputTokens",
        "ai.usage.completionTokens",
    ),
    "total_tokens": (
        "gen_ai.usage.total_tokens",
        "llm.token_count.total",
        "llm.usage.total_tokens",
        "ai.usage.totalTokens",
    ),
    "cache_read": (
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "llm.token_count.prompt_details.cache_read",
        "llm.usage.cache_read_input_tokens",
        "gen_ai.usage.details.cache_read_tokens",
        "ai.usage.cachedInputTokens",
    ),
    "cache_write": (
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "llm.token_count.prompt_details.cache_write",
        "llm.usage.cache_creation_input_tokens",
        "gen_ai.usage.details.cache_write_tokens",
    ),
    "reasoning": (
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
        "llm.token_count.completion_details.reasoning",
        "llm.usage.reasoning_tokens",
        "gen_ai.usage.details.reasoning_tokens",
        "ai.usage.reasoningTokens",
    ),
    "cost": (
        "gen_ai.usage.cost",
        "gen_ai.usage.cost.total",
        "gen_ai.usage.total_cost",
        "gen_ai.cost.total_cost",
        "litellm.cost.total",
        "llm.cost.total",
        "operation.cost",
    ),
    # Money, whatever the names of the first line say.
    "input_cost": (
        "gen_ai.usage.cost.input_tokens",
        "gen_ai.usage.input_cost",
        "gen_ai.cost.input_cost",
        "llm.cost.input",
        "llm.cost.prompt",
    ),
    "output_cost": (
        "gen_ai.usage.cost.output_tokens",
        "gen_ai.usage.output_cost",
        "gen_ai.cost.output_cost",
        "llm.cost.output",
        "llm.cost.completion",
    ),
    "currency": ("gen_ai.usage.cost.currency", "llm.cost.currency"),
}
# A name -> the fact and its place among that fact's names: a span is gone through once.
FACTS = {name: (fact, place) for fact, names in _NAMES.items() for place, name in enumerate(names)}
# Facts that are names, kept as texts of a line: there are few, and the same come again and again.
NAMED = frozenset(
    (
        "operation", "openinference", "langfuse", "traceloop", "request_type", "vercel", "msgtrace", "model",
        "provider", "agent", "agent_version", "workflow", "entity", "trace_name", "tool", "prompt", "prompt_version",
        "environment", "error", "level",
    )
)  # fmt: skip

# What a span says that it is, by the fact that says it -> the kind of span, and a model call's operation.
# Facts that come first are believed first; what is in none of these lists says nothing.
KINDS: dict[str, dict[str, tuple[Kind, str]]] = {
    "operation": {
        "chat": ("inference", "chat"),
        "text_completion": ("inference", "text_completion"),
        "completion": ("inference", "text_completion"),
        "generate_content": ("inference", "generate_content"),
        "embeddings": ("inference", "embeddings"),
        "embedding": ("inference", "embeddings"),
        "execute_tool": ("tool", ""),
        "tool": ("tool", ""),
        "invoke_agent": ("run", ""),
        "agent": ("run", ""),
        "invoke_workflow": ("run", ""),
        # These fetch an answer again, or hold the calls that they take: their usage is another span's.
        "fetch_response": ("part", ""),
        "create_agent": ("part", ""),
        "plan": ("part", ""),
        "retrieval": ("part", ""),
    },
    "openinference": {
        "llm": ("inference", "chat"),
        "embedding": ("inference", "embeddings"),
        "tool": ("tool", ""),
        "agent": ("run", ""),
    },
    "langfuse": {
        "generation": ("inference", "chat"),
        "embedding": ("inference", "embeddings"),
        "tool": ("tool", ""),
        "agent": ("run", ""),
    },
    "traceloop": {"tool": ("tool", ""), "agent": ("run", ""), "workflow": ("run", "")},
    "request_type": {
        "chat": ("inference", "chat"),
        "completion": ("inference", "text_completion"),
        "embedding": ("inference", "embeddings"),
        # LiteLLM's are all chats.
        "acompletion": ("inference", "chat"),
        "aembedding": ("inference", "embeddings"),
    },
    "vercel": {
        "ai.generatetext.dogenerate": ("inference", "chat"),
        "ai.streamtext.dostream": ("inference", "chat"),
        "ai.generateobject.dogenerate": ("inference", "chat"),
        "ai.streamobject.dostream": ("inference", "chat"),
        "ai.embed.doembed": ("inference", "embeddings"),
        "ai.embedmany.doembed": ("inference", "embeddings"),
        "ai.toolcall": ("tool", ""),
        # The loop of calls and tools; their sum stands on it too.
        "ai.generatetext": ("run", ""),
        "ai.streamtext": ("run", ""),
        "ai.embed": ("part", ""),
        "ai.embedmany": ("part", ""),
    },
    "msgtrace": {"flow": ("run", "")},
}
# Names of spans that say what no attribute does; the first are msgflux's.
KINDS_BY_SPAN_NAME: dict[str, Kind] = {"Tool Usage": "tool", "Workflow Initialized": "run"}
# What stands in front of a tool's or an agent's name in the name of a span.
SPAN_NAME_PREFIXES = ("execute_tool ", "invoke_agent ", "invoke_workflow ")
# Names of spans that name no tool and no agent.
NAMELESS = frozenset(
    ("Tool Usage", "Workflow Initialized", "execute_tool", "invoke_agent", "invoke_workflow", "ai.toolCall")
)

# As it is written in lower case, with `_` for spaces and hyphens -> OpenTelemetry's `gen_ai.provider.name`.
PROVIDERS = {
    "anthropic": "anthropic",
    "aws.bedrock": "aws.bedrock",
    "azure.ai.inference": "azure.ai.inference",
    "azure.ai.openai": "azure.ai.openai",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "gcp.gemini": "gcp.gemini",
    "gcp.gen_ai": "gcp.gen_ai",
    "gcp.vertex_ai": "gcp.vertex_ai",
    "groq": "groq",
    "ibm.watsonx.ai": "ibm.watsonx.ai",
    "mistral_ai": "mistral_ai",
    "moonshot_ai": "moonshot_ai",
    "openai": "openai",
    "perplexity": "perplexity",
    "x_ai": "x_ai",
    "amazon_bedrock": "aws.bedrock",
    "aws": "aws.bedrock",
    "aws_bedrock": "aws.bedrock",
    "bedrock": "aws.bedrock",
    "az.ai.inference": "azure.ai.inference",
    "azure_ai": "azure.ai.inference",
    "az.ai.openai": "azure.ai.openai",
    "azure": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "claude": "anthropic",
    "gemini": "gcp.gemini",
    "google": "gcp.gen_ai",
    "google_genai": "gcp.gen_ai",
    "google.generative_ai": "gcp.gen_ai",
    "google_vertexai": "gcp.vertex_ai",
    "google.vertex": "gcp.vertex_ai",
    "vertexai": "gcp.vertex_ai",
    "vertex_ai": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "moonshot": "moonshot_ai",
    "moonshotai": "moonshot_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
