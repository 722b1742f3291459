"""Budgets: the file, the periods, how each stands, and what the exporter's page and the table say of it."""

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from createagents_lines import START, line
from serving import serving, until, url_of

from exporters.aggregate import Aggregate
from exporters.budgets import table
from exporters.budgets.account import WARNING, Reading, account, spent_in
from exporters.budgets.document import MOST, read_budgets
from exporters.budgets.keeper import Keeper
from exporters.budgets.period import PERIODS, period_of
from exporters.catalogue.signals import SIGNALS
from exporters.days import zone_of
from exporters.demo import budgets
from exporters.health import Health
from exporters.ledger import Rows, Took, Who
from exporters.runner import Runner
from exporters.sources import SourceError, open_source

HOUR, DAY = 3600.0, 86_400.0
UTC_ZONE = zone_of("UTC")


def unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


# The file.


def written(folder: Path, text: str) -> Path:
    path = folder / "budgets.yml"
    path.write_text(text)
    return path


def test_a_budget_says_who_may_spend_how_much_in_which_period(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
budgets:
  - {name: everything, amount: 500, period: month}
  - name: support, live
    amount: 20.5
    period: day
    source: traces
    environment: prod*
    agent: support
    model: gpt-4o*
    zone: Europe/Berlin
""",
    )
    everything, support = read_budgets(path, "Europe/Berlin")
    assert (everything.name, everything.amount, everything.period, everything.agent) == ("everything", 500, "month", "")
    assert (support.amount, support.environment, support.model) == (20.5, "prod*", "gpt-4o*")


ONE = "budgets: [{name: a, amount: 1, period: day%s}]"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("budgets: {}", "should be 'budgets:' and under it a list of entries; see docs/budgets.md"),
        ("budgets: [{amount: 1, period: day}]", "entry 1: object missing required field `name`"),
        ("budgets: [{name: a, period: day}]", "entry 1 (a): object missing required field `amount`"),
        ("budgets: [{name: a, amount: 0, period: day}]", "entry 1 (a): amount: expected `float` > 0.0"),
        ("budgets: [{name: a, amount: -5, period: day}]", "entry 1 (a): amount: expected `float` > 0.0"),
        ("budgets: [{name: a, amount: .inf, period: day}]", "entry 1 (a): amount: expected `float` <= 1000000000.0"),
        ("budgets: [{name: a, amount: .nan, period: day}]", "entry 1 (a): amount: expected `float` > 0.0"),
        ("budgets: [{name: a, amount: 20 USD, period: day}]", "entry 1 (a): amount: expected `float`, got `str`"),
        ("budgets: [{name: a, amount: 1, period: year}]", "entry 1 (a): period: 'year' is none of day, week, month"),
        (ONE % ", agents: x", "entry 1 (a): object contains unknown field `agents`"),
        (ONE % ", amount: 2", "line 1: 'amount' is there twice"),
        (
            ONE % ", zone: Mars/Olympus",
            "zone: there is no time zone 'Mars/Olympus'; write it as in Europe/Berlin, or UTC",
        ),
        (
            ONE % ", zone: America/New_York",
            "entry 1 (a): zone: is America/New_York, and the ledger's days are of Europe/Berlin; leave it out, or keep "
            "a state of its own with --zone America/New_York",
        ),
        ('budgets: [{name: " a", amount: 1, period: day}]', "name: should be printable text without blanks around it"),
        ('budgets: [{name: "a\\u0007", amount: 1, period: day}]', "name: should be printable text"),
        (
            "budgets: [{name: (no budget), amount: 1, period: day}]",
            "entry 1 ((no budget)): name: should be printable text",
        ),
        (
            "budgets: [{name: a, amount: 1, period: day}, {name: a, amount: 2, period: week}]",
            "entry 2 (a): name: is there twice; each budget has its own",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(text: str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SourceError) as error:
        read_budgets(path, "Europe/Berlin")
    assert str(error.value).startswith(f"{path}: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_there_are_only_so_many_budgets(tmp_path: Path) -> None:
    entries = "".join(f"  - {{name: b{number}, amount: 1, period: day}}\n" for number in range(MOST + 1))
    with pytest.raises(SourceError, match="has 101 budgets, more than 100; leave some out"):
        read_budgets(written(tmp_path, f"budgets:\n{entries}"), "")


# Periods.


@pytest.mark.parametrize(
    ("now", "kind", "zone", "first", "end", "elapsed"),
    [
        ("2025-12-06T18:00:00Z", "day", "UTC", "2025-12-06", "2025-12-07", 0.75),
        # A Saturday: five days and three quarters of seven since Monday.
        ("2025-12-06T18:00:00Z", "week", "UTC", "2025-12-01", "2025-12-08", 5.75 / 7),
        ("2025-12-06T18:00:00Z", "month", "UTC", "2025-12-01", "2026-01-01", 5.75 / 31),
        # New year is already there in Berlin.
        ("2025-12-31T23:30:00Z", "month", "Europe/Berlin", "2026-01-01", "2026-02-01", 0.5 / 24 / 31),
        ("2024-02-15T00:00:00Z", "month", "UTC", "2024-02-01", "2024-03-01", 14 / 29),
        # 30 March 2025 has 23 hours in Berlin, and at noon in summer eleven of them are over.
        ("2025-03-30T10:00:00Z", "day", "Europe/Berlin", "2025-03-30", "2025-03-31", 11 / 23),
    ],
)
def test_a_period_is_of_the_calendar(now: str, kind: str, zone: str, first: str, end: str, elapsed: float) -> None:
    found = period_of(unix(now), kind, zone_of(zone))
    assert (found.first, found.end) == (date.fromisoformat(first), date.fromisoformat(end))
    assert found.elapsed == pytest.approx(elapsed)


def test_what_is_ahead_is_the_rest_of_today_and_the_days_after_it() -> None:
    week = period_of(unix("2025-12-04T18:00:00Z"), "week", UTC_ZONE)
    assert week.ahead == (0.25, 1.0, 1.0, 1.0)
    assert week.moment(0.5) == unix("2025-12-04T21:00:00Z")
    assert week.moment(2.25) == unix("2025-12-06T06:00:00Z")


# How a budget stands. Noon of a Thursday, the fourth of the month.

NOON = unix("2025-12-04T12:00:00Z")
WELL = {"s": Reading(True, NOON, 0.0)}


def spending(daily: float, count: int, today: float = 0.0) -> dict[str, float | None]:
    """So much on each day before the fourth, and a sum today."""
    first = date(2025, 12, 4).toordinal() - count
    return {date.fromordinal(first + day).isoformat(): daily for day in range(count)} | {"2025-12-04": today}


def test_what_is_spent_left_and_how_fast() -> None:
    one = account(70.0, spending(10.0, 5, 4.0), period_of(NOON, "month", UTC_ZONE), WELL)
    # Three days of ten in December, and four today; 3.5 of 31 days are over.
    assert (one.spent, one.remaining, one.used) == (34.0, 36.0, pytest.approx(34 / 70))
    assert one.burn == pytest.approx(34 / 70 / (3.5 / 31))
    assert (one.state, one.end, one.runs_out) == ("insufficient_history", None, None)


def test_where_a_period_will_end_and_when_the_amount_runs_out() -> None:
    # Ten a day for four weeks, five today at noon, so that 27.5 days are ahead, which are worth 275.
    one = account(100.0, spending(10.0, 28, 5.0), period_of(NOON, "month", UTC_ZONE), WELL)
    assert one.end is not None
    assert (one.end.low, one.end.expected, one.end.high) == pytest.approx((310.0, 310.0, 310.0))
    # Left are 65: five today, and six days of ten.
    assert one.runs_out == pytest.approx(unix("2025-12-11T00:00:00Z"), abs=1)
    assert one.state == "warning"
    enough = account(400.0, spending(10.0, 28, 5.0), period_of(NOON, "month", UTC_ZONE), WELL)
    assert (enough.runs_out, enough.state) == (None, "ok")


@pytest.mark.parametrize(
    ("amount", "state"), [(40.0, "exceeded"), (50.0, "insufficient_history"), (43.7, "exceeded"), (45.0, "warning")]
)
def test_a_state_is_of_what_is_spent(amount: float, state: str) -> None:
    # 43.75 now: 87.5 % of 50 would be a warning, so it is 35 of 50.
    amounts = spending(10.0, 3, 13.75) if amount < 50 else spending(10.0, 3, 5.0)
    assert account(amount, amounts, period_of(NOON, "month", UTC_ZONE), WELL).state == state


def test_a_warning_is_where_the_alert_is() -> None:
    assert [limit.above for limit in SIGNALS["budget_used"].limits] == [0.5, WARNING, 1.0]
    assert [limit.above for limit in SIGNALS["budget_used"].drawn] == [WARNING, 1.0]


def test_at_the_limits_themselves_it_is_not_past_them() -> None:
    period = period_of(NOON, "day", UTC_ZONE)
    assert account(10.0, spending(1.0, 3, 8.0), period, WELL).state == "insufficient_history"
    assert account(10.0, spending(1.0, 3, 10.0), period, WELL).state == "warning"
    assert account(10.0, spending(1.0, 3, 10.01), period, WELL).state == "exceeded"


@pytest.mark.parametrize(
    "readings",
    [
        {},
        {"s": Reading(False, NOON, 0.0)},
        {"s": Reading(True, NOON - 601, 0.0)},
        {"s": Reading(True, NOON, 901.0)},
        {"s": Reading(True, 0.0, 0.0)},
        {"s": Reading(True, NOON, 0.0), "t": Reading(True, NOON, math.inf)},
    ],
    ids=["no source", "backlog", "not read", "behind", "never read", "no state"],
)
def test_what_is_known_too_late_is_stale(readings: dict[str, Reading]) -> None:
    one = account(100.0, spending(10.0, 28, 5.0), period_of(NOON, "month", UTC_ZONE), readings)
    assert one.state == "stale"


def test_unknown_spend_is_none_and_so_is_all_that_follows_from_it() -> None:
    period = period_of(NOON, "day", UTC_ZONE)
    backlog = account(1.0, spending(10.0, 28, 5.0), period, {"s": Reading(False, NOON, 0.0)})
    assert (backlog.spent, backlog.remaining, backlog.used, backlog.burn, backlog.end) == (None,) * 5
    # Last read yesterday: of today nothing is known, of the month the most of it, which is already too much.
    late = {"s": Reading(True, NOON - DAY, 0.0)}
    assert account(1.0, spending(10.0, 21), period, late).spent is None
    assert account(1.0, spending(10.0, 21), period_of(NOON, "month", UTC_ZONE), late).state == "exceeded"
    unpriced = account(1.0, {**spending(10.0, 21), "2025-12-04": None}, period, WELL)
    assert (unpriced.spent, unpriced.used, unpriced.state) == (None, None, "stale")


def test_a_quiet_day_is_nothing_and_an_unpriced_one_is_unknown() -> None:
    month = period_of(NOON, "month", UTC_ZONE)
    assert spent_in({}, month) == 0.0
    assert spent_in({"2025-11-30": 5.0}, month) == 0.0
    assert spent_in({"2025-12-01": None, "2025-12-02": 5.0}, month) == 5.0
    assert spent_in({"2025-12-01": None}, month) is None


def test_early_in_a_period_there_is_no_pace() -> None:
    morning = unix("2025-12-04T01:00:00Z")
    one = account(10.0, {"2025-12-04": 1.0}, period_of(morning, "day", UTC_ZONE), {"s": Reading(True, morning, 0.0)})
    assert (one.used, one.burn) == (0.1, None)


# The keeper.


def calls(cost: float) -> Took:
    return Took(calls=1, reported=cost)


BOT, LIVE = Who("s", "prod", "Bot", "gpt-4o"), Who("t", "test", "Bot", "o3")
ROWS: Rows = {
    "2025-12-03": {BOT: calls(1.0), LIVE: calls(10.0)},
    "2025-12-04": {BOT: calls(2.0), LIVE: calls(20.0), Who("t", "test", "Idle", "o3"): calls(40.0)},
}


def kept(folder: Path, text: str, rows: Rows = ROWS) -> dict[tuple[str, ...], float]:
    """What the page says, by family and labels, but for what is 0."""
    keeper = Keeper(written(folder, text), "UTC")
    keeper.refresh(UTC_ZONE)
    keeper.take(rows, anew=True)
    readings = {"s": Reading(True, NOON, 0.0), "t": Reading(True, NOON, 0.0)}
    found = keeper.judge(NOON, UTC_ZONE, readings)
    return {(name, *labels): value for name, rows_ in found.items() for labels, value in rows_.items() if value}


@pytest.mark.parametrize(
    ("scope", "spent"),
    [
        ("", 62.0),
        (", source: s", 2.0),
        (", source: '?'", 62.0),
        (", environment: PROD", 2.0),
        (", agent: bot", 22.0),
        (", agent: b*, source: t", 20.0),
        (", model: 'gpt-*'", 2.0),
        (", agent: nobody", None),
    ],
)
def test_a_scope_is_of_the_calls_that_all_its_globs_match(scope: str, spent: float | None, tmp_path: Path) -> None:
    found = kept(tmp_path, f"budgets: [{{name: b, amount: 100, period: day{scope}}}]")
    assert found.get(("agentgauge_budget_spent_usd", "b", "day")) == spent


def test_what_no_budget_is_of_is_told_beside_them(tmp_path: Path) -> None:
    found = kept(tmp_path, "budgets: [{name: b, amount: 100, period: day, agent: bot}]")
    assert {period: found[("agentgauge_unbudgeted_spend_usd", period)] for period in PERIODS} == {
        "day": 40.0, "week": 40.0, "month": 40.0,
    }  # fmt: skip
    assert found["agentgauge_budget_state", "(no budget)", "month", "no_budget"] == 1.0
    everything = kept(tmp_path, "budgets: [{name: b, amount: 100, period: day}]")
    assert not [key for key in everything if "(no budget)" in key or key[0] == "agentgauge_unbudgeted_spend_usd"]


def test_days_that_change_are_summed_again_and_old_ones_go(tmp_path: Path) -> None:
    keeper = Keeper(written(tmp_path, "budgets: [{name: b, amount: 100, period: month}]"), "UTC")
    keeper.refresh(UTC_ZONE)
    keeper.take({"2025-10-31": {BOT: calls(99.0)}, **ROWS}, anew=True)
    keeper.take({"2025-12-03": {BOT: calls(5.0)}}, anew=False)
    found = keeper.judge(NOON, UTC_ZONE, WELL)
    assert found["agentgauge_budget_spent_usd"] == {("b", "month"): 67.0}
    assert all(day >= "2025-11-01" for sums in keeper._sums for day in sums)


def test_a_budget_of_another_zone_is_left_out_and_told_where_the_zone_was_known_too_late(tmp_path: Path) -> None:
    entries = "{name: a, amount: 1, period: day}, {name: b, amount: 1, period: day, zone: Asia/Tokyo}"
    path = written(tmp_path, f"budgets: [{entries}]")
    keeper = Keeper(path, "")
    keeper.refresh(UTC_ZONE)
    assert [budget.name for budget in keeper.budgets] == ["a"]
    assert keeper.problem == "budgets whose zone is not UTC, the ledger's, are left out; see docs/budgets.md"


def test_without_a_file_the_month_is_forecast_all_the_same() -> None:
    keeper = Keeper(None, "UTC")
    keeper.refresh(UTC_ZONE)
    rows = {day: {BOT: calls(amount or 0.0)} for day, amount in spending(10.0, 28, 5.0).items()}
    keeper.take(rows, anew=True)
    found = keeper.judge(NOON, UTC_ZONE, WELL)
    assert found["agentgauge_spend_forecast_usd"]["month", "expected"] == pytest.approx(310.0)
    assert found["agentgauge_unbudgeted_spend_usd"] == {} == found["agentgauge_budget_spent_usd"]


def test_a_hundred_budgets_of_two_months_cost_the_scrapes_next_to_nothing(tmp_path: Path) -> None:
    """They are judged beside the scrapes; what the page waits for is the setting of their gauges."""
    entries = "".join(f"  - {{name: b{number}, amount: 1000, period: month}}\n" for number in range(MOST))
    keeper = Keeper(written(tmp_path, f"budgets:\n{entries}"), "UTC")
    keeper.refresh(UTC_ZONE)
    days = [date.fromordinal(date(2025, 12, 4).toordinal() - back).isoformat() for back in range(33)]
    keeper.take({day: {BOT: calls(10.0)} for day in days}, anew=True)
    found, health = keeper.judge(NOON, UTC_ZONE, WELL), Health()
    took = []
    for _ in range(5):
        began = time.perf_counter()
        keeper.tell(health, found, NOON)
        took.append(time.perf_counter() - began)
    assert sum(map(len, found.values())) > 1500
    # Four milliseconds on an idle machine, every five seconds.
    assert min(took) < 0.05


# The exporter.


def answered(number: int, at: float, cost: float, **more: str) -> bytes:
    fields = {"duration_ms": 1.0, "input_tokens": 1, "output_tokens": 1, "cost_usd": cost, **more}
    return line("llm.response", at, f"call-{number}", "run", trace=f"trace-{number}", **fields)


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """0.5 and 0.25 on the sixth of December, 0.125 on the seventh."""
    folder = tmp_path / "traces"
    folder.mkdir()
    lines = [answered(1, 0, 0.5), answered(2, 5 * HOUR, 0.25), answered(3, 11 * HOUR, 0.125)]
    (folder / "traces_2025-12-06.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return folder


Run = Callable[..., Runner]


@pytest.fixture
def run(traces: Path, tmp_path: Path) -> Iterator[Run]:
    running: list[Runner] = []

    def begun(text: str, zone: str = "") -> Runner:
        runner = Runner(
            [open_source(f"createagents://{traces}?name=s")], tmp_path / "state", Aggregate(lambda: START),
            idle=3600.0, now=lambda: START + 12 * HOUR, zone=zone, budgets=written(tmp_path, text),
        )  # fmt: skip
        running.append(runner)
        runner.read_to_end(lambda source, size: None)
        runner.judge()
        return runner

    yield begun
    for runner in running:
        runner.stop()


def said(runner: Runner) -> dict[str, float]:
    """What the page says of budgets."""
    lines = runner.page("", openmetrics=False).decode().splitlines()
    found = (one.rpartition(" ") for one in lines if one.startswith(("agentgauge_budget", "agentgauge_unbudg")))
    return {name: float(value) for name, _, value in found}


def test_the_page_says_how_each_budget_stands(run: Run) -> None:
    found = said(run("budgets: [{name: b, amount: 1, period: month}, {name: c, amount: 1, period: day, agent: x}]"))
    of = '{budget="b",period="month"}'
    assert found[f"agentgauge_budget_limit_usd{of}"] == 1.0
    assert found[f"agentgauge_budget_spent_usd{of}"] == 0.875
    assert found[f"agentgauge_budget_remaining_usd{of}"] == 0.125
    assert found[f"agentgauge_budget_used_ratio{of}"] == 0.875
    # 02:00 of the seventh: six days and a twelfth of 31.
    assert found[f"agentgauge_budget_elapsed_ratio{of}"] == pytest.approx((6 + 1 / 12) / 31)
    assert found[f"agentgauge_budget_burn_ratio{of}"] == pytest.approx(0.875 * 31 / (6 + 1 / 12))
    assert found['agentgauge_budget_state{budget="b",period="month",state="warning"}'] == 1.0
    assert found['agentgauge_budget_spent_usd{budget="c",period="day"}'] == 0.0
    assert not [name for name in found if "forecast" in name or "runs_out" in name]
    assert found["agentgauge_budgets_judged_timestamp_seconds"] == START + 12 * HOUR


def test_a_new_file_is_taken_and_a_broken_one_is_told_while_the_old_one_stays(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runner = run("budgets: [{name: b, amount: 1, period: month}]")
    assert said(runner)["agentgauge_budgets_file_broken"] == 0.0
    path = written(tmp_path, "budgets: [{name: b, amount: 0, period: month}]")
    runner.judge()
    assert said(runner)["agentgauge_budgets_file_broken"] == 1.0
    assert said(runner)['agentgauge_budget_limit_usd{budget="b",period="month"}'] == 1.0
    assert runner.budgets.problem == f"{path}: entry 1 (b): amount: expected `float` > 0.0"
    assert runner.budgets.problem in caplog.text
    written(tmp_path, "budgets: [{name: new, amount: 2, period: week}]")
    runner.judge()
    found = said(runner)
    assert found["agentgauge_budgets_file_broken"] == 0.0
    # The sixth was a Saturday, the seventh a Sunday.
    assert found['agentgauge_budget_spent_usd{budget="new",period="week"}'] == 0.875
    assert not [name for name in found if 'budget="b"' in name]
    path.unlink()
    runner.judge()
    assert 'agentgauge_budget_spent_usd{budget="new",period="week"}' in said(runner)
    assert runner.budgets.problem.endswith("name a file of budgets that this user may read")


def test_while_the_state_cannot_be_written_what_is_known_is_stale_and_stays(run: Run) -> None:
    runner = run("budgets: [{name: b, amount: 9, period: month}]")
    runner.committed.problem = "the disk is full"
    runner.judge()
    found = said(runner)
    assert found['agentgauge_budget_state{budget="b",period="month",state="stale"}'] == 1.0
    assert found['agentgauge_budget_spent_usd{budget="b",period="month"}'] == 0.875


def test_a_budget_of_another_zone_than_the_ledgers_stops_the_start(run: Run) -> None:
    with pytest.raises(SourceError, match=r"\(b\): zone: is UTC, and the ledger's days are of Europe/Berlin; leave it"):
        run("budgets: [{name: b, amount: 1, period: day, zone: UTC}]", zone="Europe/Berlin")


def agentgauge(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENTGAUGE")}
    return subprocess.run(
        [sys.executable, "-m", "exporters", *arguments], capture_output=True, text=True, check=False, env=kept
    )


def of_today(folder: Path) -> Path:
    """A call now of 1.5 USD, and one of one USD on each of the four weeks' days before."""
    folder.mkdir()
    now = datetime.now(UTC).timestamp() - START
    lines = [answered(0, now - 2, 1.5), *(answered(day, now - day * DAY, 1.0) for day in range(1, 29))]
    (folder / "traces_2025-12-06.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return folder


def test_it_is_served_and_printed_from_the_state_and_by_once(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "budgets:\n  - {name: past, amount: 1, period: day}\n  - {name: well, amount: 10000, period: day}\n"
        "  - {name: none, amount: 5, period: week, source: nowhere}\n",
    )
    state, source = tmp_path / "state", url_of(of_today(tmp_path / "traces"), "?name=s")
    # Where it is noon, no day ends meanwhile.
    noon = f"Etc/GMT{time.gmtime().tm_hour - 12:+d}"
    with serving(state, source, "--budgets", str(path), "--zone", noon) as exporter:
        exporter.await_ready()
        spent = "agentgauge_budget_spent_usd"
        until(lambda: exporter.value(spent, budget="past") == 1.5, "the budgets are judged")
        states = {
            name: exporter.value("agentgauge_budget_state", budget=name, state=state)
            for name, state in (("past", "exceeded"), ("well", "ok"), ("none", "stale"))
        }
        assert states == {"past": 1.0, "well": 1.0, "none": 1.0}
        assert exporter.value(spent, budget="none") is None
        low, expected, high = (
            exporter.value("agentgauge_budget_forecast_usd", budget="well", bound=bound)
            for bound in ("low", "expected", "high")
        )
        # At noon, half of a day of one USD is still to come.
        assert expected == pytest.approx(2.0, abs=0.1)
        assert low is not None and high is not None and 1.5 <= low <= expected <= high < 2.2
        path.write_text("budgets: nothing\n")
        until(lambda: exporter.value("agentgauge_budgets_file_broken") == 1, "the broken file is told")
        assert "should be &#x27;budgets:&#x27;" in exporter.get("/")[2].decode()
        path.write_text("budgets:\n  - {name: past, amount: 1, period: day}\n")
        printed = agentgauge("budgets", "--state", state, "--budgets", path)
    assert printed.returncode == 0, printed.stderr
    head, row, foot = printed.stdout.splitlines()
    assert head.split() == [word for name in table._HEAD for word in name.split()]
    assert row.split()[:7] == ["past", "day", "exceeded", "1.00", "1.50", "-0.50", "150%"]
    assert foot.startswith("In USD. The newest record counted is of ")
    once = agentgauge("once", "--budgets", path, "--zone", noon, source)
    assert f'{spent}{{budget="past",period="day"}} 1.5' in once.stdout


@pytest.mark.parametrize("command", [("serve",), ("once",)])
def test_a_file_that_cannot_be_used_ends_the_start_with_one_line(command: tuple[str, ...], tmp_path: Path) -> None:
    path = written(tmp_path, "budgets: [{name: b, amount: 1, period: hour}]")
    (tmp_path / "traces").mkdir()
    options = ("--listen", "127.0.0.1:0", "--state", str(tmp_path / "state")) if command == ("serve",) else ()
    ended = agentgauge(*command, *options, "--budgets", path, url_of(tmp_path / "traces"))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines()[-1] == (
        f"agentgauge: {path}: entry 1 (b): period: 'hour' is none of day, week, month"
    )
    assert "Traceback" not in ended.stderr


def test_the_demos_budgets_are_one_well_one_nearly_spent_and_one_overspent(tmp_path: Path) -> None:
    now = time.time() - START - 2
    agents = ("research", "support", "coding", "triage", "notes")
    lines = [answered(number, now, 1.0, agent_name=agent) for number, agent in enumerate(agents)]
    (tmp_path / "traces").mkdir()
    (tmp_path / "traces" / "traces_2025-12-06.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    path = tmp_path / "budgets.yml"
    budgets.write(path, tmp_path / "traces")
    # One USD by each: 1 / 0.4, 1 / 0.87, 1 / 1.12 and 1 / 0.6, rounded to two digits.
    assert {one.agent: one.amount for one in read_budgets(path, "UTC")} == {
        "research": 2.5, "support": 1.1, "coding": 0.89, "triage": 1.7,
    }  # fmt: skip
    path.write_text("budgets: []\n")
    budgets.write(path, tmp_path / "traces")
    assert path.read_text() == "budgets: []\n"


def test_the_file_in_the_documentation_is_accepted(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "budgets.md").read_text()
    example = page.split("```yaml\n")[1].split("```")[0]
    assert len(read_budgets(written(tmp_path, example), "Europe/Berlin")) == 3


def test_without_a_file_or_a_state_it_says_what_is_missing(tmp_path: Path) -> None:
    ended = agentgauge("budgets", "--state", tmp_path)
    assert (ended.returncode, ended.stderr) == (
        2,
        "agentgauge: no budgets: name a file with --budgets, or set AGENTGAUGE_BUDGETS; see docs/budgets.md\n",
    )
    ended = agentgauge("budgets", "--state", tmp_path, "--budgets", written(tmp_path, ONE % ""))
    assert ended.returncode == 2
    assert "holds no state" in ended.stderr
