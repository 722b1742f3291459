"""Requests' bodies and lines of files, as spans."""

from collections.abc import Iterable, Sequence

from exporters.sources import Translated
from exporters.sources.genai import Described, spans_of
from exporters.sources.otlp import json, protobuf
from exporters.sources.otlp.body import Body
from exporters.sources.otlp.layouts import Memory
from exporters.sources.otlp.replies import JSON
from exporters.sources.records import RecordError

_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
# What a client is told of a body of which nothing can be read.
_MALFORMED = {
    "protobuf": "the body is no ExportTraceServiceRequest in protobuf",
    "json": "the body is no JSON",
    "wrong_type": "the body is no ExportTraceServiceRequest in JSON",
    "too_many_spans": f"more than {protobuf.SPANS:,} spans in one request; send smaller batches",
}


def bodies(records: Sequence[Body], environment: str = "", memory: Memory | None = None) -> Translated:
    """Translate requests' bodies; what could not be used is noted on each, for its client to be told.

    `memory` makes the next bodies of the same clients faster.
    """
    translated = Translated([], 0, {})
    memory = memory or Memory()
    for body in records:
        known = len(translated.spans)
        try:
            if body.encoding == JSON:
                found, bad = json.decode(body.data)
                body.rejected = _add(translated, found, bad, environment)
            else:
                body.rejected = _add(translated, protobuf.decode(body.data, memory), {}, environment)
        except RecordError as reason:
            # Nothing of it is taken, also not what stands in front of the fault.
            del translated.spans[known:]
            body.malformed = _MALFORMED[str(reason)]
            body.rejected = _add(translated, [], {str(reason): 1}, environment)
    return translated


def lines(blocks: Sequence[bytes | memoryview], environment: str = "") -> Translated:
    """Translate blocks of lines, each the JSON of one request; lines of metrics and logs hold no spans."""
    translated = Translated([], 0, {})
    for block in blocks:
        for line in bytes(block).split(b"\n"):
            if not line.strip():
                continue
            try:
                found, bad = json.decode(line)
            except RecordError as reason:
                found, bad = [], {str(reason): 1}
            _add(translated, found, bad, environment)
    return translated


def _add(translated: Translated, found: Iterable[Described], bad: dict[str, int], environment: str) -> dict[str, int]:
    """Add what descriptions of spans become; return what becomes nothing by reason, beside what could not even be
    described, which is in `bad`. Raises RecordError where `found` does; then only spans have been added.

    Each span is made as it is described: to hold the descriptions of a whole body took a twentieth of the time.
    """
    spans, number = translated.spans, sum(bad.values())
    for described in found:
        number += 1
        try:
            trace_id, span_id = described.trace_id, described.span_id
            if len(trace_id) != 32 or len(span_id) != 16 or trace_id == _NO_TRACE or span_id == _NO_SPAN:
                raise RecordError("id")
            if described.parent_id == _NO_SPAN:
                described.parent_id = ""
            spans += spans_of(described, environment)
        except RecordError as reason:
            bad[str(reason)] = bad.get(str(reason), 0) + 1
    translated.records += number
    for name, count in bad.items():
        translated.bad[name] = translated.bad.get(name, 0) + count
    return bad
