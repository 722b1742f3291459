"""Spans of any instrumentation that speaks of model calls: from their attributes to the one record."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from exporters.sources.genai_names import (
    FACTS,
    KINDS,
    KINDS_BY_SPAN_NAME,
    NAMED,
    NAMELESS,
    PROVIDERS,
    SPAN_NAME_PREFIXES,
)
from exporters.sources.genai_usage import cost, tokens
from exporters.sources.records import MOST, RecordError, identity, number, text, time_of
from exporters.span import Kind, Span, error_type

__all__ = ["Described", "RecordError", "environment_of", "spans_of"]

# In the JSON of a call's parameters, which also holds whatever schemas of tools it was given.
_MODEL = re.compile(r'^\s*\{(?:[^{}\[\]]*,)?\s*"model"\s*:\s*"([^"\\]+)"')
# A span of several tool calls is that many spans, up to here.
_CALLS = 100
_YES = (True, "true", "True")
_OPERATIONS = KINDS["operation"]


class Described(msgspec.Struct, gc=False):
    """A span as OpenTelemetry describes it. Times are Unix seconds, `message` is the status's text, `environment`
    is what its resource says, and an event is its name and its attributes.

    `said` are the attributes as `spans_of` sorts them, where whoever read them has done so already, and has seen
    to it that the ids are some."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start: float | None
    end: float | None
    error: bool
    message: str
    attributes: Mapping[str, Any]
    environment: str = ""
    events: Sequence[tuple[str, Mapping[str, Any]]] = ()
    said: dict[str, Any] | None = None


def spans_of(found: Described, environment: str = "") -> list[Span]:
    """Return what a span is: one span, one for each tool where it holds several, and its scores.

    What stands on another span of the trace, such as the agent's name, is left empty. A span
    without a time before its end has no duration. `environment` is where the span says none.
    Raises RecordError on missing or over-long ids, impossible times and impossible numbers.
    """
    said = found.said
    if said is None:
        said = sorted_out(found.attributes)
        found.trace_id, found.span_id = identity(found.trace_id), identity(found.span_id)
        found.parent_id = identity(found.parent_id, needed=False)
    # Nearly always as it is written there.
    kind, operation = _OPERATIONS.get(said.get("operation", "")) or _kind_of(found, said)
    time, start = time_of(found.end), found.start
    agent = said["agent"] if "agent" in said else "" if kind == "inference" else _agent(kind, found, said)
    version = said.get("agent_version", "")
    named = said.get("environment") or found.environment or environment
    error = _error(found, said) if found.error or said.get("level") == "ERROR" else ""
    duration = time - start if start is not None and 0.0 < start <= time else None
    if kind == "inference":
        first_chunk = _first_chunk(start, said)
        given, taken, read, written, reasoned, unsplit = used = tokens(said)
        # By the order of its fields: to set each of them afterwards takes several times as long.
        span = Span(
            "inference", True, found.trace_id, found.span_id, found.parent_id, time, agent,
            _asked(said["parameters"], said) if "parameters" in said else said.get("model", ""),
            _provider(said["provider"]) if "provider" in said else "", operation, "", version, named, error, duration,
            first_chunk, given, taken, read, written, reasoned, unsplit, cost(said, used),
        )  # fmt: skip
        if first_chunk is not None or said.get("streaming") in _YES:
            span.streaming = True
        if "prompt" in said or "prompt_version" in said:
            span.prompt, span.prompt_version = said.get("prompt", ""), said.get("prompt_version", "")
        spans = [span]
    else:
        span = Span(
            kind, True, found.trace_id, found.span_id, found.parent_id, time, agent,
            environment=named, error=error, duration=duration,
        )  # fmt: skip
        spans = [span]
        if kind == "run":
            span.agent_version = version
            given, taken, read, written, reasoned, unsplit = used = tokens(said)
            span.input_tokens, span.output_tokens, span.unsplit_tokens = given, taken, unsplit
            span.cache_read_tokens, span.cache_write_tokens, span.reasoning_tokens = read, written, reasoned
            span.cost = cost(said, used)
        elif kind == "tool":
            spans = _tools(span, found, said)
    if found.events:
        spans += _scores(span, found.events)
    return spans


def environment_of(resource: Mapping[str, Any]) -> str:
    """Return the environment that the attributes of a resource say."""
    return text(resource.get("deployment.environment.name") or resource.get("deployment.environment"))


def sorted_out(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a span's facts: of those with several names, what the name to be believed first says.

    What is NAMED is a text, and not an empty one.
    """
    said: dict[str, Any] = {}
    places: dict[str, int] = {}
    for name, value in attributes.items():
        known = FACTS.get(name)
        if known is None or value is None:
            continue
        fact, place = known
        kept = text(value) if fact in NAMED else value
        if kept != "" and (fact not in said or place < places[fact]):
            said[fact], places[fact] = kept, place
    return said


def _kind_of(found: Described, said: Mapping[str, Any]) -> tuple[Kind, str]:
    """Return what a span is, and the operation of a model call as the conventions name it."""
    for fact, kinds in KINDS.items():
        if fact in said:
            known = kinds.get(said[fact].lower())
            if known is not None:
                return known
    if found.name in KINDS_BY_SPAN_NAME:
        return KINDS_BY_SPAN_NAME[found.name], ""
    if "tool" in said:
        return "tool", ""
    if "model" in said or "input_tokens" in said or "output_tokens" in said or "usage_details" in said:
        return "inference", said.get("operation", "chat")
    # Only a root is the run of the workflow or the trace that it names: other spans may all name it too.
    if not found.parent_id and ("workflow" in said or said.get("langfuse", "event") != "event"):
        return "run", ""
    return "part", ""


def _agent(kind: Kind, found: Described, said: Mapping[str, Any]) -> str:
    """Return the agent that a span names which has no attribute for it; a run has a name where its span has one."""
    named = ""
    if kind == "run":
        own = said.get("langfuse") == "agent"
        named = said.get("entity") or said.get("workflow") or (not own and said.get("trace_name")) or ""
        named = named or text(_name_of(found.name))
    elif kind == "part" and not found.parent_id:
        named = said.get("workflow") or said.get("trace_name") or ""
    return named


def _name_of(name: str) -> str:
    """Return what the name of a span names, without what stands in front of it."""
    if name in NAMELESS:
        return ""
    for prefix in SPAN_NAME_PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _error(found: Described, said: Mapping[str, Any]) -> str:
    """Return the type of an error, from all that a span says of it."""
    texts = [said.get("error"), found.message, said.get("status_message")]
    for name, attributes in found.events:
        if name == "exception":
            texts += [attributes.get("exception.type"), attributes.get("exception.message")]
    return error_type(*(text(value)[:500] for value in texts))


def _asked(parameters: Any, said: Mapping[str, Any]) -> str:
    """Return the model that a call's parameters say was asked for; the one that answered where they say none.

    OpenInference's other name is that of the model which answered, and stands on no call that failed.
    """
    asked = _MODEL.search(str(parameters))
    return (asked and text(asked[1])) or said.get("model", "")


@lru_cache(1024)
def _provider(name: str) -> str:
    """Return OpenTelemetry's name of a provider; the name given where there is none."""
    key = name.lower().replace(" ", "_").replace("-", "_")
    # Vercel's are `openai.chat` and the like.
    return PROVIDERS.get(key) or PROVIDERS.get(key.partition(".")[0]) or name


def _first_chunk(start: float | None, said: Mapping[str, Any]) -> float | None:
    """Return the seconds to the first chunk of an answer. Raises RecordError."""
    if "first_chunk" in said:
        return number(said["first_chunk"])
    if "first_chunk_ms" in said:
        milliseconds = number(said["first_chunk_ms"])
        return None if milliseconds is None else milliseconds / 1000.0
    if "first_chunk_at" not in said or not start:
        return None
    # Langfuse's SDK writes the time as JSON, quotes and all.
    at = text(said["first_chunk_at"]).strip('"')
    try:
        seconds = datetime.fromisoformat(at).timestamp()
    except (ValueError, OverflowError):
        raise RecordError("timestamp") from None
    return seconds - start if seconds >= start else None


def _tools(span: Span, found: Described, said: Mapping[str, Any]) -> list[Span]:
    """Return a tool's span; one for each where a span of msgflux holds several, which ran side by side."""
    names = _called(said["callings"]) if "callings" in said else []
    if len(names) < 2:
        named = said.get("tool") or said.get("entity") or next(iter(names), None)
        span.tool = text(_name_of(found.name)) if named is None else named
        return [span]
    # How long each took is not known.
    span.tool, span.duration = names[0], None
    return [span, *(_copy(span, f"{span.span_id}/{place}", name) for place, name in enumerate(names[1:], 1))]


def _copy(span: Span, span_id: str, tool: str) -> Span:
    return Span(
        "tool", True, span.trace_id, span_id, span.parent_id, span.time, span.agent,
        environment=span.environment, error=span.error, tool=tool,
    )  # fmt: skip


def _called(value: Any) -> list[str]:
    """Return the tools' names in `[{"id": ..., "name": ..., "parameters": ...}]`; none where it is no such list."""
    try:
        calls = json.loads(value) if isinstance(value, str | bytes) else value
    except (ValueError, RecursionError):
        return []
    if not isinstance(calls, list):
        return []
    return [text(call.get("name")) for call in calls[:_CALLS] if isinstance(call, Mapping)]


def _scores(span: Span, events: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Span]:
    """Return the evaluations among a span's events; one that gives no number is left out."""
    scores: list[Span] = []
    for name, attributes in events:
        if name != "gen_ai.evaluation.result":
            continue
        value = attributes.get("gen_ai.evaluation.score.value")
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MOST:
            continue
        score = Span(
            "score", True, span.trace_id, f"{span.span_id}/score/{len(scores)}", span.span_id, span.time, span.agent,
            environment=span.environment, score_name=text(attributes.get("gen_ai.evaluation.name")), score=float(value),
        )  # fmt: skip
        scores.append(score)
    return scores
