"""Reconciliation: what the exporter counted of days that are over, held against what the store itself says of them."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from exporters.days import day_of, start_of, zone_of
from exporters.health import Health
from exporters.ledger import NOTHING, Rows, Took, plus
from exporters.sources import Source, SourceError, Sums
from exporters.state import Kept, read_only

# How long a day that is over is given for rows that come late.
SETTLED = 3600.0
EVERY = 3600.0
# In days.
PERIODS = {"day": 1, "week": 7}
# Past this share, calls, tokens or costs have been lost or counted twice.
TOLERANCE = 0.001

log = logging.getLogger("agentgauge")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Both sides of a source's days from `first` up to, but not with, `end`."""

    source: str
    period: str
    first: date
    end: date
    store: Sums
    metrics: Sums

    @property
    def tokens(self) -> tuple[int | None, int | None]:
        """Input and output tokens of the store and of the metrics, of each what both know; else None."""
        store, metrics = self.store, self.metrics
        pairs = ((store.input_tokens, metrics.input_tokens), (store.output_tokens, metrics.output_tokens))
        known = [(one, two) for one, two in pairs if one is not None and two is not None]
        return (sum(one for one, _ in known), sum(two for _, two in known)) if known else (None, None)

    @property
    def drift(self) -> float | None:
        """How far apart the sides are in what both know, as a share of the larger; None when they share nothing."""
        pairs = ((self.store.calls, self.metrics.calls), self.tokens, (self.store.cost, self.metrics.cost))
        shares = [_apart(one, two) for one, two in pairs if one is not None and two is not None]
        return max(shares, default=None)


def _apart(one: float, other: float) -> float:
    largest = max(abs(one), abs(other))
    return abs(one - other) / largest if largest else 0.0


class Reconciliation:
    """The last comparisons of an exporter's sources. The day before is compared each hour; the week before as
    one, which rows that come days late are missing from, once a day: some stores count what they are asked."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._tried: dict[str, float] = {}
        self._week: dict[str, date] = {}
        self.found: dict[tuple[str, str], Comparison] = {}
        # When each source was last compared.
        self.done: dict[str, float] = {}

    def due(self, source: Source, now: float) -> bool:
        """Return whether a source can be summed, and an hour has gone by since that was last tried."""
        return source.sums is not None and now >= self._tried.get(source.name, -EVERY) + EVERY

    def compare(self, source: Source, now: float) -> None:
        """Compare a source. Raises StateError, and what asking the store does."""
        name = source.name
        self._tried[name] = now
        today = datetime.fromtimestamp(now, UTC).date()
        for period in PERIODS if self._week.get(name) != today else ("day",):
            found = compare(source, period, self._directory, now)
            if found is not None and found.store == Sums():
                # It says nothing now, because it was asked too often, say: what it said last stands.
                last = self.found.get((name, period))
                found = last if last is not None and last.end == found.end else None
            elif period == "week":
                self._week[name] = today
            if found is None:
                self.found.pop((name, period), None)
                continue
            self.found[name, period] = found
            if (found.drift or 0.0) > TOLERANCE:
                log.warning("source=%s %s", name, spoken(found))
        self.done[name] = now

    def tell(self, health: Health) -> None:
        """Say on the page what was found."""
        page: dict[str, dict[tuple[str, ...], float | None]] = {name: {} for name in _GAUGES}
        for (source, period), comparison in list(self.found.items()):
            sides = zip(("store", "metrics"), (comparison.store, comparison.metrics), comparison.tokens, strict=True)
            for side, sums, tokens in sides:
                for name, value in zip(_GAUGES, (sums.calls, tokens, sums.cost), strict=False):
                    page[name][source, period, side] = value
            page[_DRIFT][source, period] = comparison.drift
        for name, values in page.items():
            health.replace(name, values)
        for source, at in list(self.done.items()):
            health.set("agentgauge_reconcile_last_success_timestamp_seconds", at, source)


_DRIFT = "agentgauge_reconcile_drift_ratio"
_GAUGES = ("agentgauge_reconcile_calls", "agentgauge_reconcile_tokens", "agentgauge_reconcile_cost_usd", _DRIFT)


def compare(source: Source, period: str, directory: Path, now: float) -> Comparison | None:
    """Compare the day or the week before now, as far as the ledger has its days whole; None when it has none.

    The state may be in use. Raises StateError, and what asking the store does.
    """
    with read_only(directory) as kept:
        zone = zone_of(kept.zone)
        span = _span(source.name, period, now, kept)
    if span is None or source.sums is None:
        return None
    first, end = span
    # The ledger second: what the store shows between the two is late, and not lost.
    store = source.sums(start_of(first, zone), start_of(end, zone))
    with read_only(directory) as kept:
        metrics = counted_in(kept.days(first.isoformat(), end.isoformat()), source.name)
    return Comparison(source=source.name, period=period, first=first, end=end, store=store, metrics=metrics)


def report(sources: Sequence[Source], directory: Path, now: float) -> Iterator[tuple[str, bool]]:
    """Yield a line for each comparison, and whether its sides agree. Raises as `compare` does, and SourceError
    when the state knows no source of that name."""
    for source in sources:
        with read_only(directory) as kept:
            if kept.since(source.name) is None:
                raise SourceError(
                    f"{directory}: knows no source '{source.name}'; give it the name that it is served under, "
                    "as in ?name=prod"
                )
        if source.sums is None:
            yield f"{source.name}: this kind of store cannot be summed", True
            continue
        for period in PERIODS:
            found = compare(source, period, directory, now)
            if found is None:
                yield f"{source.name} {period}: no day of it is over and whole in the ledger", True
            else:
                yield f"{source.name} {period} {spoken(found)}", (found.drift or 0.0) <= TOLERANCE


def spoken(comparison: Comparison) -> str:
    """Return one line that says both sides."""
    store, metrics = comparison.store, comparison.metrics
    last = comparison.end - timedelta(1)
    when = f"{comparison.first}" if last == comparison.first else f"{comparison.first} to {last}"
    pairs = (
        ("calls", store.calls, metrics.calls),
        ("tokens", *comparison.tokens),
        ("USD", store.cost, metrics.cost),
    )
    said = "; ".join(
        f"{name} {_number(one)} in the store, {_number(other)} in the metrics" for name, one, other in pairs
    )
    drift = comparison.drift
    return f"{when}: {said}; drift {'unknown' if drift is None else f'{drift:.4%}'}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:,.4f}"


def _span(name: str, period: str, now: float, kept: Kept) -> tuple[date, date] | None:
    """Return the days of a period that is over: [first, end)."""
    zone = zone_of(kept.zone)
    end = day_of(now - SETTLED, zone)
    first = end - timedelta(PERIODS[period])
    since, begun = kept.since(name), kept.first_day(name)
    if since is None or begun is None:
        return None
    while first < end and start_of(first, zone) < since:
        first += timedelta(1)
    # A store that is younger than the period is asked for what there is of it.
    first = max(first, date.fromisoformat(begun))
    return (first, end) if first < end else None


def counted_in(days: Rows, source: str) -> Sums:
    """Return what the ledger has of a source, as a store would say it.

    A store has no calls that it never ended, and no costs but those that it reports: where a negotiated price
    stands in their place, they cannot be compared.
    """
    took: Took = NOTHING
    for rows in days.values():
        for who, of_day in rows.items():
            if who.source == source:
                took = plus(took, of_day)
    known = took.tokens is not None
    return Sums(
        calls=int(took.calls - took.unanswered),
        input_tokens=int(took.input_tokens) if known else None,
        output_tokens=int(took.output_tokens) if known else None,
        cost=None if took.override else took.reported,
    )
