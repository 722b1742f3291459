"""The ledger: what model calls took by calendar day, source, environment, agent and model.

It is fed by what the totals rose by, not by the spans, so that its days always add up to the counters,
its label values are bounded as theirs are, and a model call costs it no more than a look at its time.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

from exporters.aggregate import Cell, Key
from exporters.catalogue.model import LABELS
from exporters.days import day_of, month_before, month_of, start_of, zone_of
from exporters.feed import PLANS
from exporters.span import Span

UTC = "UTC"
# Rows of a period on the page; what the dearest leave is one row `other` a source.
PAGE_ROWS = 200
_MOST = 2**63

SCHEMA = """
-- A day is 2026-11-21, in the zone that `meta` names.
CREATE TABLE ledger (
  day TEXT, source TEXT, environment TEXT, agent TEXT, model TEXT,
  calls INTEGER, unanswered INTEGER, without_usage INTEGER, unpriced INTEGER,
  input_tokens INTEGER, output_tokens INTEGER, unsplit_tokens INTEGER,
  reported REAL, computed REAL, override REAL,
  PRIMARY KEY (day, source, environment, agent, model)) WITHOUT ROWID;
-- From when on the days of a source are whole; a source that was counted before there was a ledger begins now.
CREATE TABLE ledger_since (source TEXT PRIMARY KEY, since REAL) WITHOUT ROWID;
INSERT INTO ledger_since SELECT source, CAST(strftime('%s', 'now') AS REAL) FROM sources;
INSERT INTO meta VALUES ('zone', '');
"""


class Who(NamedTuple):
    """Whose row it is; what is unknown is empty."""

    source: str
    environment: str
    agent: str
    model: str


class Took(NamedTuple):
    """What calls took. `unanswered` are those that the store never ended, `reported`, `computed` and
    `override` the cost in USD by where the price came from."""

    calls: float = 0
    unanswered: float = 0
    without_usage: float = 0
    unpriced: float = 0
    input_tokens: float = 0
    output_tokens: float = 0
    unsplit_tokens: float = 0
    reported: float = 0.0
    computed: float = 0.0
    override: float = 0.0

    @property
    def tokens(self) -> float | None:
        """All tokens; None when there were calls, and none says what it took."""
        tokens = self.input_tokens + self.output_tokens + self.unsplit_tokens
        return None if not tokens and 0 < self.without_usage >= self.calls else tokens

    @property
    def cost(self) -> float | None:
        """The cost in USD; None when there were calls, and none has a price."""
        cost = self.reported + self.computed + self.override
        return None if not cost and 0 < self.unpriced >= self.calls else cost


NOTHING = Took()
Rows = dict[str, dict[Who, Took]]


def write(db: sqlite3.Connection, rows: Iterable[Sequence[str | float]]) -> None:
    """Add to the days of the table, as part of a transaction. Raises sqlite3.Error."""
    columns = ", ".join(f"{name} = {name} + excluded.{name}" for name in Took._fields)
    places = ", ".join("?" * (1 + len(Who._fields) + len(Took._fields)))
    db.executemany(
        f"INSERT INTO ledger VALUES ({places}) ON CONFLICT DO UPDATE SET {columns}",  # noqa: S608 -- names of ours
        rows,
    )


def read(db: sqlite3.Connection, since: str = "", until: str = "9999") -> Rows:
    """Return the days of the table from `since` up to, but not with, `until`, in order. Raises sqlite3.Error."""
    found: Rows = {}
    names = ", ".join(("day", *Who._fields, *Took._fields))
    for day, *row in db.execute(
        f"SELECT {names} FROM ledger WHERE day >= ? AND day < ? ORDER BY day",  # noqa: S608 -- names of ours
        (since, until),
    ):
        found.setdefault(day, {})[Who(*row[:4])] = Took(*row[4:])
    return found


def plus(one: Took, other: Took) -> Took:
    """Return the sum of two rows."""
    return Took(*(a + b for a, b in zip(one, other, strict=True)))


class Ledger:
    """The days that changed since the last commit, and those of this month and the last."""

    def __init__(self) -> None:
        self.zone = zone_of(UTC)
        self._start = self._end = 0.0
        self._day = ""
        # Each cell as the ledger last saw it.
        self._seen: dict[Key, Took] = {}
        self._pending: Rows = {}
        self._recent: Rows = {}
        self._since = ""
        # The recent days that changed since they were last asked for, and whether all of them did.
        self._changed: set[str] = set()
        self._anew = True
        # What the month of `_today` brought before it, once that was asked for, until one of its days changes.
        self._today = date.min
        self._before: dict[Who, Took] | None = None

    def restore(self, zone: str, recent: Rows, cells: Mapping[Key, Cell], since: str = "") -> None:
        """Go back to what is committed: its days from one on, which are all that are held. Raises ZoneError."""
        self.zone = zone_of(zone)
        self._start = self._end = 0.0
        self._recent, self._before, self._since = recent, None, since
        self._anew = True
        self.go_back(cells)

    def go_back(self, cells: Mapping[Key, Cell]) -> None:
        """Forget what was not committed; `cells` are the committed totals."""
        self._pending = {}
        self._seen = {key: _total(cell) for key, cell in cells.items() if key[0] == "inference"}

    def by_day(self, spans: Sequence[Span]) -> Iterable[tuple[str, Sequence[Span]]]:
        """Divide spans by the days of their times; nearly always they are all of one."""
        times = [span.time for span in spans if span.kind == "inference"]
        if not times:
            return [("", spans)]
        day = self._name(min(times))
        if self._start <= max(times) < self._end:
            return [(day, spans)]
        parts: dict[str, list[Span]] = {}
        for span in spans:
            parts.setdefault(self._name(span.time), []).append(span)
        return sorted(parts.items())

    def take(self, day: str, cells: Iterable[Cell]) -> None:
        """Write what cells rose by since they were last seen into a day."""
        for cell in cells:
            if cell.key[0] != "inference":
                continue
            before, now = self._seen.get(cell.key, NOTHING), _total(cell)
            if now != before:
                self._seen[cell.key] = now
                rose = Took(*(a - b for a, b in zip(now, before, strict=True)))
                _add(self._pending, day, _who(cell.key), rose)

    def changes(self) -> list[tuple[str | float, ...]]:
        """Return what the days rose by since the last commit, as rows of the table."""
        # SQLite's integers end where the sum of a few impossible calls does not.
        return [
            (day, *who, *(number if number < _MOST else float(number) for number in took))
            for day, rows in self._pending.items()
            for who, took in rows.items()
        ]

    def committed(self) -> None:
        """What changed is durable now."""
        for day, rows in self._pending.items():
            if day != self._today.isoformat():
                self._before = None
            # A store that is read from its beginning would bring years of them.
            for who, took in rows.items() if day >= self._since else ():
                _add(self._recent, day, who, took)
            if day >= self._since:
                self._changed.add(day)
        self._pending = {}

    def news(self, *, anew: bool = False) -> tuple[bool, Rows]:
        """Return the recent days that changed since this was last asked, and whether they are all that there are:
        what was told before is then to be forgotten. `anew` asks for all."""
        anew, self._anew = anew or self._anew, False
        days = self._recent.keys() if anew else self._changed & self._recent.keys()
        self._changed = set()
        return anew, {day: dict(self._recent[day]) for day in days}

    def spend(self, now: float, read: Mapping[str, float]) -> Iterator[tuple[str, Who, Took]]:
        """Yield what is committed of today and of this month, by the clock: ("today" | "month", who, took).

        Who spent something this month or the last, and nothing in a period, has spent nothing. But not a source
        that was last read (`read`, Unix seconds) before the period began: of that nothing is known.
        """
        today = day_of(now, self.zone)
        if today != self._today or self._before is None:
            self._today, self._before = today, self._until(today, month_before(now, self.zone))
        of_today = self._recent.get(today.isoformat(), {})
        for period, first in (("today", today), ("month", month_of(today))):
            begins = start_of(first, self.zone)
            before = self._before if period == "month" else {}
            rows = {
                who: plus(before.get(who, NOTHING), of_today.get(who, NOTHING))
                for who in self._before | of_today
                if read.get(who.source, 0.0) >= begins
            }
            for who, took in _dearest(rows):
                yield period, who, took

    def _until(self, today: date, since: str) -> dict[Who, Took]:
        """Return what this month has brought until yesterday; nothing of those who are only in the last month's days,
        which begin `since`. Older days go."""
        self._recent = {day: rows for day, rows in self._recent.items() if day >= since}
        found: dict[Who, Took] = {}
        for day, rows in self._recent.items():
            within = month_of(today).isoformat() <= day < today.isoformat()
            for who, took in rows.items():
                found[who] = plus(found.get(who, NOTHING), took if within else NOTHING)
        return found

    def _name(self, time: float) -> str:
        if not self._start <= time < self._end:
            day = day_of(time, self.zone)
            self._start, self._end = start_of(day, self.zone), start_of(day + timedelta(1), self.zone)
            self._day = day.isoformat()
        return self._day


def _add(rows: Rows, day: str, who: Who, took: Took) -> None:
    of_day = rows.setdefault(day, {})
    known = of_day.get(who)
    of_day[who] = took if known is None else plus(known, took)


def _dearest(rows: dict[Who, Took]) -> Iterable[tuple[Who, Took]]:
    if len(rows) <= PAGE_ROWS:
        return rows.items()
    ordered = sorted(rows.items(), key=lambda row: (row[1].cost or 0.0, row[1].tokens or 0), reverse=True)
    kept = dict(ordered[:PAGE_ROWS])
    for who, took in ordered[PAGE_ROWS:]:
        other = Who(who.source, "other", "other", "other")
        kept[other] = plus(kept.get(other, NOTHING), took)
    return kept.items()


_PLACES = {metric.name: place for place, metric in enumerate(PLANS["inference"].metrics)}
_NAMED = {LABELS[label]: place for place, label in enumerate(PLANS["inference"].labels)}


def _who(key: Key) -> Who:
    labels = key[2]
    return Who(key[1], labels[_NAMED["environment"]], labels[_NAMED["agent"]], labels[_NAMED["model"]])


_CALLS, _ERRORS, _USAGE, _UNPRICED, _INPUT, _OUTPUT, _UNSPLIT, _COST = (
    _PLACES[name]
    for name in (
        "agentgauge_inference_calls",
        "agentgauge_inference_errors",
        "agentgauge_inference_without_usage",
        "agentgauge_inference_unpriced",
        "gen_ai_client_inference_usage_input_tokens",
        "gen_ai_client_inference_usage_output_tokens",
        "agentgauge_inference_unsplit_tokens",
        "agentgauge_cost_usd",
    )
)


def _total(cell: Cell) -> Took:
    """What a cell has counted since the beginning."""
    children = cell.children
    errors, costs = children[_ERRORS], children[_COST]
    return Took(
        sum([_value(child) for child in children[_CALLS].values()]),
        (_value(errors.get("no_response")) + _value(errors.get("abandoned"))) if errors else 0,
        _value(children[_USAGE].get("")),
        sum([_value(child) for child in children[_UNPRICED].values()]),
        _value(children[_INPUT].get("")),
        _value(children[_OUTPUT].get("")),
        _value(children[_UNSPLIT].get("")),
        _value(costs.get("reported")),
        _value(costs.get("computed")),
        _value(costs.get("override")),
    )


def _value(counter: Any) -> float:
    return 0 if counter is None else counter.value
