"""Events to spans: what each of createagents' lines says of a run, a model call or a tool call."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC

from exporters.sources import Translated
from exporters.sources.createagents.lines import Line, failure_of, lines_of, result_of
from exporters.sources.records import LATEST
from exporters.span import Span, error_type

# The line that a call began with, and its time.
_Begun = tuple[Line, float]


def translate(blocks: Sequence[bytes | memoryview], environment: str = "") -> Translated:
    """Translate blocks of lines of either dialect."""
    found = Translated([], 0, {})
    for block in blocks:
        _add_spans(found, lines_of(bytes(block), found), environment)
    return found


def _add_spans(found: Translated, lines: Iterable[Line], environment: str) -> None:
    """Add the spans of a block's lines.

    The start of a call that ends in the same block is left out where the end says all that it does: nearly
    half of all lines tell nothing that is counted. Not where a run's line stands between, nor the end of a call
    below one that has begun: whose those are may hang on what is left out.
    """
    add = found.spans.append
    begun: dict[str, _Begun] = {}
    for line in lines:
        stamp = line.timestamp
        seconds = (stamp if stamp.tzinfo is not None else stamp.replace(tzinfo=UTC)).timestamp()
        event = line.event
        if not 0.0 <= seconds < LATEST:
            found.bad["timestamp"] = found.bad.get("timestamp", 0) + 1
        elif event in _CALL_STARTS:
            start = (line, seconds)
            if begun.setdefault(line.run_id, start) is not start:
                add(_CALL_STARTS[event](line, seconds, environment))
        elif event in _CALL_ENDS:
            span = _CALL_ENDS[event](line, seconds, environment)
            if span.parent_id in begun:
                found.spans += _starts(begun, environment)
                begun = {}
            elif line.run_id in begun:
                start = begun.pop(line.run_id)
                named = span.agent and (span.kind == "tool" or (span.model and span.provider))
                if not named or start[0].trace_id != span.trace_id:
                    add(_CALL_STARTS[start[0].event](*start, environment))
            add(span)
        elif event in _RUNS:
            if begun:
                found.spans += _starts(begun, environment)
                begun = {}
            add(_RUNS[event](line, seconds, environment))
        elif event != "tool.log":
            found.bad["unknown_event"] = found.bad.get("unknown_event", 0) + 1
    found.spans += _starts(begun, environment)


def _starts(begun: dict[str, _Begun], environment: str) -> Iterator[Span]:
    """Translate the starts of calls in the order in which they began."""
    return (_CALL_STARTS[line.event](line, seconds, environment) for line, seconds in begun.values())


# The fields of Span by position up to the token counts: by name they would take a tenth of the hot path.
# A start needs its time: it is what says that a run without an end is still at work.
def _run_start(line: Line, seconds: float, environment: str) -> Span:
    span = Span(
        "run", False, line.trace_id, line.run_id, line.parent_run_id or "", seconds, line.agent_name or "",
        "", "", "", "", "", environment,
    )  # fmt: skip
    span.streaming = line.metadata is not None and line.metadata.streaming is True
    return span


def _run_end(line: Line, seconds: float, environment: str) -> Span:
    given, taken, milliseconds = line.input_tokens, line.output_tokens, line.duration_ms
    span = Span(
        "run", True, line.trace_id, line.run_id, line.parent_run_id or "", seconds, line.agent_name or "",
        line.model or "", "", "", "", "", environment, "", None if milliseconds is None else milliseconds / 1000.0,
        None, given, taken,
    )  # fmt: skip
    if given is None or taken is None:
        _put_total(span, line)
    span.cost = line.cost_usd
    span.streaming = line.metadata is not None and line.metadata.streaming is True
    if line.error_type or line.error_message:
        span.error = error_type(line.error_type, line.error_message)
    elif line.status == "error":
        said = failure_of(line)
        span.error = error_type(said.error_type, said.error)
        # The newer dialect ends an empty answer twice, and has the type in the second end.
        span.provisional = not said.error_type
    return span


def _inference_start(line: Line, seconds: float, environment: str) -> Span:
    return Span(
        "inference", False, line.trace_id, line.run_id, line.parent_run_id or "", seconds, line.agent_name or "",
        line.model or _model(line), _PROVIDERS.get(line.operation[:6], ""), "chat", "", "", environment,
    )  # fmt: skip


def _inference_end(line: Line, seconds: float, environment: str) -> Span:
    given, taken, milliseconds = line.input_tokens, line.output_tokens, line.duration_ms
    span = Span(
        "inference", True, line.trace_id, line.run_id, line.parent_run_id or "", seconds, line.agent_name or "",
        line.model or _model(line), _PROVIDERS.get(line.operation[:6], ""), "chat", "", "", environment, "",
        None if milliseconds is None else milliseconds / 1000.0, None, given, taken,
    )  # fmt: skip
    if given is None or taken is None:
        _put_total(span, line)
    span.cost = line.cost_usd
    if line.status == "error" or line.error_type or line.error_message:
        span.error = error_type(line.error_type, line.error_message)
    return span


def _tool_start(line: Line, seconds: float, environment: str) -> Span:
    return Span(
        "tool", False, line.trace_id, line.run_id, line.parent_run_id or "", seconds, line.agent_name or "",
        "", "", "", _tool(line), "", environment,
    )  # fmt: skip


def _tool_end(line: Line, seconds: float, environment: str) -> Span:
    milliseconds = line.duration_ms
    span = Span(
        "tool", True, line.trace_id, line.run_id, line.parent_run_id or "", seconds, line.agent_name or "",
        "", "", "", _tool(line), "", environment, "", None if milliseconds is None else milliseconds / 1000.0,
    )  # fmt: skip
    if line.status == "error":
        span.error = error_type(line.error_type, line.error_message or result_of(line))
    return span


def _model(line: Line) -> str:
    return (line.data.model if line.data is not None else None) or ""


def _tool(line: Line) -> str:
    if line.data is not None and line.data.tool_name:
        return line.data.tool_name
    if line.metadata is not None and line.metadata.tool_name:
        return line.metadata.tool_name
    return line.operation.removeprefix("tool_")


def _put_total(span: Span, line: Line) -> None:
    """Fill in what a total says where not both parts are known; what is missing stays unknown."""
    given, taken, total = line.input_tokens, line.output_tokens, line.total_tokens
    if total is None and line.data is not None:
        total = line.data.tokens_used
    if total is None:
        return
    if given is None and taken is None:
        span.unsplit_tokens = total
    elif given is None and taken is not None and taken <= total:
        span.input_tokens = total - taken
    elif taken is None and given is not None and given <= total:
        span.output_tokens = total - given


# By what an operation begins with: the adapter that wrote the line, as in `openai_iteration_3`.
_PROVIDERS = {"openai": "openai", "ollama": "ollama"}
_RUNS = {"trace.start": _run_start, "trace.end": _run_end}
_CALL_STARTS = {"llm.request": _inference_start, "tool.call": _tool_start}
_CALL_ENDS = {"llm.response": _inference_end, "tool.result": _tool_end}
