"""The demo's other stores: what is written to each is what the source of its kind reads."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from itertools import takewhile
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from langfuse_server import CONTRACTS
from portal_stage import free_port
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from serving import serving, until

from exporters import demo
from exporters.demo.operations import Operation, operations
from exporters.demo.stores import STORES
from exporters.demo.stores.langfuse import Project
from exporters.demo.traffic import lines
from exporters.demo.weather import Weather

KINDS = {"call": "inference", "tool": "tool", "run": "run"}


def told(hours: float = 1.0) -> list[Operation]:
    """The operations of the last hours of a story."""
    live = time.time() - 60
    start = live - 3600 * hours
    story = operations(lines(start=start, rate=1.0, weather=Weather(seed=11, live=live, speed=1.0)))
    return [ended for _, ended in takewhile(lambda line: line[0] < live, story) if ended is not None]


def once(url: str, **environment: str) -> dict[str, float]:
    """Totals of the page that `agentgauge once` prints, by series name and kind or outcome."""
    page = subprocess.run(
        [sys.executable, "-m", "exporters", "once", url],
        capture_output=True, text=True, check=True, env={**os.environ, **environment},
    ).stdout  # fmt: skip
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            name = sample.name + "".join(f" {sample.labels[label]}" for label in ("kind",) if label in sample.labels)
            found[name] = found.get(name, 0.0) + sample.value
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """What the demo wrote of two hours, to files and both databases."""
    stores = [STORES[name](tmp_path, "") for name in ("msgtrace", "llm-metrics")]
    now = time.time()
    written = demo.run(
        tmp_path, history=timedelta(hours=2), rate=20.0, speed=1.0, seed=5, forever=False, now=lambda: now,
        stop=threading.Event(), stores=stores,
    )  # fmt: skip
    for store in stores:
        store.close()
    assert written == sum(path.read_bytes().count(b"\n") for path in tmp_path.glob("*.jsonl")) > 1000
    yield tmp_path


def rows(path: Path, query: str) -> list[tuple[float, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


def test_the_databases_hold_what_their_sources_read(folder: Path) -> None:
    query = """SELECT json_extract(attributes, '$."gen_ai.operation.name"'), count(*) FROM spans GROUP BY 1"""
    spans = dict(rows(folder / "msgtrace.db", query))
    page = once(f"msgtrace://{folder}/msgtrace.db")
    assert {kind: page[f"agentgauge_spans_total {kind}"] for kind in ("inference", "tool", "run")} == {
        "inference": spans["chat"], "tool": spans["tool"], "run": spans["agent"]
    }  # fmt: skip
    assert page["agentgauge_spans_without_ancestor_total"] == rows(
        folder / "msgtrace.db",
        "SELECT count(*) FROM spans WHERE parent_span_id NOT IN (SELECT span_id FROM spans)",
    )[0][0]  # fmt: skip
    ((calls, given),) = rows(folder / "llm_metrics.db", "SELECT count(*), sum(input_tokens) FROM generations")
    page = once(f"llm-metrics://{folder}/llm_metrics.db?settle=1s")
    assert page["agentgauge_spans_total inference"] == calls
    assert page["gen_ai_client_inference_usage_input_tokens_total"] == given


def test_a_past_is_written_once_to_a_database(folder: Path) -> None:
    assert [STORES[name](folder, "").has_past for name in ("msgtrace", "llm-metrics")] == [False, False]


def test_what_is_sent_over_otlp_arrives_once_also_when_nobody_listens_yet(tmp_path: Path) -> None:
    story, port = told(), free_port()
    with closing(STORES["otlp"](tmp_path, f"http://127.0.0.1:{port}")) as sender:
        for operation in story:
            sender.take(operation)
        with serving(tmp_path / "state", f"otlp://127.0.0.1:{port}?wait=1s") as exporter:
            wanted = {KINDS[kind]: sum(each.kind == kind for each in story) for kind in KINDS}

            def counted() -> dict[str, float | None]:
                return {kind: exporter.value("agentgauge_spans_total", kind=kind) for kind in wanted}

            until(lambda: counted() == wanted, lambda: (wanted, counted()))


def test_the_langfuse_that_is_served_keeps_to_its_contract_and_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"LANGFUSE_PUBLIC_KEY": "pk-lf-canary", "LANGFUSE_SECRET_KEY": "sk-lf-canary"}
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    story, port = told(), free_port()
    with closing(Project(f"127.0.0.1:{port}")) as project:
        for operation in story:
            project.take(operation)
        for path in ("/v2/observations", "/v3/scores"):
            asked = urllib.request.Request(
                f"http://127.0.0.1:{port}/api/public{path}?limit=40", headers={"Authorization": project.authorization}
            )
            with urllib.request.urlopen(asked) as answer:
                reply = json.load(answer)
            assert len(reply["data"]) > 5
            schemas = CONTRACTS["schemas"]
            schema = {"$ref": f"#/$defs/{schemas['of'][path]}", "$defs": schemas["$defs"]}
            assert [error.message for error in Draft202012Validator(schema).iter_errors(reply)] == []
        page = once(f"langfuse+http://127.0.0.1:{port}", **keys)
    wanted = {KINDS[kind]: sum(each.kind == kind for each in story) for kind in KINDS}
    wanted["score"] = sum(each.kind == "run" and each.error is None for each in story)
    assert {kind: page[f"agentgauge_spans_total {kind}"] for kind in wanted} == wanted


def test_a_store_that_is_not_known_is_refused_with_those_that_are(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "exporters", "demo", str(tmp_path), "--store", "oracle"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "'oracle' is none of msgtrace, llm-metrics, otlp, langfuse" in ended.stderr
