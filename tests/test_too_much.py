"""Too much of anything: a record that is too deep, too long or too wide costs itself, and nothing beside it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from createagents_lines import line
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from otlp_raw import (
    attribute,
    bytes_of,
    bytes_of_call,
    deep,
    field,
    lists,
    maps,
    nested,
    pair,
    span_id,
    text_of,
    text_of_call,
)
from otlp_stage import JSON, PROTOBUF, Counting, call, counted, pairs, request

from exporters.sources import open_source
from exporters.sources.genai import sorted_out
from exporters.sources.otlp import json as otlp_json
from exporters.sources.otlp import protobuf
from exporters.sources.otlp.body import Body
from exporters.sources.otlp.layouts import Memory
from exporters.sources.otlp.translation import bodies, lines

MIB = 1 << 20


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[Counting]:
    with counted(tmp_path) as found:
        yield found


# Records, as text and as protobuf.


EMPTY = b',{"key":"","value":{}}'
WRONG = "wrong_type"
DIGITS = b"1" + b"0" * 5_000
# How a span of JSON may be too much or nothing at all -> such a span's text, and the reason that is counted.
TEXTS: dict[str, tuple[Callable[[int], bytes], str]] = {
    "lists in lists": (lambda n: text_of_call(n, attributes=attribute(lists(1_100))), "too_deep"),
    "maps in maps": (lambda n: text_of_call(n, attributes=attribute(maps(1_100))), "too_deep"),
    "lists in many lists": (lambda n: text_of_call(n, attributes=attribute(lists(90_000))), "too_deep"),
    "an unknown field": (lambda n: text_of_call(n, b',"else":' + nested(5_000, b"[", b"", b"]")), "too_deep"),
    "an endless unknown field": (lambda n: text_of_call(n, b',"else":' + nested(MIB, b"[", b"", b"]")), "too_deep"),
    "objects in a field": (lambda n: text_of_call(n, b',"a":' + nested(9_999, b'{"a":', b"1", b"}")), "too_deep"),
    "a million attributes": (lambda n: text_of_call(n, attributes=EMPTY * 600_000), "too_many_fields"),
    "many attributes": (lambda n: text_of_call(n, attributes=EMPTY * 120_000), "too_many_fields"),
    "a million events": (lambda n: text_of_call(n, b',"events":[' + b"{}," * 1_100_000 + b"{}]"), "too_many_fields"),
    "not a number": (lambda n: text_of_call(n, attributes=attribute(b'{"doubleValue":NaN}')), "json"),
    "not a number, unknown": (lambda n: text_of_call(n, b',"else":-Infinity'), "json"),
    "a long number": (lambda n: text_of_call(n, attributes=attribute(b'{"intValue":%s}' % DIGITS)), WRONG),
    "a long text of a number": (lambda n: text_of_call(n, attributes=attribute(b'{"intValue":"%s"}' % DIGITS)), WRONG),
    "half a character": (lambda n: text_of_call(n, attributes=attribute(b'{"stringValue":"\\ud800"}')), "json"),
    "no character": (lambda n: text_of_call(n, attributes=attribute(b'{"stringValue":"\xff\xfe"}')), "json"),
    "a control character": (lambda n: text_of_call(n, attributes=attribute(b'{"stringValue":"\0"}')), "json"),
    "no JSON": (lambda n: text_of_call(n, b',"else":[1 2]'), "json"),
    "a text": (lambda _: b'"span"', "wrong_type"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TEXTS)
def test_a_span_of_json_that_is_too_much_costs_itself_and_not_the_other_spans_of_its_request(kind: str) -> None:
    spoilt, reason = TEXTS[kind]
    good = [text_of_call(number) for number in range(1, 501)]
    sent = text_of(*good[:250], spoilt(999), *good[250:])
    taken = Body(JSON, sent)

    for found in (bodies([taken]), lines([memoryview(sent + b"\n")])):
        assert found.bad == {reason: 1}
        assert [span.span_id for span in found.spans] == [span_id(number) for number in range(1, 501)]
        assert found.records == 501
    assert (taken.malformed, taken.rejected) == ("", {reason: 1})


# What stands around spans -> that, and what is counted as bad.
AROUND: dict[str, tuple[dict[str, bytes], dict[str, int]]] = {
    "a deep attribute": ({"resource": b'{"attributes":[{"key":"x","value":%s}]}' % lists(9_999)}, {"resource": 1}),
    "no number": ({"resource": b'{"attributes":[{"key":"x","value":{"intValue":"x"}}]}'}, {"resource": 1}),
    "no float": ({"resource": b'{"attributes":[{"key":"x","value":{"doubleValue":"x"}}]}'}, {"resource": 1}),
    "a resource that is none": ({"resource": b"[1]"}, {"resource": 1}),
    "a resource with a wrong type": ({"resource": b'{"attributes":{"a":1}}'}, {"resource": 1}),
    "a wide resource": ({"resource": b'{"attributes":[%s{}]}' % (b"{}," * 1_100_000)}, {"resource": 1}),
    "a deep field of the resource": ({"resource": b'{"else":%s}' % nested(9_999, b"[", b"", b"]")}, {"resource": 1}),
    "a deep field of the scope": ({"scope": b',"scope":{"else":%s}' % nested(9_999, b"[", b"", b"]")}, {}),
    "a deep field of the request": ({"top": b',"else":' + nested(MIB, b"[", b"", b"]")}, {}),
    "a wide field of the request": ({"top": b',"else":[' + b"{}," * 1_100_000 + b"{}]"}, {}),
    "not a number beside the spans": ({"scope": b',"else":NaN'}, {}),
}  # fmt: skip


@pytest.mark.parametrize("kind", AROUND)
def test_what_stands_around_spans_of_json_and_is_too_much_costs_no_span(kind: str) -> None:
    around, bad = AROUND[kind]
    taken = Body(JSON, text_of(*[text_of_call(number) for number in range(1, 501)], **around))

    found = bodies([taken], "of the source")

    assert (len(found.spans), found.bad) == (500, bad)
    # The client has lost no span.
    assert (taken.malformed, taken.rejected) == ("", {})
    assert {span.environment for span in found.spans} == {"of the source"}


def test_a_resource_that_cannot_be_read_leaves_the_others_what_they_say() -> None:
    def group(number: int, resource: bytes) -> bytes:
        return b'{"scopeSpans":[{"spans":[%s]}],"resource":%s}' % (text_of_call(number), resource)

    said = b'{"attributes":[{"key":"deployment.environment.name","value":{"stringValue":"prod"}}]}'
    groups = [group(1, said), group(2, b'{"else":%s}' % nested(5_000, b"[", b"", b"]")), group(3, said)]
    sent = b'{"resourceSpans":[' + b",".join(groups) + b"]}"

    found = bodies([Body(JSON, sent)])

    assert [(span.span_id, span.environment) for span in found.spans] == [
        (span_id(1), "prod"), (span_id(2), ""), (span_id(3), "prod"),
    ]  # fmt: skip


def test_resources_and_scopes_of_json_that_are_none_cost_themselves() -> None:
    good = text_of(text_of_call(1))[len(b'{"resourceSpans":[') : -len(b"]}")]
    groups = (b"7", b'{"scopeSpans":"x"}', b'{"scopeSpans":[[],{"spans":{}}]}', b"{}", b'{"scopeSpans":null}', good)
    taken = Body(JSON, b'{"resourceSpans":[' + b",".join(groups) + b"]}")

    found = bodies([taken])

    assert ([span.span_id for span in found.spans], found.bad) == ([span_id(1)], {"wrong_type": 4})
    assert taken.rejected == {"wrong_type": 4}


@pytest.mark.parametrize("names", ["camel", "snake"])
def test_the_names_of_protobuf_in_json_are_bounded_a_span_and_not_a_request(names: str) -> None:
    span = text_of_call(1, attributes=attribute(b'{"stringValue":"%s"}' % (b"x" * 6_000)))
    spans = [span.replace(span_id(1).encode(), span_id(number).encode()) for number in range(1, 1_001)]
    sent = text_of(*spans[:500], text_of_call(0, attributes=attribute(lists(5_000))), *spans[500:])
    if names == "snake":
        for camel in ("resourceSpans", "scopeSpans", "traceId", "spanId", "startTimeUnixNano", "endTimeUnixNano",
                      "stringValue"):  # fmt: skip
            snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in camel)
            sent = sent.replace(camel.encode(), snake.encode())
    assert len(sent) > 6 * MIB

    found = bodies([Body(JSON, sent)])

    assert (len(found.spans), found.bad) == (1_000, {"too_deep": 1})
    assert {span.model for span in found.spans} == {"gpt-4o-mini"}


# Protobuf.


AGENT = b"gen_ai.agent.name"
# What may be added to a span of protobuf -> the reason that is counted; none where the span is counted all the same.
BYTES: dict[str, tuple[bytes, str]] = {
    "lists in lists": (field(9, pair(AGENT, deep(10_000, 5))), ""),
    "maps in maps": (field(9, pair(AGENT, deep(10_000, 6))), ""),
    "groups in groups": (b"\xa3\x06" * 9_000 + b"\xa4\x06" * 9_000, ""),
    "groups in groups without end": (b"\xa3\x06" * 500_000 + b"\xa4\x06" * 500_000, "too_many_fields"),
    "a group that does not end": (b"\xa3\x06", "protobuf"),
    "a group's end without one": (b"\xa4\x06", "protobuf"),
    "a group that ends in the next span": (b"\xa3\x06\xa2\x06\x7f", "protobuf"),
    "a name of 15 MiB": (field(5, b"x" * (15 * MIB)), ""),
    "an attribute of 15 MiB": (field(9, pair(AGENT, field(1, b"x" * (15 * MIB)))), ""),
    "a parent of 15 MiB": (field(4, b"x" * (15 * MIB)), "id_too_long"),
    "a trace of 15 MiB": (field(1, b"x" * (15 * MIB)), "id"),
    "a million attributes": (field(9, pair(b"a", b"")) * 1_000_000, "too_many_fields"),
    "a million events": (field(11, b"") * 1_000_000, "too_many_fields"),
    "a million links": (field(13, b"") * 1_000_000, "too_many_fields"),
    "a million statuses": (field(15, b"") * 1_000_000, "too_many_fields"),
    "a million unknown fields": (b"\x70\x00" * 1_000_000, "too_many_fields"),
    "a million fields of a status": (field(15, b"\x70\x00" * 1_000_000), "too_many_fields"),
    "a million fields of an event": (field(11, b"\x70\x00" * 1_000_000), "too_many_fields"),
    "a million fields of a value": (field(9, pair(AGENT, b"\x70\x00" * 1_000_000)), "too_many_fields"),
    "a million fields of an attribute": (field(9, field(1, AGENT) + b"\x70\x00" * 1_000_000), "too_many_fields"),
    "a million elements": (field(9, pair(AGENT, field(5, b"\x0a\x00" * 1_000_000))), ""),
    "a number of eleven bytes": (b"\x70" + b"\xff" * 10 + b"\x01", "protobuf"),
    "a length of eleven bytes": (b"\x72" + b"\xff" * 10 + b"\x01", "protobuf"),
    "a length past the span": (b"\x72\x7f", "protobuf"),
    "a length past the request": (b"\x72\xff\xff\xff\xff\x0f", "protobuf"),
    "an attribute that is cut": (b"\x4a\x7f\x0a", "protobuf"),
    "an event that is cut": (field(11, b"\x12\x7f"), "protobuf"),
    "a value that is cut": (field(9, pair(AGENT, b"\x0a\x7f")), "protobuf"),
    "a wire type that is none": (b"\x07\x00", "protobuf"),
    "an attribute that is empty": (field(9, b""), ""),
    "an event that is empty": (field(11, b""), ""),
}  # fmt: skip


@pytest.mark.parametrize("last", [False, True], ids=["among others", "at the end"])
@pytest.mark.parametrize("kind", BYTES)
def test_a_span_of_protobuf_that_is_too_much_costs_itself_and_not_the_other_spans_of_its_request(
    kind: str, last: bool
) -> None:
    added, reason = BYTES[kind]
    spoilt = bytes_of_call(999, added)
    before = [bytes_of_call(number) for number in range(1, 301)]
    behind = [] if last else [bytes_of_call(number) for number in range(301, 501)]
    taken = Body(PROTOBUF, bytes_of(*before, spoilt, *behind))

    found = bodies([taken])

    assert found.bad == ({reason: 1} if reason else {})
    ids = [span_id(number) for number in range(1, 301 if last else 501)]
    assert [span.span_id for span in found.spans if span.span_id != span_id(999)] == ids
    assert len(found.spans) == len(ids) + (not reason)
    assert found.records == len(ids) + 1
    assert (taken.malformed, taken.rejected) == ("", {reason: 1} if reason else {})


def test_a_span_that_stands_behind_many_fields_of_others_is_not_too_much() -> None:
    """What may be read of one span is not used up by those in front of it."""
    wide = field(9, pair(b"a", b"")) * 7_000
    spans = [bytes_of_call(number, wide) for number in range(1, 101)]

    found = bodies([Body(PROTOBUF, bytes_of(*spans))], memory=Memory())

    assert (len(found.spans), found.bad) == (100, {})


@pytest.mark.parametrize(
    "resource",
    [
        field(1, pair(b"deployment.environment", deep(10_000, 5))),
        b"\x70\x00" * 1_000_000,
        b"\x0a\x7f",
        field(1, b"\x0a\x7f"),
        b"\xa3\x06",
    ],
    ids=["deep", "wide", "cut", "an attribute that is cut", "a group that does not end"],
)
def test_a_resource_of_protobuf_that_is_too_much_costs_no_span(resource: bytes) -> None:
    said = field(1, field(1, pair(b"deployment.environment", field(1, b"prod"))))
    sent = field(1, field(1, resource) + field(2, bytes_of_call(1))) + field(1, said + field(2, bytes_of_call(2)))
    taken = Body(PROTOBUF, sent)

    found = bodies([taken])

    assert [(span.span_id, span.environment) for span in found.spans] == [(span_id(1), ""), (span_id(2), "prod")]
    assert found.bad.keys() <= {"resource"}
    assert (taken.malformed, taken.rejected) == ("", {})


@pytest.mark.parametrize("kind", ["resources", "scopes", "resources of JSON", "scopes of JSON"])
def test_a_hundred_thousand_that_are_empty_cost_nothing(kind: str) -> None:
    sent = {
        "resources": field(1, b"") * 100_000 + bytes_of(bytes_of_call(1)),
        "scopes": field(1, field(2, b"") * 100_000 + field(2, bytes_of_call(1))),
        "resources of JSON": text_of(text_of_call(1)).replace(b"[", b"[" + b"{}," * 100_000, 1),
        "scopes of JSON": text_of(text_of_call(1)).replace(b'"scopeSpans":[', b'"scopeSpans":[' + b"{}," * 100_000),
    }[kind]
    found = bodies([Body(JSON if "JSON" in kind else PROTOBUF, sent)])
    assert (len(found.spans), found.records, found.bad) == (1, 1, {})


# Told to the client.


@pytest.mark.parametrize(
    ("encoding", "spoilt", "reason"),
    [
        (JSON, TEXTS["lists in lists"][0](2), "too_deep"),
        (JSON, TEXTS["a million attributes"][0](2), "too_many_fields"),
        (PROTOBUF, bytes_of_call(2, b"\x4a\x7f"), "protobuf"),
        (PROTOBUF, bytes_of_call(2, field(9, b"") * 1_000_000), "too_many_fields"),
    ],
    ids=["deep", "wide", "cut", "wide in protobuf"],
)  # fmt: skip
def test_a_client_is_told_of_the_span_that_was_too_much_and_why(
    counting: Counting, encoding: str, spoilt: bytes, reason: str
) -> None:
    if encoding == JSON:
        sent = text_of(text_of_call(1), spoilt, text_of_call(3))
    else:
        sent = bytes_of(bytes_of_call(1), spoilt, bytes_of_call(3))

    answer = counting.post(sent, encoding)

    assert answer.status == 200
    if encoding == JSON:
        partial = {"rejectedSpans": "1", "errorMessage": f"1 {reason}"}
        assert json.loads(answer.body) == {"partialSuccess": partial}
    else:
        assert answer.body == field(1, b"\x08\x01" + field(2, f"1 {reason}".encode()))
    assert [span.span_id for span in counting.spans] == [span_id(1), span_id(3)]
    assert f'reason="{reason}"' in counting.page()


@pytest.mark.parametrize("encoding", [PROTOBUF, JSON])
def test_of_too_many_spans_those_past_the_bound_are_rejected(encoding: str) -> None:
    if encoding == JSON:
        sent = text_of(b",".join([text_of_call(1)] * 50_000), b",".join([text_of_call(2)] * 7), text_of_call(3))
    else:
        sent = bytes_of(bytes_of_call(1) * 50_000, bytes_of_call(2) * 7) + bytes_of(bytes_of_call(3))
    taken = Body(encoding, sent)

    found = bodies([taken])

    assert (len(found.spans), found.records, found.bad) == (50_000, 50_008, {"too_many_spans": 8})
    assert {span.span_id for span in found.spans} == {span_id(1)}
    assert (taken.malformed, taken.rejected) == ("", {"too_many_spans": 8})


# Lines of files.


@pytest.mark.parametrize(
    ("around", "bad"),
    [
        (lambda text: b"\xef\xbb\xbf" + text, {}),
        (lambda text: b"\0" * 4096 + text, {}),
        (lambda text: text + b"\r", {}),
        (lambda text: text + b"\r\n\r\n\n  ", {}),
        (lambda text: text[:-9] + b"\n" + text, {"json": 1}),
        (lambda text: text[:-9] + text, {"json": 1}),
        (lambda text: text.decode().encode("utf-16-le"), {"json": 1}),
    ],
    ids=["byte order mark", "NULs", "CR", "blank lines", "half a line", "half a line and another", "UTF-16"],
)
def test_a_line_of_otlp_that_looks_odd_is_read_or_one_bad_record(
    tmp_path: Path, around: Callable[[bytes], bytes], bad: dict[str, int]
) -> None:
    text = around(text_of(text_of_call(2)))
    (tmp_path / "a.json").write_bytes(
        text_of(text_of_call(1)) + b"\n" + text + b"\n" + text_of(text_of_call(3)) + b"\n"
    )

    ids, reasons = read_of(f"otlp+file://{tmp_path}")

    assert reasons == bad
    assert set(ids) >= {span_id(1), span_id(3)}
    assert (span_id(2) in ids) == (bad == {} or b"\n" in text)


def read_of(url: str) -> tuple[list[str], dict[str, int]]:
    """What a source brings as it is read to its end: the ids of its spans, and its bad records by reason."""
    source = open_source(url)
    ids: list[str] = []
    bad: dict[str, int] = {}
    try:
        source.reader.seek({})
        more = True
        while more:
            batch = source.reader.poll()
            found = source.spans(batch.records)
            ids += [span.span_id for span in found.spans]
            for reason, count in (*batch.bad.items(), *found.bad.items()):
                bad[reason] = bad.get(reason, 0) + count
            more = batch.more
    finally:
        source.reader.close()
    return ids, bad


def with_inputs(run: str, value: bytes) -> bytes:
    return line("llm.response", 1, run, "r")[:-1] + b', "inputs": ' + value + b"}"


LONG = 16 * MIB
# A line of createagents -> its text, and the reason that is counted; none where it is counted all the same.
LINES: dict[str, tuple[Callable[[], bytes], str]] = {
    "deep": (lambda: with_inputs("x", nested(1_100, b"[", b"", b"]")), "too_deep"),
    "deeper": (lambda: with_inputs("x", nested(100_000, b"[", b"", b"]")), "too_deep"),
    "objects in objects": (lambda: with_inputs("x", nested(100_000, b'{"a":', b"1", b"}")), "too_deep"),
    "just short enough": (lambda: with_inputs("x", b'"%s"' % (b"x" * (LONG - 1_000))), ""),
    "16 MiB": (lambda: with_inputs("x", b'"%s"' % (b"x" * LONG)), "too_long"),
    "64 MiB": (lambda: with_inputs("x", b'"%s"' % (b"x" * (64 * MIB))), "too_long"),
    "a million keys": (lambda: with_inputs("x", b"{%s}" % b",".join(b'"%d":1' % key for key in range(1_000_000))), ""),
    "a number of 5,000 digits": (lambda: with_inputs("x", b"1" + b"0" * 5_000), ""),
    "tokens of 5,000 digits": (lambda: with_inputs("x", b'1, "input_tokens": 1' + b"0" * 5_000), "json"),
    "not a number": (lambda: with_inputs("x", b'1, "cost_usd": NaN'), "non_finite"),
    "half a character in an id": (lambda: with_inputs("x", b"1").replace(b'"x"', b'"\\ud800"'), ""),
    "no JSON": (lambda: with_inputs("x", b"1 2"), "json"),
    "NULs": (lambda: b"\0" * 4_096, "json"),
    "half a line": (lambda: with_inputs("x", b"1")[:-20], "json"),
    "byte order mark": (lambda: b"\xef\xbb\xbf" + with_inputs("x", b"1"), ""),
    "broken UTF-8": (lambda: with_inputs("x", b'"\xff\xfe"'), ""),
    "half a character": (lambda: with_inputs("x", b'"\\ud800"'), ""),
    "CR": (lambda: with_inputs("x", b"1") + b"\r", ""),
}  # fmt: skip


@pytest.mark.parametrize("kind", LINES)
def test_a_line_of_createagents_that_is_too_much_costs_itself_and_not_the_lines_beside_it(
    tmp_path: Path, kind: str
) -> None:
    made, reason = LINES[kind]
    good = [line("llm.response", 1, f"c{number}", "r") + b"\n" for number in range(200)]
    (tmp_path / "traces_1.jsonl").write_bytes(b"".join(good[:100]) + made() + b"\n\n" + b"".join(good[100:]))

    ids, bad = read_of(f"createagents://{tmp_path}")

    assert bad == ({reason: 1} if reason else {})
    assert [run for run in ids if run.startswith("c")] == [f"c{number}" for number in range(200)]
    assert len(ids) == 200 + (not reason)


@pytest.mark.parametrize("size", [LONG, LONG + 1_000, 64 * MIB])
def test_a_line_of_otlp_that_is_too_long_is_one_bad_record(tmp_path: Path, size: int) -> None:
    long = text_of(text_of_call(2, b',"else":"%s"' % (b"x" * (size - 1_000))))
    (tmp_path / "a.json").write_bytes(b"\n".join((text_of(text_of_call(1)), long, text_of(text_of_call(3)), b"")))

    ids, bad = read_of(f"otlp+file://{tmp_path}")

    few = [span_id(1), span_id(3)]
    assert (ids, bad) == ((few, {"too_long": 1}) if size > LONG else ([*few[:1], span_id(2), *few[1:]], {}))


@pytest.mark.parametrize(
    "value",
    [
        "x" * 70_000,
        "\u20ac" * 30_000,
        ["x"] * 300,
        {f"{number:03}": number for number in range(300)},
        [[[[[[[["eight"]]]]]]]],
        [[[[[[[[["nine"]]]]]]]]],
        {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": {"j": 1}}}}}}}}}},
    ],
    ids=["a long text", "a long text of wide characters", "a list", "a map", "eight levels", "nine levels", "maps"],
)
def test_of_much_in_an_attribute_as_much_is_read_in_either_encoding(value: Any) -> None:
    sent = request(call(1, attributes=pairs({"gen_ai.conversation.id": 1, "llm.invocation_parameters": value})))
    text = MessageToJson(sent).encode()

    [of_bytes] = protobuf.decode(sent.SerializeToString(), Memory(), {})
    [of_text] = otlp_json.decode(text, {})

    assert of_bytes.said
    assert of_bytes.said == sorted_out(of_text.attributes)


@pytest.mark.parametrize(("events", "attributes", "spans"), [(300, 3, 257), (2, 255, 3), (2, 256, 1)])
def test_as_many_events_are_read_in_either_encoding(events: int, attributes: int, spans: int) -> None:
    others = {f"{number}": 1 for number in range(attributes)}
    judged = Span.Event(
        name="gen_ai.evaluation.result", attributes=pairs({**others, "gen_ai.evaluation.score.value": 0.5})
    )
    sent = request(call(1, events=[judged] * events))

    found = [bodies([Body(JSON, MessageToJson(sent).encode())]), bodies([Body(PROTOBUF, sent.SerializeToString())])]

    assert [len(one.spans) for one in found] == [spans, spans]
