"""The dry run: what is in the stores, and what is odd about it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from exporters.aggregate import Aggregate, series_of
from exporters.catalogue.model import spoken
from exporters.feed import PLANS
from exporters.once import read
from exporters.sources import Source, Translate, Translated
from exporters.span import Span


@dataclass
class Seen:
    """What the spans of a source say that no metric keeps."""

    first: float = 0.0
    last: float = 0.0
    nameless: Counter[str] = field(default_factory=Counter)
    # Where a span has no agent's name that should have one.
    where: str = "on the record"


def report(sources: Sequence[Source], aggregate: Aggregate, *, idle: float) -> Iterator[str]:
    """Yield the report's lines: for each source its records, spans, bad records, times and oddities;
    then the series of each metric. Raises SourceError, OSError or StateError."""
    trees = {source.name for source in sources if source.settles is not None}
    seen = {source.name: Seen() for source in sources}
    for name in trees:
        seen[name].where = "on it or above it"
    tapped = [replace(source, spans=_tapped(source, seen[source.name])) for source in sources]

    def counted(name: str, spans: Sequence[Span]) -> None:
        # In a tree, the name stands on a span above: what has none is known when it is counted.
        for span in spans if name in trees else ():
            seen[name].nameless[span.kind] += not span.agent and not span.usage_only

    with read(tapped, aggregate, idle=idle, counted=counted) as runner:
        for source in sources:
            yield from _of_source(source.name, aggregate, seen[source.name], len(runner.open_traces(source.name)))
        yield from _series(aggregate)


def _tapped(source: Source, seen: Seen) -> Translate:
    def spans(records: Sequence[Any]) -> Translated:
        found = source.spans(records)
        for span in found.spans:
            seen.first = min(seen.first or span.time, span.time)
            seen.last = max(seen.last, span.time)
            if not span.agent and source.settles is None:
                seen.nameless[span.kind] += span.ended
        return found

    return spans


# Kind -> what a person calls it, and the counters of its outcomes and of its errors.
_KINDS = {
    "inference": ("model call", "agentgauge_inference_calls", "agentgauge_inference_errors"),
    "tool": ("tool call", "agentgauge_tool_calls", "agentgauge_tool_errors"),
    "run": ("agent run", "agentgauge_runs", "agentgauge_run_errors"),
    "score": ("score", "", ""),
}
# Counters of what was left out, or may lack something: what they count, and what became of it.
_LEFT = (
    (
        "agentgauge_repeated_spans",
        "end",
        "of what had ended already, as after a rewrite of a file: counted once",
    ),
    ("agentgauge_wrapper_spans", "model call", "around another one: left out, but for usage that only they know"),
    (
        "agentgauge_spans_without_ancestor",
        "span",
        "whose parent is not in the store: an agent's name may be missing",
    ),
)
# Reason -> what it means, of one record or many.
_REASONS = {
    "json": "not JSON, or cut off",
    "not_an_object": "JSON, but not an object",
    "missing_field": "without a field that every record has",
    "wrong_type": "with a field of another type than it should be",
    "timestamp": "without a time that can be, from 1970 to 2099",
    "non_finite": "with a number that is NaN or infinite",
    "out_of_range": "with a number that cannot be, such as tokens below zero",
    "unknown_event": "of an event that this version does not know",
    "id_too_long": "with an id of more than 1,024 characters",
    "too_long": "longer than 16 MiB",
    "id": "with an id that is none, or not of 16 and 8 bytes",
    "protobuf": "not protobuf, or cut off",
    "too_large": "larger than 32 MiB, alone",
    "too_deep": "nested more deeply than can be read",
    "too_wide": "with too many columns, or too much in one that is read",
    "negative_score": "a score below zero, which a total cannot take",
    "too_many_spans": "spans past the most that a request may have",
    "too_many_fields": "with more fields than are read",
    "resource": "a resource of spans, which are counted without what it says",
}
_UNPRICED = {
    "no_split": "a total of tokens only, not input and output",
    "no_model": "no model in the store",
    "unknown_model": "in no price list",
    "not_by_token": "listed, but not with a price of its tokens",
    "invalid_usage": "its usage cannot be right",
}
# What a person can mend, and how.
_PRICED_BY_HAND = ("unknown_model", "not_by_token")
_INVALID = {
    "cache_exceeds_input": "more tokens from and into the cache than input, as where input is counted without them",
    "reasoning_exceeds_output": "more tokens of reasoning than output, as where output is counted without them",
}


def _of_source(name: str, aggregate: Aggregate, seen: Seen, still_open: int) -> Iterator[str]:
    records = _total(aggregate, name, "agentgauge_records")
    yield f"Source {name}: {_many(records, 'record')}"
    if seen.last:
        yield f"  from {_moment(seen.first)} to {_moment(seen.last)}"
    for noun, calls, errors in _KINDS.values():
        outcomes = _by_own(aggregate, name, calls)
        failed = _by_own(aggregate, name, errors)
        if outcomes:
            types = ", ".join(f"{count:,} {error}" for error, count in sorted(failed.items(), key=_largest))
            yield f"  {_many(sum(outcomes.values()), noun)}" + (
                f", {outcomes['error']:,} failed: {types}" if types else ""
            )
    scores = _by_own(aggregate, name, "agentgauge_spans").get("score", 0)
    if scores:
        yield f"  {_many(scores, 'score')}"
    bad = _by_own(aggregate, name, "agentgauge_bad_records")
    if bad:
        yield f"  {_many(sum(bad.values()), 'record')} could not be used:"
    for reason, count in sorted(bad.items(), key=_largest):
        yield f"    {count:,} {_REASONS.get(reason, reason)} ({reason})"
    oddities = list(_oddities(name, aggregate, seen, still_open))
    yield (
        "  What is odd:"
        if oddities
        else "  Nothing else is odd."
        if bad
        else "  Nothing is odd."
        if records
        else "  There is nothing to read yet."
    )
    for oddity in oddities:
        yield f"    {oddity}"
    yield ""


def _oddities(name: str, aggregate: Aggregate, seen: Seen, still_open: int) -> Iterator[str]:
    unpriced = sorted(_unpriced(aggregate, name).items(), key=_largest)
    without = _total(aggregate, name, "agentgauge_inference_without_usage")
    if without:
        models = ", ".join(
            f"{count:,} {model or 'no model'}" for (why, model, _), count in unpriced if why == "no_usage"
        )
        yield f"{_many(without, 'model call')} without token usage: in no token or cost total" + (
            f" ({models})" if models else ""
        )
    streamed = _total(aggregate, name, "agentgauge_streamed_runs_without_usage")
    if streamed:
        yield f"{_many(streamed, 'streamed run')} without model calls: their usage is not in the store"
    for reason, count in _by_own(aggregate, name, "agentgauge_inference_invalid_usage").items():
        yield f"{_many(count, 'model call')} with {_INVALID.get(reason, reason)} ({reason})"
    for (reason, model, provider), count in unpriced:
        if reason == "no_usage":
            continue
        of = f" of {provider}'s {model}" if model and provider else f" of {model}" if model else ""
        yield f"{_many(count, 'model call')}{of} without a price: {_UNPRICED.get(reason, reason)} ({reason})"
    if any(reason in _PRICED_BY_HAND for (reason, _, _), _ in unpriced):
        yield "  say what these models cost in a file for --prices, as docs/prices.md tells"
    for kind, count in sorted(seen.nameless.items()):
        if count:
            yield f"{_many(count, _KINDS[kind][0])} without an agent's name {seen.where}"
    for metric, noun, what in _LEFT:
        count = _total(aggregate, name, metric)
        if count:
            yield f"{_many(count, noun)} {what}"
    yield from _overflow(name, aggregate)
    if still_open:
        yield f"{_many(still_open, 'trace')} not ended yet, and not idle for long enough to be given up"


def _overflow(name: str, aggregate: Aggregate) -> Iterator[str]:
    for label, count in _by_own(aggregate, name, "agentgauge_label_overflow").items():
        if label == "series":
            yield f"{_many(count, 'span')} counted as 'other' altogether: the budget of series is spent"
        else:
            yield f"{_many(count, 'time')} a value of {spoken(label)} became 'other': there are too many of them"


def _series(aggregate: Aggregate) -> Iterator[str]:
    yield f"Series: {aggregate.series:,} of at most {aggregate.series_limit:,}"
    counts: Counter[str] = Counter()
    for cell in aggregate.cells.values():
        for metric, children in zip(PLANS[cell.key[0]].metrics, cell.children, strict=True):
            counts[metric.name] += len(children) * series_of(metric)
    for name, count in counts.most_common():
        if count:
            yield f"  {count:>6,}  {name}"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _largest(item: tuple[object, int]) -> tuple[int, str]:
    return -item[1], str(item[0])


def _by_own(aggregate: Aggregate, source: str, name: str) -> dict[str, int]:
    """Return a counter of one source, summed by the metric's own label."""
    totals: Counter[str] = Counter()
    for cell in aggregate.cells.values():
        for metric, children in zip(PLANS[cell.key[0]].metrics, cell.children, strict=True):
            if cell.key[1] == source and metric.name == name:
                for own, child in children.items():
                    totals[own] += int(child.value)  # type: ignore[union-attr] # of a counter
    return dict(sorted(totals.items()))


def _total(aggregate: Aggregate, source: str, name: str) -> int:
    return sum(_by_own(aggregate, source, name).values())


def _unpriced(aggregate: Aggregate, source: str) -> Counter[tuple[str, str, str]]:
    """Return how many calls have no price, by reason, model and provider."""
    plan = PLANS["inference"]
    place = [metric.name for metric in plan.metrics].index("agentgauge_inference_unpriced")
    model, provider = map(plan.labels.index, ("gen_ai_request_model", "gen_ai_provider_name"))
    totals: Counter[tuple[str, str, str]] = Counter()
    for cell in aggregate.cells.values():
        if cell.key[:2] == ("inference", source):
            for reason, child in cell.children[place].items():
                totals[reason, cell.key[2][model], cell.key[2][provider]] += int(child.value)  # type: ignore[union-attr] # of a counter
    return totals


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
