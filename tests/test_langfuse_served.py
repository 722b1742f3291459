"""`agentgauge serve` on Langfuse: what its page says while a server limits, changes rows or is not there."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from langfuse_server import PUBLIC, SECRET, Fault, Langfuse, served
from serving import Serving, serving, until, url_of
from test_langfuse import once

PLAIN = Path(__file__).parent / "fixtures" / "createagents" / "plain"


@pytest.fixture
def project() -> Iterator[Langfuse]:
    found = Langfuse()
    for number in range(3):
        usage = {"input": 10, "output": 2, "total": 12}
        found.add(id=f"call-{number}", traceId=f"trace-{number}", start=time.time() - 30, usageDetails=usage)
    yield found
    assert found.breaches == []


@contextmanager
def exporting(project: Langfuse, directory: Path, *other: str) -> Iterator[Serving]:
    keys = {"LANGFUSE_PUBLIC_KEY": PUBLIC, "LANGFUSE_SECRET_KEY": SECRET}
    with (
        served(project) as url,
        serving(directory / "state", f"langfuse+{url}?wait=1s&settle=1s", *other, **keys) as exporter,
    ):
        yield exporter


def of_langfuse(exporter: Serving, name: str) -> float | None:
    return exporter.value(name, source="langfuse")


def test_what_the_server_tells_of_its_limit_is_on_the_page(project: Langfuse, tmp_path: Path) -> None:
    project.limit_a_minute = 1000
    with exporting(project, tmp_path) as exporter:
        exporter.await_ready()
        until(lambda: of_langfuse(exporter, "agentgauge_inference_calls_total") == 3, "the calls are counted")
        assert of_langfuse(exporter, "agentgauge_source_rate_limit") == 1000
        left = of_langfuse(exporter, "agentgauge_source_rate_limit_remaining")
        assert left is not None
        assert 900 < left < 1000
        assert of_langfuse(exporter, "agentgauge_source_clock_skew_seconds") == 0
        assert of_langfuse(exporter, "agentgauge_source_backlog_records") == 0
        assert of_langfuse(exporter, "agentgauge_source_up") == 1


def test_a_row_that_changes_is_counted_on_the_page_and_totals_stay(project: Langfuse, tmp_path: Path) -> None:
    with exporting(project, tmp_path) as exporter:
        until(lambda: of_langfuse(exporter, "agentgauge_inference_calls_total") == 3, "the calls are counted")
        with project.lock:
            project.observations[0]["usageDetails"] = {"input": 99, "output": 2, "total": 101}
        until(lambda: of_langfuse(exporter, "agentgauge_late_updates_total") == 1, "the change is counted")
        assert of_langfuse(exporter, "gen_ai_client_inference_usage_input_tokens_total") == 30


def test_a_pause_of_hours_holds_up_no_other_source_and_no_shutdown(project: Langfuse, tmp_path: Path) -> None:
    project.fault = lambda _: Fault(429, b"429 - rate limit exceeded", {"Retry-After": "7200"})
    with exporting(project, tmp_path, url_of(PLAIN)) as exporter:
        until(lambda: exporter.value("agentgauge_runs_total", source="createagents") == 4, "the other store is read")
        until(lambda: of_langfuse(exporter, "agentgauge_source_up") == 0, "the pause is told")
        assert of_langfuse(exporter, "agentgauge_source_caught_up") == 0
        asked = len(project.requests)
        began = time.monotonic()
        assert exporter.stop() == 0
        assert time.monotonic() - began < 5
        assert len(project.requests) == asked
        assert exporter.said().count("rate limited") == 1


def test_who_reads_to_the_end_only_is_told_of_a_pause_of_hours_at_once(project: Langfuse) -> None:
    project.fault = lambda _: Fault(429, b"429 - rate limit exceeded", {"Retry-After": "7200"})
    with served(project) as url:
        done = once(url)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "rate limited for another 7200 s" in done.stderr


def test_a_request_under_way_ends_with_the_process(project: Langfuse, tmp_path: Path) -> None:
    project.fault = lambda _: Fault(hang=60)
    with exporting(project, tmp_path) as exporter:
        until(lambda: bool(project.requests), "it is asked")
        began = time.monotonic()
        assert exporter.stop() == 0
        assert time.monotonic() - began < 5


def test_a_server_that_comes_back_is_read_on(project: Langfuse, tmp_path: Path) -> None:
    with exporting(project, tmp_path) as exporter:
        until(lambda: of_langfuse(exporter, "agentgauge_inference_calls_total") == 3, "the calls are counted")
        project.fault = lambda _: Fault(502, b"<html>")
        until(lambda: of_langfuse(exporter, "agentgauge_source_up") == 0, "the source is down")
        errors = of_langfuse(exporter, "agentgauge_source_errors_total")
        assert errors is not None
        assert errors >= 3
        project.add(id="later", traceId="later", start=time.time() - 5)
        project.fault = lambda _: None
        until(lambda: of_langfuse(exporter, "agentgauge_inference_calls_total") == 4, "it is read on")
        assert of_langfuse(exporter, "agentgauge_source_up") == 1
