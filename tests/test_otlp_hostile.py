"""What anybody may send: it is read as the bindings read it, and nothing of it raises or fills the memory."""

import json
import math
import tracemalloc
from typing import Any

import pytest
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span, Status
from otlp_stage import JSON, PROTOBUF, START, TRACE, body, call, pairs, request

from exporters.sources.genai import environment_of, sorted_out
from exporters.sources.genai_names import FACTS
from exporters.sources.otlp import json as otlp_json
from exporters.sources.otlp import protobuf
from exporters.sources.otlp.body import Body
from exporters.sources.otlp.layouts import Memory
from exporters.sources.otlp.translation import bodies, lines
from exporters.sources.records import RecordError

NAMES = st.sampled_from([*FACTS, "other", "", "\u00fc"])
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
)
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=8
)
SPANS = st.builds(
    Span,
    trace_id=st.just(TRACE) | st.binary(max_size=20),
    span_id=st.binary(min_size=8, max_size=8) | st.binary(max_size=12),
    parent_span_id=st.binary(min_size=8, max_size=8) | st.binary(max_size=8),
    name=st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    kind=st.integers(0, 5),
    flags=st.integers(0, 2**32 - 1),
    trace_state=st.text(st.characters(codec="ascii"), max_size=5),
    start_time_unix_nano=st.integers(0, 2**64 - 1),
    end_time_unix_nano=st.just(START) | st.integers(0, 2**64 - 1),
    attributes=st.dictionaries(NAMES, VALUES, max_size=6).map(pairs),
    dropped_attributes_count=st.integers(0, 2**32 - 1),
    events=st.lists(
        st.builds(
            Span.Event,
            time_unix_nano=st.integers(0, 2**64 - 1),
            name=st.sampled_from(["exception", "gen_ai.evaluation.result", "x"]),
            attributes=st.dictionaries(st.sampled_from(["exception.type", "x"]), VALUES, max_size=3).map(pairs),
        ),
        max_size=3,
    ),
    links=st.lists(st.builds(Span.Link, trace_id=st.binary(max_size=16)), max_size=2),
    status=st.builds(
        Status, message=st.text(st.characters(exclude_categories=["Cs"]), max_size=9), code=st.integers(0, 2)
    ),
)


def read(value: AnyValue, depth: int = 0) -> Any:
    """What an attribute is worth, as the bindings say."""
    kind = value.WhichOneof("value")
    if kind is None or kind == "bytes_value":
        return None
    if kind == "array_value":
        return [read(item, depth + 1) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {item.key: read(item.value, depth + 1) for item in value.kvlist_value.values}
    return getattr(value, kind)


@given(st.lists(SPANS, max_size=4), st.dictionaries(NAMES | st.just("deployment.environment"), VALUES, max_size=3))
def test_protobuf_is_read_as_the_bindings_read_it(spans: list[Span], resource: dict[str, Any]) -> None:
    found = list(protobuf.decode(body(*spans, resource=resource), Memory(), {}))

    assert len(found) == len(spans)
    for ours, theirs in zip(found, spans, strict=True):
        assert ours.trace_id == theirs.trace_id.hex()
        assert ours.span_id == theirs.span_id.hex()
        assert ours.parent_id == theirs.parent_span_id.hex()
        assert ours.name == theirs.name
        assert (ours.start, ours.end) == (theirs.start_time_unix_nano / 1e9, theirs.end_time_unix_nano / 1e9)
        assert (ours.error, ours.message) == (theirs.status.code == 2, theirs.status.message)
        assert ours.said == sorted_out({pair.key: read(pair.value) for pair in theirs.attributes})
        assert ours.events == [
            (event.name, {pair.key: read(pair.value) for pair in event.attributes}) for event in theirs.events
        ]
        assert ours.environment == environment_of({pair.key: read(pair.value) for pair in pairs(resource)})


# As an instrumentation writes its spans: the same attributes in the same order, of which some are left out, or others.
# Two names of one fact, the one to be believed first now in front and now behind, with others between.
USUAL = {
    "gen_ai.operation.name": st.just("chat"),
    "gen_ai.response.model": st.sampled_from(["gpt-4o", "gpt-4.1-mini"]),
    "gen_ai.provider.name": st.sampled_from(["openai", "anthropic"]),
    "gen_ai.response.id": st.sampled_from(["chatcmpl-1", "chatcmpl-22"]),
    "gen_ai.request.model": st.sampled_from(["", "gpt-4o", "gpt-4.1-mini"]) | st.booleans(),
    "gen_ai.system": st.sampled_from(["az.ai.openai", "google"]),
    "gen_ai.usage.input_tokens": st.sampled_from([0, 7, 127, 128, 16_383, 16_384, 2**40, -1]),
    "llm.model": st.sampled_from(["gpt-4o", "gpt-5"]),
    "other": st.text("x", max_size=3) | st.sampled_from(["x" * 60, "x" * 110, "x" * 300, "x" * 17_000]),
    "llm.request.model": st.sampled_from(["x" * 300, "y" * 300]),
    "gen_ai.usage.output_tokens": st.sampled_from([1, 2, "3"]),
    "gen_ai.input.messages": st.sampled_from(["x" * 200, "x" * 400, "x"]),
}


@st.composite
def alike(draw: st.DrawFn) -> Span:
    said = {name: draw(values) for name, values in USUAL.items() if draw(st.integers(0, 9))}
    if not draw(st.integers(0, 4)):
        name = draw(st.sampled_from([*USUAL]))
        said = {name: said.pop(name, "moved"), **said}
    return Span(
        trace_id=TRACE,
        span_id=draw(st.binary(min_size=8, max_size=8)),
        parent_span_id=draw(st.sampled_from([b"", b"12345678", b"abcdefgh"])),
        name=draw(st.sampled_from(["chat", "chat", "embeddings"])),
        kind=3,
        start_time_unix_nano=START,
        end_time_unix_nano=START + 10**9,
        # So long that it is worth expecting anything of it.
        attributes=pairs({**said, "else": "x" * 90}),
        flags=draw(st.sampled_from([0, 256])),
    )


@given(st.lists(st.lists(alike(), min_size=1, max_size=5), min_size=2, max_size=4))
def test_what_was_read_before_changes_nothing_of_what_is_read(requests: list[list[Span]]) -> None:
    memory = Memory()
    for spans in requests:
        found = list(protobuf.decode(body(*spans), memory, {}))
        assert [ours.said for ours in found] == [
            sorted_out({pair.key: read(pair.value) for pair in span.attributes}) for span in spans
        ]
        assert [(ours.trace_id, ours.span_id, ours.parent_id, ours.name, ours.end) for ours in found] == [
            (TRACE.hex(), span.span_id.hex(), span.parent_span_id.hex(), span.name, (START + 10**9) / 1e9)
            for span in spans
        ]
    assert memory.layouts


@pytest.mark.parametrize("kept", range(1, 7))
def test_what_stands_behind_a_span_is_not_taken_for_more_of_it(kept: int) -> None:
    said = {
        "other": "x" * 100, "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 412, "gen_ai.usage.output_tokens": 96,
        "gen_ai.agent.name": "planner",
    }  # fmt: skip

    def sent(kept: int) -> bytes:
        """A span with some of its attributes, and the others behind it: a field of the scope that nobody knows."""
        span = call(1)
        span.kind = Span.SPAN_KIND_CLIENT
        del span.attributes[:]
        attributes = pairs(said)
        span.attributes.extend(attributes[:kept])
        behind = Span(attributes=attributes[kept:]).SerializeToString()
        scope = ScopeSpans(spans=[span]).SerializeToString() + behind
        groups = b"\x12" + _length(scope) + scope
        return b"\x0a" + _length(groups) + groups

    memory = Memory()
    [whole] = protobuf.decode(sent(len(said)), memory, {})
    assert whole.said == sorted_out(said)
    assert memory.layouts

    [short] = protobuf.decode(sent(kept), memory, {})

    assert short.said == sorted_out(dict(list(said.items())[:kept]))


@pytest.mark.parametrize(("names", "most"), [(1, 512 + 1), (100, 4_096)])
def test_names_without_end_are_not_remembered_without_end(names: int, most: int) -> None:
    memory = Memory()

    def decoded(first: int) -> None:
        spans = [call(first + place, name=f"chat {place % names}", kind=3) for place in range(5_000)]
        for place, span in enumerate(spans):
            span.attributes.extend(pairs({"gen_ai.agent.name": f"agent {first + place}", "gen_ai.tool.name": "look"}))
        found = [span.said["agent"] for span in protobuf.decode(body(*spans), memory, {}) if span.said]
        assert found == [f"agent {first + place}" for place in range(5_000)]

    for first in (1, 10_000, 20_000, 30_000):
        decoded(first)
        assert 0 < len(memory.told) <= most
        assert len(memory.facts) <= 16_384
        assert sum(len(layout.expected) for layout in memory.layouts.values()) <= 64 * 64


def _length(content: bytes) -> bytes:
    assert len(content) < 1 << 14
    return bytes([len(content) & 0x7F | 0x80, len(content) >> 7])


def test_fields_in_any_order_unknown_ones_and_groups_are_read_over() -> None:
    span = call(1).SerializeToString()
    # 100, a number; 101, eight bytes; 102, bytes; 103, a group with a number in it; 104, four bytes.
    unknown = b"\xa0\x06\x7f\xa9\x0601234567\xb2\x06\x03abc\xbb\x06\x08\x01\xbc\x06\xc5\x060123"

    def field(number: int, content: bytes) -> bytes:
        assert len(content) < 1 << 14
        return bytes([number << 3 | 2, len(content) & 0x7F | 0x80, len(content) >> 7]) + content

    # The scope and the resource after the spans.
    scope_spans = field(2, span + unknown) + unknown + field(1, b"")
    resource = field(1, field(1, pairs({"deployment.environment.name": "prod"})[0].SerializeToString()))
    sent = unknown + field(1, field(2, scope_spans) + unknown + resource)
    assert ExportTraceServiceRequest.FromString(sent).resource_spans[0].scope_spans[0].spans[0].name == "chat"

    [found] = bodies([Body(PROTOBUF, sent)]).spans

    assert (found.model, found.input_tokens, found.environment) == ("gpt-4o-mini", 412, "prod")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_one_bad_record(sent: bytes) -> None:
    for encoding in (PROTOBUF, JSON):
        taken = Body(encoding, sent)
        found = bodies([taken])
        assert found.records == len(found.spans) + sum(found.bad.values())
        assert bool(taken.malformed) == (bool(found.bad) if encoding == PROTOBUF else not _is_object(sent))


def _is_object(sent: bytes) -> bool:
    try:
        return isinstance(json.loads(sent.decode()), dict)
    except ValueError:
        return False


def test_no_fields_at_all_are_a_request_without_spans() -> None:
    for encoding, sent in ((PROTOBUF, b""), (JSON, b"{}")):
        taken = Body(encoding, sent)
        found = bodies([taken])
        assert (found.records, found.spans, found.bad, taken.malformed) == (0, [], {}, "")


@given(st.integers(0, 10**6), st.integers(0, 255), st.booleans())
def test_a_damaged_request_is_still_spans_or_bad_records(place: int, byte: int, cut: bool) -> None:
    whole = bytearray(body(call(1), call(2, parent=1), resource={"service.name": "x"}))
    place %= len(whole)
    if cut:
        del whole[place:]
    else:
        whole[place] = byte
    sent = bytes(whole)

    found = bodies([Body(PROTOBUF, sent)])

    assert found.records == len(found.spans) + sum(found.bad.values())
    try:
        parsed = ExportTraceServiceRequest.FromString(sent)
    except DecodeError:
        return
    spans = [span for group in parsed.resource_spans for scope in group.scope_spans for span in scope.spans]
    assert found.bad == {"protobuf": 1} or found.records == len(spans)


# A protobuf that cannot be is refused whole.


@pytest.mark.parametrize(
    "sent",
    [
        b"\x0a\x05",  # longer than what is there
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a length of more than ten bytes
        b"\x0b" * 50,  # groups that do not end
        b"\x0c",  # a group's end without one
        b"\x07\x00",  # a wire type that is none
        b"\x02\x00",  # field 0
        b"\x08",  # a number that is missing
        b"\x0a\x02\x12\x01",  # within: longer than the message that it is in
        b"\x0a\x03\x12\x05\x00\x00\x00\x00\x00",  # past its parent's end, though not past the body's
    ],
)
def test_protobuf_that_cannot_be_is_malformed(sent: bytes) -> None:
    with pytest.raises(DecodeError):
        ExportTraceServiceRequest.FromString(sent)
    with pytest.raises(RecordError, match="protobuf"):
        list(protobuf.decode(sent, Memory(), {}))


def test_good_spans_in_front_of_what_cannot_be_are_not_taken() -> None:
    taken = Body(PROTOBUF, body(call(1)) + b"\x0c")

    found = bodies([taken, Body(PROTOBUF, body(call(1)))])

    assert (found.records, len(found.spans), found.bad) == (2, 1, {"protobuf": 1})
    assert (bool(taken.malformed), taken.rejected) == (True, {"protobuf": 1})


# JSON, strict and lenient.


@given(st.lists(SPANS, max_size=4), st.dictionaries(NAMES | st.just("deployment.environment"), VALUES, max_size=3))
def test_json_that_has_to_be_taken_apart_says_what_it_says_otherwise(
    spans: list[Span], resource: dict[str, Any]
) -> None:
    text = MessageToJson(request(*spans, resource=resource), ensure_ascii=False).encode()
    deep = b'{"else":' + b"[" * 2_000 + b"]" * 2_000 + b"," + text[1:]
    bad: dict[str, int] = {}
    bad_of_deep: dict[str, int] = {}

    assert list(otlp_json.decode(deep, bad_of_deep)) == list(otlp_json.decode(text, bad))
    assert bad_of_deep == bad


JSON_VALUES = st.recursive(
    PLAIN | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
FIELDS = ("traceId", "spanId", "parentSpanId", "name", "startTimeUnixNano", "endTimeUnixNano", "attributes", "events",
          "status", "kind", "links")  # fmt: skip


def as_json(**fields: Any) -> dict[str, Any]:
    """A model call as OTLP's JSON has it, with some fields set to something else."""
    attributes = [
        {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
        {"key": "gen_ai.request.model", "value": {"stringValue": "gpt-4o-mini"}},
        {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "412"}},
        {"key": "gen_ai.usage.output_tokens", "value": {"intValue": 96}},
    ]
    usual = {
        "traceId": TRACE.hex(), "spanId": "00f067aa0ba902b7", "name": "chat", "kind": 3,
        "startTimeUnixNano": str(START), "endTimeUnixNano": START + 1_500_000_000, "attributes": attributes,
    }  # fmt: skip
    return {**usual, **fields}


def whole(*spans: Any, **fields: Any) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}], **fields}).encode()


@given(st.dictionaries(st.sampled_from(FIELDS), JSON_VALUES), st.dictionaries(st.text(max_size=5), JSON_VALUES))
def test_hostile_json_is_spans_or_bad_records(fields: dict[str, Any], others: dict[str, Any]) -> None:
    sent = whole(as_json(**fields), as_json(spanId="00f067aa0ba902b8"), **others)
    for found in (bodies([Body(JSON, sent)]), lines([memoryview(sent + b"\n")])):
        assert found.records >= 1
        # Scores are spans of their own, and hostile events may be some.
        assert len(found.spans) + sum(found.bad.values()) >= found.records
        if "json" not in found.bad:
            assert "00f067aa0ba902b8" in [span.span_id for span in found.spans]


def one(sent: bytes) -> Any:
    found = bodies([Body(JSON, sent)])
    assert (len(found.spans), found.bad) == (1, {})
    return found.spans[0]


def test_json_numbers_may_be_texts_and_unknown_fields_are_ignored() -> None:
    span = one(whole(as_json(flags=1, droppedLinksCount=0, some={"thing": [1]}), more=[{}]))
    assert (span.trace_id, span.span_id) == ("5b8efff798038103d269b633813fc60c", "00f067aa0ba902b7")
    assert (span.input_tokens, span.output_tokens, span.duration) == (412, 96, 1.5)
    assert span.time == pytest.approx(1_760_531_001.5)


def test_json_ids_are_hexadecimal_in_either_case() -> None:
    assert one(whole(as_json(traceId=TRACE.hex().upper(), parentSpanId="0" * 16))).trace_id == TRACE.hex()


@pytest.mark.parametrize("code", [2, "2", "STATUS_CODE_ERROR"])
def test_a_status_of_json_may_be_its_number_or_its_name(code: object) -> None:
    assert one(whole(as_json(status={"code": code, "message": "429 Too Many Requests"}))).error == "rate_limited"
    assert one(whole(as_json(status={"code": "STATUS_CODE_OK"}))).error == ""


def test_the_json_of_a_bridge_from_protobuf_is_read_as_well() -> None:
    """Ids in base64, names of enums, fields with underscores: protobuf's own mapping, which OTLP's is not."""
    sent = MessageToJson(request(call(1, parent=2)), preserving_proto_field_name=True).encode()
    assert b"resource_spans" in sent
    span = one(sent)
    assert (span.trace_id, span.span_id, span.parent_id) == (TRACE.hex(), f"{1:016x}", f"{2:016x}")
    assert (span.model, span.input_tokens) == ("gpt-4o-mini", 412)


@pytest.mark.parametrize(
    "sent", [b'{"resource_spans": [%d]}' % 10**400, b'{"resource_spans": "' + b"x" * (4 << 20) + b'"}']
)
def test_what_a_bridge_from_protobuf_would_not_write_is_one_bad_record(sent: bytes) -> None:
    assert bodies([Body(JSON, sent)]).bad == {"wrong_type": 1}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"traceId": "xyz"}, "id"),
        ({"traceId": "0" * 32}, "id"),
        ({"spanId": "0" * 16}, "id"),
        ({"spanId": "zz" * 8}, "id"),
        ({"spanId": None}, "id"),
        ({"spanId": 7}, "wrong_type"),
        ({"attributes": "none"}, "wrong_type"),
        ({"startTimeUnixNano": "soon"}, "wrong_type"),
        ({"endTimeUnixNano": None}, "timestamp"),
        ({"endTimeUnixNano": 10**30}, "timestamp"),
    ],
)
def test_a_bad_span_of_json_costs_itself_only(fields: dict[str, Any], reason: str) -> None:
    taken = Body(JSON, whole(as_json(**fields), as_json()))
    found = bodies([taken])
    assert (len(found.spans), found.records, found.bad, taken.rejected) == (1, 2, {reason: 1}, {reason: 1})


# Memory is bounded by what is sent, whatever it says.


def field(number: int, content: bytes) -> bytes:
    size, found = len(content), bytearray([number << 3 | 2])
    while size > 0x7F:
        found.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes(found) + bytes([size]) + content


IDS = field(1, TRACE) + field(2, b"12345678") + b"\x41" + (START).to_bytes(8, "little")
ONE_MIB = 1 << 20
BOMBS = {
    "many empty attributes": field(2, IDS + b"\x4a\x00" * (ONE_MIB // 8)),
    "many events": field(2, IDS + b"\x5a\x00" * (ONE_MIB // 8)),
    "many empty spans": b"\x12\x00" * (ONE_MIB // 8),
    "a long list": field(
        2, IDS + field(9, field(1, b"gen_ai.agent.name") + field(2, field(5, b"\x0a\x00" * (ONE_MIB // 8))))
    ),
    "a list in a list": field(
        2, IDS + field(9, field(1, b"gen_ai.agent.name") + field(2, b"\x2a\x84\x80\x00\x0a\x80\x80\x00" * 1000))
    ),
    "a text of a mebibyte": field(2, IDS + field(5, b"x" * ONE_MIB)),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_little_that_would_be_much_stays_little(bomb: str) -> None:
    sent = field(1, field(2, BOMBS[bomb]))
    tracemalloc.start()
    try:
        found = bodies([Body(PROTOBUF, sent)])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * ONE_MIB, peak
    assert found.records >= 1


@pytest.mark.parametrize("sent", [b"[" * 100_000, b'{"resourceSpans":[{"x":' + b"[" * 100_000, b'{"a":' * 100_000])
def test_deep_nesting_is_one_bad_record(sent: bytes) -> None:
    assert sum(bodies([Body(JSON, sent)]).bad.values()) == 1


def test_values_in_values_are_followed_some_levels_deep() -> None:
    nested = field(1, b"x")
    for _ in range(3000):
        nested = field(5, field(1, nested))
    deep = field(2, IDS + field(9, field(1, b"gen_ai.agent.name") + field(2, nested)))
    assert len(bodies([Body(PROTOBUF, field(1, field(2, deep)))]).spans) == 1


def test_numbers_that_are_none_are_bad_records() -> None:
    def with_tokens(amount: Any) -> bytes:
        return body(call(1, attributes=pairs({"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": amount})))

    assert bodies([Body(PROTOBUF, with_tokens(math.nan))]).bad == {"non_finite": 1}
    assert bodies([Body(PROTOBUF, with_tokens(-1))]).bad == {"out_of_range": 1}
    assert bodies([Body(PROTOBUF, with_tokens(2**62))]).bad == {"out_of_range": 1}
    assert bodies([Body(PROTOBUF, with_tokens(True))]).bad == {"wrong_type": 1}
