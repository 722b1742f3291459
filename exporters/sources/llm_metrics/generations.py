"""What a row of the table `generations` says, as a span: pure."""

import re
from ast import literal_eval
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from statistics import median
from typing import Any

import msgspec

from exporters.sources import Translated
from exporters.sources.records import LATEST, LONGEST, MOST, RecordError
from exporters.span import Span, error_type

# What is read of a row, in this order; of a trace, its name, metadata and time. A page's key comes last.
FIELDS = (
    "id", "trace_id", "model", "input_tokens", "output_tokens", "total_tokens", "input_cost", "output_cost",
    "total_cost", "latency_ms", "created_at", "completion_start_time", "completion_end_time", "metadata", "level",
    "status_message", "trace_name", "trace_metadata", "trace_created_at",
)  # fmt: skip
LATENCY = FIELDS.index("latency_ms")

_EPOCH = datetime(1970, 1, 1)
_from_iso = datetime.fromisoformat
# Texts shorter than this, characters, come again and again, and what they say is remembered.
_REMEMBERED = 300
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
    begun: dict[str, _Trace] = {}
    spans = found.spans
    for row in page.rows:
        try:
            trace = begun.get(row[1])
            if trace is None:
                trace = begun[row[1]] = _begun(row, environment, spans)
            spans.append(_call(row, trace, page, environment))
        except (RecordError, TypeError) as reason:  # a column of another type, such as a blob
            why = str(reason) if isinstance(reason, RecordError) else "wrong_type"
            found.bad[why] = found.bad.get(why, 0) + 1
    found.records += len(page.rows)


# The id of a trace, the id of the run that it is, or nothing, and its agent.
_Trace = tuple[str, str, str]


def _begun(row: tuple[Any, ...], environment: str, spans: list[Span]) -> _Trace:
    """Put down that a trace began, if an agent's name stands on it."""
    agent = _agent(row[17]) or _name(row[16]).removesuffix("_task")
    began, trace_id = _stamp(row[18]), _id(row[1])
    if not agent or began is None or not 0.0 <= (time := _seconds(began)) < LATEST:
        return trace_id, "", agent
    run = Span("run", False, trace_id, f"trace:{trace_id}", "", time, agent, "", "", "", "", "", environment)
    run.ends_when_idle = True
    spans.append(run)
    return trace_id, run.span_id, agent


def _call(row: tuple[Any, ...], trace: _Trace, page: Page, environment: str) -> Span:
    id_, _, model, given, taken, total, given_cost, taken_cost, cost, latency = row[:10]
    metadata, level, message = row[13:16]
    began, first, ended = _stamps(row[10], row[11], row[12])
    time = (ended - _EPOCH).total_seconds() if ended is not None else -1.0
    if not 0.0 <= time < LATEST:
        time = _seconds(began) if began is not None else -1.0
        if not 0.0 <= time < LATEST:
            raise RecordError("timestamp")
    if type(id_) is not str or not 0 < len(id_) <= LONGEST or not id_.isascii():
        id_ = _id(id_)
    provider, model = _model(model) if type(model) is str and len(model) < _REMEMBERED else ("", _name(model))
    trace_id, run_id, agent = trace
    if metadata is not None:
        agent = _agent(metadata) or agent
    error = ""
    if level == "ERROR" or (message is not None and message not in _NOTHING and level not in ("WARNING", "DEBUG")):
        error = error_type(message if isinstance(message, str) else None)
    _check(row)
    zeros = page.zeros
    # Unknown numbers are stored as 0 there. A total of tokens may differ from its parts, and is used
    # only where they are not known.
    if zeros and not given and not taken:
        given = taken = None
        total = total or None
    if not cost and given_cost is not None and taken_cost is not None:
        cost = given_cost + taken_cost
    # How long a call took its times say where they do so, for the unit of `latency_ms` may lie. In layout A a
    # completion starts with the call, and `created_at` is when the row was exported; in layout B the
    # call was created when it began, and its completion starts with the first token.
    start, duration, waited = began if zeros else first, None, None
    if ended is not None and start is not None and ended >= start:
        duration = (ended - start).total_seconds()
    elif latency is not None:
        duration = latency / page.unit
    if zeros and first is not None and began is not None and first > began and not error:
        waited = (first - began).total_seconds() if ended is None or first <= ended else None
    return Span(
        # By their places, in one call: this is made of each row.
        "inference", True, trace_id, id_, run_id, time, agent, model, provider, "chat", "", "", environment,
        error, duration, waited, given, taken, None, None, None,
        total if given is None and taken is None else None,
        cost if cost or not zeros else None,
    )  # fmt: skip


def _check(row: tuple[Any, ...]) -> None:
    """Raise RecordError for a number of a row that cannot be one."""
    given, taken, total, given_cost, taken_cost, cost, latency = row[3:10]
    # Nearly all are what they should be, and are looked at one by one only when not.
    if (
        type(given) is type(taken) is type(total) is int
        and type(given_cost) is type(taken_cost) is type(cost) is type(latency) is float
        and 0 <= given < MOST
        and 0 <= taken < MOST
        and 0 <= total < MOST
        and 0.0 <= given_cost < MOST
        and 0.0 <= taken_cost < MOST
        and 0.0 <= cost < MOST
        and 0.0 <= latency < MOST
    ):
        return
    for count in (given, taken, total):
        if count is not None and (type(count) is not int or not 0 <= count < MOST):
            raise RecordError(_wrong(count))
    for amount in (given_cost, taken_cost, cost, latency):
        if amount is not None and not (isinstance(amount, float | int) and 0.0 <= amount < MOST):
            raise RecordError(_wrong(amount))


@lru_cache(maxsize=1024)
def _model(name: str) -> tuple[str, str]:
    """Split `openai/gpt-4o`; what stands before the slash of `meta-llama/Llama-3` is no provider."""
    name = _name(name)
    before, slash, rest = name.partition("/")
    provider = _BEFORE_SLASH.get(before, "") if slash else ""
    return (provider, rest) if provider and rest else ("", name)


def _agent(metadata: Any) -> str:
    """Return the agent that metadata names: JSON, or what Python prints of a dict; anything else names none."""
    if not isinstance(metadata, str) or "agent" not in metadata:
        return ""
    return _named(metadata) if len(metadata) < _REMEMBERED else _named.__wrapped__(metadata)


@lru_cache(maxsize=1024)
def _named(metadata: str) -> str:
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
    return value if value.isascii() and len(value) <= LONGEST else _utf8(value[:LONGEST])


def _id(value: Any) -> str:
    if not isinstance(value, str):
        raise RecordError("wrong_type")
    if not value:
        raise RecordError("missing_field")
    if len(value) > LONGEST:
        raise RecordError("id_too_long")
    return value if value.isascii() else _utf8(value)


def _utf8(value: str) -> str:
    return value.encode("utf-8", "replace").decode()


def _stamps(created: Any, first: Any, end: Any) -> tuple[datetime | None, datetime | None, datetime | None]:
    """Read the times of a row, each as `_stamp` does; nearly always all are there or empty, and none has an offset."""
    try:
        began = _from_iso(created)
        chunk = None if first is None else _from_iso(first)
        ended = None if end is None else _from_iso(end)
        if (
            began.tzinfo is None
            and (chunk is None or chunk.tzinfo is None)
            and (ended is None or ended.tzinfo is None)
        ):  # fmt: skip
            return began, chunk, ended
    except (ValueError, TypeError):
        pass  # one of them is no time
    return _stamp(created), _stamp(first), _stamp(end)


def _stamp(value: Any) -> datetime | None:
    """Read `2025-10-12 10:00:00.5` or `2025-10-12T10:00:00`, which is UTC, or one with an offset."""
    try:
        stamp = _from_iso(value)
        return stamp if stamp.tzinfo is None else stamp.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, TypeError, OverflowError):
        return None


def _seconds(stamp: datetime) -> float:
    return (stamp - _EPOCH).total_seconds()


def _wrong(value: Any) -> str:
    return "out_of_range" if isinstance(value, int | float) else "wrong_type"
