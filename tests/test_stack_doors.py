"""The stack as processes, started for real: what a page from elsewhere reaches of it, and who has which secret."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Error, sync_playwright
from whole_stack import CHECKOUT, Stack, stack, until

from exporters.stack.debian import program
from exporters.stack.settings import PORTS, read_env

pytestmark = pytest.mark.skipif(
    program("prometheus") is None or program("prometheus-alertmanager") is None or program("chromium") is None,
    reason="needs prometheus, alertmanager and chromium",
)

EVIL = "evil.example"
# Every secret of .env.example, and one that is somebody else's.
SECRETS = {
    "GRAFANA_ADMIN_PASSWORD": "c4n4ry-of-grafanas-admin",
    "GRAFANA_SECRET_KEY": "c4n4ry-of-grafanas-database",
    "LANGFUSE_PUBLIC_KEY": "c4n4ry-of-langfuse-public",
    "LANGFUSE_SECRET_KEY": "c4n4ry-of-langfuse-secret",
    "PGPASSWORD": "c4n4ry-of-postgresql",
    "AGENTGAUGE_OTLP_TOKEN": "c4n4ry-of-otlp-with-its-thirty-two-characters",
    "SLACK_WEBHOOK_URL": "http://127.0.0.1:9/services/c4n4ry-of-slack",
    "SLACK_WEBHOOK_URL_WARNING": "http://127.0.0.1:9/services/c4n4ry-of-slacks-warnings",
    "SMTP_PASSWORD": "c4n4ry-of-mail",
    "ALERT_WEBHOOK_URL": "http://127.0.0.1:9/c4n4ry-of-webhook",
    "HTTPS_PROXY": "http://me:c4n4ry-of-proxy@127.0.0.1:9",
    "AWS_SECRET_ACCESS_KEY": "c4n4ry-of-a-cloud",
}
# Whose they are. Alertmanager reads its own from files.
NEEDED = {
    "exporter": {"LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY", "PGPASSWORD", "AGENTGAUGE_OTLP_TOKEN", "HTTPS_PROXY"},
    "alertmanager": {"HTTPS_PROXY"},
}
DOORS = [name for name in PORTS if name.startswith(("PROMETHEUS", "ALERTMANAGER"))]
FRONTS = {"PROMETHEUS_PORT": "/api/v1/query?query=up", "ALERTMANAGER_PORT": "/api/v2/silences"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that reads a small store."""
    source = f"createagents://{CHECKOUT}/tests/fixtures/createagents/plain"
    with stack(tmp_path_factory.mktemp("stack"), TRACE_SOURCES=source, **SECRETS) as (started, said):
        assert said.returncode == 0, said.stdout + said.stderr
        yield started


@pytest.fixture(scope="module")
def silence() -> dict[str, Any]:
    """One that says nothing of all alerts for a year."""
    every = {"name": "alertname", "value": ".+", "isRegex": True, "isEqual": True}
    of = {"createdBy": EVIL, "comment": "nothing", "startsAt": "2026-01-01T00:00:00Z", "endsAt": "2036-01-01T00:00:00Z"}
    return {"matchers": [every], **of}


# Asked as a page would


@pytest.mark.parametrize("door", DOORS)
def test_a_page_from_elsewhere_is_let_read_and_write_nothing(
    running: Stack, silence: dict[str, Any], door: str
) -> None:
    port = running.ports[door]
    for headers in (
        {"Origin": f"http://{EVIL}"},
        {"Host": f"{EVIL}:{port}"},  # whose name leads here, in a GET of its own
        {"Host": f"{EVIL}:{port}", "Origin": f"http://{EVIL}:{port}"},
        {"Origin": "null"},
    ):
        for path in ("/", "/api/v1/query?query=up", "/api/v1/alerts", "/api/v2/silences", "/metrics", "/-/healthy"):
            answer = requests.get(running.url(door) + path, headers=headers, timeout=10)
            assert answer.status_code in (401, 403), (door, path, headers)
            assert "Access-Control-Allow-Origin" not in answer.headers
        for kind in ("application/json", "text/plain"):
            answer = requests.post(
                f"{running.url(door)}/api/v2/silences", json.dumps(silence), headers={**headers, "Content-Type": kind},
                timeout=10,
            )  # fmt: skip
            assert answer.status_code in (401, 403), (door, headers)
    assert requests.get(f"{running.url('ALERTMANAGER_PORT')}/api/v2/silences", timeout=10).json() == []


def test_behind_the_guard_only_the_guard_is_answered(running: Stack) -> None:
    for door in ("PROMETHEUS_BACKEND_PORT", "ALERTMANAGER_BACKEND_PORT"):
        for path in ("/", "/-/ready", "/metrics", "/api/v1/query?query=up", "/api/v2/alerts"):
            for user in (None, ("agentgauge", ""), ("agentgauge", "agentgauge"), ("admin", "admin")):
                assert requests.get(running.url(door) + path, auth=user, timeout=10).status_code == 401


# A page, in a browser


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<!doctype html><title>elsewhere</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """The address of a page of evil.example."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{EVIL}:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium in which the name evil.example leads to this machine."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=program("chromium"),
            args=["--no-sandbox", "--disable-gpu", f"--host-resolver-rules=MAP {EVIL} 127.0.0.1"],
        )
        yield chromium
        chromium.close()


READ = """async addresses => Object.fromEntries(await Promise.all(addresses.map(async address => [
    address, await fetch(address).then(answer => answer.text(), () => 'not read')])))"""
WRITE = """async ([addresses, body]) => {
    for (const address of addresses)
        for (const kind of ['text/plain', 'application/json'])
            await fetch(address, {method: 'POST', headers: {'Content-Type': kind}, body}).catch(() => 0) }"""
OPEN = """address => new Promise(done => { const socket = new WebSocket(address, 'streamlit');
    socket.onopen = () => done('open'); socket.onerror = () => done('refused') })"""


def test_in_a_browser_a_page_from_elsewhere_reads_nothing_silences_nothing_and_opens_no_socket(
    running: Stack, browser: Browser, elsewhere: str, silence: dict[str, Any]
) -> None:
    page = browser.new_page()
    page.goto(elsewhere)
    hosts = ("127.0.0.1", "localhost", EVIL)
    doors = [f"http://{host}:{running.ports[door]}" for host in hosts for door in DOORS]
    asked = [f"{door}{path}" for door in doors for path in ("/api/v1/query?query=up", "/api/v2/status", "/metrics")]
    assert {address for address, text in page.evaluate(READ, asked).items() if text != "not read"} == set()
    page.evaluate(WRITE, [[f"{door}/api/v2/silences" for door in doors], json.dumps(silence)])
    assert requests.get(f"{running.url('ALERTMANAGER_PORT')}/api/v2/silences", timeout=10).json() == []
    for host in hosts:
        assert page.evaluate(OPEN, f"ws://{host}:{running.ports['PORTAL_PORT']}/_stcore/stream") == "refused"
    # Its name leads here now, and what is there would be of its own origin.
    for door in ("PORTAL_PORT", *FRONTS):
        answer = page.goto(f"http://{EVIL}:{running.ports[door]}/")
        assert answer is not None
        assert answer.status == 403, door
    for door in DOORS:
        if door not in FRONTS:
            with pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
                page.goto(f"http://{EVIL}:{running.ports[door]}/")
    page.close()


# What is ours goes through


def test_programs_of_this_machine_read_and_silence_as_before(running: Stack, silence: dict[str, Any]) -> None:
    for door, path in FRONTS.items():
        answer = requests.get(running.url(door) + path, timeout=10)
        assert answer.status_code == 200, door
    alertmanager = running.url("ALERTMANAGER_PORT")
    # As the page of Alertmanager itself does.
    made = requests.post(
        f"{alertmanager}/api/v2/silences", json=silence, headers={"Origin": alertmanager}, timeout=10
    ).json()["silenceID"]
    assert requests.delete(f"{alertmanager}/api/v2/silence/{made}", timeout=10).status_code == 200
    for door in FRONTS:
        assert "<html" in requests.get(running.url(door), timeout=10).text


def test_prometheus_reaches_itself_and_alertmanager_and_its_pages_link_to_where_people_reach_it(running: Stack) -> None:
    targets = until(
        lambda: {
            (one["labels"]["job"], one["labels"]["instance"])
            for one in running.prometheus.get("targets", state="active")["activeTargets"]
            if one["health"] == "up"
        },
        "a target is up",
    )
    own = ("prometheus", f"127.0.0.1:{running.ports['PROMETHEUS_PORT']}")
    assert until(lambda: targets >= {own} or running.prometheus.instant('up{job="prometheus"} == 1', 4e9), "it is up")
    (active,) = running.prometheus.get("alertmanagers")["activeAlertmanagers"]
    assert active["url"] == f"{running.url('ALERTMANAGER_PORT')}/api/v2/alerts"
    flags = running.prometheus.get("status/flags")
    assert flags["web.external-url"] == f"{running.url('PROMETHEUS_PORT')}/"
    assert flags["web.cors.origin"] == "none"


def test_make_status_says_that_all_is_well_and_a_drill_arrives(running: Stack) -> None:
    said = running.make("status")
    assert said.returncode == 0
    assert [line.split()[0] for line in said.stdout.splitlines() if " well " in line] == [
        *("Portal", "Prometheus", "Alertmanager", "Exporter", "Guard")
    ]
    assert "  Guard        well      before Prometheus and Alertmanager\n" in said.stdout
    assert running.make("drill").returncode == 0
    alerts = requests.get(f"{running.url('ALERTMANAGER_PORT')}/api/v2/alerts", timeout=10).json()
    assert {one["labels"]["alertname"] for one in alerts} == {"Drill"}


# Secrets


def environment_of(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if pair)


def test_each_part_has_the_secrets_that_it_needs_and_no_other(running: Stack) -> None:
    names = [line.split()[0] for line in running.supervisor("status").splitlines()]
    assert {"portal", "prometheus", "alertmanager", "exporter"} <= set(names)
    pids = {name: running.pid(name) for name in names}
    pids["supervisor"] = int((running.home / "supervisord.pid").read_text())
    found = {name: environment_of(pid) for name, pid in pids.items()}
    # Also under another name.
    held = {
        name: {secret for secret, value in SECRETS.items() if any(value in own for own in environment.values())}
        for name, environment in found.items()
    }
    assert held == {name: NEEDED.get(name, set()) for name in pids}
    # The password of what is behind the guard, which nothing else is told.
    password = found["guard"]["AGENTGAUGE_GUARD_PASSWORD"]
    assert len(password) == 43
    assert [name for name, environment in found.items() if password in "".join(environment.values())] == ["guard"]


def test_no_secret_is_in_a_command_line_or_readable_by_others(running: Stack) -> None:
    password = environment_of(running.pid("guard"))["AGENTGAUGE_GUARD_PASSWORD"]
    commands = "".join(running.processes().values())
    for value in (password, *SECRETS.values(), *read_env(running.home / ".env").values()):
        assert value not in commands
    logs = "".join(path.read_text(errors="replace") for path in (running.home / "logs").glob("*.log"))
    assert password not in logs
    assert running.home.stat().st_mode & 0o077 == 0
    for path in running.home.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert path.stat().st_mode & 0o077 == 0, path


def test_a_password_is_of_one_start_and_nothing_of_it_stays(running: Stack) -> None:
    before = environment_of(running.pid("guard"))["AGENTGAUGE_GUARD_PASSWORD"]
    assert running.make("down").returncode == 0
    left = [path for path in running.home.rglob("*") if path.is_file() and before.encode() in path.read_bytes()]
    assert left == []
    kept = [path for path in running.home.rglob("*.json") if SECRETS["AWS_SECRET_ACCESS_KEY"] in path.read_text()]
    assert kept == []
    again = running.make("up")
    assert again.returncode == 0, again.stdout + again.stderr
    assert environment_of(running.pid("guard"))["AGENTGAUGE_GUARD_PASSWORD"] != before
