"""The proxy: the shipped nginx.conf in a real nginx, before a portal and a Grafana that are small."""

import gzip
import http.client
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from exporters.stack import health
from exporters.stack.debian import program
from exporters.stack.settings import CHECKOUT

CONFIGURATION = CHECKOUT / "streamlit_portal" / "nginx.conf"
SESSION = "grafana_session=of-somebody"
SCRIPT = b"console.log('a line that repeats itself');\n" * 2000

pytestmark = pytest.mark.skipif(program("nginx") is None, reason="needs nginx")


class Behind(BaseHTTPRequestHandler):
    """Says who it is and what it was asked; `.js` is a long script; a websocket echoes one message.

    As Grafana it knows one session, and tells nobody else who they are.
    """

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.headers.get("Upgrade") == "websocket":
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.end_headers()
            self.wfile.write(b"echo " + self.rfile.readline())
            self.close_connection = True
            return
        if self.path == "/grafana/api/user" and SESSION not in (self.headers["Cookie"] or ""):
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        asked = f"{self.server.name} {self.path} {self.headers['Host']}".encode()  # type: ignore[attr-defined]
        body, kind = (SCRIPT, "application/javascript") if self.path.endswith(".js") else (asked, "text/plain")
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "object-src 'none'")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class Proxy:
    port: int
    log: Path
    grafana: ThreadingHTTPServer
    nginx: subprocess.Popen[bytes]

    def get(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer, answer.read()


def server(name: str) -> ThreadingHTTPServer:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Behind)
    made.name = name  # type: ignore[attr-defined]
    threading.Thread(target=made.serve_forever, daemon=True).start()
    return made


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    portal, grafana = server("portal"), server("grafana")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = CONFIGURATION.read_text()
    for shipped, here in (
        ("http://portal:8501", f"http://127.0.0.1:{portal.server_address[1]}"),
        ("http://grafana:3000", f"http://127.0.0.1:{grafana.server_address[1]}"),
        ("listen 8080", f"listen 127.0.0.1:{port}"),
        ("/tmp/", f"{tmp_path}/"),
    ):
        assert shipped in text
        text = text.replace(shipped, here)
    (tmp_path / "nginx.conf").write_text(text)
    whole = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
    command = [program("nginx") or "", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-g", whole]
    with (tmp_path / "out").open("w") as out, subprocess.Popen(command, stdout=out, stderr=out) as nginx:
        url = f"http://127.0.0.1:{port}/-/healthy"
        unwell = health.wait({"proxy": url}, patience=15, dead=lambda: "proxy" if nginx.poll() else None)
        assert unwell is None, (tmp_path / "out").read_text()
        yield Proxy(port=port, log=tmp_path / "out", grafana=grafana, nginx=nginx)
        nginx.terminate()
    portal.shutdown()
    grafana.shutdown()
    portal.server_close()
    grafana.server_close()


def test_nginx_accepts_the_shipped_file() -> None:
    checked = subprocess.run(
        [program("nginx") or "", "-t", "-c", str(CONFIGURATION)], capture_output=True, text=True, check=False
    )
    assert "syntax is ok" in checked.stderr


def test_one_origin_serves_the_portal_and_grafana_with_path_query_and_host(proxy: Proxy) -> None:
    assert (
        proxy.get("/cost?range=7d&agent=a%2Fb")[1]
        == f"portal /cost?range=7d&agent=a%2Fb 127.0.0.1:{proxy.port}".encode()
    )
    path = "/grafana/d-solo/cost/x?panelId=3&var-agent=a%20b"
    assert proxy.get(path)[1] == f"grafana {path} 127.0.0.1:{proxy.port}".encode()
    redirect, _ = proxy.get("/grafana")
    assert redirect.status == 301
    assert (redirect.headers["Location"] or "").endswith("/grafana/")


def test_scripts_are_compressed_for_those_who_can_read_it(proxy: Proxy) -> None:
    answer, body = proxy.get("/static/app.js", **{"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in (answer.headers["Vary"] or "")
    assert gzip.decompress(body) == SCRIPT
    assert len(body) < len(SCRIPT) / 20
    plain, body = proxy.get("/static/app.js")
    assert plain.headers["Content-Encoding"] is None
    assert body == SCRIPT


# What a Viewer may read in Grafana 12.2, and with it the address of a webhook: authorization.go in
# pkg/services/ngalert/api, and pkg/registry/apps/alerting/notifications.
RECEIVERS = (
    "/grafana/api/v1/provisioning/contact-points",
    "/grafana/api/v1/provisioning/contact-points/export?format=json",
    "/grafana/api/alertmanager/grafana/config/api/v1/alerts",
    "/grafana/api/alertmanager/grafana/config/api/v1/receivers",
    "/grafana/api/alertmanager/grafana/config/history",
    "/grafana/api/alertmanager/grafana/api/v2/status",
    "/grafana/api/convert/api/v1/alerts",
    "/grafana/apis/notifications.alerting.grafana.app/v0alpha1/namespaces/default/receivers",
)


@pytest.mark.parametrize("path", RECEIVERS)
def test_where_alerts_go_is_for_who_has_signed_in(proxy: Proxy, path: str) -> None:
    odd = [
        path.replace("/api", "//api", 1),
        path.replace("/api", "/x/../api", 1),
        path.replace("/api", "%2fapi", 1),
        path.replace("/ap", "/%61p"),
        path.upper().replace("/GRAFANA/", "/grafana/", 1),
    ]
    for asked in (path, f"{path}/", *odd):
        for cookie in ("", "grafana_session=made-up"):
            answer, body = proxy.get(asked, Cookie=cookie)
            assert answer.status == 401, asked
            assert b"grafana /" not in body
    assert proxy.get(path, "POST", b"x")[0].status == 401
    assert proxy.get(path, Cookie=SESSION)[1] == f"grafana {path} 127.0.0.1:{proxy.port}".encode()
    assert proxy.get(path, "POST", b"changed", Cookie=SESSION)[1] == b"changed"


@pytest.mark.parametrize(
    "path",
    [
        "/grafana/api/prometheus/grafana/api/v1/rules",
        "/grafana/api/ruler/grafana/api/v1/rules",
        "/grafana/api/alertmanager/grafana/api/v2/alerts/groups",
        "/grafana/api/alertmanager/grafana/api/v2/silences",
        "/grafana/api/user",
        "/grafana/alerting/list",
        "/grafana/api/dashboards/uid/agents-overview",
    ],
)
def test_everybody_sees_what_fires_and_what_would(proxy: Proxy, path: str) -> None:
    answer, body = proxy.get(path)
    if path == "/grafana/api/user":
        assert answer.status == 401  # Grafana's own answer
    else:
        assert body == f"grafana {path} 127.0.0.1:{proxy.port}".encode()


def test_nobody_asks_the_proxy_itself_who_has_signed_in(proxy: Proxy) -> None:
    assert proxy.get("/-/signed-in", Cookie=SESSION)[0].status == 404


@pytest.mark.parametrize("path", ["/_stcore/stream", "/grafana/api/live/ws"])
def test_a_websocket_goes_through_both_ways(proxy: Proxy, path: str) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
        client.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{proxy.port}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n".encode()
        )
        with client.makefile("rb") as answers:
            assert b" 101 " in answers.readline()
            while answers.readline() != b"\r\n":
                pass
            client.sendall(b"hello\n")
            assert answers.readline() == b"echo hello\n"


def test_only_our_own_pages_may_frame_us_and_the_portal_may_load_nothing_from_outside(proxy: Proxy) -> None:
    portal, _ = proxy.get("/")
    policies = portal.headers.get_all("Content-Security-Policy") or []
    assert any("default-src 'self'" in policy and "frame-ancestors 'self'" in policy for policy in policies)
    grafana, _ = proxy.get("/grafana/d/x")
    assert sorted(grafana.headers.get_all("Content-Security-Policy") or []) == [
        "frame-ancestors 'self'",
        "object-src 'none'",  # Grafana's own stays
    ]
    for answer in (portal, grafana):
        assert answer.headers.get_all("X-Content-Type-Options") == ["nosniff"]
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["Server"] == "nginx"  # no version


def test_what_people_look_for_is_not_in_the_log(proxy: Proxy) -> None:
    proxy.get("/cost?agent=canary", Referer="http://127.0.0.1/?agent=canary")
    proxy.get("/grafana/d/x?var-agent=canary")
    proxy.nginx.terminate()
    proxy.nginx.wait(timeout=10)  # every line is written once it has ended
    logged = proxy.log.read_text()
    assert re.search(r"GET /cost 200", logged)
    assert re.search(r"GET /grafana/d/x 200", logged)
    assert "canary" not in logged


def test_the_portal_goes_on_without_grafana(proxy: Proxy) -> None:
    proxy.grafana.shutdown()
    proxy.grafana.server_close()
    assert proxy.get("/grafana/d/x")[0].status == 502
    assert proxy.get("/")[0].status == 200
