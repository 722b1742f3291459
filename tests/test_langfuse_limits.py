"""A request to Langfuse is bounded in time, whatever drips, and in memory, whatever is decompressed."""

import gzip
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path

import pytest
from langfuse_reading import reading
from langfuse_server import PUBLIC, SECRET, Fault, Langfuse, answering, await_head, drip, served
from serving import serving, until
from test_langfuse import run

from exporters.sources.langfuse.client import Client, RefusedError
from exporters.sources.langfuse.keys import Keys

KEYS = {"LANGFUSE_PUBLIC_KEY": PUBLIC, "LANGFUSE_SECRET_KEY": SECRET}
Answer = Callable[[socket.socket, threading.Event], None]

OK = b"HTTP/1.1 200 OK\r\n"
BODY = json.dumps({"data": [], "meta": {}, "rest": "x" * 1000}).encode()
# A drip ends by itself after ten seconds, so that a client without a deadline is seen to have none.
DRIPS = 100


def dripping(before: bytes, parts: bytes | list[bytes]) -> Answer:
    """Answer at once with something, and then with a part each tenth of a second, again and again."""
    pieces = [bytes([byte]) for byte in parts] if isinstance(parts, bytes) else parts
    endless = (pieces * (DRIPS // len(pieces) + 1))[:DRIPS]

    def answer(connection: socket.socket, stopping: threading.Event) -> None:
        await_head(connection)
        connection.sendall(before)
        drip(connection, stopping, endless)

    return answer


def silent(connection: socket.socket, stopping: threading.Event) -> None:
    await_head(connection)
    stopping.wait(DRIPS / 10)


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
SLOW: dict[str, Answer] = {
    "nothing": silent,
    "the head": dripping(b"", OK + b"X: " + b"x" * 1000),
    "a head without an end": dripping(OK, [b"X: y\r\n"]),
    "heads that say to wait": dripping(b"", [b"HTTP/1.1 103 Early Hints\r\n\r\n"]),
    "a body": dripping(OK + b"Content-Length: %d\r\n\r\n" % len(BODY), BODY),
    "a body without a length": dripping(OK + b"Connection: close\r\n\r\n" + BODY[:-1], b" " * DRIPS),
    "a chunked body without an end": dripping(CHUNKED, [b"1\r\n \r\n"]),
    "the head of a chunk": dripping(CHUNKED, b"0" * DRIPS),
    "a compressed body": dripping(
        OK + b"Content-Encoding: gzip\r\nContent-Length: 100000\r\n\r\n", gzip.compress(BODY)
    ),
    "trailers": dripping(CHUNKED + b"%x\r\n%s\r\n0\r\n" % (len(BODY), BODY), [b"X: y\r\n"]),
    "the body of a refusal": dripping(b"HTTP/1.1 500 No\r\nContent-Length: 1000\r\n\r\n", b" " * DRIPS),
}


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS, and the certificate that vouches for it."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate


def seconds_of(url: str, timeout: float) -> tuple[float, RefusedError]:
    """How long a request takes that is refused, and why."""
    client = Client(url, Keys(PUBLIC, SECRET), timeout)
    began = time.monotonic()
    try:
        with pytest.raises(RefusedError) as caught:
            client.get("/v2/observations")
        return time.monotonic() - began, caught.value
    finally:
        client.close()


# Time.


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("slow", SLOW)
def test_a_request_ends_at_its_deadline_whatever_drips(
    slow: str, secure: bool, tls: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls[1]))
    with answering(SLOW[slow], tls[0] if secure else None) as url:
        took, refusal = seconds_of(url, 1.0)
    assert took < 2.5
    if slow != "the body of a refusal":  # its status says enough
        assert took > 0.9
        assert "took too long to reply" in str(refusal)
        assert refusal.kind == "trouble"


def test_a_handshake_of_tls_that_drips_ends_too() -> None:
    def answer(connection: socket.socket, stopping: threading.Event) -> None:
        connection.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")
        drip(connection, stopping, repeat(b"\0", DRIPS))

    with answering(answer) as url:
        took, _ = seconds_of(url.replace("http:", "https:"), 1.0)
    assert took < 2.5


def test_a_large_reply_that_comes_in_time_is_read_whole_and_the_connection_is_kept() -> None:
    """The deadline of one request is not that of the next on the same connection."""
    project = Langfuse()
    project.fault = lambda _: Fault(200, b"x" * (20 << 20), hang=0.4)
    with served(project) as url:
        client = Client(url, Keys(PUBLIC, SECRET), 1.5)
        sockets = set()
        for _ in range(5):
            assert len(client.get("/v2/observations")) == 20 << 20
            sockets.add(client._line and client._line.getsockname())
        client.close()
    assert len(sockets) == 1


def test_a_request_that_ran_out_leaves_no_connection_and_the_next_one_is_answered() -> None:
    turns: list[Answer] = [SLOW["a body"]]

    def answer(connection: socket.socket, stopping: threading.Event) -> None:
        if turns:
            turns.pop()(connection, stopping)
        await_head(connection)
        connection.sendall(OK + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY))

    with answering(answer) as url:
        client = Client(url, Keys(PUBLIC, SECRET), 1.0)
        with pytest.raises(RefusedError):
            client.get("/v2/observations")
        assert client._line is None
        assert client.get("/v2/observations") == BODY
        client.close()


@pytest.mark.parametrize(
    "first",
    [
        OK + b"Content-Encoding: gzip\r\nContent-Length: 10\r\n\r\n" + gzip.compress(BODY)[:10],
        OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        OK + b"Content-Encoding: gzip, gzip\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No\r\n\r\n",
    ],
    ids=range(5),
)
def test_the_deadline_holds_on_a_connection_after_a_reply_that_was_refused(first: bytes) -> None:
    replies = [first]

    def answer(connection: socket.socket, stopping: threading.Event) -> None:
        if replies:
            await_head(connection)
            connection.sendall(replies.pop())
        SLOW["a body"](connection, stopping)

    with answering(answer) as url:
        client = Client(url, Keys(PUBLIC, SECRET), 1.0)
        with pytest.raises(RefusedError):
            client.get("/v2/observations")
        began = time.monotonic()
        with pytest.raises(RefusedError, match="took too long"):
            client.get("/v2/observations")
        assert time.monotonic() - began < 2.5
        client.close()


@pytest.mark.parametrize("slow", ["nothing", "the head", "a body", "a chunked body without an end"])
def test_closing_ends_a_request_that_drips(slow: str) -> None:
    with answering(SLOW[slow]) as url:
        client = Client(url, Keys(PUBLIC, SECRET), 30.0)
        thread = threading.Timer(0.5, client.close)
        thread.start()
        began = time.monotonic()
        with pytest.raises(RefusedError):
            client.get("/v2/observations")
        assert time.monotonic() - began < 3
        thread.join()


@pytest.mark.parametrize("slow", ["the head", "a body", "a chunked body without an end"])
def test_a_source_that_drips_is_down_and_neither_caught_up_nor_silent(slow: str, tmp_path: Path) -> None:
    with (
        answering(SLOW[slow]) as url,
        serving(tmp_path / "state", f"langfuse+{url}?timeout=1s&wait=1s", **KEYS) as exporter,
    ):
        until(lambda: "took too long to reply" in exporter.said(), "the log says so", seconds=10)
        assert exporter.value("agentgauge_source_up", source="langfuse") == 0
        assert exporter.value("agentgauge_source_caught_up", source="langfuse") == 0
        errors = exporter.value("agentgauge_source_errors_total", source="langfuse")
        assert errors is not None
        assert errors >= 3
        assert exporter.stop() == 0
        assert "Traceback" not in exporter.said()


def test_a_server_that_begins_to_drip_takes_a_source_down_that_was_up(tmp_path: Path) -> None:
    project = Langfuse()
    project.add(start=time.time() - 30)
    with (
        served(project) as url,
        serving(tmp_path / "state", f"langfuse+{url}?timeout=1s&wait=1s&settle=1s", **KEYS) as exporter,
    ):
        exporter.await_ready()
        project.fault = lambda _: Fault(drip=0.1)
        until(lambda: exporter.value("agentgauge_source_up", source="langfuse") == 0, "the source is down", seconds=15)
        assert "took too long to reply" in exporter.said()


@pytest.mark.parametrize("slow", SLOW)
def test_check_says_in_one_line_that_a_server_drips(slow: str) -> None:
    with answering(SLOW[slow]) as url:
        done = run("check", url, "?timeout=1s")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert ("HTTP 500" if slow == "the body of a refusal" else "took too long to reply") in done.stderr


# Memory.


def bomb(size: int) -> bytes:
    """Gzip of so many MiB of nothing, without the work of compressing them all."""
    compress = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = b" " * (1 << 20)
    first = compress.compress(piece) + compress.flush(zlib.Z_FULL_FLUSH)
    # What was flushed in full begins anew, and may be repeated.
    again = compress.compress(piece) + compress.flush(zlib.Z_FULL_FLUSH)
    return first + again * (size - 1) + compress.flush()


def blocks_of_nothing() -> bytes:
    """Gzip of 40 MB that is decompressed to nothing at all."""
    compress = zlib.compressobj(9, zlib.DEFLATED, 31)
    return compress.flush(zlib.Z_FULL_FLUSH) + b"\0\0\0\xff\xff" * 8_000_000


BOMBS: dict[str, tuple[bytes, str, str]] = {
    "one layer": (bomb(1024), "gzip", "more than 32 MiB"),
    "two layers": (gzip.compress(bomb(3072)), "gzip, gzip", "compressed in a way that was not asked for"),
    "two layers in two lines": (gzip.compress(bomb(3072)), "gzip\r\nContent-Encoding: gzip", "not asked for"),
    "another name of one": (gzip.compress(bomb(3072)), "gzip, x-gzip", "not asked for"),
    "another kind": (zlib.compress(b" " * (64 << 20)), "deflate", "not asked for"),
    "a kind that nobody knows": (b"?", "bogus", "not asked for"),
    "many members": (gzip.compress(b" " * (1 << 20)) * 1024, "gzip", "goes on behind the end"),
    "no compression": (b" " * (64 << 20), "identity", "more than 32 MiB"),
    "members of nothing": (gzip.compress(b"") * 2_000_000, "gzip", "goes on behind the end"),
    "blocks of nothing": (blocks_of_nothing(), "gzip", "more than 32 MiB"),
    "what is no gzip": (b"{}", "gzip", "cannot be decompressed"),
    "half of one": (gzip.compress(BODY)[:-9], "gzip", "cut short"),
}

# The most memory that the process had since it was started: what getrusage says may be its parent's.
ASK = """
import re, resource, sys
from pathlib import Path
from exporters.sources.langfuse.client import Client, RefusedError
from exporters.sources.langfuse.keys import Keys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
client = Client(sys.argv[1], Keys("pk", "sk"), 30.0)
most = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
before = most()
try:
    client.get("/v2/observations")
except RefusedError as refusal:
    print(most() - before, refusal)
client.close()
"""


@pytest.mark.parametrize("name", BOMBS)
def test_what_is_decompressed_is_bounded_as_it_comes(name: str) -> None:
    body, encoding, message = BOMBS[name]
    head = OK + b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (encoding.encode(), len(body))

    def answer(connection: socket.socket, _: threading.Event) -> None:
        await_head(connection)
        connection.sendall(head)
        connection.sendall(body)

    with answering(answer) as url:
        done = subprocess.run([sys.executable, "-c", ASK, url], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    grown, _, refusal = done.stdout.partition(" ")
    assert message in refusal
    assert int(grown) < 60 << 10  # KiB


@pytest.mark.parametrize(("name", "code", "message"), [("one layer", 2, "32 MiB"), ("two layers", 2, "not asked for")])
def test_check_says_in_one_line_that_a_reply_is_a_bomb(name: str, code: int, message: str) -> None:
    body, encoding, _ = BOMBS[name]
    project = Langfuse()
    project.fault = lambda _: Fault(200, body, {"Content-Encoding": encoding})
    with served(project) as url:
        done = run("check", url)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert message in done.stderr


@pytest.fixture
def compressing() -> Iterator[Langfuse]:
    """A project on a server that compresses."""
    project = Langfuse()
    project.add(start=time.time() - 30)
    project.gzip = True
    yield project
    assert project.breaches == []


def test_a_reply_that_is_compressed_as_was_asked_for_is_read(compressing: Langfuse) -> None:
    with reading(compressing, since=3600) as source:
        assert source.on().ids == ["obs-1"]
    assert {request.headers["accept-encoding"] for request in compressing.requests} == {"gzip"}
