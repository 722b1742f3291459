"""Rows of Langfuse's lists as spans: observations of both surfaces, and scores."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from exporters.sources import Translated
from exporters.sources.langfuse.decoding import BadRowError, decoded_row
from exporters.sources.langfuse.usage import MOST, OutOfRangeError, Tokens, cost_of, tokens_of
from exporters.span import Kind, Span, error_type

_LATEST = 4102444800.0  # 2100-01-01; a time past it is a broken clock
_LONG_NAME = 1024  # names and ids are kept for long: no row may fill memory with one

# Not Any: no row may fill memory with objects either, and the rows of a page are in it together.
Amount = int | float | str | bool | None
Amounts = Annotated[dict[str, Amount], msgspec.Meta(max_length=256)]


class TraceFacts(msgspec.Struct, gc=False):
    """What an older server says of a trace and not of its observations."""

    name: str = ""
    release: str = ""
    environment: str = ""


class Observation(msgspec.Struct, gc=False, rename="camel"):
    """The columns that are read. Prompts, answers and metadata are not among them: never decoded, never kept."""

    id: str
    start_time: datetime
    type: str = "SPAN"
    trace_id: str | None = None
    end_time: datetime | None = None
    completion_start_time: datetime | None = None
    parent_observation_id: str | None = None
    is_root_observation: bool | None = None
    name: str | None = None
    level: str | None = None
    status_message: str | None = None
    version: str | None = None
    environment: str | None = None
    # One column: older servers of the newer surface call it by the second name.
    model: str | None = None
    provided_model_name: str | None = None
    usage_details: Amounts | None = None
    cost_details: Amounts | None = None
    total_cost: Amount = None
    # What servers had before the two maps.
    calculated_total_cost: Amount = None
    prompt_tokens: Amount = None
    completion_tokens: Amount = None
    total_tokens: Amount = None
    latency: float | None = None
    time_to_first_token: float | None = None
    prompt_name: str | None = None
    prompt_version: int | None = None
    trace_name: str | None = None
    release: str | None = None


class _Subject(msgspec.Struct, gc=False, rename="camel"):
    id: str = ""
    kind: str = ""
    trace_id: str | None = None


class Score(msgspec.Struct, gc=False, rename="camel"):
    """A score of either list. `value` is a number, a truth or a category, by its data type."""

    id: str
    name: str
    timestamp: datetime
    value: Amount = None
    data_type: str | None = None
    environment: str | None = None
    trace_id: str | None = None
    session_id: str | None = None
    observation_id: str | None = None
    subject: _Subject | None = None


class Row(msgspec.Struct, gc=False):
    """A row as it came, and what the reader knows beside it."""

    body: bytes
    is_score: bool = False
    # Decoded, if the reader could.
    observation: Observation | None = None
    trace: TraceFacts | None = None
    # It has no end, and none is waited for any more.
    given_up: bool = False


_observation = msgspec.json.Decoder(Observation)
_score = msgspec.json.Decoder(Score)

# OpenTelemetry's operation, for the types that are model calls.
_OPERATIONS = {"GENERATION": "chat", "EMBEDDING": "embeddings"}


def observation_of(body: bytes) -> Observation:
    """Decode an observation. Raises BadRowError."""
    return decoded_row(body, _observation, Observation)


def score_of(body: bytes) -> Score:
    """Decode a score. Raises BadRowError."""
    return decoded_row(body, _score, Score)


def translate(rows: Sequence[Row], environment: str = "") -> Translated:
    """Translate rows. `environment` is that of rows which have none.

    A category or a text is no number: such a score is a span without one.
    """
    made = Translated(spans=[], records=len(rows), bad={})
    for row in rows:
        try:
            span = _score_span(row, environment) if row.is_score else _observation_span(row, environment)
            if max(len(span.trace_id), len(span.span_id), len(span.parent_id)) > _LONG_NAME:
                raise BadRowError("id_too_long")
            made.spans.append(span)
        except BadRowError as reason:
            made.bad[str(reason)] = made.bad.get(str(reason), 0) + 1
        except (OutOfRangeError, ValueError, OverflowError):
            made.bad["out_of_range"] = made.bad.get("out_of_range", 0) + 1
    return made


def _observation_span(row: Row, environment: str) -> Span:
    found = row.observation or observation_of(row.body)
    facts = row.trace or _NO_FACTS
    kind = _kind(found)
    began = _time(found.start_time)
    ended = began if found.end_time is None else max(_time(found.end_time), began)
    span = Span(
        kind=kind,
        ended=True,
        trace_id=found.trace_id or found.id,
        span_id=found.id,
        parent_id="" if found.is_root_observation else found.parent_observation_id or "",
        time=ended,
        environment=_short(found.environment) or facts.environment or environment,
        duration=None if found.end_time is None else ended - began,
    )
    if found.level == "ERROR":
        span.error = error_type(found.status_message)
    elif row.given_up:
        span.error = "abandoned" if kind == "run" else "no_response"
    if kind == "inference":
        _put_call(span, found, began)
    elif kind == "tool":
        span.tool = _short(found.name)
    elif kind == "run":
        of_trace = _short(found.trace_name) or facts.name
        span.agent = _short(found.name) if found.type == "AGENT" else of_trace or _short(found.name)
        span.agent_version = _short(found.release) or facts.release or _short(found.version)
    return span


def _kind(found: Observation) -> Kind:
    """What an observation is. The root of a trace is its run, unless it is a call itself."""
    if found.type in _OPERATIONS:
        return "inference"
    if found.type == "TOOL":
        return "tool"
    root = found.is_root_observation if found.is_root_observation is not None else not found.parent_observation_id
    return "run" if found.type == "AGENT" or (root and found.type != "EVENT") else "part"


def _put_call(span: Span, found: Observation, began: float) -> None:
    """Fill in what only model calls have. Raises OutOfRangeError."""
    span.operation = _OPERATIONS[found.type]
    span.model = _short(found.model or found.provided_model_name)
    tokens = tokens_of(found.usage_details) if found.usage_details else _older_tokens(found)
    span.input_tokens, span.output_tokens, span.unsplit_tokens = tokens.input, tokens.output, tokens.unsplit
    span.cache_read_tokens, span.cache_write_tokens = tokens.cache_read, tokens.cache_write
    span.reasoning_tokens = tokens.reasoning
    span.cost = cost_of(found.cost_details, found.total_cost, found.calculated_total_cost)
    first = found.time_to_first_token
    if first is None and found.completion_start_time is not None:
        first = _time(found.completion_start_time) - began
    if first is not None and 0 <= first < MOST:
        span.time_to_first_chunk, span.streaming = first, True
    if found.prompt_name:
        span.prompt = _short(found.prompt_name)
        span.prompt_version = "" if found.prompt_version is None else str(found.prompt_version)


def _older_tokens(found: Observation) -> Tokens:
    """What servers had before `usageDetails`, where nothing known is 0 everywhere."""
    old = {"input": found.prompt_tokens, "output": found.completion_tokens, "total": found.total_tokens}
    tokens = tokens_of({name: count for name, count in old.items() if count is not None})
    return tokens if tokens.input or tokens.output or tokens.unsplit else Tokens()


def _score_span(row: Row, environment: str) -> Span:
    found = score_of(row.body)
    subject = found.subject or _Subject()
    of_trace = found.trace_id or subject.trace_id or (subject.id if subject.kind == "trace" else "")
    parent = found.observation_id or (subject.id if subject.kind == "observation" else "")
    other = found.session_id or subject.id or found.id
    return Span(
        kind="score",
        ended=True,
        trace_id=of_trace or f"score:{other}",
        span_id=f"score:{found.id}",
        parent_id=parent or "",
        time=_time(found.timestamp),
        environment=_short(found.environment) or environment,
        score_name=_short(found.name),
        score=_number(found),
    )


def _number(found: Score) -> float | None:
    """The number of a score. A total of scores may not fall, so a negative one is refused, and counted as such."""
    if found.data_type not in (None, "NUMERIC", "BOOLEAN") or not isinstance(found.value, bool | int | float):
        return None
    if found.value < 0:
        raise BadRowError("negative_score")
    if not found.value < MOST:  # nor NaN
        raise OutOfRangeError
    return float(found.value)


def _time(stamp: datetime) -> float:
    seconds = (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()
    if 0.0 <= seconds < _LATEST:
        return seconds
    raise BadRowError("timestamp")


def _short(text: str | None) -> str:
    return text[:_LONG_NAME] if text else ""


_NO_FACTS = TraceFacts()
