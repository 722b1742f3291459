"""The receiver's limits: large bodies, many connections, slow ones, and a scrape that is answered all the while."""

import asyncio
import gzip
import json
import resource
import socket
import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from otlp_stage import JSON, PROTOBUF, arrived, body, call, connect, counted, post, receiving
from serving import Serving, serving, until

from exporters import connections
from exporters.sources.otlp import http, upload
from exporters.sources.otlp.receiver import Receiver

MIB = 1 << 20
CAP = 20 * MIB
TOKEN = b"0123456789abcdef0123456789abcdef"


@pytest.fixture
def waiting() -> Iterator[tuple[Receiver, int]]:
    with receiving() as found:
        yield found


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path / "state", "otlp://127.0.0.1:0?wait=0s") as found:
        yield found


def port_of(exporter: Serving) -> int:
    return int(exporter.said().partition("receives on http://127.0.0.1:")[2].partition("/")[0])


def peak_of(exporter: Serving) -> int:
    """The most memory that the process has had, bytes."""
    status = Path(f"/proc/{exporter.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


# Before and after decompression.


def test_bodies_are_bounded_before_and_after_decompression_and_so_is_the_memory(exporter: Serving) -> None:
    port = port_of(exporter)
    assert post(port, body(call(1))).status == 200
    before = peak_of(exporter)

    said_long = post(port, b"\0" * (CAP + 1))
    bomb = gzip.compress(b"\0" * (200 * MIB), 9)
    assert len(bomb) < MIB
    unpacked_long = post(port, bomb, JSON, Content_Encoding="gzip")

    for answer in (said_long, unpacked_long):
        assert answer.status == 413
        assert b"20 MiB" in answer.body
    assert json.loads(unpacked_long.body)["code"] == 8
    assert peak_of(exporter) - before < 2 * CAP
    until(lambda: exporter.value("agentgauge_bad_records_total", reason="too_large") == 2, "both are counted")


def test_a_body_that_says_no_length_is_bounded_as_it_comes(waiting: tuple[Receiver, int]) -> None:
    connection = connect(waiting[1])
    chunks = (b"\0" * MIB for _ in range(21))
    connection.request("POST", "/v1/traces", chunks, {"Content-Type": PROTOBUF}, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_a_body_of_just_the_size_is_taken(exporter: Serving) -> None:
    port = port_of(exporter)
    small = body(call(1))
    # A field that nobody knows makes up the rest: number 1000, a text.
    rest = CAP - len(small) - 6
    sent = (
        small + b"\xc2\x3e" + bytes([rest & 0x7F | 0x80, rest >> 7 & 0x7F | 0x80, rest >> 14 & 0x7F | 0x80, rest >> 21])
    )
    sent += b"\0" * rest
    assert len(sent) == CAP
    assert post(port, gzip.compress(sent, 1), Content_Encoding="gzip").status == 200
    assert post(port, sent + b"\0").status == 413


# Overload.


def test_when_too_much_waits_a_request_is_asked_to_come_again(
    waiting: tuple[Receiver, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver, port = waiting
    monkeypatch.setattr(upload, "HELD_BYTES", MIB)
    large = b"\0" * (700 * 1024)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, port, large)
        arrived(receiver)

        refused = post(port, large)
        assert (refused.status, refused.headers["Retry-After"]) == (503, "2")

        assert receiver.poll().retries == 1  # read, and still held: it is not committed
        assert post(port, large).status == 503
        receiver.poll()
        assert first.result(10).status == 200
        # The room is free again.
        second = pool.submit(post, port, large)
        arrived(receiver)
        assert len(receiver.poll().records) == 1
        receiver.poll()
        assert second.result(10).status == 200


# Slow and many.


def test_a_body_that_does_not_come_is_given_up(waiting: tuple[Receiver, int], monkeypatch: pytest.MonkeyPatch) -> None:
    receiver, port = waiting
    monkeypatch.setattr(upload, "BODY_SECONDS", 0.1)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(head(100) + b"\x0a")
        answer = b"".join(iter(lambda: client.recv(4096), b""))  # to its end: the connection is closed
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower()
    assert receiver.poll().bad == {"too_slow": 1}


def test_at_the_end_a_body_that_is_coming_in_is_asked_to_come_again() -> None:
    with receiving() as (receiver, port), socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(head(100) + b"\x0a")
        until(lambda: len(receiver._server._held.limits) == 1, "the body is being read", 10)
        began = time.monotonic()
        receiver.close()
        assert time.monotonic() - began < 1
        assert client.recv(4096).startswith(b"HTTP/1.1 503 ")


def head(size: int) -> bytes:
    heads = {"Host": "localhost", "Content-Type": PROTOBUF, "Content-Length": str(size)}
    return "".join(
        ("POST /v1/traces HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in heads.items()), "\r\n")
    ).encode()


@pytest.mark.parametrize("sent", [b"", b"POST /v1/traces HTTP/1.1\r\nHost:"])
def test_a_connection_without_a_request_is_closed(
    waiting: tuple[Receiver, int], monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", waiting[1]), timeout=10) as client:
        client.sendall(sent)
        began = time.monotonic()
        with pytest.raises(ConnectionResetError):
            assert client.recv(1) == b""
            raise ConnectionResetError
        assert time.monotonic() - began < 5


def test_a_head_without_an_end_is_refused(waiting: tuple[Receiver, int]) -> None:
    with socket.create_connection(("127.0.0.1", waiting[1]), timeout=10) as client:
        client.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        sent = 0
        with suppress(ConnectionError):
            while sent < 8 * MIB:
                sent += client.send(b"x" * 4096)
        assert sent < 8 * MIB
    assert post(waiting[1], b"", method="GET").status == 405


def test_what_comes_of_a_body_with_the_end_of_its_head_is_none_of_the_head(waiting: tuple[Receiver, int]) -> None:
    receiver, port = waiting
    size = 200 * 1024
    asked = head(size)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(asked[:-2])
        until(lambda: any(one._head for one in connected(receiver)), "the head is coming in", 10)
        client.sendall(asked[-2:] + b"\0" * size)
        arrived(receiver)


def test_of_a_request_behind_another_the_head_is_bounded_too(waiting: tuple[Receiver, int]) -> None:
    receiver, port = waiting
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(head(1) + b"\0" + b"POST /v1/traces HTTP/1.1\r\nX-Long: ")
        arrived(receiver, 1)
        with pytest.raises(ConnectionError):
            for _ in range(2048):
                client.sendall(b"x" * 4096)


def test_when_there_are_too_many_the_one_that_waited_longest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CONNECTIONS", 3)
    with ExitStack() as clients:
        receiver, port = clients.enter_context(receiving())

        def client(sent: bytes) -> socket.socket:
            found = clients.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            found.sendall(sent)
            return found

        busy = [client(head(100)) for _ in range(2)]
        await_connections(receiver, 2)
        idle = client(b"")
        await_connections(receiver, 3)

        assert post(port, b"", method="GET").status == 405

        assert closed(idle)
        assert not any(closed(one) for one in busy)


def test_a_request_that_is_under_way_too_long_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BUSY_SECONDS", 0.5)
    with receiving() as (_, port), socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(head(100))
        until(lambda: closed(client), "the connection is closed", 10)


# Clients without the token.


def test_who_has_no_token_is_answered_at_once_and_let_go() -> None:
    asked = head(10_000).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\nAuthorization: Bearer wrong\r\n\r\n")
    with receiving(TOKEN) as (_, port), socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        began = time.monotonic()
        client.sendall(asked)
        answer = b"".join(iter(lambda: client.recv(4096), b""))  # to its end: the connection is closed
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert time.monotonic() - began < upload.BODY_SECONDS / 3


def test_who_has_a_wrong_token_and_much_to_say_reads_why() -> None:
    with receiving(TOKEN) as (_, port):
        assert post(port, b"\0" * (19 * MIB), Authorization="Bearer wrong").status == 401


def test_a_connection_that_was_answered_and_goes_on_sending_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LINGER_SECONDS", 0.5)
    with receiving(TOKEN) as (receiver, port), socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(head(10_000))
        with pytest.raises(ConnectionError):
            for _ in range(10_000):
                client.sendall(b"\0")
                time.sleep(0.01)  # as somebody does who drips on purpose
        await_connections(receiver, 0)


def test_clients_without_a_token_do_not_shut_out_those_with_one(tmp_path: Path) -> None:
    """300 connections say a wrong token and that a body will come, and begin anew when they are let go."""
    over = threading.Event()

    async def loop(port: int) -> None:
        while not over.is_set():
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(head(10_000))
                with suppress(TimeoutError):
                    async with asyncio.timeout(5):
                        await reader.read()
                writer.close()

    async def many(port: int) -> None:
        await asyncio.gather(*(loop(port) for _ in range(300)))

    with counted(tmp_path, TOKEN) as found:
        attack = threading.Thread(target=lambda: asyncio.run(many(found.port)))
        attack.start()
        try:
            until(lambda: len(connected(found.receiver)) > 100, "the clients without a token are there")
            statuses = [status_of(found.port, number) for number in range(75)]
        finally:
            over.set()
            attack.join()
    assert statuses == [200] * 75


def status_of(port: int, number: int) -> int:
    try:
        return post(port, body(call(number + 1)), Authorization=f"Bearer {TOKEN.decode()}").status
    except OSError:
        return 0


def await_connections(receiver: Receiver, many: int) -> None:
    until(lambda: len(connected(receiver)) == many, f"there are {many} connections", 10)


def connected(receiver: Receiver) -> Collection[Any]:
    return receiver._server._server.server_state.connections


def closed(client: socket.socket) -> bool:
    """Whether the other end has closed; a live one has nothing to say."""
    client.settimeout(0.2)
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


def test_a_scrape_is_answered_within_a_second_while_a_thousand_slow_connections_come(exporter: Serving) -> None:
    port = port_of(exporter)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4096), most))
    took: list[float] = []

    def scrape() -> None:
        began = time.monotonic()
        exporter.page()
        took.append(time.monotonic() - began)

    exporter.page()
    with ExitStack() as clients:
        slow = []
        for number in range(1000):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            # A third says nothing, a third sends a head, a third a body, byte by byte.
            sent = (b"", b"POST /v1/traces HTTP/1.1\r\nX-Slow: ", head(10_000))[number % 3]
            client.sendall(sent)
            slow.append((client, b"\0" if number % 3 == 2 else b"x" if number % 3 else b""))
            if number % 100 == 99:
                for other, byte in slow:
                    trickle(other, byte)
                scrape()
        # Whoever has something to say is heard, the sooner or the later.
        until(lambda: answered(port), "a client is answered among a thousand slow ones", 30)
        scrape()
        assert max(took) < 1.0, took
        descriptors = len(list(Path(f"/proc/{exporter.process.pid}/fd").iterdir()))
        assert descriptors < 500
        began = time.monotonic()
        assert exporter.stop() == 0
        assert time.monotonic() - began < 5
    assert "Traceback" not in exporter.said()


def trickle(client: socket.socket, byte: bytes) -> None:
    try:
        client.send(byte)
    except OSError:
        return  # it had to make room


def answered(port: int) -> bool:
    try:
        return post(port, body(call(1))).status == 200
    except OSError:
        return False
