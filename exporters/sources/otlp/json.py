"""OTLP's JSON: what of an ExportTraceServiceRequest, as a body or as a line of a file, describes a span.

The mapping is proto3's, with ids in hexadecimal (opentelemetry-proto's docs/specification.md, JSON
Protobuf Encoding). Read more leniently than that: names of enums, ids in base64 and fields named as in
protobuf, all of which protobuf's own JSON has; and one span that is not as it should be costs itself only,
also where no decoder takes the whole because of it. As much is read of a span as in protobuf.
"""

import re
from base64 import b64decode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from exporters.sources.genai import Described, environment_of
from exporters.sources.json_scan import ScanError, holds_more
from exporters.sources.otlp.attributes import DEEPEST, LONG, MANY
from exporters.sources.otlp.json_parts import Parts
from exporters.sources.otlp.protobuf import FIELDS, SPANS
from exporters.sources.records import RecordError

# Each `{` may become an object in memory, and what stands between two commas a span: with more of either, a request
# is not decoded as a whole.
_OBJECTS = 1_000_000
_ELEMENTS = 4_000_000
# Of a span: an attribute has two.
_OBJECTS_OF_SPAN = 2 * FIELDS
_MOST_RENAMED = 4 << 20
# Of a text, characters: so many are never more bytes than are read.
_SHORT = LONG // 4
_FAILED = (2, "2", "STATUS_CODE_ERROR", "ERROR", "Error")

# A field's name; no text has such a thing within, for quotes in it are escaped.
_SNAKE = re.compile(rb'"[a-z]+(?:_[a-z]+)+"(?=\s*:)')
_UNDERSCORE = re.compile(rb"_([a-z])")

_Number = int | str | None


class _Value(msgspec.Struct, rename="camel", gc=False):
    string_value: str | None = None
    int_value: _Number = None
    double_value: float | str | None = None
    bool_value: bool | None = None
    array_value: "_Values | None" = None
    kvlist_value: "_Pairs | None" = None


class _Pair(msgspec.Struct, gc=False):
    key: str = ""
    value: _Value | None = None


class _Values(msgspec.Struct, gc=False):
    values: list[_Value] | None = None


class _Pairs(msgspec.Struct, gc=False):
    values: list[_Pair] | None = None


class _Attributed(msgspec.Struct, gc=False):
    """An event, or a resource, which has no name."""

    name: str | None = None
    attributes: list[_Pair] | None = None


class _Status(msgspec.Struct, gc=False):
    message: str | None = None
    code: _Number = None


class _Span(msgspec.Struct, rename="camel", gc=False):
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    name: str | None = None
    start_time_unix_nano: _Number = None
    end_time_unix_nano: _Number = None
    attributes: list[_Pair] | None = None
    events: list[_Attributed] | None = None
    status: _Status | None = None


class _ScopeSpans(msgspec.Struct, gc=False):
    # Not decoded with the rest: one that is malformed is to cost itself only.
    spans: list[msgspec.Raw] | None = None


class _ResourceSpans(msgspec.Struct, rename="camel", gc=False):
    resource: _Attributed | None = None
    scope_spans: list[_ScopeSpans] | None = None


class _Request(msgspec.Struct, rename="camel", gc=False):
    resource_spans: list[_ResourceSpans] | None = None


_decode_request = msgspec.json.Decoder(_Request).decode
_decode_resource = msgspec.json.Decoder(_Attributed | None).decode
_decode_span = msgspec.json.Decoder(_Span).decode

# What is raised by decoding, and by numbers that are none.
_WRONG = (msgspec.MsgspecError, RecursionError, ValueError, OverflowError)


def decode(data: bytes, bad: dict[str, int]) -> Iterator[Described]:
    """Yield the spans of an ExportTraceServiceRequest that can be read; the others are counted in `bad`, by reason.

    Raises RecordError, and yields nothing, when it cannot be told where spans begin and end.
    """
    if b'"resource_spans"' in data or _is_much(data):
        yield from _apart(data, bad, "")
        return
    try:
        request = _decode_request(data)
    except RecursionError:
        # It may be a request all the same, and one without spans.
        yield from _apart(data, bad, "")
        return
    except _WRONG as error:
        yield from _apart(data, bad, _reason(error))
        return
    left = SPANS
    for group in request.resource_spans or ():
        environment = _environment(group.resource, bad)
        for scope in group.scope_spans or ():
            spans = scope.spans or []
            if len(spans) > left:
                _count(bad, "too_many_spans", len(spans) - left)
                spans = spans[:left]
            left -= len(spans)
            yield from _each(spans, environment, bad)


def _is_much(data: bytes) -> bool:
    # Whether it can be says its size, and faster.
    return (len(data) > _OBJECTS and data.count(b"{") > _OBJECTS) or (
        len(data) > 2 * _ELEMENTS and data.count(b",") > _ELEMENTS
    )


def _apart(data: bytes, bad: dict[str, int], reason: str) -> Iterator[Described]:
    """Yield the spans of a request that is not decoded as a whole; `reason` is why it could not be."""
    try:
        parts = Parts(data, SPANS)
    except ScanError:
        raise RecordError(reason or "json") from None
    if not parts.found and (reason or parts.misplaced):
        raise RecordError(reason or "wrong_type")
    _count(bad, "too_many_spans", parts.beyond)
    _count(bad, "wrong_type", parts.misplaced)
    as_in_protobuf = b'"resource_spans"' in data
    for part in parts.found:
        environment = _environment(part.resource, bad, as_in_protobuf=as_in_protobuf)
        yield from _each(part.spans, environment, bad, as_in_protobuf=as_in_protobuf)


def _each(
    spans: Iterable[msgspec.Raw | bytes], environment: str, bad: dict[str, int], *, as_in_protobuf: bool = False
) -> Iterator[Described]:
    """Yield the spans that can be decoded; fields may be named `as_in_protobuf`."""
    for raw in spans:
        try:
            if len(raw) > _OBJECTS_OF_SPAN:
                _look(bytes(raw))
            found = _described(_decode_span(_in_camel_case(bytes(raw)) if as_in_protobuf else raw), environment)
        except (RecordError, *_WRONG) as error:
            _count(bad, _reason(error))
        else:
            yield found


def _environment(resource: "_Attributed | bytes | None", bad: dict[str, int], *, as_in_protobuf: bool = False) -> str:
    """Return the environment that a resource says, or the text of one; its spans are none the worse for a bad one."""
    try:
        if isinstance(resource, bytes):
            _look(resource)
            resource = _decode_resource(_in_camel_case(resource) if as_in_protobuf else resource) if resource else None
        return environment_of(_some(resource.attributes)) if resource else ""
    except (RecordError, *_WRONG):
        _count(bad, "resource")
        return ""


def _look(text: bytes) -> None:
    """Raise RecordError when a span or a resource would become too much in memory."""
    if holds_more(text, _OBJECTS_OF_SPAN):
        raise RecordError("too_many_fields")


def _count(bad: dict[str, int], reason: str, many: int = 1) -> None:
    if many:
        bad[reason] = bad.get(reason, 0) + many


def _reason(error: Exception) -> str:
    if isinstance(error, RecordError):
        return str(error)
    if isinstance(error, RecursionError):
        return "too_deep"
    is_json = isinstance(error, msgspec.ValidationError) or not isinstance(
        error, msgspec.DecodeError | UnicodeDecodeError
    )
    return "wrong_type" if is_json else "json"


def _in_camel_case(data: bytes) -> bytes:
    """Return JSON with its fields named as JSON's are, where they have the names of protobuf's.

    That takes several times the memory, so it may not be much.
    """
    if len(data) > _MOST_RENAMED:
        raise RecordError("wrong_type")
    return _SNAKE.sub(lambda name: _UNDERSCORE.sub(lambda found: found[1].upper(), name[0]), data)


def _described(span: _Span, environment: str) -> Described:
    """Raises ValueError or OverflowError for what is no number or no id."""
    status = span.status or _Status()
    return Described(
        trace_id=_id(span.trace_id, 16),
        span_id=_id(span.span_id, 8),
        parent_id=_id(span.parent_span_id, 8),
        name=span.name or "",
        start=int(span.start_time_unix_nano or 0) / 1e9,
        end=int(span.end_time_unix_nano or 0) / 1e9,
        error=status.code in _FAILED,
        message=status.message or "",
        attributes=_attributes(span.attributes),
        environment=environment,
        events=[(event.name or "", _some(event.attributes)) for event in span.events[:MANY]] if span.events else (),
    )


def _id(text: str | None, size: int) -> str:
    """Return an id of so many bytes in small hexadecimal; nothing where it is none."""
    if not text:
        return ""
    with suppress(ValueError):
        return (b64decode(text, validate=True) if len(text) == 4 * -(-size // 3) else bytes.fromhex(text)).hex()
    return ""


def _attributes(pairs: Sequence[_Pair] | None, depth: int = 0) -> dict[str, Any]:
    return {pair.key: _value(pair.value, depth) for pair in pairs} if pairs else {}


def _some(pairs: Sequence[_Pair] | None, depth: int = 0) -> dict[str, Any]:
    """Return the first attributes of what may hold only so many."""
    return _attributes(pairs[:MANY] if pairs else None, depth)


def _value(value: _Value | None, depth: int) -> Any:  # noqa: PLR0911 -- one a type
    if value is None:
        return None
    text = value.string_value
    if text is not None:
        return text if len(text) <= _SHORT else _cut(text)
    if value.int_value is not None:
        return int(value.int_value)
    if value.double_value is not None:
        return float(value.double_value)
    if value.bool_value is not None:
        return value.bool_value
    if depth == DEEPEST:
        return None
    if value.array_value is not None:
        return [_value(item, depth + 1) for item in (value.array_value.values or ())[:MANY]]
    if value.kvlist_value is not None:
        return _some(value.kvlist_value.values, depth + 1)
    return None


def _cut(text: str) -> str:
    """Return what is read of a text that may be long, as `attributes.text` does."""
    data = text.encode()
    return text if len(data) <= LONG else data[:LONG].decode("utf-8", "replace")
