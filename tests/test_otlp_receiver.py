"""The receiver: accepted means committed, and what the specification says of replies, errors and limits."""

import gzip
import json
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from otlp_stage import JSON, PROTOBUF, Answer, Counting, arrived, body, call, connect, counted, post, receiving, request
from serving import until

from exporters.sources.otlp import http
from exporters.sources.otlp.receiver import Receiver

TOKEN = b"0123456789abcdef0123456789abcdef"


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as found:
        yield found


@pytest.fixture
def waiting() -> Iterator[tuple[Receiver, int]]:
    with receiving() as found:
        yield found


# Accepted means committed.


def test_a_request_is_answered_when_the_next_poll_says_that_it_is_committed(
    waiting: tuple[Receiver, int], pool: ThreadPoolExecutor
) -> None:
    receiver, port = waiting
    answer = pool.submit(post, port, body(call(1)))
    receiver.wait(10)
    batch = receiver.poll()
    [taken] = batch.records
    assert taken.data == body(call(1))
    assert (batch.cursor, batch.size, batch.more) == ({}, len(taken.data), False)
    assert not taken.committed.done()  # read, and not committed yet

    receiver.wait(3600)  # returns at once: there is somebody to answer
    assert receiver.poll().records == []

    assert answer.result(10)[0] == 200
    assert taken.committed.done()


def test_a_request_whose_commit_failed_is_asked_to_come_again(
    waiting: tuple[Receiver, int], pool: ThreadPoolExecutor
) -> None:
    receiver, port = waiting
    answer = pool.submit(post, port, body(call(1)))
    arrived(receiver)
    receiver.poll()

    receiver.seek({})

    assert_comes_again(answer)
    assert receiver.poll().records == []


def assert_comes_again(answer: Future[Answer]) -> None:
    status, headers, _ = answer.result(10)
    assert status == 503
    assert int(headers["Retry-After"]) >= 1


def test_what_arrives_while_a_batch_is_committed_waits_for_the_next(
    waiting: tuple[Receiver, int], pool: ThreadPoolExecutor
) -> None:
    receiver, port = waiting
    first = pool.submit(post, port, body(call(1)))
    arrived(receiver)
    receiver.poll()
    second = pool.submit(post, port, body(call(2)))
    arrived(receiver)

    receiver.seek({})

    assert_comes_again(first)
    assert [taken.data for taken in receiver.poll().records] == [body(call(2))]
    receiver.poll()
    assert second.result(10).status == 200


def test_many_clients_share_a_commit_up_to_a_bound(waiting: tuple[Receiver, int], pool: ThreadPoolExecutor) -> None:
    receiver, port = waiting
    large = body(call(1, name="x" * 1_200_000))
    answers = [pool.submit(post, port, large) for _ in range(5)]
    arrived(receiver, 5)
    assert receiver.backlog() == 5 * len(large)

    batches = [receiver.poll() for _ in range(4)]

    assert [len(batch.records) for batch in batches] == [2, 2, 1, 0]
    assert [batch.more for batch in batches] == [True, True, False, False]
    assert [answer.result(10).status for answer in answers] == [200] * 5


def test_a_client_is_asked_to_come_again_before_its_own_time_limit(
    waiting: tuple[Receiver, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver, port = waiting
    assert http.COMMIT_SECONDS < 10  # what clients wait, unless they are told otherwise
    monkeypatch.setattr(http, "COMMIT_SECONDS", 0.05)

    status, headers, said = post(port, b"{}", JSON)

    assert (status, headers["Retry-After"]) == (503, "2")
    assert json.loads(said) == {"code": 14, "message": "it could not be stored in time; please send it again"}
    assert receiver.poll().records == []  # nobody waits for it any more


def test_at_the_end_everybody_who_waits_is_asked_to_come_again(pool: ThreadPoolExecutor) -> None:
    with receiving() as (receiver, port):
        read = pool.submit(post, port, body(call(1)))
        arrived(receiver)
        receiver.poll()
        unread = pool.submit(post, port, body(call(2)))
        arrived(receiver)

        receiver.close()

        assert_comes_again(read)
        assert_comes_again(unread)
        receiver.wait(3600)
        assert receiver.poll().records == []
        with pytest.raises(ConnectionRefusedError):
            connect(port).connect()


# What the specification says, against an exporter that counts.


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[Counting]:
    with counted(tmp_path) as found:
        yield found


def test_success_is_an_empty_response_in_the_encoding_of_the_request(counting: Counting) -> None:
    binary = counting.post(body(call(1)))
    assert (binary.status, binary.headers["Content-Type"], binary.body) == (200, PROTOBUF, b"")

    text = counting.post(as_json(call(2)), JSON)
    assert (text.status, text.headers["Content-Type"], text.body) == (200, JSON, b"{}")

    assert [span.span_id for span in counting.spans] == ["0000000000000001", "0000000000000002"]
    assert [(span.model, span.input_tokens, span.duration) for span in counting.spans] == [
        ("gpt-4o-mini", 412, 1.5)
    ] * 2


def as_json(*spans: object) -> bytes:
    """The request as OTLP's JSON has it: protobuf's own, but for the ids."""
    whole = MessageToDict(request(*spans), use_integers_for_enums=True)  # type: ignore[arg-type]
    for given, source in zip(whole["resourceSpans"][0]["scopeSpans"][0]["spans"], spans, strict=True):
        given["traceId"], given["spanId"] = source.trace_id.hex(), source.span_id.hex()  # type: ignore[attr-defined]
        if source.parent_span_id:  # type: ignore[attr-defined]
            given["parentSpanId"] = source.parent_span_id.hex()  # type: ignore[attr-defined]
    return json.dumps(whole).encode()


@pytest.mark.parametrize(("sent", "encoding"), [(b"", PROTOBUF), (b"{}", JSON), (b'{"resourceSpans": []}', JSON)])
def test_an_empty_request_succeeds(counting: Counting, sent: bytes, encoding: str) -> None:
    assert counting.post(sent, encoding).status == 200


def test_what_could_not_be_used_is_a_partial_success(counting: Counting) -> None:
    spans = [call(1), call(2, trace_id=b"short"), call(3, end_time_unix_nano=0), call(4, span_id=b"")]
    reasons = "2 id, 1 timestamp"

    binary = counting.post(body(*spans))
    response = ExportTraceServiceResponse.FromString(binary.body)
    assert binary.status == 200
    assert response.partial_success.rejected_spans == 3
    assert response.partial_success.error_message == reasons

    text = counting.post(as_json(*spans), JSON)
    assert text.status == 200
    assert json.loads(text.body) == {"partialSuccess": {"rejectedSpans": "3", "errorMessage": reasons}}

    assert len(counting.spans) == 1  # and the same again is not counted again
    assert 'agentgauge_records_total{source="otlp"} 8' in (counting.page(), counting.page())[1]
    assert 'agentgauge_bad_records_total{source="otlp",reason="id"} 4' in counting.page()


def status_of(answer: Answer) -> tuple[int, str]:
    """The code and message of a google.rpc.Status in protobuf, read by hand: field 1, a number, and 2, a text."""
    assert answer.headers["Content-Type"] == PROTOBUF
    assert (answer.body[0], answer.body[2], answer.body[3]) == (0x08, 0x12, len(answer.body) - 4)
    return answer.body[1], answer.body[4:].decode()


@pytest.mark.parametrize(
    ("sent", "encoding", "message"),
    [
        (b"\x0a", PROTOBUF, "the body is no ExportTraceServiceRequest in protobuf"),
        (b"{", JSON, "the body is no JSON"),
        (b"[]", JSON, "the body is no ExportTraceServiceRequest in JSON"),
        (b'{"resourceSpans": 7}', JSON, "the body is no ExportTraceServiceRequest in JSON"),
    ],
)
def test_malformed_bodies_are_refused_for_good(counting: Counting, sent: bytes, encoding: str, message: str) -> None:
    answer = counting.post(sent, encoding)
    assert answer.status == 400
    if encoding == PROTOBUF:
        assert status_of(answer) == (3, message)
    else:
        assert json.loads(answer.body) == {"code": 3, "message": message}
    assert len(counting.spans) == 0


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_bodies_may_be_compressed(counting: Counting, pack: object) -> None:
    packed = pack(body(call(1)))  # type: ignore[operator]
    coding = "gzip" if pack is gzip.compress else "deflate"
    assert counting.post(packed, Content_Encoding=coding).status == 200
    assert len(counting.spans) == 1


def test_gzip_may_have_several_members(counting: Counting) -> None:
    whole = body(call(1))
    packed = gzip.compress(whole[:30]) + gzip.compress(whole[30:])
    assert counting.post(packed, Content_Encoding="gzip").status == 200
    assert len(counting.spans) == 1


@pytest.mark.parametrize(
    "sent", [body(call(1)), gzip.compress(body(call(1)))[:-9], gzip.compress(body(call(1))) + b"more"]
)
def test_what_is_not_gzip_is_refused_for_good(counting: Counting, sent: bytes) -> None:
    assert counting.post(sent, Content_Encoding="gzip").status == 400
    assert counting.spans == []
    told = 'agentgauge_bad_records_total{source="otlp",reason="compression"} 1'
    until(lambda: told in counting.page(), "it is counted", 10)


def test_other_methods_paths_and_encodings_are_told_what_there_is(counting: Counting) -> None:
    for method in ("GET", "PUT", "DELETE", "OPTIONS"):
        answer = counting.post(b"", method=method)
        assert (answer.status, answer.headers["Allow"]) == (405, "POST"), method
    for path, said in (
        ("/v1/metrics", "no metrics"),
        ("/v1/logs", "no logs"),
        ("/", "/v1/traces"),
        ("/v1/traces/", ""),
    ):
        answer = counting.post(b"{}", JSON, path=path)
        assert answer.status == 404, path
        assert said in json.loads(answer.body)["message"]
    assert counting.post(b"x", "text/plain").status == 415
    assert counting.post(b"x", Content_Encoding="zstd").status == 415
    assert counting.post(b"{}", "application/json; charset=utf-8").status == 200
    assert 'agentgauge_bad_records_total{source="otlp",reason="unsupported"} 2' in (counting.page(), counting.page())[1]


def test_msgtrace_clients_are_answered_as_their_server_does(counting: Counting) -> None:
    path = "/api/v1/traces/export"

    text = counting.post(as_json(call(1)), JSON, path=path)
    assert text.status == 202
    assert json.loads(text.body) == {"status": "accepted", "message": "Trace data queued for processing"}

    # Its own server takes no protobuf, which is what its clients send.
    binary = counting.post(body(call(2)), path=path)
    assert (binary.status, binary.body) == (202, b"")
    assert len(counting.spans) == 2


def test_duplicates_are_accepted_and_counted_once(counting: Counting) -> None:
    for _ in range(3):
        assert counting.post(body(call(1), call(2))).status == 200
    assert len(counting.spans) == 2
    assert 'agentgauge_repeated_spans_total{source="otlp"} 4' in (counting.page(), counting.page())[1]


def test_a_token_is_asked_for_and_compared_whole() -> None:
    with receiving(TOKEN) as (receiver, port):
        for given in ({}, {"Authorization": TOKEN.decode()}, {"Authorization": f"Bearer {TOKEN.decode()[:-1]}"}):
            answer = post(port, b"{}", JSON, **given)
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert json.loads(answer.body)["code"] == 16
            assert TOKEN not in answer.body
        assert receiver.poll().bad == {"unauthorized": 3}
        with ThreadPoolExecutor(1) as pool:
            answered = pool.submit(post, port, b"{}", JSON, Authorization=f"Bearer {TOKEN.decode()}")
            arrived(receiver)
            receiver.poll()
            receiver.poll()
            assert answered.result(10).status == 200
