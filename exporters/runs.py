"""Open runs: pairs starts with ends, counts each span once, closes a run that ended or was abandoned."""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from exporters.span import Span
from exporters.tree import Group

# A run without a new record for this long has been abandoned: by the clock where records are read as they are
# written, by the records' own times where they are read from a backlog.
IDLE_SECONDS = 3600.0
# How long an end that may be said again with more is waited for.
HELD_SECONDS = 10.0
# Traces open at once; past it the one that was opened first is closed.
OPEN_TRACES = 10_000
# Span ids held in memory of one open trace, besides those that were recalled; past it the oldest half is only
# known to the state, which is asked again when the trace has been closed. Also how much of a trace may wait for
# its end; past it the trace is closed.
SPANS_A_TRACE = 10_000
# What all open traces hold together: an id of what was counted is one, what has not ended eight. Past it
# the trace that was opened first is closed. About 100 MB.
HELD_IN_ALL = 1_000_000


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


@dataclass(slots=True)
class Closed:
    """A trace that was closed: its counted spans, and whether they are all that were ever counted."""

    spans: Iterable[str]
    complete: bool


class Runs:
    """The open traces of one source.

    `price` sets a span's cost. `recall` returns the ids of the spans that were counted in a trace
    that is closed and committed, or None when there is none: the state remembers them for ever.
    """

    def __init__(
        self,
        price: Callable[[Span], None],
        recall: Callable[[str], Iterable[str] | None],
        *,
        idle: float = IDLE_SECONDS,
    ) -> None:
        self._price = price
        self._recall = recall
        self._idle = idle
        self.open: dict[str, OpenTrace] = {}
        # Traces changed and traces closed since the last commit.
        self.changed: set[str] = set()
        self.closed: dict[str, Closed] = {}
        # The newest time of a counted record: a run that begins later has not been counted before.
        self.newest = 0.0
        # When a backlog was last swept, by its own clock.
        self._swept = 0.0
        # Traces that the last commit kept as open. Most begin and end between two commits.
        self._kept: set[str] = set()
        # What each open trace held when it was last looked at, and all of them.
        self._sizes: dict[str, int] = {}
        self._size = 0

    def restore(self, traces: Mapping[str, OpenTrace], newest: float) -> None:
        """Go back to a committed state."""
        self.open = dict(traces)
        self.changed = set()
        self.closed = {}
        self.newest = newest
        self._kept = set(traces)
        self._sizes = {trace_id: _size(trace) for trace_id, trace in traces.items()}
        self._size = sum(self._sizes.values())

    def changes(self) -> dict[str, OpenTrace | None]:
        """Return what a commit has to keep: the changed open traces, and None for those open no more."""
        found = {trace_id: self.open.get(trace_id) for trace_id in self.changed}
        return {id_: trace for id_, trace in found.items() if trace is not None or id_ in self._kept}

    def committed(self) -> None:
        """Forget what changed: it is durable now."""
        for trace_id in self.changed:
            if trace_id in self.open:
                self._kept.add(trace_id)
            else:
                self._kept.discard(trace_id)
        self.changed = set()
        self.closed = {}

    def add(self, spans: list[Span], now: float, *, live: bool = False) -> Outcome:  # noqa: PLR0912 -- a call more for each span takes its time
        """Take the spans of a batch, in the store's order; return those now complete.

        `now` is Unix seconds; a record's time counts as at most that, so that a clock that runs
        ahead keeps nothing open for ever. What is read `live`, and not from a backlog, was written
        just now: whatever its time says, its trace is not idle, unless it only says again what is known.
        """
        outcome = Outcome()
        heard_of = self._news(spans) if live else set()
        traces, changed, before, newest = self.open, self.changed, self.newest, self.newest
        reopened = []
        for span in spans:
            trace_id, span_id, time = span.trace_id, span.span_id, span.time
            trace = traces.get(trace_id)
            if trace is None:
                begins = span.kind == "run" and not span.ended and time > before
                trace = traces[trace_id] = self._opened(trace_id, time if begins else 0.0)
                if trace.counted:
                    reopened.append(trace_id)
            elif time < trace.unasked:
                self._remember(trace_id, trace)
            changed.add(trace_id)
            if time > newest:  # noqa: PLR1730 -- max() takes three times as long, for each span
                newest = time
            if time > trace.touched:
                trace.touched = time if time < now else now
            if span_id in trace.counted:
                outcome.repeated += span.ended
            elif span.ended:
                if span.kind == "run":
                    self._end_run(trace_id, trace, span, outcome)
                else:
                    self._end_call(trace, span, outcome)
            elif span.kind != "run":
                trace.starts.setdefault(span_id, span)
            else:
                trace.runs.setdefault(span_id, _begun(trace, span))
            if span.parent_id and len(trace.runs) > 1:
                trace.parents[span_id] = span.parent_id
        self.newest = newest
        for trace_id in heard_of & traces.keys():
            traces[trace_id].touched = now
        for trace_id in reopened:
            self._let_go(trace_id)
        self._bound(outcome)
        return outcome

    def _news(self, spans: list[Span]) -> set[str]:
        """Return the traces of which something new is said: stores that write all of a day again each half
        hour would keep its runs open until the next."""
        found = set()
        for span in spans:
            trace = self.open.get(span.trace_id)
            if trace is None or not (span.span_id in trace.counted or span.span_id in trace.runs):
                found.add(span.trace_id)
        return found

    def settle(self, groups: Iterable[Group], now: float) -> Outcome:
        """Count spans of a tree-shaped store, whose traces were waited for."""
        outcome = Outcome()
        before = self.newest
        for group in groups:
            if group.spans:
                self._settle(group, before, now, outcome)
        self._bound(outcome)
        return outcome

    def _bound(self, outcome: Outcome) -> None:
        """Close the traces that were opened first while there are too many, or hold too much."""
        for trace_id in tuple(self.changed):
            trace = self.open.get(trace_id)
            if trace is None:
                continue
            if len(trace.parents) > SPANS_A_TRACE:
                trace.parents = dict(list(trace.parents.items())[-SPANS_A_TRACE // 2 :])
            if len(trace.starts) + len(trace.runs) + len(trace.missing) > SPANS_A_TRACE:
                self._abandon(trace_id, outcome)
                continue
            size = _size(trace)
            self._size += size - self._sizes.get(trace_id, 0)
            self._sizes[trace_id] = size
        while len(self.open) > OPEN_TRACES or self._size > HELD_IN_ALL:
            self._abandon(next(iter(self.open)), outcome)

    def awaited(self, trace_id: str) -> Container[str]:
        """Return the ids of the spans that have not come and below which something was counted."""
        trace = self.open.get(trace_id)
        return trace.missing if trace is not None else ()

    def _settle(self, group: Group, before: float, now: float, outcome: Outcome) -> None:
        trace_id, times = group.trace_id, [span.time for span in group.spans]
        oldest, self.newest = min(times), max(self.newest, *times)
        trace = self.open.get(trace_id)
        if trace is None:
            trace = self.open[trace_id] = self._opened(trace_id, oldest if oldest > before else 0.0)
        elif oldest < trace.unasked:
            self._remember(trace_id, trace)
        self.changed.add(trace_id)
        trace.touched = now
        for span in group.spans:
            span_id = span.span_id
            if span_id in trace.counted:
                outcome.repeated += span.ended and span.kind != "part"
                continue
            if not span.ended:
                trace.runs[span_id] = OpenRun(span)
            elif span.kind == "run":
                self._settle_run(trace, span, outcome)
            elif span.kind != "part":
                self._settle_call(trace, span, outcome)
            outcome.adrift += span.ended and span.kind != "part" and span_id in group.adrift
            below = trace.missing.pop(span_id, None) if trace.missing else None
            if below is not None:
                _take_over(trace.runs.get(span_id) or _run_above(trace, span), below)
        if len(trace.counted) > SPANS_A_TRACE:
            self._shorten(trace_id, trace)
        self._let_go(trace_id)

    def _settle_call(self, trace: OpenTrace, span: Span, outcome: Outcome) -> None:
        """Count a call or a score of a tree-shaped store, and add a call to its run."""
        trace.counted[span.span_id] = None
        if span.kind == "score":
            outcome.ended.append(span)
            return
        run = _run_above(trace, span)
        span.agent = span.agent or run.span.agent
        outcome.wrappers += span.usage_only
        if span.kind == "tool":
            run.tool_calls += 1
        else:
            used = _tokens(span) is not None or span.cost is not None
            if span.usage_only and not used:
                return
            self._price(span)
            _add_usage(trace, run, span)
            run.has_usage = run.has_usage or used
            run.inference_calls += not span.usage_only
        outcome.ended.append(span)

    def _settle_run(self, trace: OpenTrace, span: Span, outcome: Outcome) -> None:
        """Count a run of a tree-shaped store. Usage that it says is that of all below it, where that says any."""
        run = trace.runs.pop(span.span_id)
        trace.counted[span.span_id] = None
        if not run.has_usage:
            self._count_usage_of_run(run, span, outcome)
        if run.has_usage:
            _run_above(trace, span).has_usage = True
        _fill_run(span, run)
        outcome.ended.append(span)

    def _shorten(self, trace_id: str, trace: OpenTrace) -> None:
        """Leave the oldest half of what was counted of a trace to the state, unless it is what that recalled."""
        recalled = max(0, trace.recalled)
        if len(trace.counted) - recalled > SPANS_A_TRACE:
            spans = list(trace.counted)
            cut = len(spans) - SPANS_A_TRACE // 2
            trace.counted, trace.recalled = dict.fromkeys(spans[cut:]), -1
            self._put_away(trace_id, spans[recalled:cut], complete=False)

    def sweep_behind(self, spans: Sequence[Span]) -> Outcome:
        """Close what had been idle too long when spans of a backlog were written, as it would have been
        then: a store of years would leave open whatever never ended in it.

        That time is the oldest of theirs, so that a file that is read after a newer one loses no run.
        """
        if not spans:
            return Outcome()
        # Some of them are enough: where a batch is of two files, the second has its last span.
        at = min(span.time for span in (*spans[::64], spans[-1]))
        if abs(at - self._swept) < self._idle:
            return Outcome()
        self._swept = at
        return self.sweep(at)

    def sweep(self, now: float) -> Outcome:
        """Close what has been idle too long, and count ends that were held long enough."""
        outcome = Outcome()
        for trace_id, trace in list(self.open.items()):
            held = trace.held
            if trace.touched + self._idle < now:
                self._abandon(trace_id, outcome)
            elif held is not None and (trace.touched + HELD_SECONDS < now):
                self.changed.add(trace_id)
                self._end_run(trace_id, trace, held, outcome)
        return outcome

    def _opened(self, trace_id: str, begins: float) -> OpenTrace:
        """Return a new open trace, with what was counted of it when it was open before.

        The memory is not asked of a run that `begins` (else 0) later than all that was counted.
        """
        closed = self.closed.get(trace_id)
        trace = OpenTrace(unasked=begins)
        if closed is not None:
            trace.counted = dict.fromkeys(closed.spans)
        if closed is not None and closed.complete:
            trace.recalled, trace.unasked = len(trace.counted), 0.0
        elif not begins or closed is not None:
            self._remember(trace_id, trace)
        return trace

    def _remember(self, trace_id: str, trace: OpenTrace) -> None:
        """Put what was counted of a trace when it was open before in front of what was counted now."""
        known = self._recall(trace_id)
        if known is not None or trace.counted:
            trace.counted = {**dict.fromkeys(known or ()), **trace.counted}
            trace.recalled = len(trace.counted)
        trace.unasked = 0.0

    def _let_go(self, trace_id: str) -> None:
        """Close again a trace that was only opened to drop what had been counted before."""
        trace = self.open.get(trace_id)
        if trace is None or trace.runs or trace.starts or trace.missing or trace.held is not None:
            return
        if len(trace.counted) == trace.recalled and trace_id not in self.closed:
            self._forget(trace_id)
        else:
            self._close(trace_id, trace)

    def _end_call(self, trace: OpenTrace, span: Span, outcome: Outcome) -> None:
        """Count a model or tool call that ended, and add it to its run."""
        start = trace.starts.pop(span.span_id, None)
        counted = trace.counted
        counted[span.span_id] = None
        if len(counted) > SPANS_A_TRACE:
            self._shorten(span.trace_id, trace)
        run = trace.runs[span.parent_id] if span.parent_id in trace.runs else self._run_of(trace, span)
        if span.kind == "inference":
            if start is not None and not (span.model and span.agent and span.provider):
                _join(span, start)
            # Before it is priced: a price may have been agreed for one agent.
            if not span.agent:
                span.agent = run.span.agent
            self._price(span)
            _add_usage(trace, run, span)
            run.inference_calls += 1
        elif span.kind == "tool":
            if start is not None and not span.agent:
                _join(span, start)
            run.tool_calls += 1
        if span.time >= run.last:
            run.last, run.error = span.time, span.error
        if not span.agent:
            span.agent = run.span.agent
        if span.kind != "part":
            outcome.ended.append(span)

    def _run_of(self, trace: OpenTrace, span: Span) -> OpenRun:
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

    def _end_run(self, trace_id: str, trace: OpenTrace, span: Span, outcome: Outcome) -> None:
        """Count a run that ended, and what it had begun and will never end."""
        if span.provisional and trace.held is None:
            trace.held = span
            return
        if trace.held is not None and trace.held.span_id == span.span_id:
            trace.held = None
            outcome.repeated += not span.provisional
        run = trace.runs.pop(span.span_id, None) or _begun(trace, span)
        _join(span, run.span)
        if not trace.runs:
            self._give_up(trace, run, outcome, span.time)
        trace.counted[span.span_id] = None
        if not trace.has_usage:
            self._count_usage_of_run(run, span, outcome)
        _fill_run(span, run)
        outcome.ended.append(span)
        if not trace.runs:
            self._close(trace_id, trace)

    def _give_up(
        self, trace: OpenTrace, run: OpenRun, outcome: Outcome, time: float, error: str = "no_response"
    ) -> None:
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

    def _count_usage_of_run(self, run: OpenRun, span: Span, outcome: Outcome) -> None:
        """Count the usage that a store gives only for the whole run, without counting a call."""
        if _tokens(span) is None and span.cost is None:
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
        self._price(usage)
        run.cost, run.tokens, run.has_usage = usage.cost, _tokens(usage), True
        outcome.ended.append(usage)

    def _abandon(self, trace_id: str, outcome: Outcome) -> None:
        """Close a trace that nothing comes of any more."""
        trace = self.open[trace_id]
        if trace.held is not None:
            self._end_run(trace_id, trace, trace.held, outcome)
        error = "abandoned" if trace.runs else "no_response"
        first = next(iter(trace.runs.values()), OpenRun(Span("run", False, trace_id, "")))
        self._give_up(trace, first, outcome, trace.touched, error)
        for run in trace.runs.values():
            span = run.span
            if span.ends_when_idle:
                # With its last call, as far as anyone knows.
                span.duration = round(run.last - span.time, 6) if run.last >= span.time else None
                span.error, span.time = run.error, max(run.last, span.time)
            else:
                span.error, span.time = "abandoned", trace.touched
            span.ended = True
            trace.counted[span.span_id] = None
            _fill_run(span, run)
            outcome.ended.append(span)
        self._close(trace_id, trace)

    def _close(self, trace_id: str, trace: OpenTrace) -> None:
        self.changed.add(trace_id)
        if trace.recalled > SPANS_A_TRACE:
            # What is long is put behind, not written anew.
            self._put_away(trace_id, list(trace.counted)[trace.recalled :], complete=False)
        else:
            self._put_away(trace_id, trace.counted, complete=trace.recalled >= 0)
        self._forget(trace_id)

    def _forget(self, trace_id: str) -> None:
        self.open.pop(trace_id, None)
        self._size -= self._sizes.pop(trace_id, 0)

    def _put_away(self, trace_id: str, spans: Iterable[str], *, complete: bool) -> None:
        """Have spans of a trace remembered by the next commit, with those that wait for it already."""
        waiting = self.closed.get(trace_id)
        if waiting is not None and not complete:
            spans, complete = dict.fromkeys([*waiting.spans, *spans]), waiting.complete
        self.closed[trace_id] = Closed(spans, complete)


def _run_above(trace: OpenTrace, span: Span) -> OpenRun:
    """Return the run that a settled span names as its parent; what is kept for one that has not come;
    and otherwise nobody's."""
    parent = span.parent_id
    if parent in trace.runs:
        return trace.runs[parent]
    nobody = OpenRun(Span("run", False, "", ""))
    return trace.missing.setdefault(parent, nobody) if parent and parent not in trace.counted else nobody


def _take_over(run: OpenRun, below: OpenRun) -> None:
    """Add to a run what was counted below a span before that came."""
    run.inference_calls += below.inference_calls
    run.tool_calls += below.tool_calls
    run.tokens = None if run.tokens is None or below.tokens is None else run.tokens + below.tokens
    run.cost = None if run.cost is None or below.cost is None else run.cost + below.cost
    run.has_usage = run.has_usage or below.has_usage


def _size(trace: OpenTrace) -> int:
    return 8 * (len(trace.starts) + len(trace.runs) + len(trace.missing)) + len(trace.counted) + len(trace.parents)


def _begun(trace: OpenTrace, span: Span) -> OpenRun:
    """Return a run that begins, with what calls before it took."""
    if trace.early is None:
        return OpenRun(span)
    run, trace.early = trace.early, None
    run.span = span
    return run


def _join(span: Span, start: Span) -> None:
    """Take from the start what the end does not say."""
    if not span.model:
        span.model = start.model
    if not span.agent:
        span.agent = start.agent
    if not span.provider:
        span.provider = start.provider
    span.streaming = span.streaming or start.streaming


def _tokens(span: Span) -> int | None:
    if span.unsplit_tokens is not None:
        return span.unsplit_tokens
    if span.input_tokens is None and span.output_tokens is None:
        return None
    return (span.input_tokens or 0) + (span.output_tokens or 0)


def _add_usage(trace: OpenTrace, run: OpenRun, span: Span) -> None:
    """Add a model call's tokens and cost to its run; mark the call when the store has no usage."""
    tokens = _tokens(span)
    if tokens is not None or span.cost is not None:
        trace.has_usage = True
    elif span.error:
        return  # it took nothing, as far as anyone knows
    if tokens is None and not span.error:
        span.without_usage = True
    run.has_usage = run.has_usage or tokens is not None
    run.tokens = None if run.tokens is None or tokens is None else run.tokens + tokens
    run.cost = None if run.cost is None or span.cost is None else run.cost + span.cost


def _fill_run(span: Span, run: OpenRun) -> None:
    """Put onto a run's span what the run took."""
    silent = span.streaming and not run.inference_calls and not run.has_usage
    span.without_usage = True if silent else None
    span.inference_calls = None if silent else run.inference_calls
    span.tool_calls = run.tool_calls
    span.total_tokens = None if silent else run.tokens
    span.cost = None if silent else run.cost
