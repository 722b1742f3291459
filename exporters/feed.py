"""How a span feeds the metrics of its kind: the catalogue, made into one plain function a kind.

The functions are written out and compiled once, as dataclasses do it: a loop over the metrics for
each span took more than twice as long, and half of the hot path.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from exporters.catalogue.metrics import METRICS
from exporters.catalogue.model import KIND_LABELS, LABELS, Metric
from exporters.span import Span

# (span, cell, bear): adds the span to the cell's children; bear(cell, place, own) makes a missing one.
Bear = Callable[[Any, int, str], Any]
Feed = Callable[[Span, Any, Bear], None]
FeedMany = Callable[[Sequence[Span], Any, Bear], None]


@dataclass(frozen=True)
class Plan:
    """The metrics of one kind, and how its spans feed them. A metric is known by its place."""

    metrics: tuple[Metric, ...]
    # The labels that spans fill, in the order of a cell's values, and what reads them off a span.
    labels: tuple[str, ...]
    key: Callable[[Span], tuple[str, ...]]
    feed: Feed
    # For spans of one cell that went well, and are calls.
    feed_many: FeedMany
    # For usage that a store gives without a call: sums only.
    feed_usage: Feed
    # For what the budget has no series for: every error is of one type.
    feed_rest: Feed
    # Whether a span would make its cell grow.
    grows: Callable[[Span, Any], bool]


def _plan(kind: str) -> Plan:
    metrics = tuple(metric for metric in METRICS if metric.of == kind)
    labels = tuple(label for label in KIND_LABELS[kind] if LABELS[label])
    sums = [place for place, metric in enumerate(metrics) if metric.type == "counter" and metric.field]
    return Plan(
        metrics=metrics,
        labels=labels,
        key=attrgetter(*(LABELS[label] for label in labels)) if labels else lambda _: (),
        feed=_compiled(metrics, range(len(metrics))),
        feed_many=_compiled_many(metrics),
        feed_usage=_compiled(metrics, sums),
        feed_rest=_compiled(metrics, range(len(metrics)), error="'_OTHER' if span.error else ''"),
        grows=_growth(metrics),
    )


def _compiled(metrics: tuple[Metric, ...], places: "range | list[int]", error: str = "span.error") -> Feed:
    lines = [
        "def feed(span, cell, bear):",
        "    children = cell.children",
        f"    error = {error}",
        "    outcome = 'error' if error else 'ok'",
    ]
    for place in places:
        lines += (f"    {line}" for line in _statements(metrics[place], place))
    bounds = {f"bounds_{place}": metrics[place].buckets for place in places}
    scope: dict[str, Any] = {"bisect_left": bisect_left, **bounds}
    feed: Feed = _made("feed", lines, scope)
    return feed


def _compiled_many(metrics: tuple[Metric, ...]) -> FeedMany:
    """Return a loop over spans that looks for each child once, and adds up beside it: to put each number into it took
    as long again. None of them has an error: that is a label's value."""
    before, within, after = ["children = cell.children", "error, outcome = '', 'ok'"], list[str](), list[str]()
    fields: dict[str, list[str]] = {}
    for place, metric in enumerate(metrics):
        own = _own(metric)
        if metric.only_with == "error":
            continue
        if metric.only_with:
            within += _statements(metric, place)
        elif not metric.field:
            if metric.values:
                after.append(f"(children[{place}].get({own}) or bear(cell, {place}, {own})).value += len(spans)")
        else:
            look, add, put = _of_loop(metric, place)
            before += look
            fields.setdefault(metric.field, []).extend(add)
            after += put
    for field, statements in fields.items():
        within += [f"number = span.{field}", "if number is not None:", *(f"    {line}" for line in statements)]
    lines = [*before, "for span in spans:", *(f"    {line}" for line in within), *after]
    scope: dict[str, Any] = {
        "bisect_left": bisect_left,
        **{f"bounds_{place}": _bounds(metric) for place, metric in enumerate(metrics)},
    }
    feed: FeedMany = _made("feed", ["def feed(spans, cell, bear):", *(f"    {line}" for line in lines)], scope)
    return feed


def _of_loop(metric: Metric, place: int) -> tuple[list[str], list[str], list[str]]:
    """Return the statements before, within and after a loop over spans that feed a metric from its field."""
    own, child, total = _own(metric), f"child_{place}", f"total_{place}"
    kept = "value" if metric.type == "counter" else "sum"
    take = [f"{total} = {child}.{kept}"]
    add = [f"{total} += number"]
    if metric.type == "histogram":
        take.append(f"counts_{place} = {child}.counts")
        add.append(f"counts_{place}[bisect_left(bounds_{place}, number)] += 1")
    if metric.exemplars:
        take.append(f"newest_{place} = cell.exemplars[{place}][{own}]")
        add[1:] = [f"bucket = bisect_left(bounds_{place}, number)", f"counts_{place}[bucket] += 1"]
        add.append(f"newest_{place}[bucket] = span")
    put = [f"if {child} is not None:", f"    {child}.{kept} = {total}"]
    if own.startswith("span."):
        # Nearly always that of the span before.
        look = [f"own_{place} = {child} = None"]
        missing = [f"if {own} is not own_{place}:", *(f"    {line}" for line in put), f"    own_{place} = {own}"]
        own = f"own_{place}"
        missing.append(f"    {child} = children[{place}].get({own}) or bear(cell, {place}, {own})")
    else:
        look = [
            f"{child} = children[{place}].get({own})",
            f"if {child} is not None:",
            *(f"    {line}" for line in take),
        ]
        missing = [f"if {child} is None:", f"    {child} = bear(cell, {place}, {own})"]
    return look, [*missing, *(f"    {line}" for line in take), *add], put


def _bounds(metric: Metric) -> tuple[float, ...]:
    """Return a metric's bounds, as whole numbers where they are: numbers of one type are compared in half the time."""
    whole = all(float(bound).is_integer() for bound in metric.buckets)
    return tuple(int(bound) for bound in metric.buckets) if whole else metric.buckets


def _growth(metrics: tuple[Metric, ...]) -> Callable[[Span, Any], bool]:
    conditions = ["False"]
    for place, metric in enumerate(metrics):
        fed = f"span.{metric.only_with}" if metric.only_with else f"span.{metric.field} is not None"
        if metric.only_with or metric.field:
            conditions.append(f"({fed} and {_own(metric)} not in children[{place}])")
    lines = [
        "def grows(span, cell):",
        "    children = cell.children",
        "    error = span.error",
        "    outcome = 'error' if error else 'ok'",
        f"    return bool({' or '.join(conditions)})",
    ]
    grows: Callable[[Span, Any], bool] = _made("grows", lines, {})
    return grows


def _made(name: str, lines: list[str], scope: dict[str, Any]) -> Any:
    """Return the function of a name that lines of Python define."""
    # They are made of the catalogue's own names only; nothing of a store comes near them.
    exec("\n".join(lines), scope)  # noqa: S102
    return scope[name]


def _statements(metric: Metric, place: int) -> list[str]:
    """Return the statements that feed one metric."""
    own = _own(metric)
    child = f"child = children[{place}].get({own}) or bear(cell, {place}, {own})"
    if metric.only_with:
        return [f"if span.{metric.only_with}:", f"    {child}", "    child.value += 1"]
    if not metric.field:
        return [child, "child.value += 1"] if metric.values else []
    if metric.type == "counter":
        add = ["child.value += number"]
    else:
        add = [f"bucket = bisect_left(bounds_{place}, number)", "child.counts[bucket] += 1", "child.sum += number"]
        if metric.exemplars:
            add.append(f"cell.exemplars[{place}][{own}][bucket] = span")
    return [f"number = span.{metric.field}", "if number is not None:", *(f"    {line}" for line in (child, *add))]


def _own(metric: Metric) -> str:
    """The expression for the value of the metric's own label."""
    if not metric.by:
        return "''"
    if metric.by in ("error_type", "outcome"):
        return metric.by.removesuffix("_type")
    return f"span.{metric.only_with or LABELS[metric.by]}"


PLANS = {kind: _plan(kind) for kind in ("inference", "prompt", "tool", "run", "score")}
# Facts about the reading of a store are counted one by one, not fed by spans.
PLANS["source"] = Plan(
    metrics=tuple(metric for metric in METRICS if metric.of == "source"),
    labels=(),
    key=lambda _: (),
    feed=lambda *_: None,
    feed_many=lambda *_: None,
    feed_usage=lambda *_: None,
    feed_rest=lambda *_: None,
    grows=lambda *_: False,
)
