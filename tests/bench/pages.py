"""A page of 10,000 series beside prometheus_client's; what a commit costs an exporter of that size."""

import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from exporters.aggregate import SERIES_LIMIT, Aggregate
from exporters.exposition import page
from exporters.span import Kind, Span
from tests.bench import lines
from tests.bench.figures import Figure
from tests.bench.processes import Page, agentgauge

_SOURCE = "bench"
_KINDS: tuple[Kind, ...] = ("inference", "tool", "run")
_OPEN_RUNS = 1000
_COMMIT = re.compile(rb"^agentgauge_commit_duration_seconds_(count|sum)(?:\{\})? (\S+)", re.M)
_RECORDS = re.compile(rb"^agentgauge_records_total\{[^}]*\} (\d+)", re.M)


class _Parsed(Collector):
    """A collector that has its families ready."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def rendering(rounds: int) -> Figure:
    """Time our writer and prometheus_client's on the same page, OpenMetrics with exemplars."""
    aggregate = _full_aggregate()
    health = CollectorRegistry()
    ours = _median(lambda: page(aggregate, health, openmetrics=True), rounds)
    text = page(aggregate, health, openmetrics=True).decode()
    theirs = CollectorRegistry()
    theirs.register(_Parsed(text_string_to_metric_families(text)))
    if generate_latest(theirs).decode().count("\n") != text.count("\n"):
        raise AssertionError("prometheus_client wrote another page")
    other = _median(lambda: generate_latest(theirs), max(3, rounds // 4))
    samples = sum(not line.startswith("#") for line in text.splitlines())
    return Figure(
        what=f"a page of {aggregate.series:,} series ({samples:,} lines), beside prometheus_client",
        ours=f"{1000 * ours:.1f} ms",
        other=f"{1000 * other:.1f} ms",
        ratio=other / ours,
        wanted="at least 10",
        reached=other / ours >= 10,
    )


def commits(directory: Path, core: int, rounds: int) -> list[Figure]:
    """Time commits of an exporter with 10,000 series and 1,000 open runs: of one line, and of a line in each run."""
    agents = _agents()
    with tempfile.TemporaryDirectory(prefix="commits-", dir=directory) as name:
        folder = Path(name)
        lines.append_at_once(folder, [line for number in range(agents) for line in lines.whole(f"agent-{number}")])
        chats = [lines.context(f"agent-{number % agents}") for number in range(_OPEN_RUNS)]
        lines.append_at_once(folder, [lines.started(chat) for chat in chats])
        with agentgauge(folder, folder / "state", core) as served:
            one = _commit(served, rounds, lambda: lines.append_at_once(folder, [lines.answered(chats[0])]), 1)
            every = _commit(
                served,
                max(3, rounds // 4),
                lambda: lines.append_at_once(folder, [lines.answered(chat) for chat in chats]),
                len(chats),
            )
            text = served.read().decode()
    series = re.search(r"^agentgauge_series (\S+)", text, re.M)
    runs = re.search(r"^agentgauge_open_runs\{[^}]*\} (\S+)", text, re.M)
    assert series is not None
    assert runs is not None
    size = f"{float(series[1]):,.0f} series, {float(runs[1]):,.0f} open runs"
    return [
        Figure(what=f"a commit of one line ({size})", ours=f"{1000 * one:.1f} ms"),
        Figure(what=f"a commit of {len(chats):,} lines, one of each open run", ours=f"{1000 * every:.1f} ms"),
    ]


def _commit(served: Page, rounds: int, write: Callable[[], None], records: int) -> float:
    """Return the mean seconds of the commits that writes of so many records cause."""
    sums, counts = [], []
    for _ in range(rounds + 1):
        text = served.read()
        found = dict(_COMMIT.findall(text))
        sums.append(float(found[b"sum"]))
        counts.append(float(found[b"count"]))
        expected = _records(text) + records
        write()
        while _records(served.read()) < expected:
            time.sleep(0.005)
    return (sums[-1] - sums[0]) / (counts[-1] - counts[0])


def _records(text: bytes) -> int:
    match = _RECORDS.search(text)
    return int(match[1]) if match else 0


def _full_aggregate() -> Aggregate:
    aggregate = Aggregate(time.time)
    for number in range(_agents()):
        aggregate.add(_SOURCE, _spans(number))
    aggregate.catch_up(_SOURCE)
    return aggregate


def _agents() -> int:
    """Return how many agents fill the budget of series."""
    aggregate = Aggregate(time.time)
    aggregate.add(_SOURCE, _spans(0))
    return SERIES_LIMIT // aggregate.series


def _spans(number: int) -> list[Span]:
    """Return a model call, a tool call and a run of an agent, each with all that a store can say."""
    call, tool, run = (
        Span(
            kind=kind,
            ended=True,
            trace_id=f"trace-{number:012x}",
            span_id=f"run-{number:011x}{place}",
            time=1_770_000_000.0 + number,
            agent=f"agent-{number}",
            duration=0.8,
        )
        for place, kind in enumerate(_KINDS)
    )
    call.model, call.provider, call.operation = "gpt-4o-mini", "openai", "chat"
    call.input_tokens, call.output_tokens, call.cost, call.cost_source = 300, 20, 0.0001, "computed"
    tool.tool = "search"
    run.inference_calls, run.tool_calls, run.total_tokens, run.cost = 1, 1, 320, 0.0001
    return [call, tool, run]


def _median(render: Callable[[], object], rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        begin = time.perf_counter()
        render()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)
