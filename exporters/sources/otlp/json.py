"""OTLP's JSON: what of an ExportTraceServiceRequest, as a body or as a line of a file, describes a span.

The mapping is proto3's, with ids in hexadecimal (opentelemetry-proto's docs/specification.md, JSON
Protobuf Encoding). Read more leniently than that: names of enums, ids in base64 and fields named as in
protobuf, all of which protobuf's own JSON has; and one span that is not as it should be costs itself only.
"""

import re
from base64 import b64decode
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from exporters.sources.genai import Described, environment_of
from exporters.sources.otlp.protobuf import SPANS
from exporters.sources.records import RecordError

# Each `{` may become an object in memory; a request of so many is more than 20 MiB of spans ever have.
_OBJECTS = 1_000_000
_MOST_RENAMED = 4 << 20
_FAILED = (2, "2", "STATUS_CODE_ERROR", "ERROR", "Error")

_UNDERSCORE = re.compile("_([a-z])")

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
_decode_span = msgspec.json.Decoder(_Span).decode


def decode(data: bytes) -> tuple[list[Described], dict[str, int]]:
    """Return the spans of an ExportTraceServiceRequest, and how many could not be read, by reason.

    Raises RecordError when the whole cannot be.
    """
    if data.count(b"{") > _OBJECTS:
        raise RecordError("too_many_spans")
    try:
        request = _decode_request(data if b'"resource_spans"' not in data else _in_camel_case(data))
    except (msgspec.ValidationError, OverflowError):
        raise RecordError("wrong_type") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RecordError("json") from None
    found: list[Described] = []
    bad: dict[str, int] = {}
    for group in request.resource_spans or ():
        environment = environment_of(_attributes(group.resource.attributes if group.resource else None))
        for scope in group.scope_spans or ():
            if len(found) + len(scope.spans or ()) > SPANS:
                raise RecordError("too_many_spans")
            for raw in scope.spans or ():
                try:
                    found.append(_described(_decode_span(raw), environment))
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, OverflowError):
                    bad["wrong_type"] = bad.get("wrong_type", 0) + 1
    return found, bad


def _in_camel_case(data: bytes) -> bytes:
    """Return JSON with its fields named as JSON's are, where they have the names of protobuf's.

    All of it is decoded for that, so it may not be much.
    """
    if len(data) > _MOST_RENAMED:
        raise RecordError("wrong_type")

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {_UNDERSCORE.sub(lambda found: found[1].upper(), key): renamed(of) for key, of in value.items()}
        return [renamed(item) for item in value] if isinstance(value, list) else value

    return msgspec.json.encode(renamed(msgspec.json.decode(data)))


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
        events=[(event.name or "", _attributes(event.attributes)) for event in span.events or ()],
    )


def _id(text: str | None, size: int) -> str:
    """Return an id of so many bytes in small hexadecimal; nothing where it is none."""
    if not text:
        return ""
    with suppress(ValueError):
        return (b64decode(text, validate=True) if len(text) == 4 * -(-size // 3) else bytes.fromhex(text)).hex()
    return ""


def _attributes(pairs: Sequence[_Pair] | None) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs} if pairs else {}


def _value(value: _Value | None) -> Any:  # noqa: PLR0911 -- one a type
    if value is None:
        return None
    if value.string_value is not None:
        return value.string_value
    if value.int_value is not None:
        return int(value.int_value)
    if value.double_value is not None:
        return float(value.double_value)
    if value.bool_value is not None:
        return value.bool_value
    if value.array_value is not None:
        return [_value(item) for item in value.array_value.values or ()]
    if value.kvlist_value is not None:
        return _attributes(value.kvlist_value.values)
    return None
