"""What a row of the table `generations` says, as a span: pure."""

import re
from ast import literal_eval
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

import msgspec

from exporters.sources import Translated
from exporters.span import Span, error_type

# What is read of a row, in this order; of a trace, its name, metadata and time. A page's key comes last.
FIELDS = (
    "id", "trace_id", "model", "input_tokens", "output_tokens", "total_tokens", "input_cost", "output_cost",
    "total_cost", "latency_ms", "created_at", "completion_start_time", "completion_end_time", "metadata", "level",
    "status_message", "trace_name", "trace_metadata", "trace_created_at",
)  # fmt: skip
LATENCY = FIELDS.index("latency_ms")

_LATEST = 4102444800.0  # 2100-01-01; a time past it is a broken clock
_MOST = 2**53  # past it, a float no longer counts by ones
_LONG_NAME = 1024
_DAYS_TO_EPOCH = datetime(1970, 1, 1)
# Latencies of calls to models: the middle one of many is below this in seconds, and above it in milliseconds.
_SECONDS_OR_MILLISECONDS = 100.0
# What stands for nothing in a column of text: JSON's null, and Python's.
_NOTHING = ("", "null", "None")
_BEFORE_SLASH = {
    "anthropic": "anthropic",
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "gemini": "gcp.gemini",
    "google": "gcp.gen_ai",
    "groq": "groq",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "ollama": "ollama",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "vertex_ai": "gcp.vertex_ai",
    "xai": "x_ai",
}


class _Named(msgspec.Struct):
    """What metadata may say of the agent, by whichever convention."""

    agent_name: Any = None
    agent: Any = None


class _RecordError(Exception):
    """A row that cannot be used; its text is the reason's label value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Rows as they were read. `zeros` says that unknown numbers are stored as 0, and that a completion
    starts with its first token (layout B); `unit` is how many of `latency_ms` make a second."""

    rows: list[tuple[Any, ...]]
    zeros: bool
    unit: float


def unit_of(latencies: list[Any]) -> float:
    """Say by the size of latencies how many make a second: one writer of layout B puts seconds into
    `latency_ms`, another milliseconds."""
    known = [value for value in latencies if isinstance(value, int | float) and value > 0]
    return 1.0 if known and median(known) < _SECONDS_OR_MILLISECONDS else 1000.0


def translate(page: Page, environment: str, found: Translated) -> None:
    """Add to `found` the spans of a page: a call for each row, after the run that its trace is.

    The trace says when it began and never that it ended. Rows that cannot be used are counted by reason.
    """
    begun: dict[str, tuple[str, str]] = {}
    spans, zeros, unit = found.spans, page.zeros, page.unit
    for row in page.rows:
        try:
            trace_id = row[1]
            # The trace's agent, and the id of the run that it is, if it is one.
            run = begun.get(trace_id)
            if run is None:
                run = begun[trace_id] = _run(row, environment, spans)
            spans.append(_call(row, run, zeros, unit, environment))
        except (_RecordError, TypeError) as reason:  # a column of another type, such as a blob
            why = str(reason) if isinstance(reason, _RecordError) else "wrong_type"
            found.bad[why] = found.bad.get(why, 0) + 1
    found.records += len(page.rows)


def _run(row: tuple[Any, ...], environment: str, spans: list[Span]) -> tuple[str, str]:
    """Put down that a trace began, if an agent's name stands on it; return the name and the run's id."""
    agent = _agent(row[17]) or _name(row[16]).removesuffix("_task")
    began = _time(row[18])
    trace_id = _id(row[1])
    if not agent or began is None or not 0.0 <= began < _LATEST:
        return agent, ""
    run = Span("run", False, trace_id, f"trace:{trace_id}", "", began, agent, "", "", "", "", "", environment)
    run.ends_when_idle = True
    spans.append(run)
    return agent, run.span_id


def _call(row: tuple[Any, ...], run: tuple[str, str], zeros: bool, unit: float, environment: str) -> Span:
    (id_, trace_id, model, given, taken, total, given_cost, taken_cost, cost, latency, created, first, end, metadata,
     level, message, *_) = row  # fmt: skip
    began, ended = _time(created), _time(end)
    time = began if ended is None or not 0.0 <= ended < _LATEST else ended
    if time is None or not 0.0 <= time < _LATEST:
        raise _RecordError("timestamp")
    provider, model = _provider(_name(model))
    span = Span(
        "inference", True, _id(trace_id), _id(id_), run[1], time, _agent(metadata) or run[0], model, provider, "chat",
        "", "", environment,
    )  # fmt: skip
    if level == "ERROR" or (message not in _NOTHING and message is not None and level not in ("WARNING", "DEBUG")):
        span.error = error_type(message if isinstance(message, str) else None)
    _put_times(span, began, _time(first), ended, _number(latency, _MOST), zeros, unit)
    _put_usage(span, _count(given), _count(taken), _count(total), zeros)
    cost = _number(cost, _MOST)
    if not cost and given_cost is not None and taken_cost is not None:
        cost = (_number(given_cost, _MOST) or 0.0) + (_number(taken_cost, _MOST) or 0.0)
    span.cost = cost or (None if zeros else cost)
    return span


def _put_times(  # noqa: PLR0917 -- once for each row, where names take time
    span: Span, began: float | None, first: float | None, ended: float | None, latency: float | None, zeros: bool,
    unit: float,
) -> None:  # fmt: skip
    """Fill in how long a call took: by its times where they say so, for the unit of `latency_ms` may lie.

    In layout A a completion starts with the call, and `created_at` is when the row was exported; in
    layout B the call was created when it began, and its completion starts with the first token.
    """
    start = began if zeros else first
    if ended is not None and start is not None and ended >= start:
        span.duration = round(ended - start, 6)
    elif latency is not None:
        span.duration = latency / unit
    if zeros and first is not None and began is not None and not span.error:
        waited = round(first - began, 6)
        if waited > 0.0 and (span.duration is None or waited <= span.duration):
            span.time_to_first_chunk = waited


def _put_usage(span: Span, given: int | None, taken: int | None, total: int | None, zeros: bool) -> None:
    """Fill in tokens; a total may differ from its parts, and is used only where they are not known."""
    if zeros and not given and not taken:
        given = taken = None
        total = total or None
    span.input_tokens, span.output_tokens = given, taken
    if given is None and taken is None:
        span.unsplit_tokens = total


def _provider(model: str) -> tuple[str, str]:
    """Split `openai/gpt-4o`; what stands before the slash of `meta-llama/Llama-3` is no provider."""
    before, slash, rest = model.partition("/")
    provider = _BEFORE_SLASH.get(before, "") if slash else ""
    return (provider, rest) if provider and rest else ("", model)


def _agent(metadata: Any) -> str:
    """Return the agent that metadata names: JSON, or what Python prints of a dict; anything else names none."""
    if not isinstance(metadata, str) or "agent" not in metadata:
        return ""
    try:
        named = _decode(metadata)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        named = _printed(metadata)
    return _name(named.agent_name) or _name(named.agent)


_decode = msgspec.json.Decoder(_Named).decode
_decode_text = msgspec.json.Decoder(str).decode
_PRINTED_DICT = re.compile(r"\s*\{\s*'")


def _printed(metadata: str) -> _Named:
    """Read what Python prints of a dict, also where it is JSON's text."""
    try:
        if metadata.startswith('"'):
            metadata = _decode_text(metadata)
        found = literal_eval(metadata) if _PRINTED_DICT.match(metadata) else {}
        return _Named(agent_name=found.get("agent_name"), agent=found.get("agent"))
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError, AttributeError):
        return _Named()  # msgspec's errors are ValueErrors


def _name(value: Any) -> str:
    """Return a name as it is worth keeping: not a null's text, no lone surrogates, not endless."""
    if not isinstance(value, str) or value in _NOTHING:
        return ""
    return value if value.isascii() and len(value) <= _LONG_NAME else _utf8(value[:_LONG_NAME])


def _id(value: Any) -> str:
    if not isinstance(value, str):
        raise _RecordError("wrong_type")
    if not value:
        raise _RecordError("missing_field")
    if len(value) > _LONG_NAME:
        raise _RecordError("id_too_long")
    return value if value.isascii() else _utf8(value)


def _utf8(value: str) -> str:
    return value.encode("utf-8", "replace").decode()


def _time(value: Any) -> float | None:
    """Return Unix seconds of `2025-10-12 10:00:00.5` or `2025-10-12T10:00:00`; without an offset it is UTC."""
    if not isinstance(value, str):
        return None
    try:
        stamp = datetime.fromisoformat(value)
        if stamp.tzinfo is None:
            return (stamp - _DAYS_TO_EPOCH).total_seconds()
        return stamp.astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def _count(value: Any) -> int | None:
    if value is None or (type(value) is int and 0 <= value < _MOST):
        return value
    raise _RecordError("out_of_range" if isinstance(value, int | float) else "wrong_type")


def _number(value: Any, most: int) -> float | None:
    if value is None or (isinstance(value, int | float) and 0 <= value < most):
        return value
    raise _RecordError("out_of_range" if isinstance(value, int | float) else "wrong_type")
