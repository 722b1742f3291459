"""History: what a real Prometheus answers of the past is what the lines say, worked out by hand."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from createagents_lines import START, line
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from whole_stack import Labels, Prometheus, free_ports, until

from exporters.stack.debian import program

pytestmark = pytest.mark.skipif(program("prometheus") is None, reason="needs prometheus")

MINI, LARGE = "gpt-4o-mini", "gpt-4.1"
HOUR, DAY = 3600, 86_400
# Model, seconds after START at which its call ends, input tokens; None is a call that is never answered.
CALLS = (
    (MINI, 103, 1000),
    (MINI, 2 * HOUR, 2000),
    (MINI, 2 * HOUR + 20, 4000),
    (MINI, 25 * HOUR, 8000),
    (LARGE, 30 * HOUR, 16_000),
    (LARGE, 30 * HOUR + 7, None),
    (MINI, 47 * HOUR, 32_000),
)
# The last line: the end of the last call's chat.
END = 47 * HOUR + 10

Samples = dict[Labels, list[tuple[float, float]]]


def chat(number: int, model: str, at: float, tokens: int | None) -> list[bytes]:
    """The lines of a chat with one call, which takes two seconds and gives a tenth of its input in tokens."""
    trace, root, call = f"trace-{number}", f"run-{number}a", f"run-{number}b"
    lines = [
        line("trace.start", at - 3, root, trace=trace, model=model, status="started"),
        line("llm.request", at - 2, call, root, trace=trace, model=model),
    ]
    if tokens is not None:
        usage = {"input_tokens": tokens, "output_tokens": tokens // 10, "total_tokens": tokens + tokens // 10}
        lines.append(line("llm.response", at, call, root, trace=trace, model=model, duration_ms=2000.0, **usage))
        return [*lines, line("trace.end", at + 10, root, trace=trace, status="success", duration_ms=13_000.0)]
    failed = {"status": "error", "error_type": "ChatException", "error_message": "Request timed out."}
    return [*lines, line("trace.end", at, root, trace=trace, duration_ms=3000.0, **failed)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two days."""
    made = tmp_path_factory.mktemp("traces")
    for number, call in enumerate(CALLS):
        day = datetime.fromtimestamp(START + call[1], UTC).date()
        with (made / f"traces_{day}.jsonl").open("ab") as file:
            file.write(b"\n".join(chat(number, *call)) + b"\n")
    assert len(list(made.iterdir())) == 3
    return made


def agentgauge(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "exporters", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment or None)


def backfill(folder: Path, *words: str | Path) -> None:
    done = agentgauge("backfill", *words, f"createagents://{folder}?name=hand")
    assert done.returncode == 0, done.stderr


@contextmanager
def prometheus(data: Path) -> Iterator[Prometheus]:
    """A Prometheus on a data directory, which scrapes nobody and forgets nothing."""
    (port,) = free_ports(1)
    configuration = data.with_suffix(".yml")
    configuration.write_text("{}")
    flags = ["--storage.tsdb.retention.time=100y", f"--web.listen-address=127.0.0.1:{port}"]
    command = [program("prometheus"), f"--config.file={configuration}", f"--storage.tsdb.path={data}", *flags]
    log = data.with_suffix(".log")
    with log.open("wb") as told, subprocess.Popen(command, stdout=told, stderr=told) as process:
        server = Prometheus(f"http://127.0.0.1:{port}")
        try:
            until(lambda: process.poll() is not None or server.ready(), "Prometheus is ready")
            assert process.poll() is None, log.read_text()
            yield server
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that runs already when the history is put into its directory, and finds it by itself."""
    data = tmp_path_factory.mktemp("running") / "data"
    with prometheus(data) as running:
        assert running.by("", "count(agentgauge_runs_total)", START + END) == {}
        backfill(folder, "--into", data, "--label", "job=agentgauge", "--label", "instance=exporter:9464")
        until(lambda: running.by("", "count(agentgauge_runs_total)", START + END), "it looks every minute", 100)
        yield running


def at(hours: float) -> float:
    return START + hours * HOUR


def test_every_sample_is_the_total_of_its_time(server: Prometheus) -> None:
    selector = f'agentgauge_inference_calls_total{{gen_ai_request_model="{MINI}",outcome="ok"}}'
    (samples,) = server.raw(selector, 3 * DAY, START + END).values()
    ends = [START + second for model, second, _ in CALLS if model == MINI]
    assert samples == [(moment, float(sum(end <= moment for end in ends))) for moment, _ in samples]
    assert samples[-1] == (START + END, 5.0)
    # Every five minutes, in the last day every two, in its second half each minute, in the last hour each 15 s.
    steps = {round(later - earlier) for (earlier, _), (later, _) in pairwise(samples)}
    assert steps == {300, 120, 60, 15, 10}


@pytest.mark.parametrize(
    ("hours", "window", "expected"),
    [
        (1, "1h", {MINI: 1.0}),
        (2.5, "45m", {MINI: 2.0}),
        (24, "1d", {MINI: 3.0}),
        (24, "21h", {MINI: 0.0}),
        (47, "1d", {MINI: 2.0, LARGE: 2.0}),
        (31, "2h", {MINI: 0.0, LARGE: 2.0}),
    ],
)
def test_increase_over_a_window_is_what_ended_in_it(
    hours: float, window: str, expected: dict[str, float], server: Prometheus
) -> None:
    label = "gen_ai_request_model"
    query = f"sum by ({label}) (increase(agentgauge_inference_calls_total[{window}]))"
    assert server.by(label, query, at(hours)) == pytest.approx(expected)


def test_tokens_cost_durations_and_errors_of_the_whole_time(server: Prometheus) -> None:
    whole, end = "[3d]", START + END
    by = "gen_ai_request_model"
    # 47,000 tokens in, a tenth out, at $0.15 and $0.60 a million; 16,000 at $2.00 and $8.00.
    assert server.by(by, f"sum by ({by}) (increase(agentgauge_cost_usd_total{whole}))", end) == pytest.approx(
        {MINI: 0.00705 + 0.00282, LARGE: 0.032 + 0.0128}, rel=1e-6
    )
    tokens = "gen_ai_client_inference_usage_input_tokens_total"
    assert server.by(by, f"sum by ({by}) (increase({tokens}{whole}))", end) == {MINI: 47_000.0, LARGE: 16_000.0}
    errors = f"sum by (error_type) (increase(agentgauge_inference_errors_total{whole}))"
    assert server.by("error_type", errors, end) == {"no_response": 1.0}
    assert server.by("", f"sum(increase(gen_ai_client_inference_duration_seconds_sum{whole}))", end) == {
        "": pytest.approx(12.0)
    }
    within = 'gen_ai_client_inference_duration_seconds_bucket{le="2.56"}'
    assert server.by("", f"sum(increase({within}{whole}))", end) == {"": pytest.approx(6.0)}


def test_every_series_carries_the_labels_that_were_asked_for(server: Prometheus) -> None:
    for name in ("agentgauge_runs_total", "gen_ai_client_inference_duration_seconds_bucket"):
        for labels in server.raw(name, 3 * DAY, START + END):
            assert {"job": "agentgauge", "instance": "exporter:9464", "source": "hand"}.items() <= dict(labels).items()


def read(pages: Path) -> Samples:
    """The samples of every series in the order of the files and their lines."""
    found: Samples = {}
    for path in sorted(pages.glob("*.om")):
        text = path.read_text()
        assert text.endswith("# EOF\n")
        for sample_line in text.splitlines()[:-1]:
            match = re.fullmatch(r"(\w+)\{(.*)\} (\S+) (\S+)", sample_line)
            assert match, sample_line
            labels = tuple(sorted([("__name__", match[1]), *re.findall(r'(\w+)="([^"]*)"', match[2])]))
            found.setdefault(labels, []).append((float(match[4]), float(match[3])))
    return found


@pytest.fixture(scope="module")
def samples(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Samples:
    pages = tmp_path_factory.mktemp("pages")
    backfill(folder, "--openmetrics", pages, "--label", "job=agentgauge")
    return read(pages)


def test_every_series_begins_with_zero_a_step_before_its_first_value_and_goes_on_in_time(samples: Samples) -> None:
    assert len(samples) > 100
    every = sorted({moment for series in samples.values() for moment, _ in series})
    for labels, series in samples.items():
        moments = [moment for moment, _ in series]
        assert moments == every[every.index(moments[0]) :], f"{labels}: a sample at every step, none out of order"
        assert series[0][1] == 0.0, labels
        assert [value for _, value in series] == sorted(value for _, value in series), labels


def test_a_model_that_comes_late_begins_late(samples: Samples) -> None:
    (series,) = (
        series
        for labels, series in samples.items()
        if {("__name__", "agentgauge_inference_calls_total"), ("gen_ai_request_model", LARGE), ("outcome", "ok")}
        <= set(labels)
    )
    # Its first call ended at a whole step of that time, which are of two minutes.
    assert series[:2] == [(at(30) - 120, 0.0), (at(30), 1.0)]


def test_the_last_values_are_what_once_says(folder: Path, samples: Samples) -> None:
    page = agentgauge("once", f"createagents://{folder}?name=hand").stdout
    names = {dict(labels)["__name__"] for labels in samples}
    once = {
        tuple(sorted([("__name__", sample.name), ("job", "agentgauge"), *sample.labels.items()])): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name in names
    }
    last = {labels: series[-1][1] for labels, series in samples.items()}
    # Of the buckets below the smallest observation, which are 0, only the highest is written.
    left_out = {labels: value for labels, value in once.items() if labels not in last}
    assert set(left_out.values()) == {0.0}
    assert {dict(labels)["__name__"].rpartition("_")[2] for labels in left_out} == {"bucket"}
    once = {labels: value for labels, value in once.items() if labels in last}
    assert last == pytest.approx(once, rel=2e-9)
    assert {labels: value for labels, value in last.items() if value > once[labels]} == {}


def test_sums_whose_last_digit_depends_on_the_order_are_no_reset(tmp_path: Path) -> None:
    # Read in this order 0.3 + 0.2 + 0.1 are 0.6; in the order of time they are 0.6000000000000001.
    text = b""
    for number, (second, milliseconds) in enumerate([(300, 300.0), (200, 200.0), (100, 100.0)]):
        ids = {"trace": f"trace-{number}"}
        text += line("trace.start", second - 1, f"run-{number}", status="started", **ids) + b"\n"
        text += line("trace.end", second, f"run-{number}", status="success", duration_ms=milliseconds, **ids) + b"\n"
    traces = tmp_path / "traces"
    traces.mkdir()
    (traces / "traces_2025-12-06.jsonl").write_bytes(text)
    page = agentgauge("once", f"createagents://{traces}").stdout
    (once,) = re.findall(r"^gen_ai_invoke_agent_duration_seconds_sum\{.*\} (\S+)$", page, re.MULTILINE)
    assert (once, repr(0.1 + 0.2 + 0.3)) == ("0.6", "0.6000000000000001")
    backfill(traces, "--openmetrics", tmp_path / "pages")
    (series,) = (
        series
        for labels, series in read(tmp_path / "pages").items()
        if ("__name__", "gen_ai_invoke_agent_duration_seconds_sum") in labels
    )
    assert 0.599999 < series[-1][1] <= 0.6


def test_history_that_is_written_twice_is_counted_once(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    backfill(folder, "--into", data)
    once = sorted(path.name for path in data.iterdir())
    assert len(once) > 3
    backfill(folder, "--into", data)
    assert sorted(path.name for path in data.iterdir()) == once
    assert list(tmp_path.iterdir()) == [data], "nothing is left beside the blocks"
    with prometheus(data) as twice:
        assert twice.by("", "sum(increase(agentgauge_inference_calls_total[3d]))", START + END) == {"": 7.0}
        (series,) = twice.raw('agentgauge_runs_total{outcome="error"}', 3 * DAY, START + END).values()
        assert len(series) == len({moment for moment, _ in series})


@pytest.mark.parametrize("as_date", [False, True])
def test_from_leaves_out_what_was_before_and_goes_on_from_its_totals(
    as_date: bool, folder: Path, tmp_path: Path
) -> None:
    moment = datetime.fromtimestamp(at(26), UTC).isoformat() if as_date else f"{time.time() - at(26):.0f}s"
    backfill(folder, "--openmetrics", tmp_path, "--from", moment)
    found = read(tmp_path)
    (mini,) = (
        series
        for labels, series in found.items()
        if {("__name__", "agentgauge_inference_calls_total"), ("gen_ai_request_model", MINI), ("outcome", "ok")}
        <= set(labels)
    )
    # Four calls had ended before, and one is to come.
    assert at(26) - 60 <= mini[0][0] <= at(26) + 300
    assert (mini[0][1], mini[-1][1]) == (4.0, 5.0)
    assert min(series[0][0] for series in found.values()) >= at(26) - 300


def test_a_step_that_is_given_is_kept(folder: Path, tmp_path: Path) -> None:
    backfill(folder, "--openmetrics", tmp_path, "--step", "1h")
    series = next(iter(read(tmp_path).values()))
    steps = {later - earlier for (earlier, _), (later, _) in pairwise(series)}
    assert steps == {3600.0, 10.0}


def test_a_folder_without_a_trace_has_no_history(tmp_path: Path) -> None:
    (tmp_path / "traces").mkdir()
    backfill(tmp_path / "traces", "--into", tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_without_promtool_there_is_one_line_that_says_what_to_do(folder: Path, tmp_path: Path) -> None:
    done = agentgauge("backfill", "--into", tmp_path / "data", f"createagents://{folder}", PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "agentgauge: promtool is not on the PATH; install Prometheus, or write files with --openmetrics\n"
    )
    assert not (tmp_path / "data").exists()


def test_a_promtool_that_fails_is_told_in_its_own_words(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "promtool").write_text("#!/bin/sh\necho no space left on device >&2\nexit 1\n")
    (tmp_path / "promtool").chmod(0o755)
    path = f"{tmp_path}:{Path(shutil.which('sh') or '/bin/sh').parent}"
    done = agentgauge("backfill", "--into", tmp_path / "data", f"createagents://{folder}", PATH=path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "agentgauge: promtool: no space left on device"
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize("label", ["job", "0job=x", 'job="x"', "job=a\nb"])
def test_a_label_that_is_none_is_refused(label: str, folder: Path, tmp_path: Path) -> None:
    done = agentgauge("backfill", "--into", tmp_path / "data", "--label", label, f"createagents://{folder}")
    assert done.returncode == 2
    assert "is not a label such as instance=127.0.0.1:9464" in done.stderr
