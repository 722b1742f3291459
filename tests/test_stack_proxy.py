"""The proxy: the shipped nginx.conf in a real nginx, before small stand-ins for the portal, Grafana and Prometheus."""

import gzip
import http.client
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from whole_stack import free_ports

from exporters.hosts import HostError, Hosts, hosts_of
from exporters.stack import health
from exporters.stack.debian import program
from exporters.stack.settings import CHECKOUT

CONFIGURATION = CHECKOUT / "streamlit_portal" / "nginx.conf"
SESSION = "grafana_session=of-somebody"
START = CHECKOUT / "streamlit_portal" / "proxy.sh"
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
    prometheus_port: int
    log: Path
    grafana: ThreadingHTTPServer
    nginx: subprocess.Popen[bytes]

    def get(
        self, path: str, method: str = "GET", body: bytes | None = None, *, port: int = 0, **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=10)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer, answer.read()

    def lets(self, headers: Mapping[str, str], *, port: int = 0) -> bool:
        """Whether a request with such a Host and Origin gets further than here; nginx refuses some as no HTTP."""
        status = self.get("/", port=port, **headers)[0].status
        assert status in (200, 400, 403), headers
        return status == 200


def server(name: str) -> ThreadingHTTPServer:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Behind)
    made.name = name  # type: ignore[attr-defined]
    threading.Thread(target=made.serve_forever, daemon=True).start()
    return made


def placed(file: Path, folder: Path, **others: str) -> Path:
    """Copy a shipped file into a folder that takes the place of /tmp, with the parts where they are here."""
    text = file.read_text()
    for shipped, here in {"/tmp/": f"{folder}/", **others}.items():
        assert shipped in text
        text = text.replace(shipped, here)
    (folder / file.name).write_text(text)
    return folder / file.name


@contextmanager
def proxying(folder: Path, hosts: str = "") -> Iterator[Proxy]:
    """The shipped start of the proxy, with this in AGENTGAUGE_HOSTS."""
    behind = {name: server(name) for name in ("portal", "grafana", "prometheus")}
    port, prometheus = free_ports(2)
    addresses = {
        f"http://{name}:{number}": f"http://127.0.0.1:{behind[name].server_address[1]}"
        for name, number in (("portal", 8501), ("grafana", 3000), ("prometheus", 9090))
    }
    listening = {"listen 8080": f"listen 127.0.0.1:{port}", "listen 9090": f"listen 127.0.0.1:{prometheus}"}
    configuration = placed(CONFIGURATION, folder, **addresses, **listening)
    # The image's nginx finds its configuration by itself, and is no root.
    whole = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
    start = f"{program('nginx')} -p {folder} -c {configuration} -g '{whole}'"
    script = placed(START, folder, **{"nginx -g 'daemon off;'": start})
    env = {**os.environ, "AGENTGAUGE_HOSTS": hosts}
    with (
        (folder / "out").open("w") as out,
        subprocess.Popen(["sh", script], stdout=out, stderr=out, env=env, cwd=folder) as nginx,
    ):
        try:
            url = f"http://127.0.0.1:{port}/-/healthy"
            unwell = health.wait({"proxy": url}, patience=15, dead=lambda: None if nginx.poll() is None else "proxy")
            assert unwell is None, (folder / "out").read_text()
            yield Proxy(
                port=port, prometheus_port=prometheus, log=folder / "out", grafana=behind["grafana"], nginx=nginx
            )
        finally:
            nginx.terminate()
            for made in behind.values():
                made.shutdown()
                made.server_close()


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    with proxying(tmp_path) as started:
        yield started


def test_nginx_accepts_the_shipped_file(tmp_path: Path) -> None:
    (tmp_path / "hosts.map").touch()
    checked = subprocess.run(
        [program("nginx") or "", "-t", "-c", placed(CONFIGURATION, tmp_path)],
        capture_output=True,
        text=True,
        check=False,
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


def test_what_browsers_may_do_is_said_once_by_whoever_knows_it(proxy: Proxy) -> None:
    portal, _ = proxy.get("/")
    assert portal.headers.get_all("Content-Security-Policy") == ["object-src 'none'"]  # the portal's own
    grafana, _ = proxy.get("/grafana/d/x")
    assert sorted(grafana.headers.get_all("Content-Security-Policy") or []) == [
        "frame-ancestors 'self'",
        "object-src 'none'",  # Grafana's own stays
    ]
    prometheus, _ = proxy.get("/", port=proxy.prometheus_port)
    assert "frame-ancestors 'none'" in (prometheus.headers.get_all("Content-Security-Policy") or [])
    assert grafana.headers["Referrer-Policy"] == "same-origin"
    for answer in (portal, grafana):
        assert answer.headers.get_all("X-Content-Type-Options") == ["nosniff"]
        assert answer.headers["Server"] == "nginx"  # no version


def test_prometheus_has_a_port_of_its_own(proxy: Proxy) -> None:
    port = proxy.prometheus_port
    path = "/api/v1/query?query=up%7Ba%3D%22b%22%7D"
    assert proxy.get(path, port=port)[1] == f"prometheus {path} 127.0.0.1:{port}".encode()


# Who may ask: the rule of exporters/hosts.py, and what nginx makes of it.

LISTED = "Agents.Example.com:8443, *.corp.example,exporter [2001:db8::7]:9 203.0.113.5 under_score trailing.example."
HOSTS = [
    *(
        "127.0.0.1",
        "127.0.0.1:9464",
        "127.8.9.255",
        "10.1.2.3",
        "255.255.255.255",
        "[::1]:9464",
        "[::1]",
        "[2001:db8::7]",
    ),
    *(
        "[fe80::1%eth0]:80",
        "[::ffff:10.0.0.1]",
        "localhost",
        "LOCALHOST:8501",
        "portal.localhost",
        "proxy",
        "PROXY:8080",
    ),
    *(
        "host.docker.internal:1",
        "agents.example.com",
        "AGENTS.EXAMPLE.COM.:8501",
        "a.corp.example",
        "a.b.CORP.example:1",
    ),
    *("exporter:9464", "203.0.113.5", "under_score", "trailing.example", "trailing.example."),
    *("evil.example", "evil.example:9464", "127.0.0.1.evil.example", "localhost.evil.example", "notlocalhost"),
    *(
        "exporter.evil.example",
        "corp.example",
        "xcorp.example",
        "agents.example.com.evil.example",
        "1.2.3.4.5",
        "1.2.3",
    ),
    *(
        "256.1.1.1",
        "01.2.3.4",
        "127.0.0.256",
        "[evil]",
        "user@127.0.0.1",
        "127.0.0.1 evil.example",
        "0x7f.1",
        "2130706433",
    ),
    *(
        "default",
        "include",
        "hostnames",
        "volatile",
        "~.*",
        "*",
        "*.corp.example",
        "a",
        ".",
        "..",
        "agents-example.com",
    ),
    *("evil.corp.example.evil", "agentsXexample.com", "evil.example\\.corp.example"),
]
ORIGINS = [
    *("http://127.0.0.1:9090", "http://localhost:8501", "http://[::1]:3000", "http://exporter:9464", "http://10.1.2.3"),
    *(
        "https://agents.example.com",
        "https://AGENTS.example.com.",
        "http://x.corp.example:1",
        "http://203.0.113.5:8080",
    ),
    *("http://[2001:db8::7]:3", "http://evil.example", "http://203.0.113.9", "https://localhost.evil.example", "null"),
    *("file://", "http://", "http://corp.example", "chrome-extension://abcdef", "http://127.0.0.1.evil.example", "://"),
    *("http://default", "http://evil.example#.corp.example", "http://a.localhost", "http://[2001:db8::8]"),
]


def asked_in_all_ways() -> Iterator[dict[str, str]]:
    yield from ({"Host": host} for host in HOSTS)
    for host in (
        "127.0.0.1:9093",
        "localhost",
        "[::1]:1",
        "10.1.2.3",
        "exporter",
        "agents.example.com",
        "evil.example",
    ):
        yield from ({"Host": host, "Origin": origin} for origin in ORIGINS)
    for host in HOSTS:
        yield {"Host": host, "Origin": f"http://{host}"}


def lets(hosts: Hosts, headers: Mapping[str, str]) -> bool:
    try:
        hosts.check({name.lower(): value for name, value in headers.items()})
    except HostError:
        return False
    return True


def test_nginx_lets_through_what_the_other_ports_let_through(tmp_path: Path) -> None:
    hosts = hosts_of("proxy", environ={"AGENTGAUGE_HOSTS": LISTED})
    expected = [(headers, lets(hosts, headers)) for headers in asked_in_all_ways()]
    assert 40 < sum(allowed for _, allowed in expected) < len(expected) - 100
    with proxying(tmp_path, LISTED) as proxy:
        for port in (proxy.port, proxy.prometheus_port):
            assert [(headers, proxy.lets(headers, port=port)) for headers, _ in expected] == expected


def test_who_is_refused_is_told_why_and_nothing_behind_is_asked(proxy: Proxy) -> None:
    for path in ("/", "/grafana/api/search", "/_stcore/stream", "/grafana/api/live/ws", "/-/healthy"):
        answer, body = proxy.get(path, Host="evil.example")
        assert answer.status == 403
        assert body.endswith(b"add it to AGENTGAUGE_HOSTS.\n")
        assert (answer.headers["Content-Type"] or "").startswith("text/plain")
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Origin": "http://evil.example"}
    assert proxy.get("/_stcore/stream", **upgrade)[0].status == 403
    assert b"evil" not in proxy.get("/")[1]


ODD = [
    "default 1; include /etc/passwd; hostnames volatile", "evil.example;1;}", "'", '"', "\\", "$host", "~^.*$", "*",
    ".", "..", "a..b", "*.", "*.*", ".evil.example", "*evil.example", "evil.*", "#", "{", "}", ";", "\n", "x" * 5000,
    "twice twice twice.", "mün.example", "test.example new.example ret.example", ".".join(["a" * 63] * 4)[:253],
    "$(touch here) `touch here` ; touch here", "%s%n", "-n -e", "[::1", "]:80", ":::::", "\x01",
]  # fmt: skip


def test_what_stands_in_the_setting_becomes_names_and_nothing_else(tmp_path: Path) -> None:
    listed = " ".join(ODD)
    hosts = hosts_of("proxy", environ={"AGENTGAUGE_HOSTS": listed})
    names = {name.strip(";.") for name in listed.split() if re.fullmatch(r"[\w.*-]+;?", name, re.ASCII)} - {""}
    with proxying(tmp_path, listed) as proxy:
        asked = [
            {"Host": host}
            for host in sorted({*names, "evil.example", "a.evil.example", "xevil.example", "other", "tother"})
        ]
        asked = [headers for headers in asked if len(headers["Host"]) < 254]
        answers = {headers["Host"]: proxy.lets(headers) for headers in asked}
        assert answers == {headers["Host"]: lets(hosts, headers) for headers in asked}
        assert answers["default"] and answers["test.example"] and answers["new.example"] and answers["twice"]
        assert not answers["evil.example"] and not answers["other"]
    assert not (tmp_path / "here").exists()
    for line in (tmp_path / "hosts.map").read_text().splitlines():
        assert re.fullmatch(r"\\\\[a-z0-9*._:-]+ 1;", line), line


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
