"""Totals: spans into cells, one for each set of label values, within a budget of series."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import msgspec

from exporters.catalogue.model import Metric
from exporters.feed import PLANS
from exporters.labels import clean
from exporters.span import Span

SERIES_LIMIT = 10_000
VALUES_A_LABEL = 200
OTHER = "other"


class Counter(msgspec.Struct, array_like=True):
    """A running total. `born` is its place in the order of births, 0 when it needs no zero first."""

    value: float
    born: int
    created: float


class Histogram(msgspec.Struct, array_like=True):
    """Observations by bucket, not cumulated; the last count is of those above every bound."""

    counts: list[int]
    sum: float
    born: int
    created: float


Child = Counter | Histogram


# Kind, source and label values: what a cell is known by, also in the state.
Key = tuple[str, str, tuple[str, ...]]


class Cell:
    """The totals of one set of label values: for each metric of the kind its children, keyed by the
    value of the metric's own label (`""` when it has none, or when the value is absent)."""

    __slots__ = ("blob", "children", "exemplars", "key", "prefixes")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.children: list[dict[str, Child]] = [{} for _ in PLANS[key[0]].metrics]
        # As `children`, of the histograms with exemplars: the newest span of each bucket. Not kept
        # over a restart.
        self.exemplars: list[dict[str, list[Span | None]]] = [{} for _ in self.children]
        # What the page's writer keeps here of each child.
        self.prefixes: dict[tuple[int, str], Any] = {}
        # As last committed.
        self.blob: bytes | None = None


_PLACES = {metric.name: (kind, place) for kind, plan in PLANS.items() for place, metric in enumerate(plan.metrics)}


class Aggregate:
    """All totals of an exporter. `born` numbers the births of series, for the page's writer."""

    def __init__(
        self,
        now: Callable[[], float],
        *,
        series_limit: int = SERIES_LIMIT,
        values_a_label: int = VALUES_A_LABEL,
        label_limits: Mapping[str, int] | None = None,
    ) -> None:
        """`label_limits` are of single labels, such as `gen_ai_agent_name`, or of one in the metrics of
        one kind of spans, such as `tool.gen_ai_agent_name`."""
        self._now = now
        self.series_limit = series_limit
        limits = label_limits or {}
        self._most = {
            (kind, label): limits.get(f"{kind}.{label}", limits.get(label, values_a_label))
            for kind, plan in PLANS.items()
            for label in plan.labels
        }
        # Past so many series what is new goes to `other`.
        self.room = 0
        self.share(1)
        self.cells: dict[Key, Cell] = {}
        self.changed: set[Cell] = set()
        self.series = 0
        self.born = 0
        # Sources whose backlog has been read: their new series are births that a scraper must see.
        self.caught_up: set[str] = set()
        # Those of them that the last commit does not know of yet.
        self._catching_up: set[str] = set()
        # The cell of label values as the store writes them, before they are cleaned.
        self._found: dict[tuple[str, str], dict[tuple[str, ...], Cell]] = {}
        self._values: dict[tuple[str, str], set[str]] = {}

    def share(self, sources: int) -> None:
        """Keep room within the limit for what goes to `other` of so many sources.

        The limit is hard where it leaves at least as much again; a smaller one is exceeded by at most that.
        """
        kept = SERIES_A_SPAN + sources * SERIES_OF_OTHERS
        self.room = max(self.series_limit - kept, self.series_limit // 2)

    def add(self, source: str, spans: Collection[Span]) -> None:
        """Count spans of one source that have ended; calls by a managed prompt once more by that."""
        self._add(source, spans)
        prompted = [span for span in spans if span.prompt]
        if prompted:
            self._add(source, prompted, "prompt")

    def _add(self, source: str, spans: Iterable[Span], as_kind: str = "") -> None:
        # What went well is nearly all, and of few cells: each takes its spans in one go.
        well: dict[str, dict[tuple[str, ...], list[Span]]] = {kind: {} for kind in PLANS}
        kinds = {kind: (self._found.setdefault((source, kind), {}), PLANS[kind].key, well[kind]) for kind in PLANS}
        for span in spans:
            found, key, together = kinds[as_kind or span.kind]
            raw = key(span)
            if span.error or span.usage_only:
                self._add_one(source, as_kind or span.kind, span, raw)
            elif (many := together.get(raw)) is not None:
                many.append(span)
            elif raw in found:
                together[raw] = [span]
            else:
                self._add_one(source, as_kind or span.kind, span, raw)
        for kind, together in well.items():
            for raw, many in together.items():
                if self.series + SERIES_OF_OTHERS < self.room:
                    cell = self._found[source, kind][raw]
                    self.changed.add(cell)
                    PLANS[kind].feed_many(many, cell, self._bear)
                else:
                    for span in many:
                        self._add_one(source, kind, span, raw)

    def _add_one(self, source: str, kind: str, span: Span, raw: tuple[str, ...]) -> None:
        plan = PLANS[kind]
        cell = self._found.setdefault((source, kind), {}).get(raw) or self._cell(source, kind, raw)
        feed = plan.feed_usage if span.usage_only else plan.feed
        if self.series >= self.room and plan.grows(span, cell):
            # In an incident every cell sees new types of errors: without this the page would grow
            # to several times its limit, just then.
            cell = self._cell_of_others(source, kind, cell)
            feed = plan.feed_usage if span.usage_only else plan.feed_rest
        self.changed.add(cell)
        feed(span, cell, self._bear)

    def count(self, source: str, metric: str, own: str = "", by: int = 1) -> None:
        """Add to a counter about the reading of a store, such as `agentgauge_bad_records`."""
        kind, place = _PLACES[metric]
        cell = self.cells.get((kind, source, ())) or self._cell(source, kind, ())
        child = cell.children[place].get(own) or self._bear(cell, place, own)
        child.value += by  # type: ignore[union-attr] # of a counter
        self.changed.add(cell)

    def catch_up(self, source: str) -> None:
        """Show a source's series from now on, those there are at their value from the first scrape."""
        self.caught_up.add(source)
        self._catching_up.add(source)
        for cell in self.cells.values():
            if cell.key[1] == source:
                self.changed.add(cell)
                for children in cell.children:
                    for child in children.values():
                        child.born = 0

    def blobs(self) -> list[tuple[Key, bytes]]:
        """Return the changed cells as the state keeps them: by metric name, so that a metric can come or go."""
        changed = []
        for cell in self.changed:
            metrics = PLANS[cell.key[0]].metrics
            totals = {metrics[place].name: children for place, children in enumerate(cell.children) if children}
            changed.append((cell.key, _encode(totals)))
        return changed

    def committed(self, blobs: Iterable[tuple[Key, bytes]]) -> None:
        """Remember what is durable now."""
        for key, blob in blobs:
            self.cells[key].blob = blob
        self.changed.clear()
        self._catching_up.clear()

    def restore(self, blobs: Iterable[tuple[Key, bytes]] | None = None) -> None:
        """Go back to committed totals: those given, or the last that this aggregate knows of.

        Raises ValueError when one of them cannot be read, and then stays with those it knows of.
        """
        # Shown half-read, a backlog would seem a burst when the rest of it is counted.
        self.caught_up -= self._catching_up
        self._catching_up.clear()
        known = [(key, cell.blob) for key, cell in self.cells.items() if cell.blob is not None]
        try:
            self._restore(known if blobs is None else blobs)
        except (msgspec.MsgspecError, LookupError, TypeError, ValueError) as error:
            self._restore(known)
            raise ValueError(f"a total cannot be read: {error}") from None

    def _restore(self, blobs: Iterable[tuple[Key, bytes]]) -> None:
        self.cells, self.changed, self.series, self.born = {}, set(), 0, 0
        self._found, self._values = {}, {}
        for key, blob in blobs:
            cell = self.cells[key] = Cell(key)
            cell.blob = blob
            for label, value in zip(PLANS[key[0]].labels, key[2], strict=True):
                self._values.setdefault((key[0], label), set()).add(value)
            self._put_back(cell, _decode(blob))

    def _put_back(self, cell: Cell, totals: dict[str, dict[str, list[Any]]]) -> None:
        for name, children in totals.items():
            kind, place = _PLACES.get(name, ("", 0))
            if kind != cell.key[0]:
                continue  # a metric of another version
            metric = PLANS[kind].metrics[place]
            for own, fields in children.items():
                if metric.type == "counter":
                    child: Child = Counter(*fields)
                elif len(fields[0]) == len(metric.buckets) + 1:
                    child = Histogram(*fields)
                else:
                    continue  # other buckets than today's
                self._add_child(cell, place, own, child)

    def _cell(self, source: str, kind: str, raw: tuple[str, ...]) -> Cell:
        """Return the cell for label values as the store writes them; make it if the budget allows."""
        labels, spent = self._within_budget(source, kind, raw)
        key = (kind, source, labels)
        cell = self.cells.get(key) or self._made(key)
        found = self._found.setdefault((source, kind), {})
        # Values that are past the budget, or had to be cleaned, may be many or long: looked up each
        # time, never kept.
        if raw == labels:
            found[raw] = cell
        for label in spent:
            self.count(source, "agentgauge_label_overflow", label)
        return cell

    def _cell_of_others(self, source: str, kind: str, cell: Cell) -> Cell:
        """Return the cell for a span that would make its own cell grow, when the budget has no series for that."""
        others = (kind, source, (OTHER,) * len(cell.key[2]))
        if cell.key != others:
            self.count(source, "agentgauge_label_overflow", "series")
        return self.cells.get(others) or self._made(others)

    def _made(self, key: Key) -> Cell:
        cell = self.cells[key] = Cell(key)
        for place, metric in enumerate(PLANS[key[0]].metrics):
            for own in metric.values:
                self._bear(cell, place, own)
        return cell

    def _within_budget(self, source: str, kind: str, raw: tuple[str, ...]) -> tuple[tuple[str, ...], list[str]]:
        """Clean label values; replace by `other` what is past the budget, and name those labels."""
        names = PLANS[kind].labels
        labels = tuple(map(clean, raw))
        if (kind, source, labels) in self.cells:
            return labels, []
        spent = []
        for label, value in zip(names, labels, strict=True):
            values = self._values.setdefault((kind, label), set())
            if value and value not in values and len(values) >= self._most[kind, label]:
                spent.append(label)
        bounded = tuple(OTHER if label in spent else value for label, value in zip(names, labels, strict=True))
        if (kind, source, bounded) not in self.cells and labels and self.series >= self.room:
            spent, bounded = ["series"], (OTHER,) * len(labels)
        for label, value in zip(names, bounded, strict=True):
            self._values[kind, label].add(value)
        return bounded, spent

    def _bear(self, cell: Cell, place: int, own: str) -> Child:
        """Make a series. After its source was caught up, this is a birth that scrapers must see."""
        metric = PLANS[cell.key[0]].metrics[place]
        born = 0
        if cell.key[1] in self.caught_up:
            self.born += 1
            born = self.born
        child: Child
        if metric.type == "counter":
            child = Counter(0, born, self._now())
        else:
            child = Histogram([0] * (len(metric.buckets) + 1), 0.0, born, self._now())
        self._add_child(cell, place, own, child)
        return child

    def _add_child(self, cell: Cell, place: int, own: str, child: Child) -> None:
        metric = PLANS[cell.key[0]].metrics[place]
        cell.children[place][own] = child
        self.born = max(self.born, child.born)
        self.series += series_of(metric)
        if metric.exemplars:
            cell.exemplars[place][own] = [None] * (len(metric.buckets) + 1)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, dict[str, list[Any]]]).decode


def series_of(metric: Metric) -> int:
    """Return how many series a child of a metric makes."""
    return len(metric.buckets) + 3 if metric.buckets else 1


# How many values a metric's own label has in a cell of others.
_VALUES_OF_OTHERS = {"error_type": 2, "outcome": 2, "cost_source": 3, "reason": 16, "kind": 8, "label": 16}
# What one span may add at once, and what of a source there may be past the budget: facts about its reading,
# and one cell a kind of spans.
SERIES_A_SPAN = max(sum(series_of(metric) * max(1, len(metric.values)) for metric in p.metrics) for p in PLANS.values())
SERIES_OF_OTHERS = sum(
    series_of(metric) * _VALUES_OF_OTHERS.get(metric.by, 1) for plan in PLANS.values() for metric in plan.metrics
)
