"""What a row of the table `spans` says: pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from exporters.sources import Translated
from exporters.sources.genai import Described, RecordError, environment_of, spans_of
from exporters.sources.genai_names import FACTS
from exporters.sources.records import identity, text
from exporters.span import Span

_NANOSECONDS = 1e9
# Resources are a few that come with every span of a process.
_RESOURCES = 256
_SHORT = 64
_OF_RESOURCE = b"deployment.environment"
_OF_EVENTS = (b"exception", b"gen_ai.evaluation.result")

_decode = msgspec.json.Decoder().decode
# Of long attributes, in bytes, only what is known is kept: a prompt, or a million keys, is gone through and left.
_LONG = 1 << 16
_Known = msgspec.defstruct(
    "_Known",
    [(f"fact_{place}", Any, msgspec.UNSET) for place in range(len(FACTS))],
    rename={f"fact_{place}": name for place, name in enumerate(FACTS)},
)
_decode_known = msgspec.json.Decoder(_Known | None).decode


def translate(rows: Sequence[tuple[Any, ...]], environment: str = "") -> Translated:
    """Translate rows: a number, then the columns that `rows` asks for, in which text is bytes."""
    found = Translated([], len(rows), {})
    environments: dict[Any, str] = {}
    for row in rows:
        try:
            found.spans += _spans(row, environment, environments)
        except RecordError as reason:
            found.bad[str(reason)] = found.bad.get(str(reason), 0) + 1
    return found


def _spans(row: tuple[Any, ...], environment: str, environments: dict[Any, str]) -> list[Span]:
    (_, span_id, trace_id, parent_id, name, start, end, attributes, events, status, description, resource) = row
    if resource not in environments:
        if len(environments) >= _RESOURCES:
            environments.clear()
        environments[resource] = environment_of(_resource(resource))
    began, ended = _time(start), _time(end)
    spans = spans_of(
        Described(
            trace_id=_plain(trace_id) or identity(trace_id),
            span_id=_plain(span_id) or identity(span_id),
            parent_id=_plain(parent_id) or identity(parent_id, needed=False),
            name=_plain(name) or text(name),
            start=None if began is None else began / _NANOSECONDS,
            end=None if ended is None else ended / _NANOSECONDS,
            # UNSET is how a span that went well ends, nearly always.
            error=status == b"ERROR",
            message="" if description is None else text(description),
            attributes=_attributes(attributes),
            environment=environments[resource],
            events=_events(events),
        ),
        environment,
    )
    # A float of seconds since 1970 is too coarse for the difference of two.
    if began is not None and ended is not None and spans[0].duration is not None:
        spans[0].duration = (ended - began) / _NANOSECONDS
    return spans


def _plain(value: Any) -> str:
    """Return short text of ASCII, as nearly all is; nothing for what has to be looked at."""
    return value.decode() if type(value) is bytes and len(value) < _SHORT and value.isascii() else ""


def _time(value: Any) -> float | int | None:
    """Return nanoseconds; a table of SQLite stores anything under any type."""
    if isinstance(value, bytes):
        try:
            return float(value)
        except ValueError:
            return None
    return value if isinstance(value, int | float) else None


def _json(value: Any) -> Any:
    """Read JSON, also as Python writes it, with NaN and broken text. Raises RecordError."""
    if value is None or value == b"":
        return None
    if not isinstance(value, bytes):
        raise RecordError("wrong_type")
    try:
        return _decode(value)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        pass
    try:
        return json.loads(value.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise RecordError("json") from None


def _attributes(value: Any) -> Mapping[str, Any]:
    """Return the attributes of a span, of long ones those that are known. Raises RecordError."""
    if not isinstance(value, bytes) or len(value) <= _LONG:
        return _object(value)
    try:
        known = _decode_known(value)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return _object(value)
    fields = () if known is None else zip(FACTS, msgspec.structs.astuple(known), strict=True)
    return {name: field for name, field in fields if field is not msgspec.UNSET}


def _object(value: Any) -> Mapping[str, Any]:
    found = _json(value)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise RecordError("not_an_object")
    return found


def _resource(value: Any) -> Mapping[str, Any]:
    """Return what a span comes from, if that says its environment; what cannot be read says nothing."""
    if not isinstance(value, bytes) or _OF_RESOURCE not in value:
        return {}
    try:
        return _object(value)
    except RecordError:
        return {}


def _events(value: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the events of a span, if one may be of use; what cannot be read is none."""
    if not isinstance(value, bytes) or not any(name in value for name in _OF_EVENTS):
        return []
    try:
        found = _json(value)
    except RecordError:
        return []
    events = found if isinstance(found, list) else []
    return [
        (text(event.get("name")), event["attributes"])
        for event in events
        if isinstance(event, dict) and isinstance(event.get("attributes"), dict)
    ]
