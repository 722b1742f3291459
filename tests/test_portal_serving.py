"""The portal's port: who may ask it, what browsers may load from it, what goes over the wire, and what it bounds."""

import gzip
import http.client
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from portal_stage import portal

GRAFANA = "http://127.0.0.1:3999"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The host and port of a portal whose Prometheus does not answer, and whose Grafana is another origin."""
    settings = {
        "PROMETHEUS_URL": "http://127.0.0.1:9",
        "GRAFANA_URL": f"{GRAFANA}/",
        "AGENTGAUGE_HOSTS": "agents.example.com",
    }
    with portal(tmp_path_factory.mktemp("portal"), settings) as url:
        yield urlsplit(url).netloc


def get(address: str, path: str = "/", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    """Ask as no browser would: with any Host. Underscores in names of headers stand for hyphens."""
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
    for name, value in {"Host": address, **headers}.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer, answer.read()


def handshake(address: str, path: str = "/_stcore/stream", **headers: str) -> int:
    """Ask for the websocket that a page works by; return the status of the answer, 101 where it opens."""
    upgrade = {
        "Host": address, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "streamlit",
    }  # fmt: skip
    head = "".join(f"{name}: {value}\r\n" for name, value in {**upgrade, **headers}.items())
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        return int(client.makefile("rb").readline().split()[1])


# Whom it answers


@pytest.mark.parametrize("path", ["/", "/cost", "/_stcore/health", "/_stcore/host-config", "/static/nothing.js"])
def test_a_name_that_is_not_ours_is_refused_with_its_mend(address: str, path: str) -> None:
    answer, body = get(address, path, Host="evil.example")
    assert answer.status == 403
    assert b"add it to AGENTGAUGE_HOSTS" in body


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://203.0.113.9:8501"])
def test_a_page_of_another_site_asks_nothing(address: str, origin: str) -> None:
    assert get(address, "/_stcore/health", Origin=origin)[0].status == 403
    assert handshake(address, Origin=origin) == 403


def test_the_websocket_opens_for_our_names_only(address: str) -> None:
    port = address.rpartition(":")[2]
    for host in (address, f"localhost:{port}", f"agents.example.com:{port}"):
        assert handshake(address, Host=host, Origin=f"http://{host}") == 101
        assert handshake(address, Host=host) == 101  # no browser
    # As a page of evil.example sends it once that name leads to this machine.
    assert handshake(address, Host=f"evil.example:{port}", Origin=f"http://evil.example:{port}") == 403
    assert handshake(address, Host=f"evil.example:{port}") == 403


# What browsers are told


def policy(answer: http.client.HTTPResponse) -> dict[str, str]:
    (said,) = answer.headers.get_all("Content-Security-Policy") or []
    return dict(part.strip().split(" ", 1) for part in said.split(";"))


@pytest.mark.parametrize("path", ["/", "/cost?range=7d", "/_stcore/health", "/static/nothing.js"])
def test_every_answer_says_once_what_a_page_may_load_and_who_may_frame_it(address: str, path: str) -> None:
    answer, _ = get(address, path)
    allowed = policy(answer)
    assert allowed["default-src"] == allowed["connect-src"] == "'self'"
    assert allowed["frame-ancestors"] == allowed["base-uri"] == allowed["form-action"] == "'self'"
    assert allowed["object-src"] == "'none'"
    # The boards of a Grafana that is another origin, as it is where both are processes.
    assert allowed["frame-src"] == f"'self' {GRAFANA}"
    assert answer.headers.get_all("X-Content-Type-Options") == ["nosniff"]
    assert answer.headers.get_all("Referrer-Policy") == ["same-origin"]
    assert answer.headers.get_all("Permissions-Policy") == ["camera=(), microphone=(), geolocation=(), payment=()"]
    assert "uvicorn" not in (answer.headers["Server"] or "")


# What goes over the wire


def test_scripts_and_the_page_are_compressed_for_those_who_can_read_it(address: str) -> None:
    _, page = get(address)
    script = re.search(rb'src="\./(static/js/[^"]+\.js)"', page)
    assert script
    for path in ("/", f"/{script[1].decode()}"):
        plain, body = get(address, path)
        assert plain.headers["Content-Encoding"] is None
        answer, packed = get(address, path, Accept_Encoding="gzip")
        assert answer.headers["Content-Encoding"] == "gzip"
        assert "Accept-Encoding" in (answer.headers["Vary"] or "")
        assert gzip.decompress(packed) == body
        assert len(packed) < 0.6 * len(body)
        assert answer.headers["Cache-Control"] == plain.headers["Cache-Control"]


# What it withstands


def test_a_head_without_an_end_is_refused(address: str) -> None:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
        # Far more than the buffers on the way: without a bound all of it is read, and nothing is said.
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(512):
                client.sendall(b"x" * 65_536)


# How it is started


def test_a_path_of_a_proxy_is_before_every_address(tmp_path: Path) -> None:
    with portal(tmp_path, {"PROMETHEUS_URL": "http://127.0.0.1:9"}, "--base-path", "agents") as url:
        inside = urlsplit(url).netloc
        assert get(inside, "/agents/_stcore/health")[1] == b"ok"
        assert handshake(inside, "/agents/_stcore/stream", Origin=f"http://{inside}") == 101
        answer, page = get(inside, "/agents/cost", Accept_Encoding="gzip")
        assert answer.headers["Content-Encoding"] == "gzip"
        assert policy(answer)["frame-src"] == "'self'"  # no Grafana
        assert b"<title>Streamlit</title>" in gzip.decompress(page)


def test_a_port_that_another_has_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        command = [sys.executable, "-m", "streamlit_portal", "--port", port]
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "HOME": str(tmp_path)}
        )
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    (line,) = ended.stderr.splitlines()
    assert port in line
