"""The dry run: what is in the stores, and what is odd about it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from exporters.aggregate import Aggregate, series_of
from exporters.feed import PLANS
from exporters.once import read
from exporters.sources import Source, Translate
from exporters.span import Span


@dataclass
class Seen:
    """What the spans of a source say that no metric keeps."""

    first: float = 0.0
    last: float = 0.0
    nameless: Counter[str] = field(default_factory=Counter)


def report(sources: Sequence[Source], aggregate: Aggregate, *, idle: float) -> Iterator[str]:
    """Yield the report's lines: for each source its records, spans, bad records, times and oddities;
    then the series of each metric. Raises SourceError, OSError or StateError."""
    seen = {source.name: Seen() for source in sources}
    tapped = [replace(source, spans=_tapped(source, seen[source.name])) for source in sources]
    with read(tapped, aggregate, idle=idle) as runner:
        for source in sources:
            yield from _of_source(source.name, aggregate, seen[source.name], len(runner.open_traces(source.name)))
        yield from _series(aggregate)


def _tapped(source: Source, seen: Seen) -> Translate:
    def spans(records: Sequence[bytes]) -> tuple[list[Span], dict[str, int]]:
        found, bad = source.spans(records)
        for span in found:
            seen.first = min(seen.first or span.time, span.time)
            seen.last = max(seen.last, span.time)
            if not span.agent:
                seen.nameless[span.kind] += span.ended
        return found, bad

    return spans


def _of_source(name: str, aggregate: Aggregate, seen: Seen, still_open: int) -> Iterator[str]:
    yield f"source {name}"
    yield f"  records      {_total(aggregate, name, 'agentgauge_records'):,}"
    for kind, count in _by_own(aggregate, name, "agentgauge_spans").items():
        yield f"  {kind + ' spans':<12} {count:,}"
    yield f"  first seen   {_moment(seen.first)}"
    yield f"  last seen    {_moment(seen.last)}"
    for reason, count in _by_own(aggregate, name, "agentgauge_bad_records").items():
        yield f"  bad records  {count:,} {reason}"
    oddities = list(_oddities(name, aggregate, seen, still_open))
    for oddity in oddities:
        yield f"  odd          {oddity}"
    if not oddities:
        yield "  odd          nothing"


def _oddities(name: str, aggregate: Aggregate, seen: Seen, still_open: int) -> Iterator[str]:
    without = _total(aggregate, name, "agentgauge_inference_without_usage")
    if without:
        yield f"{without:,} model calls have no usage: they are in no token or cost total"
    streamed = _total(aggregate, name, "agentgauge_streamed_runs_without_usage")
    if streamed:
        yield f"{streamed:,} streamed runs have no model calls: their usage is not in the store"
    for (reason, model), count in sorted(_unpriced(aggregate, name).items()):
        yield f"{count:,} calls of {model or 'no model'} have no price: {reason}"
    for kind, count in seen.nameless.items():
        if count:
            yield f"{count:,} {kind} spans have no agent name of their own"
    repeated = _total(aggregate, name, "agentgauge_repeated_spans")
    if repeated:
        yield f"{repeated:,} spans stand in the store more than once: counted once"
    for label, count in _by_own(aggregate, name, "agentgauge_label_overflow").items():
        yield f"{count:,} spans are counted as 'other': too many values of {label}"
    if still_open:
        yield f"{still_open:,} traces are open: they have not ended, and are not idle long enough to be abandoned"


def _series(aggregate: Aggregate) -> Iterator[str]:
    yield f"series {aggregate.series:,} of {aggregate.series_limit:,}"
    counts: Counter[str] = Counter()
    for cell in aggregate.cells.values():
        for metric, children in zip(PLANS[cell.key[0]].metrics, cell.children, strict=True):
            counts[metric.name] += len(children) * series_of(metric)
    for name, count in counts.most_common():
        if count:
            yield f"  {count:>6,}  {name}"


def _by_own(aggregate: Aggregate, source: str, name: str) -> dict[str, int]:
    """Return a counter of one source, summed by the metric's own label."""
    totals: Counter[str] = Counter()
    for cell in aggregate.cells.values():
        for metric, children in zip(PLANS[cell.key[0]].metrics, cell.children, strict=True):
            if cell.key[1] == source and metric.name == name:
                for own, child in children.items():
                    totals[own] += int(child.value)  # type: ignore[union-attr]
    return dict(sorted(totals.items()))


def _total(aggregate: Aggregate, source: str, name: str) -> int:
    return sum(_by_own(aggregate, source, name).values())


def _unpriced(aggregate: Aggregate, source: str) -> Counter[tuple[str, str]]:
    """Return how many calls have no price, by reason and model."""
    plan = PLANS["inference"]
    place = [metric.name for metric in plan.metrics].index("agentgauge_inference_unpriced")
    model = plan.labels.index("gen_ai_request_model")
    totals: Counter[tuple[str, str]] = Counter()
    for cell in aggregate.cells.values():
        if cell.key[:2] == ("inference", source):
            for reason, child in cell.children[place].items():
                totals[reason, cell.key[2][model]] += int(child.value)  # type: ignore[union-attr]
    return totals


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds") if seconds else "never"
