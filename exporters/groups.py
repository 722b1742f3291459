"""Groups of spans of tree-shaped stores, whose traces were waited for: counted, and added to the runs above them."""

from collections.abc import Callable, Iterable
from math import inf

from exporters.open_traces import SPANS_A_TRACE, OpenTraces
from exporters.span import Span
from exporters.trace import (
    OpenRun,
    OpenTrace,
    Outcome,
    add_usage,
    count_usage_of_run,
    fill_run,
    run_above,
    take_over,
)
from exporters.tree import Group, has_usage


def count_settled(groups: Iterable[Group], traces: OpenTraces, price: Callable[[Span], None], now: float) -> Outcome:
    """Count groups at a Unix time, and add them to the open traces; `price` sets a span's cost."""
    outcome = Outcome()
    before = traces.newest
    for group in groups:
        if group.runs or group.others:
            trace = _trace_of(group, traces, before)
            trace.touched = now
            _count(group, trace, price, outcome)
            if len(trace.counted) > SPANS_A_TRACE:
                traces.shorten(group.trace_id, trace)
            traces.let_go(group.trace_id)
    return outcome


def _trace_of(group: Group, traces: OpenTraces, before: float) -> OpenTrace:
    """Return the open trace of a group; `before` is the time of the newest record before these groups."""
    trace_id, others = group.trace_id, group.others
    oldest, newest = inf, others[-1].time if others else 0.0
    for span in group.runs or others:
        oldest, newest = min(oldest, span.time - (span.duration or 0.0)), max(newest, span.time)
    traces.newest = max(traces.newest, newest)
    trace = traces.open.get(trace_id)
    if trace is None:
        # A store may tell a span again with a later end.
        new = oldest > before and not group.again
        trace = traces.open[trace_id] = traces.opened(trace_id, oldest if new else 0.0)
    elif oldest < trace.unasked:
        traces.remember(trace_id, trace)
    traces.changed.add(trace_id)
    return trace


def _count(group: Group, trace: OpenTrace, price: Callable[[Span], None], outcome: Outcome) -> None:
    """Count what of a group had not been counted before: runs begin, the others follow, runs end."""
    counted, adrift, missing = trace.counted, group.adrift, trace.missing
    new = []
    for span in group.runs:
        if span.span_id in counted:
            outcome.repeated += 1
            continue
        new.append(span)
        run = trace.runs[span.span_id] = OpenRun(span)
        if missing and (below := missing.pop(span.span_id, None)) is not None:
            take_over(run, below)
    for span in group.others:
        if span.span_id in counted:
            outcome.repeated += span.kind != "part"
            continue
        if span.kind != "part":
            _settle_call(price, trace, span, outcome)
            outcome.adrift += span.span_id in adrift
        if missing and (below := missing.pop(span.span_id, None)) is not None:
            take_over(run_above(trace, span), below)
    for span in reversed(new):
        _settle_run(price, trace, span, outcome)
        outcome.adrift += span.span_id in adrift


def _settle_call(price: Callable[[Span], None], trace: OpenTrace, span: Span, outcome: Outcome) -> None:
    """Count a call or a score of a tree-shaped store, and add a call to its run."""
    trace.counted[span.span_id] = None
    if span.kind == "score":
        outcome.ended.append(span)
        return
    run = trace.runs.get(span.parent_id) or run_above(trace, span)
    if not span.agent:
        span.agent = run.span.agent
    if span.usage_only:
        outcome.wrappers += 1
        if not has_usage(span):
            return
    if span.kind == "tool":
        run.tool_calls += 1
    else:
        reported = span.cost is not None
        price(span)
        add_usage(trace, run, span)
        if reported and not run.has_usage:
            run.has_usage = True
        if not span.usage_only:
            run.inference_calls += 1
    outcome.ended.append(span)


def _settle_run(price: Callable[[Span], None], trace: OpenTrace, span: Span, outcome: Outcome) -> None:
    """Count a run of a tree-shaped store. Usage that it says is that of all below it, where that says any."""
    run = trace.runs.pop(span.span_id)
    trace.counted[span.span_id] = None
    if not run.has_usage:
        count_usage_of_run(price, run, span, outcome)
    if run.has_usage:
        run_above(trace, span).has_usage = True
    fill_run(span, run)
    outcome.ended.append(span)
