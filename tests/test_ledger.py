"""The ledger: calls land on the calendar day of their own time, once, and today's spend falls at midnight."""

import csv
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from crash_recount import samples
from createagents_lines import START, line

from exporters import ledger
from exporters.aggregate import Aggregate, Cell
from exporters.days import ZoneError, day_of, month_before, start_of, zone_of
from exporters.ledger import Ledger, Took, Who
from exporters.lock import StateError
from exporters.runner import Runner
from exporters.sources import open_source
from exporters.span import Span
from exporters.state import State, ZoneChangedError, read_only

# 2025-12-06T14:00:00Z, a Saturday.
HOUR, DAY = 3600.0, 86400.0


def unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


# Days.


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("UTC", "2025-03-30", 24),
        ("Europe/Berlin", "2025-03-30", 23),
        ("Europe/Berlin", "2025-10-26", 25),
        ("America/New_York", "2025-03-09", 23),
        ("Australia/Lord_Howe", "2025-04-06", 24.5),
        # The clock goes from 23:59:59 to 01:00:00: the day begins at one.
        ("America/Sao_Paulo", "2018-11-04", 23),
        # And from 23:59:59 back to 23:00:00: the day before has 25 hours.
        ("America/Sao_Paulo", "2018-02-17", 25),
        # From 00:59:59 back to 00:00:00: midnight comes twice, and the day begins at the first.
        ("America/Havana", "2025-11-02", 25),
        ("Asia/Kathmandu", "2024-02-29", 24),
    ],
)
def test_a_day_is_as_long_as_its_zone_makes_it(zone: str, day: str, hours: float) -> None:
    of = zone_of(zone)
    begins = start_of(date.fromisoformat(day), of)
    ends = begins + hours * HOUR
    assert [day_of(at, of).isoformat() for at in (begins, ends - 0.001)] == [day, day]
    assert day_of(begins - 0.001, of).isoformat() < day < day_of(ends, of).isoformat()


def test_days_begin_at_the_midnight_of_the_zone() -> None:
    # By hand: Berlin is an hour ahead of UTC in winter, two in summer; New York five behind in winter.
    assert start_of(date(2025, 12, 6), zone_of("Europe/Berlin")) == unix("2025-12-05T23:00:00Z")
    assert start_of(date(2025, 7, 1), zone_of("Europe/Berlin")) == unix("2025-06-30T22:00:00Z")
    assert start_of(date(2025, 12, 6), zone_of("America/New_York")) == unix("2025-12-06T05:00:00Z")
    assert start_of(date(2018, 11, 4), zone_of("America/Sao_Paulo")) == unix("2018-11-04T03:00:00Z")


def test_days_do_not_interleave_where_a_clock_goes_back_over_midnight() -> None:
    # St. John's went from 00:00:59 back to 23:01:00 in those years.
    zone = zone_of("America/St_Johns")
    midnight = start_of(date(2009, 11, 1), zone)
    days = [day_of(midnight + minutes * 60, zone).isoformat() for minutes in range(-90, 200, 10)]
    assert days == sorted(days)


@pytest.mark.parametrize("time", [-1.0, float("nan"), float("inf"), 1e300])
def test_a_time_that_no_calendar_has_is_of_the_first_day_and_raises_nothing(time: float) -> None:
    assert day_of(time, zone_of("UTC")) == date(1970, 1, 1)


@pytest.mark.parametrize("name", ["Europe/Nowhere", "../etc/passwd", "/etc/passwd", "", "a\0b"])
def test_a_zone_that_does_not_exist_is_told_in_one_line(name: str) -> None:
    with pytest.raises(ZoneError, match=r"there is no time zone '.*'; write it as in Europe/Berlin, or UTC"):
        zone_of(name)


def test_the_month_before_is_of_the_zones_calendar() -> None:
    new_year = unix("2025-12-31T23:30:00Z")
    assert month_before(new_year, zone_of("UTC")) == "2025-11-01"
    assert month_before(new_year, zone_of("Europe/Berlin")) == "2025-12-01"


# Feeding.


def call(at: str, tokens: int | None = 100, cost: float | None = None, **fields: object) -> Span:
    span = Span("inference", True, "trace", at, time=unix(at), agent="Scout", model="gpt-4o-mini")
    span.input_tokens, span.cost, span.cost_source = tokens, cost, "reported" if cost is not None else ""
    for name, value in fields.items():
        setattr(span, name, value)
    return span


class Book:
    """A ledger and the totals it is fed by, without a state."""

    def __init__(self, zone: str = "UTC") -> None:
        self.aggregate = Aggregate(lambda: 0.0)
        self.ledger = Ledger()
        self.ledger.restore(zone, {}, {})

    def add(self, *spans: Span, source: str = "s") -> None:
        for day, part in self.ledger.by_day(spans):
            self.aggregate.add(source, part)
            if day:
                self.ledger.take(day, self.aggregate.changed)

    def rows(self) -> dict[str, dict[tuple[str, ...], Took]]:
        found: dict[str, dict[tuple[str, ...], Took]] = {}
        for row in self.ledger.changes():
            found.setdefault(str(row[0]), {})[tuple(map(str, row[1:5]))] = Took(*map(float, row[5:]))
        return found


SCOUT = ("s", "", "Scout", "gpt-4o-mini")


def test_a_batch_over_midnight_is_divided_by_the_calls_own_times() -> None:
    book = Book()
    book.add(
        call("2025-12-06T23:59:59.999Z", 100, 0.5),
        call("2025-12-07T00:00:00Z", 20, 0.25),
        call("2025-12-06T01:00:00Z", 3, 0.125),
    )
    assert book.rows() == {
        "2025-12-06": {SCOUT: Took(calls=2, input_tokens=103, reported=0.625)},
        "2025-12-07": {SCOUT: Took(calls=1, input_tokens=20, reported=0.25)},
    }


def test_the_same_times_are_of_other_days_in_another_zone() -> None:
    book = Book("Europe/Berlin")
    book.add(call("2025-12-06T22:59:59Z", 1), call("2025-12-06T23:00:00Z", 20), call("2025-12-07T22:30:00Z", 300))
    days = {day: rows[SCOUT].input_tokens for day, rows in book.rows().items()}
    assert days == {"2025-12-06": 1, "2025-12-07": 320}


def test_what_is_unknown_is_told_apart_from_nothing() -> None:
    book = Book()
    book.add(
        call("2025-12-06T10:00:00Z", None, model="a", without_usage=True, unpriced="no_usage"),
        call("2025-12-06T10:00:00Z", 0, 0.0, model="b"),
        call("2025-12-06T10:00:00Z", None, model="c", error="no_response"),
        call("2025-12-06T10:00:00Z", None, model="d", unsplit_tokens=50, unpriced="no_split"),
        call("2025-12-06T10:00:00Z", 5, 0.5, model="e", usage_only=True),
    )
    rows = {who[3]: took for who, took in book.rows()["2025-12-06"].items()}
    assert rows == {
        "a": Took(calls=1, without_usage=1, unpriced=1),
        "b": Took(calls=1),
        "c": Took(calls=1, unanswered=1),
        "d": Took(calls=1, unpriced=1, unsplit_tokens=50),
        "e": Took(input_tokens=5, reported=0.5),
    }
    assert {model: (took.tokens, took.cost) for model, took in rows.items()} == {
        "a": (None, None),
        "b": (0, 0.0),
        "c": (0, 0.0),
        "d": (50, None),
        "e": (5, 0.5),
    }


def test_where_a_price_came_from_is_kept_apart() -> None:
    book = Book()
    at = "2025-12-06T10:00:00Z"
    book.add(*(call(at, 1, cost, cost_source=source) for source, cost in (("reported", 1.0), ("computed", 2.0))))
    book.add(call(at, 1, 4.0, cost_source="override"))
    assert book.rows()["2025-12-06"][SCOUT] == Took(3, input_tokens=3, reported=1.0, computed=2.0, override=4.0)


def test_a_million_agent_names_are_as_many_rows_a_day_as_the_budget_of_labels_allows() -> None:
    book = Book()
    for hour in range(20):
        book.add(*(call(f"2025-12-06T{hour:02}:00:00Z", agent=f"agent {hour} {number}") for number in range(500)))
    rows = book.rows()["2025-12-06"]
    assert len(rows) <= 201
    assert sum(took.calls for took in rows.values()) == 10_000
    assert rows["s", "", "other", "gpt-4o-mini"].calls + sum(agent[2] != "other" for agent in rows) == 10_000


def test_a_ledger_goes_back_with_the_totals() -> None:
    book = Book()
    book.add(call("2025-12-06T10:00:00Z", 1))
    blobs = book.aggregate.blobs()
    book.aggregate.committed(blobs)
    book.ledger.committed()
    book.add(call("2025-12-06T11:00:00Z", 20))
    book.aggregate.restore()
    book.ledger.go_back(book.aggregate.cells)
    assert book.rows() == {}
    book.add(call("2025-12-06T11:00:00Z", 300))
    assert book.rows()["2025-12-06"][SCOUT].input_tokens == 300


# What today and this month have cost, by the clock.


def spend(book: Book, now: str, read: str = "") -> dict[str, float | None]:
    return {period: took.cost for period, _, took in book.ledger.spend(unix(now), {"s": unix(read or now)})}


def test_todays_spend_falls_at_midnight_and_the_months_at_its_end_without_a_new_call() -> None:
    book = Book()
    book.add(call("2024-02-28T10:00:00Z", 1, 1.0), call("2024-02-29T10:00:00Z", 1, 2.0))
    book.ledger.committed()
    assert spend(book, "2024-02-29T23:59:59Z") == {"today": 2.0, "month": 3.0}
    assert spend(book, "2024-03-01T00:00:00Z") == {"today": 0.0, "month": 0.0}
    # Nobody spent anything last month either: nothing is said.
    assert spend(book, "2024-04-01T00:00:00Z") == {}


def test_midnight_is_the_zones() -> None:
    book = Book("America/New_York")
    book.add(call("2025-11-30T12:00:00Z", 1, 4.0))
    book.ledger.committed()
    assert spend(book, "2025-12-01T04:59:59Z") == {"today": 4.0, "month": 4.0}
    assert spend(book, "2025-12-01T05:00:00Z") == {"today": 0.0, "month": 0.0}


def test_what_is_not_committed_is_not_shown_and_a_late_call_is_of_its_own_day() -> None:
    book = Book()
    book.add(call("2025-12-06T10:00:00Z", 1, 1.0))
    assert spend(book, "2025-12-06T12:00:00Z") == {}
    book.ledger.committed()
    book.add(call("2025-12-05T10:00:00Z", 1, 0.5))
    book.ledger.committed()
    assert spend(book, "2025-12-06T12:00:00Z") == {"today": 1.0, "month": 1.5}


def test_many_rows_of_a_month_cost_a_scrape_little() -> None:
    who = [Who("s", "", f"agent {number}", "m") for number in range(200)]
    recent: ledger.Rows = {f"2025-12-{day:02}": dict.fromkeys(who, Took(calls=1, reported=0.5)) for day in range(1, 32)}
    book = Book()
    book.ledger.restore("UTC", recent, {})
    at = unix("2025-12-31T12:00:00Z")

    def costs() -> dict[str, set[float | None]]:
        found: dict[str, set[float | None]] = {}
        for period, _, took in book.ledger.spend(at, {"s": at}):
            found.setdefault(period, set()).add(took.cost)
        return found

    assert costs() == {"today": {0.5}, "month": {15.5}}
    asked = 0

    def counting(one: Took, other: Took) -> Took:
        nonlocal asked
        asked += 1
        return Took(*map(sum, zip(one, other, strict=True)))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ledger, "plus", counting)
        assert costs() == {"today": {0.5}, "month": {15.5}}
    # Two a row, and not one more for each day of the month.
    assert asked == 400


def test_nothing_is_said_of_a_period_since_whose_beginning_the_source_was_not_read() -> None:
    book = Book()
    book.add(call("2025-12-06T10:00:00Z", 1, 1.0))
    book.ledger.committed()
    assert spend(book, "2025-12-07T09:00:00Z", read="2025-12-06T23:00:00Z") == {"month": 1.0}
    assert spend(book, "2026-01-01T09:00:00Z", read="2025-12-31T23:00:00Z") == {}


def test_days_that_no_page_shows_are_not_held() -> None:
    book = Book()
    book.ledger.restore("UTC", {}, {}, "2025-11-01")
    book.add(call("2025-10-31T10:00:00Z", 1, 1.0), call("2025-11-01T10:00:00Z", 1, 2.0))
    assert [row[0] for row in book.ledger.changes()] == ["2025-10-31", "2025-11-01"]
    book.ledger.committed()
    assert list(book.ledger._recent) == ["2025-11-01"]


def test_unpriced_is_unknown_and_not_free() -> None:
    book = Book()
    book.add(call("2025-12-06T10:00:00Z", 7, unpriced="unknown_model"))
    book.ledger.committed()
    assert spend(book, "2025-12-06T12:00:00Z") == {"today": None, "month": None}


def test_past_two_hundred_rows_of_a_period_the_cheapest_are_one() -> None:
    book = Book()
    recent: ledger.Rows = {"2025-12-06": {}}
    for number in range(1, 301):
        recent["2025-12-06"][Who("s", "", f"agent {number}", "m")] = Took(calls=1, reported=float(number))
    book.ledger.restore("UTC", recent, {})
    at = unix("2025-12-06T12:00:00Z")
    rows = {who: took.cost for period, who, took in book.ledger.spend(at, {"s": at}) if period == "today"}
    assert len(rows) == 201
    # 1 + 2 + ... + 100.
    assert rows[Who("s", "other", "other", "other")] == 5050.0
    assert sum(cost or 0 for cost in rows.values()) == 45_150.0


# Kept with the state.


def store(folder: Path, *lines: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    with (folder / "traces_2025-12-06.jsonl").open("ab") as file:
        file.write(b"".join(record + b"\n" for record in lines))
    return folder


def answered(number: int, at: float, tokens: int, **fields: object) -> bytes:
    return line(
        "llm.response", at, f"call-{number}", "run", trace=f"trace-{number}", duration_ms=1.0,
        input_tokens=tokens, output_tokens=0, **fields,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    # 14:00, and ten hours and 23 hours later: two days in UTC and in Berlin.
    return store(
        tmp_path / "traces",
        answered(1, 0, 100, cost_usd=0.5),
        answered(2, 10 * HOUR - 1, 20, cost_usd=0.25),
        answered(3, 10 * HOUR, 3, cost_usd=0.125),
    )


Run = Callable[..., Runner]


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Iterator[Run]:
    running: list[Runner] = []

    def begun(now: float = START + 11 * HOUR, zone: str = "") -> Runner:
        while running:
            running.pop().stop()
        runner = Runner(
            [open_source(f"createagents://{folder}?name=s")], tmp_path / "state", Aggregate(lambda: now),
            idle=3600.0, now=lambda: now, zone=zone,
        )  # fmt: skip
        running.append(runner)
        runner.read_to_end(lambda source, size: None)
        return runner

    yield begun
    while running:
        running.pop().stop()


def spent(runner: Runner) -> dict[str, float]:
    page = samples(runner.page("", openmetrics=False).decode())
    return {name: value for name, value in page.items() if name.startswith("agentgauge_spend_usd")}


def days(directory: Path) -> dict[str, float | None]:
    with read_only(directory) as kept:
        return {day: sum(took.cost or 0 for took in rows.values()) for day, rows in kept.days().items()}


def test_the_page_says_what_today_and_this_month_have_cost(run: Run) -> None:
    name = 'agentgauge_spend_usd{gen_ai_agent_name="Scout",gen_ai_request_model="gpt-4o-mini",period="%s",source="s"}'
    assert spent(run()) == {name % "today": 0.125, name % "month": 0.875}
    assert spent(run(START + 9 * HOUR)) == {name % "today": 0.75, name % "month": 0.75}


def test_days_survive_a_restart_and_are_added_to(run: Run, folder: Path, tmp_path: Path) -> None:
    run()
    assert days(tmp_path / "state") == {"2025-12-06": 0.75, "2025-12-07": 0.125}
    store(folder, answered(4, 1, 5, cost_usd=2.0), answered(1, 0, 100, cost_usd=0.5))
    run()
    assert days(tmp_path / "state") == {"2025-12-06": 2.75, "2025-12-07": 0.125}
    assert sum(spent(run()).values()) == 0.125 + 2.875


def test_a_state_remembers_its_zone_and_refuses_another(run: Run, tmp_path: Path) -> None:
    run(zone="Europe/Berlin")
    # 23:59:59 in UTC is of the next day there.
    assert days(tmp_path / "state") == {"2025-12-06": 0.5, "2025-12-07": 0.375}
    assert run().ledger.zone.key == "Europe/Berlin"
    with pytest.raises(ZoneChangedError, match=r"of the zone Europe/Berlin, not UTC; start with --zone Europe/Berlin"):
        run(zone="UTC")
    assert run(zone="Europe/Berlin").ledger.zone.key == "Europe/Berlin"


def test_a_failed_commit_leaves_the_ledger_with_the_totals(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = run()
    store(folder, answered(4, 1, 5, cost_usd=2.0))

    def failing(*_: object) -> None:
        raise StateError("no")

    with monkeypatch.context() as broken, pytest.raises(StateError):
        broken.setattr(State, "commit", failing)
        runner.read_to_end(lambda source, size: None)
    run()
    assert days(tmp_path / "state") == {"2025-12-06": 2.75, "2025-12-07": 0.125}


FORMAT_1 = {"meta", "cursors", "sources", "open_traces", "cells", "scrapers", "counted", "counted_lately"}


def to_format_1(directory: Path) -> None:
    """Take from a state what came after its first format."""
    db = sqlite3.connect(directory / "state.db")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert version > 1 and tables > FORMAT_1
    db.executescript("".join(f"DROP TABLE {name};" for name in tables - FORMAT_1))
    db.executescript("DELETE FROM meta WHERE name = 'zone'; PRAGMA user_version = 1;")
    db.close()


def test_a_state_of_the_first_format_is_opened_and_its_ledger_begins_then(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    runner = run()
    before = samples(runner.page("", openmetrics=False).decode())
    runner.stop()
    to_format_1(tmp_path / "state")
    with pytest.raises(StateError, match=r"of format 1, .*; `agentgauge serve` brings an older one up"):
        days(tmp_path / "state")
    store(folder, answered(4, 1, 5, cost_usd=2.0))
    began = datetime.now(UTC).timestamp()
    runner = run()
    after = samples(runner.page("", openmetrics=False).decode())
    (calls,) = [name for name in before if name.startswith("agentgauge_inference_calls_total") and 'e="ok"' in name]
    assert (before[calls], after[calls]) == (3, 4)
    assert days(tmp_path / "state") == {"2025-12-06": 2.0}
    with read_only(tmp_path / "state") as kept:
        since = kept.since("s")
    assert since is not None and began - 2 < since <= datetime.now(UTC).timestamp()


def test_from_when_on_days_are_whole_is_known_of_each_source(run: Run, tmp_path: Path) -> None:
    run()
    with read_only(tmp_path / "state") as kept:
        assert (kept.since("s"), kept.since("another")) == (0.0, None)


def test_sums_past_what_sqlite_holds_are_kept_as_they_can_be(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    huge = Took(calls=1, input_tokens=2**64)
    book = Ledger()
    book.restore("UTC", {}, {})
    book._pending = {"2025-12-06": {Who("s", "", "", ""): huge}}
    for _ in range(2):
        ledger.write(state._db, book.changes())
    assert state.days("")["2025-12-06"][Who("s", "", "", "")].input_tokens == 2.0**65
    state.close()


# The table.


def told(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "exporters", "ledger", "--state", str(directory), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONUTF8": "1"})


def test_who_pays_gets_a_table_while_the_exporter_runs(run: Run, folder: Path, tmp_path: Path) -> None:
    store(folder, answered(5, 2, 7, model="unheard-of", agent_name="=cmd()"))
    run()
    table = told(tmp_path / "state").stdout.splitlines()
    assert table[0].split()[:2] == ["day", "(UTC)"]
    assert [row.split() for row in table[1:]] == [
        ["2025-12-06", "s", "=cmd()", "unheard-of", "1", "7", "0", "0", "0", "1", "unknown"],
        ["2025-12-06", "s", "Scout", "gpt-4o-mini", "2", "120", "0", "0", "0", "0", "0.7500"],
        ["2025-12-07", "s", "Scout", "gpt-4o-mini", "1", "3", "0", "0", "0", "0", "0.1250"],
    ]
    rows = list(csv.DictReader(told(tmp_path / "state", "--csv", "--by", "month").stdout.splitlines()))
    assert [(row["period"], row["agent"], row["cost in USD"]) for row in rows] == [
        ("2025-12", "'=cmd()", ""),
        ("2025-12", "Scout", "0.875"),
    ]
    found = [json.loads(row) for row in told(tmp_path / "state", "--json").stdout.splitlines()]
    assert [(row["zone"], row["period"], row["agent"], row["cost_in_USD"]) for row in found] == [
        ("UTC", "2025-12-06", "=cmd()", None),
        ("UTC", "2025-12-06", "Scout", 0.75),
        ("UTC", "2025-12-07", "Scout", 0.125),
    ]


def test_a_directory_without_a_state_is_told_in_one_line(tmp_path: Path) -> None:
    done = told(tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"agentgauge: {tmp_path}: holds no state; name the directory")


def test_a_zone_that_does_not_exist_ends_the_start(folder: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "exporters",
        "serve",
        "--state",
        str(tmp_path / "state"),
        f"createagents://{folder}",
    ]
    done = subprocess.run([*command, "--zone", "Mars"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no time zone 'Mars'" in done.stderr
    named = {**os.environ, "AGENTGAUGE_ZONE": "Venus"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=named)
    assert done.returncode == 2
    assert "there is no time zone 'Venus'" in done.stderr


def test_cells_are_read_as_their_metrics_are_named() -> None:
    cell = Cell(("inference", "s", ("", "", "", "", "")))
    assert ledger._total(cell) == Took()
