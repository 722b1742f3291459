"""What becomes of a small store of OTLP is what was worked out by hand from its spans, read from files or sent.

After a change that is meant, write the page anew and read the difference: python tests/test_otlp_fixtures.py
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from otlp_stage import JSON, post
from serving import serving, until
from test_fixture_stores import totals_of
from test_once import is_of_store

FOLDER = Path(__file__).parent / "fixtures" / "otlp"
STORE = FOLDER / "agents"
TRACES = STORE / "traces"
LINES = (TRACES / "traces.jsonl").read_bytes().splitlines()


def wanted() -> dict[str, dict[tuple[str, ...], float]]:
    given = json.loads((STORE / "totals.json").read_text())
    return {name: {tuple(value[:-1]): value[-1] for value in total["values"]} for name, total in given.items()}


def by() -> dict[str, list[str]]:
    return {name: total["by"] for name, total in json.loads((STORE / "totals.json").read_text()).items()}


def differences(page: str) -> dict[str, Any]:
    """What is not as it was worked out by hand: the series, what is found and what should be."""
    found = totals_of(page, by())
    return {
        name: (dict(found[name]), by_hand)
        for name, by_hand in wanted().items()
        if found[name] != pytest.approx(by_hand)
    }


def once(*urls: str) -> str:
    command = [sys.executable, "-m", "exporters", "once", *urls]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def page_of_store() -> str:
    """The page of the store, without what the exporter says of itself."""
    printed = once(f"otlp+file://{TRACES}")
    return "".join(line for line in printed.splitlines(keepends=True) if is_of_store(line))


def test_the_store_becomes_the_page_beside_it_and_the_totals_worked_out_by_hand() -> None:
    page = page_of_store()
    assert differences(page) == {}
    assert page.splitlines() == (STORE / "page.txt").read_text().splitlines()


def test_the_committed_store_is_what_the_script_writes(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("build_otlp", FOLDER / "build.py")
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    build.write(tmp_path)
    assert (tmp_path / "agents" / "traces" / "traces.jsonl").read_bytes() == (TRACES / "traces.jsonl").read_bytes()


def test_the_same_requests_sent_to_a_receiver_become_the_same_totals(tmp_path: Path) -> None:
    with serving(tmp_path / "state", "otlp://127.0.0.1:0?wait=3s") as exporter:
        port = int(exporter.said().partition("receives on http://127.0.0.1:")[2].partition("/")[0])
        statuses = [post(port, line, JSON).status for line in LINES]
        assert statuses == [200] * 7 + [400]
        until(lambda: not differences(exporter.page()), lambda: differences(exporter.page()), 10)


def test_files_that_grow_are_read_on_and_rotated_ones_once(tmp_path: Path) -> None:
    """As the Collector's file exporter writes and rotates: `name.json`, then `name-<time>.json` beside a new one."""
    state = tmp_path / "state"
    folder = tmp_path / "traces"
    folder.mkdir()
    with serving(state, f"otlp+file://{folder}?wait=0s") as exporter:
        exporter.await_ready()
        current = folder / "traces.json"
        current.write_bytes(b"\n".join(LINES[:3]) + b"\n" + LINES[3][:40])
        until(lambda: exporter.value("agentgauge_spans_total", kind="inference") == 3, "the first trace")
        with current.open("ab") as file:
            file.write(LINES[3][40:] + b"\n")
        until(lambda: exporter.value("agentgauge_spans_total", kind="inference") == 4, "the second trace")
        current.rename(folder / "traces-2026-02-03T10-01-00.000.json")
        current.write_bytes(LINES[4] + b"\n")
        until(lambda: exporter.value("agentgauge_spans_total", kind="inference") == 5, "the third trace")
        assert exporter.value("agentgauge_records_total") == 9
        assert exporter.value("agentgauge_repeated_spans_total") in (None, 0)


if __name__ == "__main__":
    (STORE / "page.txt").write_text(page_of_store())
