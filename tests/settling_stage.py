"""An exporter of one tree-shaped source without a store and a database: spans in, totals out, and what is committed."""

from collections.abc import Iterable
from typing import Any

import msgspec

from exporters.aggregate import PLANS, Aggregate, Counter
from exporters.pricing import Prices
from exporters.runs import IDLE_SECONDS, Runs
from exporters.settling import Settling
from exporters.span import Span
from exporters.trace import OpenTrace, Outcome
from exporters.tree import Known
from exporters.waiting_rows import decode_row, encode_row

# 2025-12-06T14:00:00Z: where the seconds of the spans count from.
START = 1765029600.0
SETTLES = 10.0

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[dict[str, OpenTrace], float]).decode
_decode_places = msgspec.msgpack.Decoder(dict[str, Known]).decode


def span(kind: str, span_id: str, parent: str = "", at: float = 1.0, **fields: Any) -> Span:
    """A span that ended `at` seconds after START, as a source tells it."""
    fields.setdefault("trace_id", "t")
    return Span(kind=kind, ended=True, span_id=span_id, parent_id=parent, time=START + at, **fields)  # type: ignore[arg-type]


def _usage(tokens: int | None) -> dict[str, Any]:
    return {} if tokens is None else {"input_tokens": tokens, "output_tokens": 0}


def run(span_id: str, parent: str = "", at: float = 9.0, tokens: int | None = None, **fields: Any) -> Span:
    """A run that took `at` seconds."""
    return span("run", span_id, parent, at, **{"duration": at, **_usage(tokens), **fields})


def call(span_id: str, parent: str = "", at: float = 2.0, tokens: int | None = None, **fields: Any) -> Span:
    """A model call of gpt-4o-mini: USD 0.15 for a million input tokens."""
    of = {"model": "gpt-4o-mini", "provider": "openai", "duration": 0.5}
    return span("inference", span_id, parent, at, **{**of, **_usage(tokens), **fields})


def tool(span_id: str, parent: str = "", at: float = 3.0, **fields: Any) -> Span:
    return span("tool", span_id, parent, at, **{"tool": "search", "duration": 0.1, **fields})


def part(span_id: str, parent: str = "", at: float = 4.0, **fields: Any) -> Span:
    return span("part", span_id, parent, at, **fields)


def score(span_id: str, parent: str = "", at: float = 5.0, **fields: Any) -> Span:
    return span("score", span_id, parent, at, **{"score_name": "quality", "score": 0.5, **fields})


class Stage:
    """Settling, runs and totals, committed together into dictionaries."""

    def __init__(self) -> None:
        self.aggregate = Aggregate(lambda: START)
        self.counted: dict[str, list[str]] = {}
        self.rows: dict[int, bytes] = {}
        self.settled: list[bytes] = []
        self.open: bytes = _encode(({}, 0.0))
        self.repeated = self.wrappers = self.adrift = 0
        self.spans: list[Span] = []
        self._kept: tuple[int, int, int, int] = (0, 0, 0, 0)
        self._begin()

    def _begin(self) -> None:
        self.runs = Runs(Prices(), self.counted.get, idle=IDLE_SECONDS)
        self.settling = Settling(SETTLES, self.runs.traces.awaited)

    def read(self, *spans: Span, at: float = 0.0, live: bool = True, commit: bool = True) -> list[Span]:
        """Read a batch `at` seconds after START; return what is counted."""
        # As from a store: whoever changes a span changes it for nobody else.
        fresh = msgspec.convert(msgspec.to_builtins(spans), tuple[Span, ...])
        groups = self.settling.add(fresh, START + at, live=live)
        return self._take(self.runs.settle(groups, START + at), commit)

    def end(self) -> list[Span]:
        """What a reader does at the end of a store that nobody follows."""
        return self._take(self.runs.settle(self.settling.settle_all(), START), True)

    def whole(self, *spans: Span) -> list[Span]:
        """Read a trace in one batch, to its end."""
        return self.read(*spans) + self.end()

    def sweep(self, at: float) -> list[Span]:
        return self._take(self.runs.sweep(START + at), True)

    def _take(self, outcome: Outcome, commit: bool) -> list[Span]:
        self.aggregate.add("s", outcome.ended)
        self.spans += outcome.ended
        self.repeated += outcome.repeated
        self.wrappers += outcome.wrappers
        self.adrift += outcome.adrift
        if commit:
            self._commit()
        return outcome.ended

    def _commit(self) -> None:
        for trace, closed in self.runs.traces.closed.items():
            before = [] if closed.complete else self.counted.get(trace, [])
            self.counted[trace] = before + list(closed.spans)
        changes = self.settling.changes()
        for number in changes.gone:
            # One that came and went between two commits was never written.
            self.rows.pop(number, None)
        self.rows.update((number, encode_row(spans)) for number, spans in changes.new.items())
        self.settled.append(_encode(changes.settled))
        self.open = _encode((self.runs.traces.open, self.runs.traces.newest))
        self.runs.traces.committed()
        self.aggregate.committed(self.aggregate.blobs())
        self._kept = (self.repeated, self.wrappers, self.adrift, len(self.spans))

    def restart(self) -> None:
        """Begin anew from what is committed, as after a crash or a failed commit."""
        self._begin()
        self.runs.traces.restore(*_decode(self.open))
        rows = {number: decode_row(row) for number, row in self.rows.items()}
        self.settling.restore(rows, map(_decode_places, self.settled))
        self.repeated, self.wrappers, self.adrift, kept = self._kept
        del self.spans[kept:]
        cells = [(key, cell.blob) for key, cell in self.aggregate.cells.items() if cell.blob is not None]
        self.aggregate = Aggregate(lambda: START)
        self.aggregate.restore(cells)

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


def agents(spans: Iterable[Span]) -> dict[str, str]:
    return {span.span_id: span.agent for span in spans}


def taken(spans: Iterable[Span]) -> dict[str, tuple[int | None, int | None, int | None]]:
    """Of each run its model calls, tool calls and tokens."""
    return {s.span_id: (s.inference_calls, s.tool_calls, s.total_tokens) for s in spans if s.kind == "run"}
