"""Open runs: pairs starts with ends, counts each span once, closes a run that ended or was abandoned."""

from collections.abc import Callable, Iterable, Sequence

from exporters.groups import count_settled
from exporters.open_traces import SPANS_A_TRACE, OpenTraces
from exporters.span import Span
from exporters.trace import (
    OpenRun,
    OpenTrace,
    Outcome,
    add_usage,
    begun,
    count_usage_of_run,
    fill_run,
    give_up,
    join,
    run_of,
)
from exporters.tree import Group

# A run without a new record for this long has been abandoned: by the clock where records are read as they are
# written, by the records' own times where they are read from a backlog.
IDLE_SECONDS = 3600.0
# How long an end that may be said again with more is waited for.
HELD_SECONDS = 10.0


class Runs:
    """The runs of one source: which of their spans are counted, once each.

    `price` sets a span's cost; `recall` is told in OpenTraces.
    """

    def __init__(
        self,
        price: Callable[[Span], None],
        recall: Callable[[str], Iterable[str] | None],
        *,
        idle: float = IDLE_SECONDS,
    ) -> None:
        self._price = price
        self._idle = idle
        self.traces = OpenTraces(recall)
        # When a backlog was last swept, by its own clock.
        self._swept = 0.0

    def add(self, spans: list[Span], now: float, *, live: bool = False) -> Outcome:  # noqa: PLR0912 -- a call more for each span takes its time
        """Take the spans of a batch, in the store's order; return those now complete.

        `now` is Unix seconds; a record's time counts as at most that, so that a clock that runs
        ahead keeps nothing open for ever. What is read `live`, and not from a backlog, was written
        just now: whatever its time says, its trace is not idle, unless it only says again what is known.
        """
        outcome = Outcome()
        known = self.traces
        heard_of = known.news(spans) if live else set()
        traces, changed, before, newest = known.open, known.changed, known.newest, known.newest
        reopened = []
        # The trace of the span before, and whether more than one run of it is open.
        last, trace, several = None, OpenTrace(), False
        for span in spans:
            trace_id, span_id, time = span.trace_id, span.span_id, span.time
            # It nearly always is the same.
            if trace_id != last:
                found = traces.get(trace_id)
                if found is None:
                    begins = span.kind == "run" and not span.ended and time > before
                    found = traces[trace_id] = known.opened(trace_id, time if begins else 0.0)
                    if found.counted:
                        reopened.append(trace_id)
                last, trace, several = trace_id, found, len(found.runs) > 1
                changed.add(trace_id)
            if time < trace.unasked:
                known.remember(trace_id, trace)
            if time > newest:  # noqa: PLR1730 -- max() takes three times as long, for each span
                newest = time
            if time > trace.touched:
                trace.touched = time if time < now else now
            if span_id in trace.counted:
                outcome.repeated += span.ended
            elif span.ended:
                if span.kind == "run":
                    self._end_run(trace_id, trace, span, outcome)
                    # It may have been closed.
                    last, several = None, len(trace.runs) > 1
                else:
                    self._end_call(trace, span, outcome)
            elif span.kind != "run":
                trace.starts.setdefault(span_id, span)
            else:
                trace.runs.setdefault(span_id, begun(trace, span))
                several = len(trace.runs) > 1
            if several and span.parent_id:
                trace.parents[span_id] = span.parent_id
        known.newest = newest
        for trace_id in heard_of & traces.keys():
            traces[trace_id].touched = now
        for trace_id in reopened:
            known.let_go(trace_id)
        self._bound(outcome)
        return outcome

    def settle(self, groups: Iterable[Group], now: float) -> Outcome:
        """Count spans of a tree-shaped store, whose traces were waited for."""
        outcome = count_settled(groups, self.traces, self._price, now)
        self._bound(outcome)
        return outcome

    def _bound(self, outcome: Outcome) -> None:
        """Close the traces that were opened first while there are too many, or hold too much."""
        for trace_id in self.traces.past_bounds():
            self._abandon(trace_id, self.traces.open[trace_id], outcome)

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
        for trace_id, trace in list(self.traces.open.items()):
            held = trace.held
            if trace.touched + self._idle < now:
                self._abandon(trace_id, trace, outcome)
            elif held is not None and (trace.touched + HELD_SECONDS < now):
                self.traces.changed.add(trace_id)
                self._end_run(trace_id, trace, held, outcome)
        return outcome

    def _end_call(self, trace: OpenTrace, span: Span, outcome: Outcome) -> None:
        """Count a model or tool call that ended, and add it to its run."""
        start = trace.starts.pop(span.span_id, None) if trace.starts else None
        counted = trace.counted
        counted[span.span_id] = None
        if len(counted) > SPANS_A_TRACE:
            self.traces.shorten(span.trace_id, trace)
        run = trace.runs.get(span.parent_id) or run_of(trace, span)
        if span.kind == "inference":
            if start is not None and not (span.model and span.agent and span.provider):
                join(span, start)
            # Before it is priced: a price may have been agreed for one agent.
            if not span.agent:
                span.agent = run.span.agent
            self._price(span)
            add_usage(trace, run, span)
            run.inference_calls += 1
        elif span.kind == "tool":
            if start is not None and not span.agent:
                join(span, start)
            run.tool_calls += 1
        if span.time >= run.last:
            run.last = span.time
            if run.error != span.error:
                run.error = span.error
        if not span.agent:
            span.agent = run.span.agent
        if span.kind != "part":
            outcome.ended.append(span)

    def _end_run(self, trace_id: str, trace: OpenTrace, span: Span, outcome: Outcome) -> None:
        """Count a run that ended, and what it had begun and will never end."""
        if span.provisional and trace.held is None:
            trace.held = span
            return
        if trace.held is not None and trace.held.span_id == span.span_id:
            trace.held = None
            outcome.repeated += not span.provisional
        run = trace.runs.pop(span.span_id, None) or begun(trace, span)
        join(span, run.span)
        if not trace.runs:
            give_up(trace, run, outcome, span.time)
        trace.counted[span.span_id] = None
        if not trace.has_usage:
            count_usage_of_run(self._price, run, span, outcome)
        fill_run(span, run)
        outcome.ended.append(span)
        if not trace.runs:
            self.traces.close(trace_id, trace)

    def _abandon(self, trace_id: str, trace: OpenTrace, outcome: Outcome) -> None:
        """Close a trace that nothing comes of any more."""
        if trace.held is not None:
            self._end_run(trace_id, trace, trace.held, outcome)
        if trace.starts:
            error = "abandoned" if trace.runs else "no_response"
            first = next(iter(trace.runs.values()), OpenRun(Span("run", False, trace_id, "")))
            give_up(trace, first, outcome, trace.touched, error)
        for run in trace.runs.values():
            span = run.span
            if span.ends_when_idle:
                # With its last call, as far as anyone knows. To whole microseconds: round() takes three times as long.
                span.error = run.error
                if run.last >= span.time:
                    span.duration, span.time = int((run.last - span.time) * 1e6 + 0.5) / 1e6, run.last
                else:
                    span.duration = None
            else:
                span.error, span.time = "abandoned", trace.touched
            span.ended = True
            trace.counted[span.span_id] = None
            fill_run(span, run)
            outcome.ended.append(span)
        self.traces.close(trace_id, trace)
