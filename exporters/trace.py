"""One trace of which something has not ended: what is open in it, what its runs took, and what of it can be counted."""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from exporters.span import Span


class OpenRun(msgspec.Struct, omit_defaults=True):
    """What a run has taken so far. A total is None as soon as one part of it is unknown."""

    span: Span
    inference_calls: int = 0
    tool_calls: int = 0
    cost: float | None = 0.0
    tokens: int | None = 0
    has_usage: bool = False
    # Of its last call: when that ended, and how.
    last: float = 0.0
    error: str = ""


class OpenTrace(msgspec.Struct, omit_defaults=True):
    """A trace of which something has not ended: what is open, and which spans were counted."""

    touched: float = 0.0
    # Whether `counted` begins with what was remembered of the trace, and how much that was.
    recalled: int = -1
    # A record from before this time may have been counted already: the memory was not asked. 0: it was.
    unasked: float = 0.0
    runs: dict[str, OpenRun] = {}
    starts: dict[str, Span] = {}
    counted: dict[str, None] = {}
    # Span -> its parent, from the second run of the trace on: whose call is it?
    parents: dict[str, str] = {}
    # Whether any model call of the trace brought usage, whatever run it belongs to.
    has_usage: bool = False
    held: Span | None = None
    # What calls took that ended before any run of the trace was seen: the run's, when it is.
    early: OpenRun | None = None
    # Of a tree-shaped store: what was counted below a span that has not come. A run's, when it is one.
    missing: dict[str, OpenRun] = {}


@dataclass(slots=True)
class Outcome:
    """What came of a batch: spans to count, and how many ends had been counted before.

    Of tree-shaped stores also how many model calls only wrapped others, and how many spans were
    counted although the one above them had not come.
    """

    ended: list[Span] = field(default_factory=list)
    repeated: int = 0
    wrappers: int = 0
    adrift: int = 0


def begun(trace: OpenTrace, span: Span) -> OpenRun:
    """Return a run that begins, with what calls before it took."""
    if trace.early is None:
        return OpenRun(span)
    run, trace.early = trace.early, None
    run.span = span
    return run


def join(span: Span, start: Span) -> None:
    """Take from the start what the end does not say."""
    if not span.model:
        span.model = start.model
    if not span.agent:
        span.agent = start.agent
    if not span.provider:
        span.provider = start.provider
    span.streaming = span.streaming or start.streaming


def run_of(trace: OpenTrace, span: Span) -> OpenRun:
    """Return the nearest run above a span; the trace's only or first one where that is not known,
    and before there is one, what is kept for it. After the run's end it is nobody's."""
    runs = trace.runs
    if len(runs) > 1:
        parent, hops = span.parent_id, 0
        while parent and hops < 100:
            if parent in runs:
                return runs[parent]
            parent, hops = trace.parents.get(parent, ""), hops + 1
    for run in runs.values():
        return run
    early = trace.early or OpenRun(Span("run", False, "", ""))
    if trace.recalled < 0:
        trace.early = early
    return early


def run_above(trace: OpenTrace, span: Span) -> OpenRun:
    """Return the run that a settled span names as its parent; what is kept for one that has not come;
    and otherwise nobody's."""
    parent = span.parent_id
    if parent in trace.runs:
        return trace.runs[parent]
    nobody = OpenRun(Span("run", False, "", ""))
    return trace.missing.setdefault(parent, nobody) if parent and parent not in trace.counted else nobody


def take_over(run: OpenRun, below: OpenRun) -> None:
    """Add to a run what was counted below a span before that came."""
    run.inference_calls += below.inference_calls
    run.tool_calls += below.tool_calls
    run.tokens = None if run.tokens is None or below.tokens is None else run.tokens + below.tokens
    run.cost = None if run.cost is None or below.cost is None else run.cost + below.cost
    run.has_usage = run.has_usage or below.has_usage


def tokens_of(span: Span) -> int | None:
    """Return a span's tokens, as far as they are known."""
    if span.unsplit_tokens is not None:
        return span.unsplit_tokens
    if span.input_tokens is None and span.output_tokens is None:
        return None
    return (span.input_tokens or 0) + (span.output_tokens or 0)


def add_usage(trace: OpenTrace, run: OpenRun, span: Span) -> None:
    """Add a model call's tokens and cost to its run; mark the call when the store has no usage."""
    given, taken, cost = span.input_tokens, span.output_tokens, span.cost
    # As nearly all say them.
    tokens = given + taken if given is not None and taken is not None else tokens_of(span)
    if tokens is None and cost is None and span.error:
        return  # it took nothing, as far as anyone knows
    # What is set already is not set again: that takes three times as long as to look.
    if not trace.has_usage and (tokens is not None or cost is not None):
        trace.has_usage = True
    if tokens is None:
        run.tokens = None
        if not span.error:
            span.without_usage = True
    else:
        if not run.has_usage:
            run.has_usage = True
        if run.tokens is not None:
            run.tokens += tokens
    if run.cost is not None:
        run.cost = None if cost is None else run.cost + cost


def count_usage_of_run(price: Callable[[Span], None], run: OpenRun, span: Span, outcome: Outcome) -> None:
    """Count the usage that a store gives only for the whole run, without counting a call."""
    if tokens_of(span) is None and span.cost is None:
        return
    usage = Span(
        "inference", True, span.trace_id, "", span.span_id, span.time, span.agent, span.model, span.provider,
        "chat",
        environment=span.environment,
        input_tokens=span.input_tokens,
        output_tokens=span.output_tokens,
        unsplit_tokens=span.unsplit_tokens,
        cost=span.cost,
        usage_only=True,
    )  # fmt: skip
    price(usage)
    run.cost, run.tokens, run.has_usage = usage.cost, tokens_of(usage), True
    outcome.ended.append(usage)


def give_up(trace: OpenTrace, run: OpenRun, outcome: Outcome, time: float, error: str = "no_response") -> None:
    """Count what was begun and can no longer end as errors at a time, without duration, usage or cost."""
    if not trace.starts:
        return
    for start in trace.starts.values():
        start.ended, start.error, start.time = True, error, time
        start.agent = start.agent or run.span.agent
        trace.counted[start.span_id] = None
        if start.kind == "inference":
            run.inference_calls += 1
        else:
            run.tool_calls += 1
        outcome.ended.append(start)
    trace.starts = {}


def fill_run(span: Span, run: OpenRun) -> None:
    """Put onto a run's span what the run took."""
    silent = span.streaming and not run.inference_calls and not run.has_usage
    span.without_usage = True if silent else None
    span.inference_calls = None if silent else run.inference_calls
    span.tool_calls = run.tool_calls
    span.total_tokens = None if silent else run.tokens
    span.cost = None if silent else run.cost
