"""An agent that calls a model with OpenAI's client, watched by one instrumentation package, as a process of its own.

`python tests/otlp_client.py PACKAGE TRACES_URL MODEL_URL`. In one process, what one package leaves wrapped
when it is taken off would stand around the next one's calls.
"""

import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

import openai
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

MODEL = "gpt-4o-mini"


def main(package: str, traces: str, model: str) -> None:
    """Make one call within an agent's run, one that fails and one that streams; all is sent at the end."""
    resource = Resource.create({"service.name": "tests", "deployment.environment.name": "staging"})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=traces, compression=Compression.Gzip)))
    import_module(package).OpenAIInstrumentor().instrument(tracer_provider=provider)
    with openai.OpenAI(base_url=model, api_key="none", max_retries=0) as client:
        with provider.get_tracer("tests").start_as_current_span("invoke_agent planner") as agent:
            agent.set_attributes({"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"})
            ask(client, "How many planets are there?")
        with suppress(openai.RateLimitError):
            ask(client, "busy")
        for _ in ask(client, "Slowly, please", stream=True, stream_options={"include_usage": True}):
            pass
    assert provider.force_flush()
    provider.shutdown()


def ask(client: openai.OpenAI, question: str, **options: Any) -> Any:
    messages: Any = [{"role": "user", "content": question}]
    return client.chat.completions.create(model=MODEL, messages=messages, **options)


if __name__ == "__main__":
    main(*sys.argv[1:])
