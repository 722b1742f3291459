"""The exporter over HTTP, from a real process: its pages, bad neighbours, broken sources, and what it never tells."""

import gzip
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from createagents_lines import line
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as text_families
from serving import OPENMETRICS, Serving, serving, until, url_of

from exporters.server import listen
from exporters.sources.otlp import opening

OK = {"status": "success"}
CANARY = "canary-4b1d-do-not-tell"


def append(folder: Path, *lines: bytes, name: str = "traces_2025-12-06.jsonl") -> None:
    folder.mkdir(exist_ok=True)
    with (folder / name).open("ab") as file:
        file.write(b"".join(record + b"\n" for record in lines))


def tool(number: int, **fields: object) -> bytes:
    return line("tool.result", number, f"t{number}", duration_ms=10.0, **{**OK, **fields})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    append(tmp_path / "traces", tool(1), tool(2))
    return tmp_path / "traces"


@pytest.fixture
def exporter(folder: Path, tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path / "state", url_of(folder)) as found:
        found.await_ready()
        yield found


def test_the_pages_and_what_they_are(exporter):
    status, headers, body = exporter.get("/-/healthy")
    assert (status, body, headers.get_content_type()) == (200, b"The exporter runs.\n", "text/plain")
    assert exporter.get("/-/ready")[::2] == (200, b"Every source has been caught up.\n")
    status, headers, body = exporter.get("/")
    assert (status, headers.get_content_type()) == (200, "text/html")
    assert b'<a href="/metrics">' in body
    assert b"<li><code>createagents</code>: read to its end</li>" in body
    assert exporter.get("/no-such-page")[0] == 404
    assert exporter.get("/metrics/../../etc/passwd")[0] == 404
    for path in ("/", "/metrics", "/-/ready", "/-/healthy"):
        headers = exporter.get(path)[1]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["Server"] is None


def test_the_page_comes_in_the_format_that_is_asked_for_also_compressed(exporter):
    status, headers, body = exporter.get("/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert list(text_families(body.decode()))
    _, headers, body = exporter.get("/metrics", Accept=OPENMETRICS)
    assert headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert headers["Vary"] == "Accept, Accept-Encoding"
    assert headers["Content-Encoding"] is None
    names = {family.name for family in text_string_to_metric_families(body.decode())}
    _, headers, body = exporter.get("/metrics", Accept=OPENMETRICS, Accept_Encoding="deflate, gzip;q=1.0")
    assert headers["Content-Encoding"] == "gzip"
    assert {family.name for family in text_string_to_metric_families(gzip.decompress(body).decode())} == names
    assert exporter.get("/metrics", Accept_Encoding="gzip;q=0")[1]["Content-Encoding"] is None
    assert exporter.get("/metrics", Accept_Encoding="notgzip")[1]["Content-Encoding"] is None


def test_the_moments_at_which_series_began_come_only_when_asked_for(exporter):
    assert b"agentgauge_tool_calls_created" not in exporter.get("/metrics", Accept=OPENMETRICS)[2]
    assert b"agentgauge_tool_calls_created" in exporter.get("/metrics?created", Accept=OPENMETRICS)[2]


def test_a_new_line_is_on_the_page_within_moments(exporter, folder):
    assert exporter.value("agentgauge_tool_calls_total", outcome="ok") == 2
    append(folder, tool(3))
    until(lambda: exporter.value("agentgauge_tool_calls_total", outcome="ok") == 3, "the line shows", 5)


def test_an_exporter_without_traces_yet_is_ready_and_shows_those_that_come(tmp_path):
    (tmp_path / "traces").mkdir()
    with serving(tmp_path / "state", url_of(tmp_path / "traces")) as exporter:
        exporter.await_ready()
        assert exporter.value("agentgauge_tool_calls_total") is None
        append(tmp_path / "traces", tool(1))
        until(lambda: exporter.value("agentgauge_tool_calls_total", outcome="ok") == 1, "the line shows")


HELD = """
import sys
from exporters import database
from exporters.__main__ import main

checked = database._check

def check(*of):
    open({fifo!r}).read()
    checked(*of)

database._check = check
sys.exit(main())
"""


@pytest.fixture
def held(folder: Path, tmp_path: Path) -> Iterator[Serving]:
    """An exporter whose state is being checked until someone has written to a FIFO."""
    os.mkfifo(tmp_path / "fifo")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", HELD.format(fifo=str(tmp_path / "fifo")), "serve", url_of(folder)]
    options = ["--listen", f"127.0.0.1:{port}", "--state", str(tmp_path / "state")]
    log = tmp_path / "log"
    with log.open("wb") as output, subprocess.Popen([*command, *options], stderr=output) as process:
        found = Serving(process, log)
        found.url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            with suppress(OSError):
                return found.get("/-/healthy")[0] == 200
            return False

        try:
            until(answers, found.said)
            yield found
        finally:
            process.kill()


def test_while_the_state_is_checked_it_answers_that_it_is_not_ready_and_counts_nothing(held, tmp_path):
    for path in ("/-/ready", "/metrics", "/"):
        status, _, body = held.get(path)
        assert (status, body.startswith(b"The state is being opened and checked; nothing is counted")) == (503, True)
    assert "listening" not in held.said()
    (tmp_path / "fifo").write_bytes(b"")
    held.await_ready()
    assert held.value("agentgauge_tool_calls_total", outcome="ok") == 2
    assert held.stop() == 0


def test_it_can_be_stopped_while_the_state_is_checked(held):
    assert held.stop() == 0
    assert "Traceback" not in held.said()


# Neighbours that mean no good.


def answered_within_a_second(exporter: Serving) -> None:
    """The quickest of three scrapes, as others use the machine too."""
    took = []
    while not took or (min(took) >= 1 and len(took) < 3):
        began = time.monotonic()
        status, _, body = exporter.get("/metrics", Accept=OPENMETRICS)
        took.append(time.monotonic() - began)
        assert status == 200
        assert body.endswith(b"# EOF\n")
    assert min(took) < 1


def test_two_hundred_idle_connections_do_not_stop_a_scrape(exporter):
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(closing(exporter.connect()))
        answered_within_a_second(exporter)
    answered_within_a_second(exporter)


@pytest.mark.parametrize(
    "bind",
    [lambda: listen("127.0.0.1:0"), lambda: opening.listen(urlsplit("otlp://127.0.0.1:0"))],
    ids=["page", "otlp"],
)
def test_a_connection_does_not_wait_for_its_first_piece_to_be_acknowledged(bind):
    """With Nagle's algorithm every answer on a connection that stays open took 44 ms."""
    with bind() as bound, socket.create_connection(bound.getsockname()), bound.accept()[0] as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_more_half_sent_requests_than_a_process_may_have_descriptors_do_not_stop_a_scrape(exporter):
    resource.prlimit(exporter.process.pid, resource.RLIMIT_NOFILE, (1024, 1024))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4096), most))
    with ExitStack() as stack:
        for _ in range(1200):
            half = stack.enter_context(closing(exporter.connect()))
            half.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n")
        answered_within_a_second(exporter)
    assert "Traceback" not in exporter.said()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9464", "[::1]:9464", "exporter:9464", "agents.example.com"])
def test_the_exporter_is_asked_by_its_own_names(folder, tmp_path, host):
    with serving(tmp_path / "state", url_of(folder), AGENTGAUGE_HOSTS="agents.example.com") as exporter:
        exporter.await_ready()
        assert exporter.get("/metrics", Host=host)[0] == 200


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/ready", "/-/healthy", "/no-such-page"])
def test_a_name_that_somebody_points_here_and_a_page_of_another_site_are_refused(exporter, path):
    status, _, body = exporter.get(path, Host="evil.example:9464")
    assert (status, body) == (
        403,
        b"The host 'evil.example:9464' is not known here; if it is this service's, add it to AGENTGAUGE_HOSTS.\n",
    )
    assert exporter.get(path, Origin="http://evil.example")[0] == 403
    assert exporter.get(path, Origin="http://203.0.113.9")[0] == 403
    assert exporter.said().count("refused a request: The host 'evil.example:9464'") == 1


def test_clients_that_ask_slowly_or_never_read_do_not_stop_a_scrape(exporter):
    with ExitStack() as stack:
        for number in range(100):
            slow = stack.enter_context(closing(exporter.connect()))
            slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n" + (b"X-Slow: " if number % 2 else b"\r\n"))
        for _ in range(20):
            deaf = stack.enter_context(closing(exporter.connect()))
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            deaf.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
        answered_within_a_second(exporter)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /metrics HTTQ/1.1\r\nHost: localhost\r\n\r\n",
        b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nAccept: " + b"a," * 100_000 + b"\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n",
        b"\0" * 1000,
    ],
    ids=["tls", "protocol", "path", "header", "body", "nul"],
)  # fmt: skip
def test_nonsense_is_refused_and_the_next_scrape_answered(exporter, request_bytes):
    answer = answer_to(exporter, request_bytes)
    assert answer == b"" or re.match(rb"HTTP/1\.1 4\d\d ", answer)
    answered_within_a_second(exporter)
    assert "Traceback" not in exporter.said()


def test_what_is_no_nonsense_would_be_seen_to_be_answered(exporter):
    assert answer_to(exporter, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def answer_to(exporter: Serving, request: bytes) -> bytes:
    """What the exporter says first; nothing, where it hangs up. Raises TimeoutError when it does neither.

    It may hang up before it has taken all of the request: what it said until then is read all the same. The
    connection stays open on our side until then, as an end of it would call off what is being answered.
    """
    with closing(exporter.connect()) as connection:
        with suppress(ConnectionError):
            connection.sendall(request)
        with suppress(ConnectionError):
            return connection.recv(65536)
    return b""


def test_a_source_s_name_is_text_on_the_front_page(folder, tmp_path):
    with serving(tmp_path / "state", url_of(folder, "?name=%3Cscript%3Ealert(1)%3C/script%3E")) as exporter:
        exporter.await_ready()
        body = exporter.get("/")[2]
        assert b"<script" not in body
        assert b"&lt;script&gt;alert(1)" in body


# What the exporter never tells.


def test_texts_of_prompts_and_results_are_nowhere_page_log_state_or_error(tmp_path):
    folder = tmp_path / "traces"
    texts = {
        "inputs": {"user_message": CANARY}, "outputs": {"response": CANARY, "result": f"timed out {CANARY}"},
        "error_message": f"timed out {CANARY}", "error_stack": CANARY, "session_id": CANARY,
        "metadata": {"user_id": CANARY},
    }  # fmt: skip
    good = [
        line("trace.start", 0, "r", **texts),
        line("llm.request", 1, "c", "r", **texts),
        line("llm.response", 2, "c", "r", **texts),
        line("tool.result", 3, "t", "c", status="error", **texts),
        line("trace.end", 4, "r", status="error", **texts),
        line("trace.start", 5, "open", trace="open", **texts),
        line("llm.request", 6, "c2", "open", trace="open", **texts),
    ]
    bad = [
        CANARY.encode(), b'{"a": "' + CANARY.encode(), good[0][:-5], good[0].replace(b"2025", CANARY.encode()),
        good[2].replace(b'"llm.response"', b'"' + CANARY.encode() + b'"'),
        line("llm.response", 3, "c", duration_ms=CANARY), line("llm.response", 3, "c", data=CANARY),
        b'["' + CANARY.encode() + b'"]', b"\xff" + CANARY.encode(),
    ]  # fmt: skip
    append(folder, *good, *bad)
    # A log at DEBUG, of every library.
    loud = "import logging, sys; logging.basicConfig(level=logging.DEBUG); from exporters.__main__ import main; "
    command = ("-c", f"{loud} sys.exit(main(['serve', *sys.argv[1:]]))")
    state = tmp_path / "state"
    with serving(state, url_of(folder), "--idle-limit", "999w", command=command) as exporter:
        exporter.await_ready()
        assert exporter.value("agentgauge_bad_records_total") == len(bad)
        assert exporter.value("agentgauge_open_runs") == 1
        answers = [exporter.get(path)[2] for path in ("/", "/metrics", "/-/ready", "/no")] + [exporter.page().encode()]
        said = exporter.said()
        assert "DEBUG" in said
        exporter.stop(signal.SIGKILL)
    kept = [path.read_bytes() for path in sorted(state.iterdir())]
    assert sum(map(len, kept)) > 10_000
    for told in [*answers, *kept, said.encode()]:
        assert CANARY.encode() not in told


# Sources that break.


def test_the_status_says_what_keeps_the_exporter_from_its_work(tmp_path):
    well = (200, b"The state works and every source can be read.\n")
    broken, state = tmp_path / "broken", tmp_path / "state"
    append(broken, tool(1))
    with serving(state, url_of(broken, "?name=broken")) as exporter:
        exporter.await_ready()
        assert exporter.get("/-/status")[::2] == well
        broken.rename(tmp_path / "away")
        until(lambda: exporter.get("/-/status")[0] == 503, "it is told")
        said = f"source broken: [Errno 2] No such file or directory: '{broken}'\n"
        assert exporter.get("/-/status")[2].decode() == said
        (tmp_path / "away").rename(broken)
        until(lambda: exporter.get("/-/status")[::2] == well, "it is well again")
    state.joinpath("state.db").write_bytes(b"")
    with serving(state, url_of(broken, "?name=broken")) as exporter:
        until(lambda: exporter.get("/-/status")[2].startswith(b"state: "), "the state is told")
        assert exporter.get("/-/status")[0] == 503
        assert exporter.get("/-/healthy")[0] == 200


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_that_may_not_be_read_yet_is_told_and_read_once_it_may(folder, tmp_path):
    """In a container a restart would mend nothing: one would follow another."""
    folder.chmod(0o700)
    os.chown(folder, 65534, 65534)
    with serving(tmp_path / "state", url_of(folder), command=("-c", WITHOUT_RIGHTS, "serve")) as exporter:
        assert f"{folder} may not be read; grant this user read permission" in exporter.said()
        until(lambda: exporter.get("/-/status")[0] == 503, "it is told")
        assert "Permission denied" in exporter.get("/-/status")[2].decode()
        assert exporter.value("agentgauge_source_up", source="createagents") == 0
        folder.chmod(0o755)
        until(lambda: exporter.value("agentgauge_source_up", source="createagents") == 1, "it is read")
        until(lambda: exporter.value("agentgauge_tool_calls_total", outcome="ok") == 2, "and shown")


# As root, but without root's right to read what is somebody else's.
WITHOUT_RIGHTS = """
import os, sys
options = ["--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
os.execvp("setpriv", ["setpriv", *options, sys.executable, "-m", "exporters", *sys.argv[1:]])
"""


def test_a_source_that_breaks_is_told_and_the_others_go_on_and_it_comes_back(tmp_path):
    why = f"[Errno 2] No such file or directory: &#x27;{tmp_path}/broken&#x27;"
    broken, fine, state = tmp_path / "broken", tmp_path / "fine", tmp_path / "state"
    append(broken, tool(1))
    append(fine, tool(1))
    with serving(state, url_of(broken, "?name=broken"), url_of(fine, "?name=fine")) as exporter:
        exporter.await_ready()
        assert exporter.value("agentgauge_source_up", source="broken") == 1
        broken.rename(tmp_path / "away")
        until(lambda: exporter.value("agentgauge_source_up", source="broken") == 0, "it is told")
        assert (exporter.value("agentgauge_source_errors_total", source="broken") or 0) >= 1
        front = exporter.get("/")[2].decode()
        assert "<li><code>fine</code>: read to its end</li>" in front
        assert f"<li><code>broken</code>: read to its end; cannot be read now: {why}</li>" in front
        # The totals stay, and the other source is read on.
        assert exporter.value("agentgauge_tool_calls_total", source="broken", outcome="ok") == 1
        append(fine, tool(2))
        until(lambda: exporter.value("agentgauge_tool_calls_total", source="fine", outcome="ok") == 2, "fine goes on")
        assert exporter.value("agentgauge_source_up", source="fine") == 1
        assert exporter.get("/-/healthy")[0] == 200
        told = [row for row in exporter.said().splitlines() if "source=broken" in row and "cannot be read" in row]
        assert len(told) == 1, "once, not at every attempt"
        assert "Traceback" not in exporter.said()

        append(tmp_path / "away", tool(2), tool(3))
        (tmp_path / "away").rename(broken)
        until(lambda: exporter.value("agentgauge_source_up", source="broken") == 1, "it is back")
        assert "cannot be read" not in exporter.get("/")[2].decode()
        ok = {"source": "broken", "outcome": "ok"}
        until(lambda: exporter.value("agentgauge_tool_calls_total", **ok) == 3, "what came meanwhile is read")
        append(broken, tool(4))
        until(lambda: exporter.value("agentgauge_tool_calls_total", **ok) == 4, "and what comes then")


def test_a_source_in_which_nothing_is_new_is_read_all_the_same_and_says_when(tmp_path):
    append(tmp_path / "traces", tool(1))
    with serving(tmp_path / "state", url_of(tmp_path / "traces"), "otlp://127.0.0.1:0") as exporter:
        exporter.await_ready()

        def last_success(source: str) -> float:
            return exporter.value("agentgauge_source_last_success_timestamp_seconds", source=source) or 0.0

        before = {source: last_success(source) for source in ("createagents", "otlp")}
        assert min(before.values()) > time.time() - 60
        for source, then in before.items():
            until(lambda source=source, then=then: last_success(source) > then, f"{source} is read again")  # type: ignore[misc]
        assert exporter.value("agentgauge_records_total", source="otlp") is None


def test_a_backlog_that_is_being_read_is_told_and_none_of_it_shown(tmp_path):
    folder = tmp_path / "traces"
    folder.mkdir()
    (folder / "traces_2025-12-06.jsonl").write_bytes(b"".join(tool(n) + b"\n" for n in range(60_000)))
    seen: set[tuple[int, float | None]] = set()
    with serving(tmp_path / "state", url_of(folder)) as exporter:

        def ready() -> bool:
            status = exporter.get("/-/ready")[0]
            page = exporter.page()
            found = re.search(r'^agentgauge_tool_calls_total\{.*outcome="ok"\} (\S+)$', page, re.MULTILINE)
            caught_up = 'agentgauge_source_caught_up{source="createagents"} 1.0' in page
            assert bool(found) == caught_up
            seen.add((status, float(found[1]) if found else None))
            return status == 200

        until(ready, "the backlog is read", 60)
        assert exporter.value("agentgauge_tool_calls_total", outcome="ok") == 60_000
    assert {count for _, count in seen} <= {None, 60_000.0}
