"""Counting what the sources bring: batches into runs, totals and the ledger, and what a commit keeps of it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from exporters.aggregate import Aggregate, Key
from exporters.ledger import Ledger
from exporters.pricing import Prices
from exporters.runs import Runs
from exporters.settling import Settling
from exporters.sources import Batch, Source, Translated
from exporters.span import Span
from exporters.state import Change, SourceState
from exporters.trace import Outcome


class Counting:
    """What is counted of each source, in memory."""

    def __init__(
        self,
        sources: Sequence[Source],
        aggregate: Aggregate,
        ledger: Ledger,
        recall: Callable[[str], Callable[[str], Iterable[str] | None]],
        *,
        idle: float,
        counted: Callable[[str, Sequence[Span]], None] | None,
    ) -> None:
        """Begin with nothing; `recall` is asked for what is told to the Runs of a source, `counted` is told
        the spans that are being counted."""
        self._aggregate = aggregate
        self._ledger = ledger
        self._counted = counted
        self.runs = {
            source.name: Runs(source.price or Prices(source.name), recall(source.name), idle=idle) for source in sources
        }
        self.settling = {
            source.name: Settling(source.settles, self.runs[source.name].traces.awaited)
            for source in sources
            if source.settles is not None
        }
        # The sources that were read to their end since the state was opened.
        self._live: set[str] = set()

    def restore(self, found: Mapping[str, SourceState]) -> None:
        """Go back to what is committed of the sources; totals and ledger are restored by themselves."""
        self._live = set()
        for name, committed in found.items():
            self.runs[name].traces.restore(committed.open, committed.newest)
            if name in self.settling:
                self.settling[name].restore(committed.waiting, committed.settled)

    def take(self, source: Source, batch: Batch, found: Translated, now: float, *, last: bool) -> bool:
        """Count a batch; return whether there is anything to commit. `last` says that no other will come."""
        name, traces, totals = source.name, self.runs[source.name].traces, self._aggregate
        settling = self.settling.get(name)
        self._pair(name, batch, found.spans, now, last=last)
        if found.records:
            totals.count(name, "agentgauge_records", by=found.records)
        if batch.late:
            totals.count(name, "agentgauge_late_updates", by=batch.late)
        for reasons in (batch.bad, found.bad):
            for reason, count in reasons.items():
                totals.count(name, "agentgauge_bad_records", reason, count)
        # What waits of the backlog is a part of it: counted after the source was caught up, it were a burst.
        catches_up = name not in totals.caught_up and not (batch.more or (settling is not None and settling.behind))
        if catches_up:
            totals.catch_up(name)
        waits = settling is not None and settling.changed
        return bool(batch.cursor or traces.changed or totals.changed or catches_up or waits)

    def changes(
        self, source: Source, batch: Batch, now: float, *, lasting: bool
    ) -> tuple[Change, Iterable[tuple[Key, bytes]]]:
        """Return what a commit of the batch that was taken has to keep, and the totals that changed; what does
        not outlive the process is not even written out."""
        traces, settling = self.runs[source.name].traces, self.settling.get(source.name)
        blobs = self._aggregate.blobs() if lasting else []
        change = Change(
            source=source.name,
            cursor=batch.cursor,
            open=traces.changes() if lasting else {},
            closed=traces.closed,
            caught_up=source.name in self._aggregate.caught_up,
            newest=traces.newest,
            ledger=self._ledger.changes() if lasting else (),
            since=now - source.since if source.since else 0.0,
            waiting=settling.changes() if settling is not None else None,
        )
        return change, blobs

    def committed(self, name: str, blobs: Iterable[tuple[Key, bytes]]) -> None:
        """Forget what changed: it is durable now."""
        self._aggregate.committed(blobs)
        self._ledger.committed()
        self.runs[name].traces.committed()

    def _pair(self, name: str, batch: Batch, spans: list[Span], now: float, *, last: bool) -> None:
        """Count the spans that are complete now."""
        runs, settling, live = self.runs[name], self.settling.get(name), name in self._live
        if not batch.more:
            self._live.add(name)
        if settling is None:
            self._count(name, runs.add(spans, now, live=live))
        else:
            groups = settling.add(spans, now, live=name in self._live)
            self._count(name, runs.settle(groups + settling.settle_all() if last else groups, now))
        self._count(name, runs.sweep_behind(spans) if batch.more else runs.sweep(now))

    def _count(self, name: str, outcome: Outcome) -> None:
        if self._counted is not None:
            self._counted(name, outcome.ended)
        for day, spans in self._ledger.by_day(outcome.ended):
            self._aggregate.add(name, spans)
            if day:
                self._ledger.take(day, self._aggregate.changed)
        kinds = Counter([span.kind for span in outcome.ended if not span.usage_only])
        for kind, count in kinds.items():
            self._aggregate.count(name, "agentgauge_spans", kind, count)
        for metric, count in (
            ("agentgauge_repeated_spans", outcome.repeated),
            ("agentgauge_wrapper_spans", outcome.wrappers),
            ("agentgauge_spans_without_ancestor", outcome.adrift),
        ):
            if count:
                self._aggregate.count(name, metric, by=count)
