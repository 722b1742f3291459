"""The lines of createagents as it writes them, both dialects, and as power cuts and tools leave them."""

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from json import loads
from typing import Annotated, Any

import msgspec

from exporters.sources import Translated
from exporters.sources.records import LONGEST, MOST, RecordError

_Name = Annotated[str, msgspec.Meta(max_length=LONGEST)]
_Count = Annotated[int, msgspec.Meta(ge=0, lt=MOST)]
_Amount = Annotated[float, msgspec.Meta(ge=0, lt=MOST)]


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


class ChatOutputs(msgspec.Struct, gc=False):
    """What an answer of a chat that failed says of the failure."""

    error: str = ""
    error_type: str = ""


_decoder = msgspec.json.Decoder(Line)
decode = _decoder.decode
_decode_lines = _decoder.decode_lines
_decode_result = msgspec.json.Decoder(_ToolOutputs).decode
_decode_failure = msgspec.json.Decoder(ChatOutputs).decode
_WRONG = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
_IDS = ("trace_id", "run_id", "parent_run_id")
_OUTPUTS = ("result", "error", "error_type")
_NUMBERS = ("duration_ms", "input_tokens", "output_tokens", "total_tokens", "cost_usd")


def lines_of(data: bytes, found: Translated) -> Iterable[Line]:
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
        except RecordError as reason:
            bad[str(reason)] = bad.get(str(reason), 0) + 1


def _decode_leniently(record: bytes) -> Line:
    """Decode a line that is not strict JSON of the known types, or raise RecordError with the reason.

    Tools put NaN, lone surrogates and broken UTF-8 into their results, which are not ours to
    judge; a power cut leaves NUL bytes before a line, and an editor a byte order mark. Names that
    are too long are cut, ids are not, for they must stay apart.
    """
    try:
        found = _loads(record)
    except RecursionError:
        raise RecordError("too_deep") from None
    except ValueError:
        raise RecordError("json") from None
    if not isinstance(found, dict):
        raise RecordError("not_an_object")
    for name in _NUMBERS:
        number = found.get(name)
        if isinstance(number, float) and not math.isfinite(number):
            raise RecordError("non_finite")
        if isinstance(number, int | float) and not 0 <= number < MOST:
            raise RecordError("out_of_range")
    if isinstance(found.get("timestamp"), str):
        try:
            found["timestamp"] = datetime.fromisoformat(found["timestamp"])
        except ValueError:
            raise RecordError("timestamp") from None
    for name in _IDS:
        if isinstance(found.get(name), str) and len(found[name]) > LONGEST:
            raise RecordError("id_too_long")
    outputs = found.get("outputs")
    said = {name: outputs.get(name) for name in _OUTPUTS} if isinstance(outputs, dict) else {}
    printable = {name: _printable(found[name]) for name in Line.__struct_fields__ if name in found}
    printable["outputs"] = msgspec.Raw(msgspec.json.encode(_printable(said)))
    try:
        return msgspec.convert(printable, Line)
    except msgspec.ValidationError as error:
        raise RecordError(_reason(str(error))) from None


def _loads(record: bytes) -> Any:
    """Read JSON as tools write it. Raises ValueError or RecursionError."""
    return loads(record.strip(b"\0 \t\r").decode("utf-8-sig", "replace"))


def _printable(value: Any) -> Any:
    """Cut texts and replace lone surrogates in them, which no encoder takes."""
    if isinstance(value, str):
        return value[:LONGEST].encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        plain = {key: inner for key, inner in value.items() if isinstance(inner, str | bool | int)}
        return {key: _printable(inner) for key, inner in plain.items() if key.isprintable()}
    return value


def _reason(said: str) -> str:
    if "missing required field" in said:
        return "missing_field"
    return "timestamp" if "$.timestamp" in said else "wrong_type"


def result_of(line: Line) -> str:
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


def failure_of(line: Line) -> ChatOutputs:
    """What the older dialect says of a chat's error: the class's name for errors not its own."""
    try:
        return _decode_failure(line.outputs)
    except _WRONG:
        return ChatOutputs()
