"""Scope: what a page is about, which is a time range, the picked label values and the look."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from exporters.catalogue.metrics import labels_by_series
from exporters.catalogue.model import Signal, fill, spoken

LABELS = labels_by_series()
# The pickers, in the order of the dashboards' variables: name in the URL -> label.
PICKERS = {"source": "source", "agent": "gen_ai_agent_name", "model": "gen_ai_request_model"}
_SELECTED = re.compile(r"([a-zA-Z_:][\w:]*)\{[^{}]*?\$where\}")


@dataclass(frozen=True, kw_only=True)
class Range:
    """A time range that ends now, in seconds: `step` is a chart's, `coarse` a sparkline's."""

    name: str
    words: str
    seconds: int
    step: int
    coarse: int


# A step is at least a minute, four scrapes of 15 s: a rate over less may be empty.
RANGES = {
    span.name: span
    for span in (
        Range(name="1h", words="hour", seconds=3_600, step=60, coarse=120),
        Range(name="6h", words="6 hours", seconds=21_600, step=300, coarse=900),
        Range(name="24h", words="24 hours", seconds=86_400, step=900, coarse=3_600),
        Range(name="7d", words="7 days", seconds=604_800, step=3_600, coarse=21_600),
        Range(name="30d", words="30 days", seconds=2_592_000, step=21_600, coarse=86_400),
    )
}
DEFAULT_RANGE = "24h"
_DAY = 86_400


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What the filter bar and the browser say. `picked` maps a picker's name to a label value."""

    span: Range
    picked: tuple[tuple[str, str], ...] = ()
    live: bool = True
    dark: bool = False
    phone: bool = False
    zone: str = "UTC"

    @property
    def where(self) -> Mapping[str, str]:
        """Label -> matcher, as `fill` takes it."""
        return {PICKERS[name]: f"={quoted(value)}" for name, value in self.picked}

    def expression(self, signal: Signal, window: int) -> str:
        """Return the signal's PromQL for a window in seconds."""
        return fill(signal.expr, self.where, f"{window}s", LABELS)

    def awaited(self, signal: Signal) -> str:
        """Return the PromQL that says whether the signal's answer is still to come, whatever is picked."""
        return fill(signal.awaits, {}, "", LABELS)

    def ignored(self, signal: Signal) -> list[str]:
        """Return the pickers that are set but that no family of the signal has a label for, as words."""
        known = {label for series in _SELECTED.findall(signal.expr) for label in LABELS[series]}
        return [spoken(PICKERS[name]) for name, _ in self.picked if PICKERS[name] not in known]


def moment_before(signal: Signal, now: float, span: Range) -> float:
    """Return the moment whose value a card's is compared with, in Unix seconds: that of the range before.

    What begins anew each day or month is compared with the same time of the last one, or with the last
    month's end where that had no such day.
    """
    if signal.begins == "day":
        return now - _DAY
    if signal.begins == "month":
        first = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        days = (first - timedelta(days=1)).day
        return min(now - days * _DAY, first.timestamp() - 60)
    return now - span.seconds


def quoted(value: str) -> str:
    """Return `value` as a PromQL string, which is Go's.

    The dollar is written as its number, because a signal's own blanks begin with one and are
    filled after the matchers.
    """
    escaped = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n").replace("$", r"\x24")
    return f'"{escaped}"'
