"""An exporter that follows a real folder with a real state directory, one look at the files at a time."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from exporters import committed, runner
from exporters.aggregate import Aggregate
from exporters.catalogue.metrics import METRICS
from exporters.runner import Runner
from exporters.sources import Batch, open_source
from exporters.sources.createagents import FILE_NAME
from exporters.sources.files import Files

# 2026-02-03T00:00:00Z; line n is n seconds later, and it is always a day later than that.
START = 1770076800.0
NOW = START + 86400.0
# Nothing waits in these tests but for another thread's work; this is when that has failed.
PATIENCE = 60.0

# A series by its name and its labels.
Series = tuple[str, tuple[tuple[str, str], ...]]

_SUMS = ("agentgauge_inference_calls", "gen_ai_client_inference_usage_input_tokens", "agentgauge_runs")
_COUNTED = {metric.name for metric in METRICS if metric.of != "exporter"}


def call(number: int, **fields: Any) -> bytes:
    """A line that says that model call `number` has ended, with as many input tokens as its number."""
    return _line(number, "llm.response", "llm", duration_ms=250.0, input_tokens=number, output_tokens=1, **fields)


def run_start(number: int) -> bytes:
    """A line that says that run `number` has begun."""
    return _line(number, "trace.start", "chat", status="started")


def run_end(number: int) -> bytes:
    """A line that says that run `number` has ended."""
    return _line(number, "trace.end", "chat", status="success", duration_ms=500.0)


def calls(*numbers: int) -> bytes:
    """Whole lines of model calls."""
    return b"".join(call(number) + b"\n" for number in numbers)


def whole_lines(batch: Batch) -> list[bytes]:
    """The lines of a batch of blocks, without their newlines."""
    return b"".join(batch.records).split(b"\n")[:-1]


def _line(number: int, event: str, run_type: str, **fields: Any) -> bytes:
    at = START + number % 80_000
    found = {
        "timestamp": datetime.fromtimestamp(at, UTC).isoformat(),
        "trace_id": f"trace-{number:012x}",
        "run_id": f"run-{number:012x}",
        "run_type": run_type,
        "operation": "chat_with_agent" if run_type == "chat" else "openai_iteration_1",
        "event": event,
        "agent_name": "Scout",
        "model": "gpt-4o-mini",
        **fields,
        "metadata": {"message_length": 24, "streaming": False, "tools_available": 1, "tool_names": ["web_search"]},
    }
    return json.dumps(found).encode()


def append(path: Path, data: bytes) -> None:
    """Append to a file as the framework does: opened for it, written at once, closed."""
    with path.open("ab") as file:
        file.write(data)


class Turnstile:
    """A reader that waits, when it has nothing to read, until it is let through once more."""

    unit = "bytes"

    def __init__(self, reader: Files) -> None:
        self.reader = reader
        self.last = Batch([], {})
        # Called when a poll has brought a batch, and before that is committed.
        self.at_batch: Callable[[Batch], None] = lambda _: None
        self._resting = threading.Event()
        self._through = threading.Event()
        self._troubles: Queue[Exception] = Queue()

    def seek(self, cursor: Mapping[str, bytes]) -> None:
        self.reader.seek(cursor)

    def poll(self) -> Batch:
        try:
            self.last = self.reader.poll()
        except Exception as error:
            self._troubles.put(error)
            raise
        self.at_batch(self.last)
        return self.last

    def backlog(self) -> int:
        return self.reader.backlog()

    def wait(self, seconds: float) -> None:
        self._resting.set()
        assert self._through.wait(PATIENCE)
        self._through.clear()

    def close(self) -> None:
        self._through.set()
        self.reader.close()

    def rest(self) -> None:
        """Return when the reader waits."""
        assert self._resting.wait(PATIENCE)

    def let_through(self) -> None:
        """Let a reader go on when it waits; return when it waits again."""
        self.rest()
        self._resting.clear()
        self._through.set()
        self.rest()

    def trouble(self) -> None:
        """Let a waiting reader go on into trouble; return when that has been told."""
        self.rest()
        self._resting.clear()
        self._through.set()
        for _ in range(2):  # a second attempt comes after the first has been told
            self._troubles.get(timeout=PATIENCE)


class Exporter:
    """An exporter of one folder: read on by `read_on`, begun anew by `restart` and `crash`."""

    def __init__(self, folder: Path, state: Path, options: str = "") -> None:
        self.folder = folder
        self.options = options
        self._states = state
        self._generation = 0
        self._begin()

    @property
    def state(self) -> Path:
        return self._states / str(self._generation)

    def _begin(self) -> None:
        source = open_source(f"createagents://{self.folder}?name=s{self.options}")
        assert isinstance(source.reader, Files)
        self.files = source.reader
        self.turnstile = Turnstile(source.reader)
        self.runner = Runner(
            [replace(source, reader=self.turnstile)],
            self.state,
            Aggregate(lambda: NOW),
            idle=10 * 86400.0,
            now=lambda: NOW,
            durable=False,
        )
        self.runner.start()

    def read_on(self) -> None:
        """Look at the files until that brings nothing new; everything is committed then."""
        for _ in range(1000):
            self.turnstile.let_through()
            last = self.turnstile.last
            if not (last.records or last.cursor or last.bad or last.more or self.runner.problem):
                return
        raise AssertionError("the files never come to an end")

    def stop(self) -> None:
        self.runner.stop()

    def restart(self) -> None:
        """Stop as told, and begin anew on the same state; read to the end."""
        self.stop()
        self.start()

    def start(self) -> None:
        """Begin anew after `stop` or `crash`, and read to the end."""
        self._begin()
        self.read_on()

    def crash(self) -> None:
        """Stop as a kill does: what is committed by now is all that there is later."""
        self.save()
        self.stop()
        self._generation += 1

    def save(self) -> None:
        """Keep the state as it is now for `crash_to_saved`."""
        self.forget_saved()
        shutil.copytree(self.state, self._states / str(self._generation + 1))

    def forget_saved(self) -> None:
        shutil.rmtree(self._states / str(self._generation + 1), ignore_errors=True)

    def crash_to_saved(self) -> None:
        """Stop, with the state as it was when it was saved."""
        self.stop()
        self._generation += 1

    def scrape(self, scraper: str = "prometheus", name: str = "") -> dict[Series, float]:
        """The samples of what is counted on one page, of all families or of one."""
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self._families(scraper, {name} if name else _COUNTED)
            for sample in family.samples
        }

    def _families(self, scraper: str, names: set[str]) -> Iterator[Metric]:
        """Parse the families asked for out of a page; the others would take most of the time."""
        text = self.runner.page(scraper, openmetrics=True).decode()
        blocks = (block for block in text.split("# HELP ")[1:] if block.partition(" ")[0] in names)
        return text_string_to_metric_families(
            "".join(f"# HELP {block}" for block in blocks).removesuffix("# EOF\n") + "# EOF\n"
        )

    def health(self, name: str) -> float:
        """One of the exporter's own gauges."""
        ((sample,),) = (family.samples for family in self._families("health", {name}))
        return float(sample.value)

    def total(self, family: str, **labels: str) -> float:
        """The sum of a counter's series with these labels, as a scraper sees them from its second scrape on."""
        self.runner.page("totals", openmetrics=True)
        return sum(
            value
            for (_, pairs), value in self.scrape("totals", family).items()
            if labels.items() <= dict(pairs).items()
        )

    @property
    def counted(self) -> tuple[int, int, int]:
        """How many model calls were counted, the sum of their input tokens, which are their numbers,
        and how many runs."""
        self.runner.page("totals", openmetrics=True)
        return self._sums()

    def counted_comes_to(self, expected: tuple[int, int, int]) -> bool:
        """Whether `counted` is that; on the first page or, where series were born, on the second."""
        return self._sums() == expected or self._sums() == expected

    def _sums(self) -> tuple[int, int, int]:
        found = dict.fromkeys(_SUMS, 0.0)
        for family in self._families("totals", set(_SUMS)):
            found[family.name] += sum(sample.value for sample in family.samples)
        calls, tokens, runs = found.values()
        return int(calls), int(tokens), int(runs)

    @property
    def calls(self) -> tuple[int, int]:
        """Of what was counted, the model calls and the sum of their numbers."""
        return self.counted[:2]

    @property
    def runs(self) -> int:
        return self.counted[2]

    def bad(self, reason: str) -> int:
        return int(self.total("agentgauge_bad_records", reason=reason))


def look_at_once(patch: pytest.MonkeyPatch) -> None:
    """Have every poll look at the folder, and a state in trouble tried again at once."""
    patch.setattr("exporters.sources.files.SCAN_SECONDS", 0.0)
    patch.setattr("exporters.sources.files.SCAN_SHARE", 0.0)
    for room in (runner, committed):
        patch.setattr(room, "RETRY_SECONDS", 0.001)


def files_of(folder: Path) -> Files:
    """The reader alone, at the beginning of a folder."""
    files = Files(folder, FILE_NAME)
    files.seek({})
    return files
