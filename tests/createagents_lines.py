"""Lines as createagents writes them, and what becomes of them: translated, paired and counted, without a file."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from exporters.aggregate import PLANS, Aggregate, Counter
from exporters.exposition import page
from exporters.pricing import Prices
from exporters.runs import IDLE_SECONDS, Runs
from exporters.sources.createagents.translation import translate
from exporters.trace import OpenTrace, Outcome

# 2025-12-06T14:00:00Z: where the seconds of `line` count from.
START = 1765029600.0
RUN_TYPES = {"trace": "chat", "llm": "llm", "tool": "tool"}

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, OpenTrace]).decode


def line(event: str, at: float, run: str, parent: str = "", /, trace: str = "trace-1", **fields: Any) -> bytes:
    """Return one line, `at` seconds after START, in the framework's order of keys as far as it matters.

    Fields that are None are left out, as the framework does.
    """
    kind = event.partition(".")[0]
    operation = {"trace": "chat_with_agent", "llm": "openai_iteration_1", "tool": "tool_web_search"}[kind]
    found = {
        "timestamp": datetime.fromtimestamp(START + at, UTC).isoformat(),
        "trace_id": trace,
        "run_id": run,
        "run_type": RUN_TYPES[kind],
        "operation": operation,
        "event": event,
        "parent_run_id": parent or None,
        "agent_name": "Scout",
        "model": "gpt-4o-mini",
        **fields,
    }
    return json.dumps({key: value for key, value in found.items() if value is not None}).encode()


class Exporter:
    """An exporter of one source without files and database: a dictionary remembers what is committed."""

    def __init__(self, *, environment: str = "", idle: float = IDLE_SECONDS, now: float = START) -> None:
        self.environment = environment
        self.idle = idle
        self.now = now
        self.bad: dict[str, int] = {}
        self.repeated = 0
        self.counted: dict[str, list[str]] = {}
        self.open = (b"\x80", 0.0)
        self.recalls = 0
        self.aggregate = Aggregate(lambda: self.now)
        self.prices = Prices()
        self.runs = Runs(self.prices, self._recall, idle=idle)

    def _recall(self, trace: str) -> Iterable[str] | None:
        self.recalls += 1
        return self.counted.get(trace)

    def read(self, *lines: bytes, now: float | None = None, live: bool = False) -> Outcome:
        """Read a batch and commit it; `now` is in seconds after START, by default long enough for all."""
        self.now = START + (86400.0 if now is None else now)
        found = translate([b"\n".join(lines)] if lines else [], self.environment)
        for reason, count in found.bad.items():
            self.bad[reason] = self.bad.get(reason, 0) + count
        return self.take(self.runs.add(found.spans, self.now, live=live))

    def sweep(self, at: float) -> Outcome:
        """What a reader does when it has read everything, `at` seconds after START."""
        self.now = START + at
        return self.take(self.runs.sweep(self.now))

    def take(self, outcome: Outcome) -> Outcome:
        self.aggregate.add("s", outcome.ended)
        self.repeated += outcome.repeated
        for trace, closed in self.runs.traces.closed.items():
            before = [] if closed.complete else self.counted.get(trace, [])
            self.counted[trace] = before + list(closed.spans)
        self.open = (_encode(self.runs.traces.open), self.runs.traces.newest)
        self.runs.traces.committed()
        self.aggregate.committed(self.aggregate.blobs())
        return outcome

    def restart(self) -> None:
        """Begin anew from what is committed, as the state keeps it: as after a crash or a rollback."""
        self.runs = Runs(self.prices, self._recall, idle=self.idle)
        self.runs.traces.restore(_decode(self.open[0]), self.open[1])
        cells = [(key, cell.blob) for key, cell in self.aggregate.cells.items() if cell.blob is not None]
        self.aggregate = Aggregate(lambda: self.now)
        self.aggregate.restore(cells)

    def page(self) -> str:
        """The OpenMetrics page of what was counted."""
        self.aggregate.caught_up.add("s")
        return page(self.aggregate, CollectorRegistry(), openmetrics=True).decode()

    def samples(self, name: str, *labels: str) -> dict[Any, float]:
        """The samples of a series by the values of some labels, summed over the others."""
        found: dict[Any, float] = {}
        for family in text_string_to_metric_families(self.page()):
            for sample in family.samples:
                if sample.name == name:
                    key = tuple(sample.labels.get(label, "") for label in labels)
                    found[key if len(labels) != 1 else key[0]] = found.get(key[0] if len(key) == 1 else key, 0) + (
                        sample.value
                    )
        return found

    def total(self, name: str, **labels: str) -> float | None:
        """The sum of the series that carry these labels; None when there is none."""
        values = self.samples(name, *labels)
        wanted: Any = tuple(labels.values())
        return values.get(wanted[0] if len(wanted) == 1 else wanted)

    def totals(self) -> dict[Any, Any]:
        """Every total that is counted, for comparing one reading with another."""
        found = {}
        for key, cell in self.aggregate.cells.items():
            for metric, children in zip(PLANS[key[0]].metrics, cell.children, strict=True):
                for own, child in children.items():
                    if isinstance(child, Counter):
                        found[key, metric.name, own] = (round(child.value, 9),)
                    else:
                        found[key, metric.name, own] = (round(child.sum, 9), *child.counts)
        return found
