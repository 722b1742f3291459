"""createagents: JSONL files of trace events, one folder, a file a day."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from json import loads
from typing import Annotated, Any
from urllib.parse import SplitResult

import msgspec

from exporters.sources import Options, Source, Translated
from exporters.sources.createagents_sums import sums
from exporters.sources.files import Files, folder_of
from exporters.span import Span, error_type

# The framework names a file by day and, past 100 MiB, by second; a rotation by hand adds `.1`.
FILE_NAME = re.compile(r"traces_.*\.jsonl(\.\d+|-\d{8})?")

_LATEST = 4102444800.0  # 2100-01-01; a time past it is a broken clock
_MOST = 2**53  # past it, a float no longer counts by ones
# Names and ids are kept in memory and in the state for long: no record may fill these with one.
_LONGEST = 1024
_Name = Annotated[str, msgspec.Meta(max_length=_LONGEST)]
_Count = Annotated[int, msgspec.Meta(ge=0, lt=_MOST)]
_Amount = Annotated[float, msgspec.Meta(ge=0, lt=_MOST)]


class Data(msgspec.Struct, gc=False):
    """What the framework repeats about a call."""

    model: _Name | None = None
    tool_name: _Name | None = None
    tokens_used: _Count | None = None


class Metadata(msgspec.Struct, gc=False):
    """What a line inherits from its chat."""

    streaming: bool | None = None
    tool_name: _Name | None = None


class Line(msgspec.Struct, gc=False, kw_only=True):
    """One trace event, both dialects, its fields in the order in which they are mostly written. Texts of prompts
    are not even decoded, those of results only where an error is looked for in them."""

    timestamp: datetime
    trace_id: _Name
    run_id: _Name
    operation: _Name = ""
    event: str
    parent_run_id: _Name | None = None
    agent_name: _Name | None = None
    model: _Name | None = None
    status: str | None = None
    outputs: msgspec.Raw = msgspec.Raw()
    data: Data | None = None
    duration_ms: _Amount | None = None
    error_type: str | None = None
    error_message: str | None = None
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    total_tokens: _Count | None = None
    cost_usd: _Amount | None = None
    metadata: Metadata | None = None


class _ToolOutputs(msgspec.Struct, gc=False):
    result: str = ""


class _ChatOutputs(msgspec.Struct, gc=False):
    error: str = ""
    error_type: str = ""


class _RecordError(Exception):
    """A record that cannot be used; its text is the reason's label value."""


_decoder = msgspec.json.Decoder(Line)
decode = _decoder.decode
_decode_lines = _decoder.decode_lines
_decode_result = msgspec.json.Decoder(_ToolOutputs).decode
_decode_failure = msgspec.json.Decoder(_ChatOutputs).decode
_WRONG = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)

# The line that a call began with, and its time.
_Begun = tuple[Line, float]


def open_folder(url: SplitResult, options: Options) -> Source:
    """Open a folder of `traces_*.jsonl`; the cursor has one part a file. Raises SourceError."""
    options.only(url)
    folder = folder_of(url)
    files = Files(folder, FILE_NAME, since=options.since)

    def spans(records: Sequence[bytes | memoryview]) -> Translated:
        return translate(records, options.environment)

    return Source(options.name, files, spans, sums=partial(sums, folder, FILE_NAME))


def translate(blocks: Sequence[bytes | memoryview], environment: str = "") -> Translated:
    """Translate blocks of lines of either dialect."""
    found = Translated([], 0, {})
    for block in blocks:
        _add_spans(found, _lines(found, bytes(block)), environment)
    return found


def _lines(found: Translated, data: bytes) -> Iterable[Line]:
    """Decode the lines of a block, and count them."""
    # So counted, newlines take a seventh of the time that count() takes, which is a quarter of decoding's.
    count = len(data) - len(data.replace(b"\n", b"")) + (data[-1:] != b"\n")
    found.records += count
    with suppress(*_WRONG):
        lines = _decode_lines(data)
        if len(lines) == count:
            return lines
    # Something in it is not what it should be, or not on a line of its own.
    return _one_by_one(data, found.bad)


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
        if not 0.0 <= seconds < _LATEST:
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


def _one_by_one(data: bytes, bad: dict[str, int]) -> Iterator[Line]:
    """Decode each line for itself, leniently where it has to be; count those that cannot be used."""
    for record in data.split(b"\n"):
        try:
            try:
                line = decode(record)
            except _WRONG:
                if not record.strip():
                    continue
                line = _decode_leniently(record)
            yield line
        except _RecordError as reason:
            bad[str(reason)] = bad.get(str(reason), 0) + 1


def _decode_leniently(record: bytes) -> Line:
    """Decode a line that is not strict JSON of the known types, or raise _RecordError with the reason.

    Tools put NaN, lone surrogates and broken UTF-8 into their results, which are not ours to
    judge; a power cut leaves NUL bytes before a line, and an editor a byte order mark. Names that
    are too long are cut, ids are not, for they must stay apart.
    """
    try:
        found = _loads(record)
    except (ValueError, RecursionError):
        raise _RecordError("json") from None
    if not isinstance(found, dict):
        raise _RecordError("not_an_object")
    for name in _NUMBERS:
        number = found.get(name)
        if isinstance(number, float) and not math.isfinite(number):
            raise _RecordError("non_finite")
        if isinstance(number, int | float) and not 0 <= number < _MOST:
            raise _RecordError("out_of_range")
    if isinstance(found.get("timestamp"), str):
        try:
            found["timestamp"] = datetime.fromisoformat(found["timestamp"])
        except ValueError:
            raise _RecordError("timestamp") from None
    for name in _IDS:
        if isinstance(found.get(name), str) and len(found[name]) > _LONGEST:
            raise _RecordError("id_too_long")
    outputs = found.get("outputs")
    said = {name: outputs.get(name) for name in _OUTPUTS} if isinstance(outputs, dict) else {}
    printable = {name: _printable(found[name]) for name in Line.__struct_fields__ if name in found}
    printable["outputs"] = msgspec.Raw(msgspec.json.encode(_printable(said)))
    try:
        return msgspec.convert(printable, Line)
    except msgspec.ValidationError as error:
        raise _RecordError(_reason(str(error))) from None


def _loads(record: bytes) -> Any:
    """Read JSON as tools write it. Raises ValueError or RecursionError."""
    return loads(record.strip(b"\0 \t\r").decode("utf-8-sig", "replace"))


def _printable(value: Any) -> Any:
    """Cut texts and replace lone surrogates in them, which no encoder takes."""
    if isinstance(value, str):
        return value[:_LONGEST].encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        plain = {key: inner for key, inner in value.items() if isinstance(inner, str | bool | int)}
        return {key: _printable(inner) for key, inner in plain.items() if key.isprintable()}
    return value


def _reason(said: str) -> str:
    if "missing required field" in said:
        return "missing_field"
    return "timestamp" if "$.timestamp" in said else "wrong_type"


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
        said = _failure(line)
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
        span.error = error_type(line.error_type, line.error_message or _result(line))
    return span


def _model(line: Line) -> str:
    return (line.data.model if line.data is not None else None) or ""


def _tool(line: Line) -> str:
    if line.data is not None and line.data.tool_name:
        return line.data.tool_name
    if line.metadata is not None and line.metadata.tool_name:
        return line.metadata.tool_name
    return line.operation.removeprefix("tool_")


def _result(line: Line) -> str:
    """The beginning of a tool's result, where the framework puts the text of its error."""
    try:
        return _decode_result(line.outputs).result[:500]
    except _WRONG:
        pass
    try:
        found = loads(bytes(line.outputs).decode("utf-8", "replace"))["result"]
    except (ValueError, RecursionError, TypeError, KeyError):
        return ""
    return found[:500] if isinstance(found, str) else ""


def _failure(line: Line) -> _ChatOutputs:
    """What the older dialect says of a chat's error: the class's name for errors not its own."""
    try:
        return _decode_failure(line.outputs)
    except _WRONG:
        return _ChatOutputs()


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
_IDS = ("trace_id", "run_id", "parent_run_id")
_OUTPUTS = ("result", "error", "error_type")
_NUMBERS = ("duration_ms", "input_tokens", "output_tokens", "total_tokens", "cost_usd")
_RUNS = {"trace.start": _run_start, "trace.end": _run_end}
_CALL_STARTS = {"llm.request": _inference_start, "tool.call": _tool_start}
_CALL_ENDS = {"llm.response": _inference_end, "tool.result": _tool_end}
