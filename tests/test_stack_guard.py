"""The guard: a real one, as a process, before servers that say what reaches them, and before a real Prometheus."""

import base64
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from whole_stack import free_ports, until

from exporters.stack.settings import CHECKOUT

PASSWORD = "p4ssw0rd-behind"


class Behind(BaseHTTPRequestHandler):
    """Answers with what it was asked; some paths answer in ways of their own."""

    protocol_version = "HTTP/1.1"
    # As Go's servers do.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        found = self.server.found  # type: ignore[attr-defined]
        length = int(self.headers["Content-Length"] or 0)
        body = self._chunks() if self.headers["Transfer-Encoding"] == "chunked" else self.rfile.read(length)
        found.asked.append((self.command, self.path, self.headers.items(), body))
        if self.path == "/slow":
            found.computing.set()
            # The other end closes when nobody waits for the answer any more.
            if self.connection.recv(1) == b"":
                found.left.set()
            return
        if self.path == "/together":
            found.together.wait(20)
        if self.path == "/drip":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\nfirst\r\n")
            found.go_on.wait(20)
            self.wfile.write(b"6\r\nsecond\r\n0\r\n\r\n")
            return
        if self.path == "/broken":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
            return
        said = json.dumps({"body": len(body)}).encode()
        self.send_response(201)
        for name, value in (
            ("Content-Length", str(len(said))), ("Content-Encoding", "x-own"), ("X-Kept", "yes"),
            ("Access-Control-Allow-Origin", "*"), ("access-control-allow-headers", "Accept"),
            ("Connection", "X-Of-This-Hop"), ("X-Of-This-Hop", "1"), ("Keep-Alive", "timeout=5"),
        ):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    do_POST = do_PUT = do_DELETE = do_OPTIONS = do_HEAD = do_GET  # noqa: N815 -- http.server's names

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, *_: object) -> None:
        pass


@dataclass(kw_only=True)
class Found:
    """What reached a server behind the guard: method, path, headers, body."""

    port: int = 0
    asked: list[tuple[str, str, list[tuple[str, str]], bytes]] = field(default_factory=list)
    computing: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    # Passed when so many ask at the same time.
    together: threading.Barrier = field(default_factory=lambda: threading.Barrier(50))

    def forget(self) -> None:
        self.asked.clear()
        for event in (self.computing, self.left, self.go_on):
            event.clear()


@contextmanager
def behind() -> Iterator[Found]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Behind) as server:
        found = Found(port=server.server_address[1])
        server.found = found  # type: ignore[attr-defined]  # for the handler
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield found
        found.go_on.set()
        server.shutdown()
        thread.join()


@contextmanager
def guard(*backends: int, log: Path, **environment: str) -> Iterator[list[int]]:
    """A guard before each of these ports; yield the ports that it listens on."""
    fronts = free_ports(len(backends))
    pairs = [f"{front}={backend}" for front, backend in zip(fronts, backends, strict=True)]
    env = {**os.environ, "AGENTGAUGE_GUARD_PASSWORD": PASSWORD, **environment}
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "exporters.stack.guard", *pairs], stderr=output, env=env, cwd=CHECKOUT
        )
    try:
        until(lambda: all(map(listens, fronts)) or process.poll() is not None, "the guard listens")
        assert process.poll() is None, log.read_text()
        yield fronts
    finally:
        process.terminate()
        process.wait(20)
    assert "Traceback" not in log.read_text()


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True)
class Door:
    """A guard on two ports, and what is behind each."""

    port: int
    found: Found
    other: int
    beside: Found

    def ask(
        self, path: str = "/", *, method: str = "GET", body: Any = None, port: int = 0, **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named, encode_chunked=not isinstance(body, bytes | None))
        answer = connection.getresponse()
        return answer, answer.read()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    log = tmp_path_factory.mktemp("guard") / "log"
    with behind() as one, behind() as other, guard(one.port, other.port, log=log) as (port, beside):
        yield Door(port, one, beside, other)


@pytest.fixture
def door(started: Door) -> Door:
    for found in (started.found, started.beside):
        found.forget()
    return started


# What is passed on


def test_a_request_is_passed_on_as_it_is_with_the_password_by_the_port_that_it_came_to(door: Door) -> None:
    path = "/api/v1/label/a%2Fb%20c/values?match[]=up%7Ba%3D%22b%22%7D&x=%C3%A4"
    answer, body = door.ask(path, method="POST", body=b"query=up", X_Own="1", Authorization="Basic b3RoZXI6b25l")
    assert (answer.status, json.loads(body)) == (201, {"body": 8})
    ((method, asked, headers, sent),) = door.found.asked
    assert (method, asked, sent) == ("POST", path, b"query=up")
    by_name = {name.lower(): value for name, value in headers}
    assert len(by_name) == len(headers)
    assert by_name["authorization"] == "Basic " + base64.b64encode(f"agentgauge:{PASSWORD}".encode()).decode()
    assert by_name["x-own"] == "1"
    # What the client did not ask for, such as a compressed answer, nobody asks for in its name.
    assert by_name.keys() == {"host", "accept-encoding", "content-length", "x-own", "authorization"}
    assert by_name["accept-encoding"] == "identity"
    door.ask("/beside", port=door.other)
    assert [asked for _, asked, _, _ in door.beside.asked] == ["/beside"]
    assert len(door.found.asked) == 1


def test_what_is_about_one_connection_stays_there_and_no_other_origin_is_let_read(door: Door) -> None:
    answer, _ = door.ask(
        Connection="Keep-Alive, X-Secret", X_Secret="1", TE="trailers", Keep_Alive="3", Proxy_Authorization="x",
        Upgrade="h2c",
    )  # fmt: skip
    ((_, _, headers, _),) = door.found.asked
    assert {name.lower() for name, _ in headers} == {"host", "accept-encoding", "authorization"}
    names = {name.lower() for name in answer.headers}
    assert not {name for name in names if name.startswith("access-control")}
    assert not names & {"keep-alive", "x-of-this-hop"}
    assert (answer.headers["X-Kept"], answer.headers["Content-Encoding"]) == ("yes", "x-own")
    # A click on a page that cannot be seen would silence alerts.
    assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS"])
def test_every_method_is_passed_on(door: Door, method: str) -> None:
    answer, body = door.ask(method=method)
    assert door.found.asked[0][0] == method
    assert answer.status == 201
    assert body == (b"" if method == "HEAD" else b'{"body": 0}')
    assert int(answer.headers["Content-Length"] or 0) == 11


def test_a_body_in_pieces_arrives_whole(door: Door) -> None:
    answer, body = door.ask(method="POST", body=iter([b"x" * 100_000] * 30))
    assert (answer.status, json.loads(body)) == (201, {"body": 3_000_000})
    assert door.found.asked[0][3] == b"x" * 3_000_000


def test_an_answer_is_passed_on_piece_by_piece(door: Door) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=20)
    connection.request("GET", "/drip")
    answer = connection.getresponse()
    assert answer.read1(100) == b"first"  # while the rest is not there yet
    door.found.go_on.set()
    assert answer.read() == b"second"


def test_fifty_queries_at_once_do_not_wait_for_each_other(door: Door) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: door.ask("/together")[0].status, range(50)))
    assert answers == [201] * 50


def test_an_answer_does_not_wait_for_an_acknowledgement(door: Door) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=20)

    def seconds() -> float:
        began = time.perf_counter()
        connection.request("GET", "/")
        connection.getresponse().read()
        return time.perf_counter() - began

    # With Nagle's algorithm each takes the 40 ms after which Linux acknowledges what it has nothing to say to.
    assert min(seconds() for _ in range(40)) < 0.03


# What is not


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
    ],
)  # fmt: skip
def test_pages_of_other_sites_reach_nothing_behind(door: Door, headers: dict[str, str]) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        answer, body = door.ask("/api/v2/silences", method=method, **headers)
        assert answer.status == 403
        assert b"AGENTGAUGE_HOSTS" in body
        assert answer.headers["Access-Control-Allow-Origin"] is None
    assert door.found.asked == []


def test_names_of_ours_reach_it(tmp_path: Path) -> None:
    with behind() as found, guard(found.port, log=tmp_path / "log", AGENTGAUGE_HOSTS="agents.example.com") as (port,):
        door = Door(port, found, port, found)
        for host in ("agents.example.com", f"localhost:{port}", "127.0.0.1", "[::1]:9090"):
            assert door.ask(Host=host)[0].status == 201
        assert door.ask(Host="127.0.0.1:1", Origin="http://localhost:8501")[0].status == 201


def test_a_body_past_its_bound_is_refused_and_not_kept(door: Door) -> None:
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        for _ in range(4):
            answer, _ = door.ask(method="POST", body=iter([b"x" * (1 << 20)] * 17))
            assert answer.status == 413
            raise BrokenPipeError  # all of it went into the buffers on the way
    assert [len(body) for *_, body in door.found.asked if len(body) >= 16 << 20] == []
    assert door.ask()[0].status == 201


@pytest.mark.parametrize("target", ["http://127.0.0.1:{other}/x", "@127.0.0.1:{other}/x", "*"])
def test_a_target_leads_nowhere_but_to_what_is_behind_its_port(door: Door, target: str) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=20) as client:
        asked = target.format(other=door.other)
        client.sendall(f"GET {asked} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        client.makefile("rb").read()
    assert door.beside.asked == []
    # Of a whole address the path is what is asked for, of this port's server.
    assert [path for _, path, *_ in door.found.asked] in ([], ["/x"])


def test_half_sent_requests_make_room_for_whole_ones(door: Door) -> None:
    with ExitStack() as clients:
        for _ in range(300):
            half = clients.enter_context(socket.create_connection(("127.0.0.1", door.port), timeout=20))
            half.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        assert door.ask()[0].status == 201


# Where something fails


def test_nobody_behind_is_an_answer_and_not_a_broken_connection(tmp_path: Path) -> None:
    (closed,) = free_ports(1)
    with guard(closed, log=tmp_path / "log") as (port,):
        answer, body = Door(port, Found(), port, Found()).ask("/-/ready")
        assert (answer.status, b"make status" in body) == (502, True)


def test_an_answer_that_breaks_off_is_seen_as_broken_off(door: Door) -> None:
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        door.ask("/broken")
    assert door.ask()[0].status == 201


def test_a_client_that_goes_away_ends_what_is_computed_for_it(door: Door) -> None:
    with socket.create_connection(("127.0.0.1", door.port)) as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert door.found.computing.wait(20)
    assert door.found.left.wait(20)


def test_a_port_that_another_has_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        pair = f"{server.getsockname()[1]}=1"
        ended = subprocess.run(
            [sys.executable, "-m", "exporters.stack.guard", pair], cwd=CHECKOUT, capture_output=True, text=True,
            timeout=60, check=False, env={**os.environ, "AGENTGAUGE_GUARD_PASSWORD": PASSWORD},
        )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "ddress already in use" in ended.stderr
