"""The command line, from real processes: what goes where, which exit code, and one line that helps."""

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from createagents_lines import line
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from serving import serving, until, url_of

AGENTGAUGE = [sys.executable, "-m", "exporters"]
OK = {"status": "success"}


def run(*arguments: str, home: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    found = {**os.environ, **environment}
    found.pop("TRACE_SOURCES", None) if "TRACE_SOURCES" not in environment else None
    if home is not None:
        found["HOME"] = str(home)
    return subprocess.run([*AGENTGAUGE, *arguments], capture_output=True, text=True, env=found, timeout=60, check=False)


def store(folder: Path, *lines: bytes, name: str = "traces_2025-12-06.jsonl") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"".join(record + b"\n" for record in lines))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return store(
        tmp_path / "traces",
        line("trace.start", 0, "r"),
        line("llm.request", 1, "c", "r"),
        line("llm.response", 2, "c", "r", duration_ms=500.0, input_tokens=12, output_tokens=3),
        line("tool.result", 3, "t", "c", duration_ms=100.0, **OK),
        line("trace.end", 4, "r", duration_ms=4000.0, **OK),
    )


def values(page: str, name: str) -> dict[str, float]:
    """The samples of a series by source, summed."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == name:
                found[sample.labels["source"]] = found.get(sample.labels["source"], 0) + sample.value
    return found


def one_line_of_trouble(done: subprocess.CompletedProcess[str], *said: str) -> None:
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    [told] = done.stderr.splitlines()
    assert told.startswith("agentgauge: ")
    for part in said:
        assert part in told


# What goes wrong before anything is read.

WRONG = [
    ("postgres://db/traces", "not the URL of a trace store", "createagents://"),
    ("/var/traces", "not the URL of a trace store"),
    ("http://[", "Invalid IPv6 URL"),
    ("createagents://", "names no folder"),
    ("createagents:///no/such/folder", "there is no folder /no/such/folder", "check the path"),
    ("createagents:///etc/passwd", "/etc/passwd is not a folder"),
    ("createagents:///~nobody-like-this/traces", "check the path"),
    ("createagents:///tmp/%00", "check the path"),
    ("createagents:///tmp#1", "%23"),
    ("createagents:///tmp?since=soon", "'soon' is not a duration such as 30d"),
    ("createagents:///tmp?colour=red", "unknown option 'colour'"),
    ("createagents:///tmp?name=%1b[31m", "name"),
]


@pytest.mark.parametrize(("url", "said"), [(url, said) for url, *said in WRONG], ids=[url for url, *_ in WRONG])
def test_a_url_that_cannot_be_used_is_one_line_and_exit_code_2(url, said):
    one_line_of_trouble(run("once", url), *said)


@pytest.mark.parametrize("command", ["once", "check", "serve"])
def test_a_command_without_a_source_says_how_to_name_one(command):
    one_line_of_trouble(run(command), "no source", "createagents:///", "TRACE_SOURCES")
    one_line_of_trouble(run(command, TRACE_SOURCES="  "), "no source")


def test_a_variable_that_is_empty_is_not_set(folder):
    """Docker Compose hands over every variable that a copied .env.example leaves empty."""
    example = (Path(__file__).parents[1] / ".env.example").read_text("utf-8")
    empty = dict.fromkeys(re.findall(r"^([A-Z_]+)=$", example, re.MULTILINE), "")
    assert {"AGENTGAUGE_OTLP_TOKEN", "PGPASSWORD", "AGENTGAUGE_PRICES", "AGENTGAUGE_HOSTS"} <= empty.keys()
    more = {"LANGFUSE_BASE_URL": "", "LANGFUSE_SECRET_KEY_FILE": "", "XDG_STATE_HOME": ""}
    done = run("once", url_of(folder), **empty, **more)
    assert (done.returncode, done.stderr) == (0, "")
    assert values(done.stdout, "agentgauge_runs_total") == {"createagents": 1}


def test_two_sources_of_one_name_are_told_apart_or_refused(folder):
    one_line_of_trouble(run("once", url_of(folder), url_of(folder)), "'createagents'", "?name=")
    done = run("once", url_of(folder, "?name=a"), url_of(folder, "?name=b"))
    assert values(done.stdout, "agentgauge_runs_total") == {"a": 1, "b": 1}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_folder_that_may_not_be_read_is_one_line_and_exit_code_2(folder):
    folder.chmod(0o700)
    script = f"""if True:
        import os
        import exporters.sources.createagents  # before: Python too may be in a folder of this user's only
        from exporters.__main__ import main
        os.setuid(65534)
        raise SystemExit(main(["once", {url_of(folder)!r}]))
    """
    # The folder above is of this test's user only, as pytest makes it.
    for parent in (folder.parent, *folder.parent.parents):
        if parent.stat().st_uid == os.getuid() and "pytest" in str(parent):
            parent.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    one_line_of_trouble(done, str(folder), "may not be read", "grant this user read permission")


@pytest.mark.parametrize("command", ["once", "check"])
def test_what_can_be_read_is_told_although_a_file_may_not_be_and_the_exit_code_is_2(folder, command):
    """As `cat` and `grep` do. The permission is denied by hand: a test that runs as root is never denied one."""
    (folder / "traces_2020-01-01.jsonl").write_bytes(b"{}\n")
    script = f"""if True:
        import os
        from exporters.__main__ import main
        open_it = os.open
        def deny(path, *arguments, **more):
            if str(path).endswith("2020-01-01.jsonl"):
                raise PermissionError(13, "Permission denied", str(path))
            return open_it(path, *arguments, **more)
        os.open = deny
        raise SystemExit(main([{command!r}, {url_of(folder)!r}]))
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    refused = folder / "traces_2020-01-01.jsonl"
    assert (done.returncode, done.stderr) == (
        2,
        f"agentgauge: {refused}: may not be read; grant this user read permission\n",
    )
    if command == "once":
        assert values(done.stdout, "agentgauge_runs_total") == {"createagents": 1}
        assert values(done.stdout, "agentgauge_source_up") == {"createagents": 0}
    else:
        assert "1 agent run\n" in done.stdout


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("9464", "HOST:PORT"),
        ("localhost", "HOST:PORT"),
        ("127.0.0.1:http", "HOST:PORT"),
        ("127.0.0.1:99999", "HOST:PORT"),
        ("127.0.0.1:-1", "HOST:PORT"),
        ("no.such.host.invalid:9464", "there is no such address"),
        ("192.0.2.1:9464", "choose another address"),
    ],
)
def test_an_address_that_cannot_be_listened_on_is_one_line_and_exit_code_2(address, said, folder, tmp_path):
    done = run("serve", url_of(folder), f"--listen={address}", "--state", str(tmp_path / "state"))
    one_line_of_trouble(done, f"--listen {address}", said)
    assert not (tmp_path / "state").exists()


def test_a_port_in_use_is_one_line_and_exit_code_2_before_the_state_is_touched(folder, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("serve", url_of(folder), "--listen", address, "--state", str(tmp_path / "state"))
    one_line_of_trouble(done, address, "Address already in use", "choose another")
    assert not (tmp_path / "state").exists()


def test_a_second_exporter_on_one_state_is_refused(folder, tmp_path):
    with serving(tmp_path / "state", url_of(folder)):
        state = str(tmp_path / "state")
        done = run("serve", url_of(folder), "--listen", "127.0.0.1:0", "--state", state)
        one_line_of_trouble(done, state, "another exporter")


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("nonsense",), ("once", "--colour"), ("serve", "--series-limit", "0"), ("once", "--label-limit", "-3"),
        ("once", "--series-limit", "many"), ("check", "--idle-limit", "soon"), ("demo",),
    ],
    ids=" ".join,
)  # fmt: skip
def test_an_option_that_is_wrong_is_told_with_the_usage_and_exit_code_2(arguments):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: agentgauge")
    assert "Traceback" not in done.stderr


def test_help_and_version_are_on_standard_output():
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert {"serve", "once", "check", "demo"} <= set(re.findall(r"^    (\w+)", done.stdout, re.MULTILINE))
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", run("--version").stdout)


# once


def test_once_prints_the_page_and_nothing_else(folder):
    done = run("once", url_of(folder))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("# HELP gen_ai_client_inference_duration_seconds")
    assert done.stdout.endswith("\n# EOF\n")
    assert values(done.stdout, "agentgauge_runs_total") == {"createagents": 1}
    assert values(done.stdout, "agentgauge_records_total") == {"createagents": 5}
    assert values(done.stdout, "gen_ai_client_inference_usage_input_tokens_total") == {"createagents": 12}
    assert values(done.stdout, "agentgauge_source_caught_up") == {"createagents": 1}
    assert values(done.stdout, "agentgauge_source_up") == {"createagents": 1}
    assert values(done.stdout, "agentgauge_source_backlog_bytes") == {"createagents": 0}


def test_sources_come_from_the_environment_when_none_is_named(tmp_path):
    one = store(tmp_path / "one", line("trace.end", 1, "r", **OK))
    two = store(tmp_path / "two", line("trace.end", 1, "r1", **OK), line("trace.end", 1, "r2", **OK))
    sources = f"{url_of(one)} \n {url_of(two, '?name=two')}"
    done = run("once", TRACE_SOURCES=sources)
    assert values(done.stdout, "agentgauge_runs_total") == {"createagents": 1, "two": 2}
    named = run("once", url_of(two), TRACE_SOURCES=sources)
    assert values(named.stdout, "agentgauge_runs_total") == {"createagents": 2}


@pytest.mark.parametrize("name", ["with space", "münchen", "per%cent", "a#b?c", "new\nline", "~tilde"])
def test_a_folder_of_any_name_is_found_percent_encoded(name, tmp_path):
    folder = store(tmp_path / name, line("trace.end", 1, "r", **OK))
    assert values(run("once", url_of(folder)).stdout, "agentgauge_runs_total") == {"createagents": 1}


@pytest.mark.parametrize(
    "url", ["createagents:///~/my%20traces", "createagents://~/my%20traces", "createagents:~/my traces"]
)
def test_a_tilde_is_the_home_of_the_user(url, tmp_path):
    store(tmp_path / "my traces", line("trace.end", 1, "r", **OK))
    assert values(run("once", url, home=tmp_path).stdout, "agentgauge_runs_total") == {"createagents": 1}


def test_an_empty_folder_is_an_empty_page_and_no_trouble(tmp_path):
    done = run("once", url_of(store(tmp_path / "empty")))
    assert (done.returncode, done.stderr) == (0, "")
    assert "agentgauge_runs" not in done.stdout
    assert done.stdout.endswith("# EOF\n")


def test_a_reader_that_has_enough_is_no_trouble(folder):
    """As in `agentgauge check ... | head -1`."""
    for command in ("once", "check"):
        with subprocess.Popen(
            [*AGENTGAUGE, command, url_of(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert (process.wait(60), process.stderr.read()) == (141, b"")


def test_a_full_disk_under_the_output_is_one_line(folder):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*AGENTGAUGE, "once", url_of(folder)], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr == "agentgauge: [Errno 28] No space left on device\n"


def on_a_terminal(*arguments: str) -> tuple[int, str, str]:
    """Run with standard error on a terminal; return the exit code, standard output and what the terminal showed."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    try:
        with subprocess.Popen([*AGENTGAUGE, *arguments], stdout=subprocess.PIPE, stderr=theirs, text=True) as process:
            os.close(theirs)
            shown = b""
            while select.select([ours], [], [], 60)[0]:
                try:
                    shown += os.read(ours, 4096)
                except OSError:  # the other side has been closed
                    break
            assert process.stdout is not None
            output = process.stdout.read()
            return process.wait(60), output, shown.decode()
    finally:
        os.close(ours)


def test_progress_is_drawn_on_a_terminal_only(folder):
    code, page, shown = on_a_terminal("once", url_of(folder))
    assert code == 0
    assert page.startswith("# HELP")
    assert page.endswith("# EOF\n")
    assert "reading: 100%" in shown
    assert shown.rstrip().count("\n") == 0, "one line that is drawn over"
    assert run("once", url_of(folder)).stderr == ""


# check


def test_check_says_what_is_in_a_store_and_what_is_odd(tmp_path):
    folder = store(
        tmp_path / "traces",
        line("trace.start", 0, "r"),
        line("llm.response", 1, "c1", "r", duration_ms=1.0, input_tokens=5, output_tokens=1),
        line("llm.response", 2, "c2", "r", duration_ms=1.0),
        line("llm.response", 2, "c3", "r", duration_ms=1.0, input_tokens=5, output_tokens=1, model="my-own"),
        line("llm.response", 2, "c4", "r", duration_ms=1.0, input_tokens=5, output_tokens=1, model=None, data=None),
        line("tool.result", 3, "t1", "c1", agent_name=None, **OK),
        line("tool.result", 3, "t2", "c1", status="error", outputs={"result": "timed out"}),
        line("tool.result", 3, "t2", "c1", status="error", outputs={"result": "timed out"}),
        line("trace.end", 61, "r", status="error", error_type="RateLimitError"),
        b"{",
        b"{",
        line("llm.response", 4, "c5", "r", duration_ms=-1.0),
    )
    done = run("check", url_of(folder, "?name=prod"))
    assert (done.returncode, done.stderr) == (0, "")
    told, _, series = done.stdout.partition("\nSeries: ")
    assert (
        told
        == """\
Source prod: 12 records
  from 2025-12-06 14:00:00 UTC to 2025-12-06 14:01:01 UTC
  4 model calls
  2 tool calls, 1 failed: 1 timeout
  1 agent run, 1 failed: 1 rate_limited
  3 records could not be used:
    2 not JSON, or cut off (json)
    1 with a number that cannot be, such as tokens below zero (out_of_range)
  What is odd:
    1 model call without token usage: in no token or cost total (1 gpt-4o-mini)
    1 model call without a price: no model in the store (no_model)
    1 model call of openai's my-own without a price: in no price list (unknown_model)
      say what these models cost in a file for --prices, as docs/prices.md tells
    1 tool call without an agent's name on the record
    1 end of what had ended already, as after a rewrite of a file: counted once
"""
    )
    first, *rest = series.splitlines()
    used, limit = re.fullmatch(r"([\d,]+) of at most ([\d,]+)", first).groups()
    assert limit == "10,000"
    assert sum(int(row.split()[0]) for row in rest) == int(used.replace(",", ""))


PRICED = 'agentgauge_cost_usd_total{source="createagents",gen_ai_operation_name="chat",gen_ai_provider_name="openai"'


def test_prices_of_one_s_own_are_of_every_command_and_from_the_environment(folder, tmp_path):
    (folder / "traces_2025-12-07.jsonl").write_bytes(
        line("llm.response", 9, "d", trace_id="t2", model="our-own", input_tokens=1000, output_tokens=0) + b"\n"
    )
    prices, table = tmp_path / "prices.yml", tmp_path / "table.json"
    prices.write_text("prices: [{model: gpt-4o-mini, agent: Scout, input: 50000, output: 100000}]")
    table.write_text('{"our-own": {"input_cost_per_token": 0.001, "output_cost_per_token": 1}}')
    done = run("once", url_of(folder), "--prices", str(prices), "--litellm-prices", str(table))
    assert (done.returncode, done.stderr) == (0, "")
    model = 'gen_ai_request_model="{}",gen_ai_agent_name="Scout",cost_source="{}"'
    costs = dict(row.rsplit(" ", 1) for row in done.stdout.splitlines() if row.startswith(PRICED))
    # 12 tokens at USD 0.05 and 3 at USD 0.1; 1000 at USD 0.001.
    assert {row: float(cost) for row, cost in costs.items()} == {
        f"{PRICED},{model.format('gpt-4o-mini', 'override')}}}": pytest.approx(0.9),
        f"{PRICED},{model.format('our-own', 'computed')}}}": pytest.approx(1.0),
    }
    from_environment = {"AGENTGAUGE_PRICES": str(prices), "AGENTGAUGE_LITELLM_PRICES": str(table)}
    assert PRICED in run("once", url_of(folder), **from_environment).stdout
    assert "without a price" not in run("check", url_of(folder), **from_environment).stdout
    assert "our-own without a price" in run("check", url_of(folder)).stdout


@pytest.mark.parametrize("command", ["serve", "once", "check", "backfill"])
def test_a_file_of_prices_with_a_fault_is_one_line_and_exit_code_2(command, folder, tmp_path):
    prices = tmp_path / "prices.yml"
    prices.write_text("prices: [{model: m, input: 1, output: 2}, {model: n, input: cheap, output: 2}]")
    into = {"serve": ["--state", str(tmp_path / "s")], "backfill": ["--openmetrics", str(tmp_path)]}.get(command, [])
    done = run(command, url_of(folder), "--prices", str(prices), *into)
    one_line_of_trouble(done, f"{prices}: entry 2 (n): input: expected `float | null`, got `str`")


def test_usage_that_cannot_be_right_is_counted_told_and_not_priced(tmp_path):
    """An instrumentation that counts input without what it read from a cache."""
    usage = {"input_tokens": 20, "output_tokens": 5, "cache_read.input_tokens": 900}
    said = [{"key": f"gen_ai.usage.{name}", "value": {"intValue": str(count)}} for name, count in usage.items()]
    names = {"operation.name": "chat", "request.model": "claude-sonnet-4-5", "provider.name": "anthropic"}
    said += [{"key": f"gen_ai.{name}", "value": {"stringValue": value}} for name, value in names.items()]
    span = {
        "traceId": "a" * 32, "spanId": "b" * 16, "name": "chat", "startTimeUnixNano": "1770112800000000000",
        "endTimeUnixNano": "1770112801000000000", "attributes": said,
    }  # fmt: skip
    (tmp_path / "a.jsonl").write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}) + "\n")
    page = run("once", f"otlp+file://{tmp_path}").stdout
    assert re.search(r'agentgauge_inference_invalid_usage_total{.*reason="cache_exceeds_input"} 1\n', page)
    assert re.search(r'agentgauge_inference_unpriced_total{.*reason="invalid_usage"} 1\n', page)
    assert "agentgauge_cost_usd_total" not in page
    told = run("check", f"otlp+file://{tmp_path}").stdout
    assert "1 model call with more tokens from and into the cache than input, as where input is" in told
    assert "1 model call of anthropic's claude-sonnet-4-5 without a price: its usage cannot be right" in told


def test_labels_can_be_bounded_one_by_one(tmp_path):
    lines = [line("llm.response", n, f"c{n}", agent_name=f"a{n}", model=f"m{n}", duration_ms=1.0) for n in range(9)]
    folder = store(tmp_path / "traces", *lines)
    page = run("once", url_of(folder), "--label-limit", "5", "--label-limit", "gen_ai_agent_name=2").stdout
    assert set(re.findall(r'gen_ai_agent_name="(\w+)"', page)) == {"a0", "a1", "other"}
    assert set(re.findall(r'gen_ai_request_model="(\w+)"', page)) == {"m0", "m1", "m2", "m3", "m4", "other"}
    page = run("once", url_of(folder), "--label-limit", "tool.gen_ai_agent_name=2").stdout
    assert 'gen_ai_agent_name="a8"' in page
    done = run("once", url_of(folder), "--label-limit", "agent=2")
    assert done.returncode == 2
    assert "'agent' is not a label of spans; there are deployment_environment_name" in done.stderr


def test_check_says_of_each_source_when_there_is_nothing_odd_or_nothing_at_all(folder, tmp_path):
    done = run("check", url_of(folder, "?name=a"), url_of(store(tmp_path / "empty"), "?name=b"))
    assert "Source a: 5 records\n" in done.stdout
    assert "  Nothing is odd.\n" in done.stdout
    assert "Source b: 0 records\n  There is nothing to read yet.\n" in done.stdout


def test_check_shows_no_control_characters_of_a_store(tmp_path):
    folder = store(tmp_path / "traces", line("llm.response", 1, "c", model="\x1b[31mred\x07", input_tokens=1))
    done = run("check", url_of(folder))
    assert "[31mred" in done.stdout
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.stdout)


def test_check_names_a_budget_that_is_spent_and_what_is_still_open(tmp_path):
    folder = store(tmp_path / "traces", *(line("llm.response", 1, f"c{n}", agent_name=f"a{n}") for n in range(9)))
    done = run("check", url_of(folder), "--label-limit", "5")
    assert "    4 times a value of agent became 'other': there are too many of them\n" in done.stdout
    store(folder, line("trace.start", 4102444799 - 1765029600, "r"))
    done = run("check", url_of(folder), "--idle-limit", "1w")
    assert "    1 trace not ended yet, and not idle for long enough to be given up\n" in done.stdout


# serve and demo


@pytest.mark.parametrize(("by", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_serve_ends_when_told_to_and_goes_on_where_it_was(by, code, folder, tmp_path):
    with serving(tmp_path / "state", url_of(folder)) as exporter:
        exporter.await_ready()
        assert exporter.value("agentgauge_records_total") == 5
        assert exporter.stop(by) == code
        assert "Traceback" not in exporter.said()
    with (folder / "traces_2025-12-06.jsonl").open("ab") as file:
        file.write(line("tool.result", 9, "t2", **OK) + b"\n")
    with serving(tmp_path / "state", url_of(folder)) as exporter:
        until(lambda: exporter.value("agentgauge_records_total") == 6, "the new line is read")
        assert exporter.value("agentgauge_runs_total") == 1
        assert exporter.value("agentgauge_tool_calls_total", outcome="ok") == 2


def test_serve_listens_on_this_machine_only_unless_told_otherwise():
    done = run("serve", "--help")
    assert "--listen HOST:PORT" in done.stdout
    assert "127.0.0.1:9464" in done.stdout


def test_the_demo_s_past_can_be_read_at_once(tmp_path):
    with subprocess.Popen(
        [*AGENTGAUGE, "demo", str(tmp_path / "demo"), "--history", "2h", "--seed", "1"], stderr=subprocess.PIPE
    ) as process:
        try:
            until(lambda: any((tmp_path / "demo").glob("traces_*.jsonl")), "the past is written")
        finally:
            process.terminate()
            process.wait(30)
    done = run("check", url_of(tmp_path / "demo"))
    assert done.returncode == 0
    assert re.search(r"\d+ agent runs?", done.stdout)
