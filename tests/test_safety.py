"""What every source and command keeps to: no secret is shown, names are ours, and nothing but a regular file is read.

What only one store has stands with its tests: Langfuse's keys and redirects in test_langfuse_safety.py, the
receiver's limits and token in test_otlp_*.py, read-only transactions in test_llm_metrics.py.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from createagents_lines import line
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from exporters.catalogue.metrics import METRICS, labels_by_series
from exporters.sources import SOURCES, SourceError, open_source, shown

FIXTURES = Path(__file__).parent / "fixtures"
HIDDEN = "c4n4ry"
# Also with what ends a host in a URL, so that the password is not where a parser looks for it.
PASSWORDS = [HIDDEN, *(f"{HIDDEN}{mark}{HIDDEN}" for mark in ("/", "#", "?", "@", ":", " ", "%2F", "\n"))]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "exporters", *arguments],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment},
    )  # fmt: skip


# Secrets are in no output.


@pytest.mark.parametrize("scheme", [*SOURCES, "postgresql", "https"])
def test_a_password_in_a_url_is_in_no_message(scheme):
    for follows in (False, True):
        for password in PASSWORDS:
            with pytest.raises(SourceError) as refused:
                open_source(f"{scheme}://me:{password}@127.0.0.1:1/traces", follows=follows)
            assert HIDDEN not in str(refused.value), password
            assert "\n" not in str(refused.value)
        for option in ("password", "secret_key", "token", "api_key"):
            with pytest.raises(SourceError) as refused:
                open_source(f"{scheme}://127.0.0.1:1/traces?{option}={HIDDEN}", follows=follows)
            assert HIDDEN not in str(refused.value), option


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("langfuse+https://me:pw@host/x?a=b@c", "langfuse+https://me:***@c"),
        ("llm-metrics+postgresql://me@host:5432/db?environment=a@b", None),
        ("otlp://[::1]:4318?name=a@b", None),
        ("langfuse+https://host:443/a:b@c", None),
        ("createagents:///var/a:b@c", None),
        ("x://h/d?token=abc&name=n", "x://h/d?token=***&name=n"),
    ],
)
def test_a_url_is_shown_without_its_secrets_and_otherwise_as_it_is(url, said):
    assert shown(url) == (said or url)


@pytest.mark.parametrize("command", ["serve", "once", "check", "backfill"])
def test_no_command_repeats_a_password_not_even_in_its_own_process(command, tmp_path):
    into = {"serve": ["--state", str(tmp_path)], "backfill": ["--openmetrics", str(tmp_path)]}.get(command, [])
    done = run(command, f"llm-metrics+postgresql://me:{HIDDEN}@127.0.0.1:1/db", *into)
    assert done.returncode == 2
    assert HIDDEN not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_what_traces_say_is_in_no_output_and_not_in_the_state(tmp_path):
    """Prompts, answers, results, errors, users: none of it is a label, a log line or a row of the state."""
    folder = tmp_path / "traces"
    folder.mkdir()
    said = {
        "inputs": {"prompt": HIDDEN}, "outputs": {"result": HIDDEN, "error": HIDDEN, "error_type": HIDDEN},
        "error_message": HIDDEN, "error_type": HIDDEN, "user_id": HIDDEN, "session_id": HIDDEN, HIDDEN: HIDDEN,
    }  # fmt: skip
    records = [
        line("trace.start", 0, "r", **said),
        line("llm.request", 1, "c", "r", **said),
        line("llm.response", 2, "c", "r", **{**said, "status": "error"}),
        line("tool.call", 2, "k", "r", **said),
        line("tool.result", 3, "k", "r", **{**said, "status": "error"}),
        line("llm.request", 3, "never ends", "r", **said),
        line("trace.start", 4, "r2", "r", **said),
        b'{"broken": "' + HIDDEN.encode(),
    ]
    (folder / "traces_a.jsonl").write_bytes(b"\n".join(records) + b"\n")
    state = tmp_path / "state"
    script = f"""if True:
        import logging, sys, time
        from pathlib import Path
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
        from exporters.aggregate import Aggregate
        from exporters.runner import Runner
        from exporters.sources import open_source
        runner = Runner([open_source("createagents://{folder}")], Path({str(state)!r}), Aggregate(time.time), idle=1e12)
        runner.read_to_end(lambda *_: None)
        print(runner.page("", openmetrics=True).decode())
        runner.stop()
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert 'agentgauge_inference_errors_total{source="createagents"' in done.stdout
    assert HIDDEN not in done.stdout + done.stderr
    kept = [path for path in state.rglob("*") if path.is_file()]
    assert any(path.stat().st_size > 4096 for path in kept)
    assert not [path for path in kept if HIDDEN.encode() in path.read_bytes()]
    checked = run("check", f"createagents://{folder}")
    assert checked.returncode == 0
    assert HIDDEN not in checked.stdout + checked.stderr


# Names of metrics and labels are ours.


def test_metric_and_label_names_come_from_the_catalogue_never_from_data(tmp_path):
    name = "forged_total"
    hostile = f'x"}} 1\n{name}{{{name}="1"}} 1\n# TYPE {name} counter\n# EOF\n'
    fields = {"operation": hostile, "model": hostile, "status": hostile, name: hostile, "error_type": hostile}
    (tmp_path / "traces_a.jsonl").write_bytes(
        b"\n".join(
            line(event, place, f"{hostile}{place}", agent_name=hostile, **fields)
            for place, event in enumerate(("trace.start", "llm.response", "tool.result", "trace.end"))
        )
        + b"\n"
    )
    done = run("once", f"createagents://{tmp_path}?environment={name}%22%7D")
    assert done.returncode == 0
    known = labels_by_series()
    ours = {metric.name for metric in METRICS}
    for family in text_string_to_metric_families(done.stdout):
        if family.name.startswith(("python_", "process_")):
            continue
        assert family.name in ours or f"{family.name}_info" in known, family.name
        for sample in family.samples:
            series = sample.name if sample.name in known else family.name
            assert sample.labels.keys() - {"le"} <= set(known[series]), sample
    assert f"\n{name}" not in done.stdout


# Only what a store is made of is read, and only read.


@pytest.mark.parametrize("scheme", ["createagents", "otlp+file"])
def test_a_folder_s_pipes_devices_and_links_out_of_it_are_passed_by(scheme, tmp_path):
    suffix, record = {
        "createagents": ("traces_{}.jsonl", line("llm.response", 1, "c", agent_name="inside")),
        "otlp+file": (
            "{}.jsonl",
            (FIXTURES / "otlp" / "agents" / "traces" / "traces.jsonl").read_bytes().splitlines()[0],
        ),
    }[scheme]
    outside, folder = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    folder.mkdir()
    secret = line("llm.response", 1, "c9", agent_name="outside") if scheme == "createagents" else b'{"outside": 1}'
    (outside / suffix.format("a")).write_bytes(secret + b"\n")
    (folder / suffix.format("real")).write_bytes(record + b"\n")
    alone = run("once", f"{scheme}://{folder}").stdout
    os.mkfifo(folder / suffix.format("pipe"))
    (folder / suffix.format("link")).symlink_to(outside / suffix.format("a"))
    (folder / suffix.format("up")).symlink_to("../outside/" + suffix.format("a"))
    (folder / suffix.format("folder")).symlink_to(outside)
    (folder / suffix.format("zero")).symlink_to("/dev/zero")
    done = run("once", f"{scheme}://{folder}")
    assert done.returncode == 0
    assert "outside" not in done.stdout
    (records,) = [row for row in alone.splitlines() if row.startswith("agentgauge_records_total{")]
    assert records in done.stdout.splitlines()
    assert "agentgauge_bad_records" not in done.stdout


@pytest.mark.parametrize("scheme", ["llm-metrics", "msgtrace"])
def test_a_pipe_or_a_device_in_the_place_of_a_database_is_told_and_not_waited_for(scheme, tmp_path):
    os.mkfifo(tmp_path / "pipe.db")
    for path in (tmp_path / "pipe.db", Path("/dev/zero"), tmp_path):
        done = run("once", f"{scheme}://{path}")
        assert done.returncode == 2, done
        assert len(done.stderr.splitlines()) == 1
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("store", ["llm_metrics/a", "llm_metrics/b", "msgtrace/agents", "createagents/plain"])
def test_a_store_is_left_as_it_was_to_the_byte(store, tmp_path):
    kind = store.partition("/")[0].replace("_", "-")
    folder = tmp_path / "store"
    shutil.copytree(FIXTURES / store, folder)
    scripts = [*(FIXTURES / kind).glob("schema.sql"), *folder.glob("*.sql")]
    for script in scripts:
        with closing(sqlite3.connect(folder / "store.db")) as database:
            database.executescript(script.read_text())
    databases = list(folder.glob("*.db"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = run("once", f"{kind}://{databases[0] if databases else folder}")
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
