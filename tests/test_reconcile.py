"""Reconciliation: both sides of days that are over, worked out by hand, and a difference that is found."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from crash_exporter import until
from crash_recount import samples
from createagents_lines import START, line

from exporters.aggregate import Aggregate
from exporters.ledger import Took, Who
from exporters.reconcile import Comparison, Reconciliation, compare, counted_in
from exporters.runner import Runner
from exporters.sources import Source, SourceError, Sums, open_source
from exporters.sources.createagents import FILE_NAME
from exporters.sources.createagents.sums import sums
from exporters.state import read_only

FIXTURES = Path(__file__).parent / "fixtures" / "createagents"
# START is 2025-12-06T14:00:00Z; ten hours later is midnight, and a day is over an hour after it.
HOUR, DAY = 3600.0, 86400.0
MIDNIGHT = START + 10 * HOUR
OVER = MIDNIGHT + HOUR


def answered(number: int, at: float, given: int | None = 10, taken: int | None = 1, **fields: object) -> bytes:
    usage = {"input_tokens": given, "output_tokens": taken}
    ids = {"trace": f"trace-{number}"}
    return line("llm.response", at, f"call-{number}", "run", **ids, duration_ms=1.0, **usage, **fields)


def write(folder: Path, *lines: bytes, day: str = "2025-12-06") -> Path:
    folder.mkdir(exist_ok=True)
    with (folder / f"traces_{day}.jsonl").open("ab") as file:
        file.write(b"".join(record + b"\n" for record in lines))
    return folder


# What a folder says itself.


def total(folder: Path, since: float = START - DAY, until: float = 4e9) -> Sums:
    return sums(folder, FILE_NAME, since, until)


def test_a_folder_is_summed_by_the_times_of_its_lines_each_call_once(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "traces",
        answered(1, -DAY, 1000, 100, cost_usd=8.0),
        answered(2, 0, 200, 20, cost_usd=4.0),
        answered(3, 1, 30, 3, cost_usd=0.5),
        line("llm.request", 1, "call-4", "run"),
        line("tool.log", 1, "log"),
    )
    # A copy of a rotated file: the same calls again. The same run of another trace is another call.
    write(folder, answered(2, 0, 200, 20, cost_usd=4.0), answered(5, 10 * HOUR, 1, 1), day="2025-12-07")
    assert total(folder, START, MIDNIGHT) == Sums(calls=2, input_tokens=230, output_tokens=23, cost=4.5)
    assert total(folder, MIDNIGHT, MIDNIGHT + DAY) == Sums(calls=1, input_tokens=1, output_tokens=1)


def test_unknown_usage_is_unknown_and_a_total_with_a_part_is_both_parts(tmp_path: Path) -> None:
    silent = write(tmp_path / "silent", answered(1, 0, None, None))
    assert total(silent) == Sums(calls=1)
    folder = write(
        tmp_path / "traces", answered(1, 0, 7, None, total_tokens=10), answered(2, 0, None, 4, total_tokens=5)
    )
    assert total(folder) == Sums(calls=2, input_tokens=8, output_tokens=7)


def test_usage_of_a_run_counts_where_its_calls_have_none(tmp_path: Path) -> None:
    usage = {"input_tokens": 50, "output_tokens": 5, "cost_usd": 2.0}
    folder = write(
        tmp_path / "traces",
        answered(1, 0, 10, 1),
        line("trace.end", 1, "run-1", trace="trace-1", **usage),
        answered(2, 0, None, None),
        line("trace.end", 1, "run-2", trace="trace-2", **usage),
        line("trace.end", 1, "run-3", trace="trace-3", **usage),
        line("trace.end", 1, "run-3", trace="trace-3", **usage),
    )
    assert total(folder) == Sums(calls=2, input_tokens=110, output_tokens=11, cost=4.0)


@pytest.mark.parametrize(
    "bad",
    [
        b'{"event": "llm.response"}',
        b"[llm.response]",
        b'"llm.response"',
        b"\xff llm.response",
        b"{" * 100_000 + b"llm.response",
        answered(9, 0, -1),
        answered(9, 0, 2**60),
        answered(9, 0).replace(b"2025-12", b"9999-99"),
        answered(9, 0, 10).replace(b": 10", b": NaN"),
        answered(9, 0, 10).replace(b": 10", b': "ten"'),
    ],
)
def test_a_line_that_cannot_be_used_is_left_out(bad: bytes, tmp_path: Path) -> None:
    assert total(write(tmp_path / "traces", answered(1, 0), bad)) == Sums(calls=1, input_tokens=10, output_tokens=1)


def test_links_out_of_the_folder_and_pipes_are_not_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "traces", answered(1, 0))
    outside = write(tmp_path / "outside", answered(2, 0))
    (folder / "traces_2025-12-07.jsonl").symlink_to(outside / "traces_2025-12-06.jsonl")
    os.mkfifo(folder / "traces_2025-12-08.jsonl")
    assert total(folder).calls == 1


def test_of_days_whose_files_are_gone_nothing_is_known(tmp_path: Path) -> None:
    folder = write(tmp_path / "traces", answered(1, 0))
    assert total(folder, START - 7 * DAY, MIDNIGHT) == Sums()
    # A file is named by the writer's day, which may be the next one already.
    assert total(folder, START - DAY, MIDNIGHT).calls == 1


@pytest.mark.parametrize("store", sorted(path.name for path in FIXTURES.iterdir() if path.is_dir()))
def test_a_folder_says_what_the_exporter_counted(store: str, tmp_path: Path) -> None:
    source = open_source(f"createagents://{FIXTURES / store}?name=s")
    runner = Runner([source], tmp_path / "state", Aggregate(lambda: 0.0), idle=3600.0)
    runner.read_to_end(lambda source, size: None)
    runner.stop()
    with read_only(tmp_path / "state") as kept:
        counted = counted_in(kept.days(), "s")
    begun = min(re.findall(r"\d{4}-\d\d-\d\d", " ".join(path.name for path in (FIXTURES / store).iterdir())))
    found = total(FIXTURES / store, since=datetime.fromisoformat(f"{begun}T00:00:00Z").timestamp() - DAY)
    both = Comparison(
        source="s", period="day", first=date(2026, 1, 1), end=date(2026, 1, 2), store=found, metrics=counted
    )
    assert found.calls == counted.calls
    assert both.drift is not None and both.drift < 1e-9


# Sides.


def comparison(store: Sums, metrics: Sums) -> Comparison:
    return Comparison(
        source="s", period="day", first=date(2025, 12, 6), end=date(2025, 12, 7), store=store, metrics=metrics
    )


@pytest.mark.parametrize(
    ("store", "metrics", "drift"),
    [
        (Sums(calls=100), Sums(calls=100, input_tokens=5, cost=3.0), 0.0),
        (Sums(calls=100), Sums(calls=99), 0.01),
        (Sums(calls=99), Sums(calls=100), 0.01),
        (Sums(calls=10, input_tokens=60, output_tokens=40), Sums(calls=10, input_tokens=60, output_tokens=15), 0.25),
        (Sums(calls=10, cost=4.0), Sums(calls=10, cost=1.0), 0.75),
        (Sums(calls=10, output_tokens=40), Sums(calls=10, input_tokens=60, output_tokens=40), 0.0),
        (Sums(calls=10, output_tokens=40), Sums(calls=10, input_tokens=60, output_tokens=30), 0.25),
        (Sums(calls=0), Sums(calls=0), 0.0),
        (Sums(calls=0), Sums(calls=3), 1.0),
        (Sums(), Sums(calls=3), None),
    ],
)
def test_drift_is_the_largest_share_of_what_both_sides_know(store: Sums, metrics: Sums, drift: float | None) -> None:
    assert comparison(store, metrics).drift == drift


def test_only_what_a_store_can_know_is_compared() -> None:
    who = Who("s", "", "a", "m")
    days = {
        "2025-12-06": {
            who: Took(calls=5, unanswered=2, input_tokens=10, output_tokens=4, reported=1.5, computed=9.0),
            Who("another", "", "a", "m"): Took(calls=100, input_tokens=100),
        },
        "2025-12-07": {who: Took(calls=1, input_tokens=1, reported=0.25)},
    }
    assert counted_in(days, "s") == Sums(calls=4, input_tokens=11, output_tokens=4, cost=1.75)
    days["2025-12-07"][who] = Took(calls=1, override=0.5)
    assert counted_in(days, "s").cost is None
    assert counted_in({"2025-12-06": {who: Took(calls=1, without_usage=1)}}, "s") == Sums(calls=1, cost=0.0)


# By the clock.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three days: the 5th, the 6th and the 7th."""
    folder = tmp_path / "traces"
    write(folder, *(answered(number, -DAY) for number in range(1, 5)), day="2025-12-05")
    write(folder, *(answered(number, 0) for number in range(5, 8)))
    return write(folder, answered(8, 10 * HOUR), day="2025-12-07")


Run = Callable[[Source, float], Runner]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    running: list[Runner] = []

    def begun(source: Source, now: float) -> Runner:
        while running:
            running.pop().stop()
        runner = Runner([source], tmp_path / "state", Aggregate(lambda: now), idle=3600.0, now=lambda: now)
        running.append(runner)
        runner.read_to_end(lambda source, size: None)
        return runner

    yield begun
    while running:
        running.pop().stop()


def of(folder: Path, options: str = "") -> Source:
    return open_source(f"createagents://{folder}?name=s{options}")


def test_days_that_are_over_are_compared_while_the_exporter_holds_its_state(
    folder: Path, run: Run, tmp_path: Path
) -> None:
    source = of(folder)
    run(source, OVER)
    day, week = (compare(source, period, tmp_path / "state", OVER) for period in ("day", "week"))
    assert day and week
    assert (day.first, day.end, day.store.calls, day.metrics.calls) == (date(2025, 12, 6), date(2025, 12, 7), 3, 3)
    # The store is younger than a week.
    assert (week.first, week.end, week.store.calls, week.metrics.calls) == (date(2025, 12, 5), date(2025, 12, 7), 7, 7)
    assert (day.drift, week.drift) == (0.0, 0.0)
    # Within its first hour yesterday is not over: rows of it may still come.
    day = compare(source, "day", tmp_path / "state", OVER - 1)
    assert day and (day.first, day.metrics.calls) == (date(2025, 12, 5), 4)


def test_a_line_that_was_missed_and_one_that_was_counted_twice_are_both_drift(
    folder: Path, run: Run, tmp_path: Path
) -> None:
    source = of(folder)
    run(source, OVER)
    late = answered(99, 1)
    write(folder, late)
    day = compare(source, "day", tmp_path / "state", OVER)
    assert day and (day.store.calls, day.metrics.calls, day.drift) == (4, 3, 0.25)
    path = folder / "traces_2025-12-06.jsonl"
    path.write_bytes(path.read_bytes().replace(late, b"").replace(answered(5, 0) + b"\n", b""))
    day = compare(source, "day", tmp_path / "state", OVER)
    assert day and (day.store.calls, day.metrics.calls) == (2, 3)


def test_days_that_the_ledger_has_not_whole_are_not_compared(folder: Path, run: Run, tmp_path: Path) -> None:
    # Seen first at one on the 7th, and read from five on the 6th on: that day lacks its beginning.
    source = of(folder, "&since=20h")
    run(source, OVER)
    with read_only(tmp_path / "state") as kept:
        assert kept.since("s") == OVER - 20 * HOUR
    assert compare(source, "day", tmp_path / "state", OVER) is None
    day = compare(source, "day", tmp_path / "state", OVER + DAY)
    assert day and (day.first, day.drift) == (date(2025, 12, 7), 0.0)


def test_a_store_without_a_day_in_the_ledger_is_not_compared(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    source = of(tmp_path / "empty")
    run(source, OVER)
    assert compare(source, "day", tmp_path / "state", OVER) is None


def test_the_day_is_asked_for_each_hour_and_the_week_once_a_day(folder: Path, run: Run, tmp_path: Path) -> None:
    asked: list[tuple[float, float]] = []

    def counting(since: float, until: float) -> Sums:
        asked.append((since - MIDNIGHT, until - MIDNIGHT))
        return Sums(calls=3)

    source = replace(of(folder), sums=counting)
    run(source, OVER)
    reconciliation = Reconciliation(tmp_path / "state")
    for minute in range(0, 3 * 60, 10):
        if reconciliation.due(source, OVER + minute * 60):
            reconciliation.compare(source, OVER + minute * 60)
    day, week = (-DAY, 0.0), (-2 * DAY, 0.0)
    assert asked == [day, week, day, day]
    assert not reconciliation.due(replace(source, sums=None), OVER + DAY)


def test_a_store_that_may_be_asked_once_an_hour_is_asked_for_the_week_in_the_next(
    folder: Path, run: Run, tmp_path: Path
) -> None:
    answers = [Sums(calls=3), Sums(), Sums(), Sums(calls=7), Sums(calls=2)]
    source = replace(of(folder), sums=lambda since, until: answers.pop(0))
    run(source, OVER)
    reconciliation = Reconciliation(tmp_path / "state")

    def stores(hour: int) -> dict[str, int | None]:
        reconciliation.compare(source, OVER + hour * HOUR)
        return {period: comparison.store.calls for (_, period), comparison in reconciliation.found.items()}

    assert stores(0) == {"day": 3}
    # Now it says nothing of the day: what it said an hour ago stands.
    assert stores(1) == {"day": 3, "week": 7}
    assert stores(2) == {"day": 2, "week": 7}


def page(runner: Runner) -> dict[str, float]:
    found = samples(runner.page("", openmetrics=False).decode())
    return {name.replace('source="s"', ""): value for name, value in found.items() if "_reconcile_" in name}


def test_the_page_says_both_sides_and_a_failure_is_counted_and_ends_nothing(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporters.runner.POLL_SECONDS", 0.05)
    monkeypatch.setattr("exporters.reconcile.EVERY", 0.0)
    good, broken = of(folder), [RuntimeError("the client is broken"), SourceError("gone"), OSError("no route")]

    def flawed(since: float, until: float) -> Sums:
        if broken:
            raise broken.pop()
        assert good.sums is not None
        return replace(good.sums(since, until), cost=2.0)

    runner = run(replace(good, sums=flawed), OVER)
    runner.start()
    # The runner compares beside the page, which may be asked for between the two.
    last = {'agentgauge_reconcile_drift_ratio{period="week",}', "agentgauge_reconcile_last_success_timestamp_seconds{}"}
    until(lambda: last <= page(runner).keys(), 10)
    found = page(runner)
    assert found.pop("agentgauge_reconcile_errors_total{}") == 3
    assert found.pop("agentgauge_reconcile_last_success_timestamp_seconds{}") == OVER
    assert {name: value for name, value in found.items() if "_created" not in name} == {
        'agentgauge_reconcile_calls{period="day",side="store",}': 3,
        'agentgauge_reconcile_calls{period="day",side="metrics",}': 3,
        'agentgauge_reconcile_calls{period="week",side="store",}': 7,
        'agentgauge_reconcile_calls{period="week",side="metrics",}': 7,
        'agentgauge_reconcile_tokens{period="day",side="store",}': 33,
        'agentgauge_reconcile_tokens{period="day",side="metrics",}': 33,
        'agentgauge_reconcile_tokens{period="week",side="store",}': 77,
        'agentgauge_reconcile_tokens{period="week",side="metrics",}': 77,
        # No call has a cost that the store reports.
        'agentgauge_reconcile_cost_usd{period="day",side="store",}': 2.0,
        'agentgauge_reconcile_cost_usd{period="day",side="metrics",}': 0.0,
        'agentgauge_reconcile_cost_usd{period="week",side="store",}': 2.0,
        'agentgauge_reconcile_cost_usd{period="week",side="metrics",}': 0.0,
        'agentgauge_reconcile_drift_ratio{period="day",}': 1.0,
        'agentgauge_reconcile_drift_ratio{period="week",}': 1.0,
    }


# The command.


def told(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "exporters", "reconcile", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_says_both_sides_and_ends_with_1_when_they_disagree(folder: Path, run: Run, tmp_path: Path) -> None:
    day = (datetime.now(UTC) - timedelta(hours=1)).date() - timedelta(days=1)
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp() - START
    write(folder, *(answered(20 + number, noon) for number in range(3)), day=str(day))
    run(of(folder), noon + START + 2 * DAY)
    command = (f"createagents://{folder}?name=s", "--state", tmp_path / "state")
    done = told(*command)
    both = "calls 3 in the store, 3 in the metrics; tokens 33 in the store, 33 in the metrics"
    costs = "USD unknown in the store, 0.0000 in the metrics"
    assert done.stdout.splitlines()[0] == f"s day {day}: {both}; {costs}; drift 0.0000%"
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 2)
    write(folder, answered(30, noon), day=str(day))
    done = told(*command)
    assert done.returncode == 1
    assert [row.rpartition("; ")[2] for row in done.stdout.splitlines()] == ["drift 25.0000%"] * 2


def test_a_source_that_the_state_does_not_know_is_told_in_one_line(folder: Path, run: Run, tmp_path: Path) -> None:
    run(of(folder), OVER)
    done = told(f"createagents://{folder}?name=other", "--state", tmp_path / "state")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"agentgauge: {tmp_path / 'state'}: knows no source 'other'; give it the name")
