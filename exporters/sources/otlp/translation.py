"""Requests' bodies and lines of files, as spans."""

from collections.abc import Iterator, Sequence
from itertools import islice

from exporters.sources import Translated
from exporters.sources.genai import Described, spans_of
from exporters.sources.otlp import json, protobuf
from exporters.sources.otlp.body import Body
from exporters.sources.otlp.layouts import Memory
from exporters.sources.otlp.replies import JSON
from exporters.sources.records import RecordError
from exporters.span import Span

_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
# What a client is told of a body of which nothing can be read.
_MALFORMED = {
    "protobuf": "the body is no ExportTraceServiceRequest in protobuf",
    "json": "the body is no JSON",
    "wrong_type": "the body is no ExportTraceServiceRequest in JSON",
}
# Of a request: with the tool calls and the evaluations in its spans, which are spans of their own here. Three bytes of
# a span may be one of them, and that is looked at once in so many.
_MADE = 2 * protobuf.SPANS
_SLICE = 256


def bodies(records: Sequence[Body], environment: str = "", memory: Memory | None = None) -> Translated:
    """Translate requests' bodies; what could not be used is noted on each, for its client to be told.

    `memory` makes the next bodies of the same clients faster.
    """
    translated = Translated([], 0, {})
    memory = memory or Memory()
    for body in records:
        bad: dict[str, int] = {}
        found = json.decode(body.data, bad) if body.encoding == JSON else protobuf.decode(body.data, memory, bad)
        malformed = _add(translated, found, bad, environment)
        body.malformed = _MALFORMED[malformed] if malformed else ""
        # A resource is no span: that it could not be read costs the client none.
        body.rejected = {reason: count for reason, count in bad.items() if reason != "resource"}
    return translated


def lines(blocks: Sequence[bytes | memoryview], environment: str = "") -> Translated:
    """Translate blocks of lines, each the JSON of one request; lines of metrics and logs hold no spans."""
    translated = Translated([], 0, {})
    for block in blocks:
        for line in bytes(block).split(b"\n"):
            if not line.strip():
                continue
            bad: dict[str, int] = {}
            _add(translated, json.decode(line, bad), bad, environment)
    return translated


def _add(translated: Translated, found: Iterator[Described], bad: dict[str, int], environment: str) -> str:
    """Add what descriptions of spans become; return why nothing could be read of where they come from, if so.

    What could not even be described is in `bad`, and afterwards so is what becomes nothing.
    """
    known, useless = len(translated.spans), dict[str, int]()
    malformed = ""
    try:
        number = _make(translated.spans, found, useless, environment)
    except RecordError as reason:
        # Nothing of it is taken, also not what stands in front of the fault.
        del translated.spans[known:]
        malformed, number, useless = str(reason), 0, {}
        bad.clear()
        bad[malformed] = 1
    translated.records += number + sum(bad.values())
    for name, count in useless.items():
        bad[name] = bad.get(name, 0) + count
    for name, count in bad.items():
        translated.bad[name] = translated.bad.get(name, 0) + count
    return malformed


def _make(spans: list[Span], found: Iterator[Described], useless: dict[str, int], environment: str) -> int:
    """Add what descriptions become, and count what becomes nothing; return how many there were. Raises RecordError.

    Each span is made as it is described: to hold the descriptions of a whole body took a twentieth of the time.
    """
    number, most = 0, len(spans) + _MADE
    while True:
        before = number
        for described in islice(found, _SLICE):
            number += 1
            try:
                trace_id, span_id = described.trace_id, described.span_id
                if len(trace_id) != 32 or len(span_id) != 16 or trace_id == _NO_TRACE or span_id == _NO_SPAN:
                    raise RecordError("id")
                if described.parent_id == _NO_SPAN:
                    described.parent_id = ""
                spans += spans_of(described, environment)
            except RecordError as reason:
                useless[str(reason)] = useless.get(str(reason), 0) + 1
        if number - before < _SLICE:
            return number
        if len(spans) > most:
            beyond = sum(1 for _ in found)
            if beyond:
                useless["too_many_spans"] = beyond
            return number + beyond
