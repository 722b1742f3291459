"""llm_metrics: rows in two layouts, rewritten, late and never finished, on SQLite and PostgreSQL, once each."""

import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llm_metrics_store import POSTGRES, Layout, OnPostgresql, OnSqlite, Server, Store, postgresql, put_call, put_trace
from sqlalchemy import text

from exporters.runs import Runs
from exporters.sources import SourceError, open_source
from exporters.sources.llm_metrics import questions, reader
from exporters.sources.llm_metrics.generations import Page, translate, unit_of
from exporters.sources.llm_metrics.postgresql import Database as Postgresql
from exporters.sources.llm_metrics.postgresql import place_of
from exporters.sources.llm_metrics.rows import FIELDS, LATENCY
from exporters.sources.llm_metrics.sqlite import Database as Sqlite
from exporters.span import Span

# 2026-03-01 11:00 UTC: an hour after the calls of the tests.
NOW = 1772362800.0
MINUTE, DAY = 60.0, 86400.0


class Clock:
    """A time that is moved by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Reading:
    """A store that is read as the runner does it: pages, spans, and each counted once."""

    def __init__(self, store: Store, clock: Clock, **options: Any) -> None:
        defaults = {"since": None, "lookback": 2 * DAY, "settle": 35 * MINUTE, "unit": None}
        self.rows = reader.Rows(self._connect(store), lambda page: page, now=clock, **{**defaults, **options})
        self.clock = clock
        self.cursor: dict[str, bytes] = {}
        self.runs = Runs(lambda _: None, lambda _: None, idle=10 * DAY)
        self.counted: list[Span] = []
        self.repeated = 0
        self.read = 0
        self.bad: dict[str, int] = {}
        # What the reading itself had to give up.
        self.unread: Counter[str] = Counter()

    @staticmethod
    def _connect(store: Store) -> Callable[[], Any]:
        if isinstance(store, OnSqlite):
            return lambda: Sqlite(store.path)
        return lambda: Postgresql(place_of(urlsplit(store.url), ""))

    def on(self) -> list[str]:
        """Read to the end; return the ids of the calls that were counted now, in order."""
        before = len(self.counted)
        more = True
        while more:
            batch = self.rows.poll()
            for page in batch.records:
                found = translate(page, "")
                outcome = self.runs.add(found.spans, self.clock.now)
                self.counted += outcome.ended
                self.repeated += outcome.repeated
                self.read += found.records
                self.bad |= found.bad
            self.cursor |= batch.cursor
            self.unread.update(batch.bad)
            more = batch.more
        return [span.span_id for span in self.counted[before:]]

    def later(self, seconds: float) -> list[str]:
        """Read on after a time."""
        self.clock.now += seconds
        return self.on()

    def again(self) -> None:
        """Go back to the cursor, as after a restart."""
        self.rows.seek(self.cursor)

    def call(self, id_: str) -> Span:
        [found] = [span for span in self.counted if span.span_id == id_]
        return found


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if POSTGRES is None:
        pytest.skip("PostgreSQL is not installed")
    with postgresql() as found:
        yield found


@pytest.fixture
def clock() -> Clock:
    return Clock()


def made(request: pytest.FixtureRequest, database: str, layout_: Layout, tmp_path: Path) -> Store:
    if database == "sqlite":
        return OnSqlite(tmp_path / "llm_metrics.db", layout_)
    return OnPostgresql(request.getfixturevalue("server"), f"test_{layout_}", layout_)


@pytest.fixture(params=["sqlite-a", "sqlite-b", "postgresql-a", "postgresql-b"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    database, layout_ = request.param.split("-")
    found = made(request, database, layout_, tmp_path)
    yield found
    found.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def layout_b(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    found = made(request, request.param, "b", tmp_path)
    yield found
    found.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def layout_a(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    found = made(request, request.param, "a", tmp_path)
    yield found
    found.close()


@pytest.fixture
def reading(store: Store, clock: Clock) -> Iterator[Reading]:
    found = Reading(store, clock)
    yield found
    found.rows.close()


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BATCH_ROWS", 3)
    monkeypatch.setattr(Sqlite, "page_rows", 3)
    monkeypatch.setattr(Postgresql, "page_rows", 3)


USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


def spans_of(layout_: Layout, *, unit: float = 1000.0, **fields: Any) -> list[Span]:
    """What one row says, by the names of `FIELDS`; what is not given is NULL."""
    row = {"id": "g", "trace_id": "t", "created_at": "2026-03-01T10:00:00", "trace_name": "planner", **fields}
    row.setdefault("trace_created_at", "2026-03-01T10:00:00")
    page = Page(rows=[tuple(row.get(name) for name in FIELDS)], zeros=layout_ == "b", unit=unit)
    found = translate(page, "")
    assert found.bad == {}
    return found.spans


def call_of(layout_: Layout, **fields: Any) -> Span:
    return spans_of(layout_, **fields)[-1]


# The thirteen pitfalls of the two layouts, in the order in which they are known.


def test_pitfall_1_rows_that_an_export_writes_again_are_counted_once(layout_b: Store, clock: Clock) -> None:
    reading = Reading(layout_b, clock)
    for number in range(5):
        put_call(layout_b, f"g{number}", **USAGE)
    assert reading.on() == ["g0", "g1", "g2", "g3", "g4"]

    for number in range(5):
        put_call(layout_b, f"g{number}", again=True, **USAGE)
    put_call(layout_b, "g5", again=True, created_at="2026-03-01T10:00:01", **USAGE)

    assert reading.later(2 * reader.LOOK_SECONDS) == ["g5"]
    # PostgreSQL shows a new row once when reading on, and once when looking back.
    assert reading.repeated == 5 + isinstance(layout_b, OnPostgresql)
    reading.rows.close()


def test_pitfall_2_a_call_under_way_waits_for_its_end_and_in_layout_a_not_for_ever(
    reading: Reading, store: Store
) -> None:
    put_call(store, "late", created_at="2026-03-01T10:59:00")
    put_call(store, "never", created_at="2026-03-01T10:59:00")
    assert reading.on() == []

    put_call(store, "late", again=True, created_at="2026-03-01T10:59:00", **USAGE)
    assert reading.later(5 * MINUTE) == ["late"]
    assert reading.call("late").input_tokens == 10
    assert reading.later(28 * MINUTE) == []
    assert reading.later(3 * MINUTE) == ["never"]
    assert (reading.call("never").input_tokens, reading.call("never").error) == (None, "")
    assert reading.later(60 * MINUTE) == []


def test_a_call_that_is_finished_in_its_place_is_found_by_a_thorough_look(reading: Reading, store: Store) -> None:
    put_call(store, "g", created_at="2026-03-01T10:59:00")
    assert reading.on() == []
    store.run("UPDATE generations SET input_tokens = 10, output_tokens = 5 WHERE id = 'g'")
    assert reading.later(reader.THOROUGH_SECONDS + 1) == ["g"]
    assert reading.call("g").input_tokens == 10


@pytest.mark.parametrize(
    ("layout_", "fields", "wanted"),
    [
        # Layout A computes milliseconds; the times of a call win over them.
        ("a", {"latency_ms": 1894.0}, 1.894),
        (
            "a",
            {
                "latency_ms": 7.0,
                "completion_start_time": "2026-03-01 10:00:00",
                "completion_end_time": "2026-03-01 10:00:02",
            },
            2.0,
        ),
        # In layout B a completion starts with its first token: the call began when it was created.
        (
            "b",
            {
                "latency_ms": 7.0,
                "completion_start_time": "2026-03-01T10:00:01",
                "completion_end_time": "2026-03-01T10:00:02.5",
            },
            2.5,
        ),
        ("b", {"latency_ms": 7.0, "completion_end_time": "2026-03-01T09:59:59"}, 0.007),
        ("b", {"latency_ms": 7.0, "unit": 1.0}, 7.0),
        ("b", {}, None),
    ],
)
def test_pitfall_3_how_long_a_call_took(layout_: Layout, fields: dict[str, Any], wanted: float | None) -> None:
    assert call_of(layout_, **fields).duration == wanted


@pytest.mark.parametrize(
    ("latencies", "unit"),
    [([0.8, 2.5, 17.0, 150.0], 1.0), ([90.0, 800.0, 2500.0], 1000.0), ([], 1000.0), (["x", -3, 0], 1000.0)],
)
def test_pitfall_3_the_unit_of_latencies_is_told_by_their_size(latencies: list[Any], unit: float) -> None:
    assert unit_of(latencies) == unit


def test_pitfall_3_the_unit_is_kept_once_it_is_certain_and_an_option_says_it_for_good(
    layout_b: Store, clock: Clock
) -> None:
    for number in range(60):
        put_call(layout_b, f"g{number:02}", latency_ms=2.0)
    reading, told = Reading(layout_b, clock), Reading(layout_b, clock, unit=1000.0)
    reading.on()
    told.on()
    assert (reading.call("g00").duration, told.call("g00").duration) == (2.0, 0.002)

    # One call of four minutes does not make the others milliseconds.
    put_call(layout_b, "long", latency_ms=240.0, created_at="2026-03-01T10:00:01")
    reading.again()
    assert reading.later(1) == ["long"]
    assert reading.call("long").duration == 240.0
    reading.rows.close()
    told.rows.close()


def test_pitfall_3_a_stream_says_when_its_first_token_came() -> None:
    times = {"completion_start_time": "2026-03-01T10:00:00.25", "completion_end_time": "2026-03-01T10:00:02"}
    assert call_of("b", **times).time_to_first_chunk == 0.25
    assert call_of("a", **times).time_to_first_chunk is None
    assert call_of("b", level="ERROR", **times).time_to_first_chunk is None


def test_pitfall_4_a_call_is_of_when_it_ended_not_of_when_it_was_exported() -> None:
    span = call_of("a", created_at="2026-03-01 10:30:00", completion_end_time="2026-03-01 10:00:03.250000")
    assert span.time == NOW - 3600 + 3.25
    assert call_of("a", created_at="2026-03-01 10:30:00").time == NOW - 1800
    assert call_of("a", completion_end_time="0001-01-01 00:00:00").time == NOW - 3600


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("2026-03-01 10:00:00", -3600.0),
        ("2026-03-01T10:00:00.500000", -3599.5),
        ("2026-03-01T10:00:00Z", -3600.0),
        ("2026-03-01T10:00:00-05:00", 4 * 3600.0),
        ("2026-03-02", 13 * 3600.0),
        ("2027-03-01 11:00:00", 365 * DAY),  # a clock that runs ahead, or local time taken for UTC
    ],
)
def test_pitfall_5_a_time_without_an_offset_is_utc_and_may_be_in_the_future(time: str, seconds: float) -> None:
    assert call_of("b", created_at=time).time == NOW + seconds


def test_pitfall_5_a_stamp_in_the_future_hides_nothing_that_comes_after_it(reading: Reading, store: Store) -> None:
    put_call(store, "ahead", created_at="2026-03-01T16:00:00", **USAGE)
    assert reading.on() == ["ahead"]
    put_call(store, "now", created_at="2026-03-01T11:00:01", **USAGE)
    assert reading.later(2 * reader.LOOK_SECONDS) == ["now"]


def test_pitfall_6_a_t_and_a_space_are_the_same_moment(store: Store, clock: Clock) -> None:
    # The last day of a period, and the first.
    times = ("2026-02-27T23:59:59", "2026-02-28T00:00:00", "2026-02-28 00:00:00", "2026-02-28T23:59:59")
    for number, time in enumerate(times):
        put_call(store, f"g{number}", created_at=time, **USAGE)
    reading = Reading(store, clock, since=NOW - 1772236800.0)  # since 2026-02-28 00:00
    assert sorted(reading.on()) == ["g1", "g2", "g3"]
    assert reading.rows.backlog() == 0
    reading.rows.close()
    sums = open_source(store.url).sums
    assert sums is not None
    assert (sums(1772236800.0, 1772323200.0).calls, sums(1772150400.0, 1772236800.0).calls) == (3, 1)


@pytest.mark.parametrize(
    ("layout_", "fields", "wanted"),
    [
        ("b", {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0, "total_cost": 0.0}, (None, None, None, None)),
        ("b", {"input_tokens": 0, "output_tokens": 0, "total_tokens": 9, "total_cost": 0.0}, (None, None, 9, None)),
        ("b", {"input_tokens": 8, "output_tokens": 0, "total_tokens": 9, "total_cost": 0.0}, (8, 0, None, None)),
        ("b", {"input_tokens": 8, "output_tokens": 1, "total_tokens": 20, "total_cost": 0.5}, (8, 1, None, 0.5)),
        ("a", {}, (None, None, None, None)),
        ("a", {"total_tokens": 9}, (None, None, 9, None)),
        ("a", {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0, "total_cost": 0.0}, (0, 0, None, 0.0)),
    ],
)
def test_pitfall_7_a_zero_that_stands_for_unknown_is_unknown(
    layout_: Layout, fields: dict[str, Any], wanted: tuple[Any, ...]
) -> None:
    span = call_of(layout_, **fields)
    assert (span.input_tokens, span.output_tokens, span.unsplit_tokens, span.cost) == wanted


@pytest.mark.parametrize(
    ("level", "message", "error"),
    [
        ("ERROR", None, "_OTHER"),
        ("ERROR", "RateLimitError: 429", "rate_limited"),
        ("DEFAULT", "Request timed out", "timeout"),
        (None, "Connection refused", "connection"),
        ("WARNING", "slow", ""),
        ("DEBUG", "retried", ""),
        ("DEFAULT", None, ""),
        (None, "None", ""),
        (None, "null", ""),
    ],
)
def test_pitfall_8_what_failed(level: str | None, message: str | None, error: str) -> None:
    assert call_of("a", level=level, status_message=message).error == error


@pytest.mark.parametrize(
    ("fields", "agent"),
    [
        ({"trace_metadata": '{"agent_name": "planner", "agent": "x"}'}, "planner"),
        ({"trace_metadata": '{"agent": "code_developer", "priority": 2}'}, "code_developer"),
        ({"trace_metadata": '{"llm_config_openai": 1}', "trace_name": "code_developer_task"}, "code_developer"),
        ({"trace_metadata": None, "trace_name": None}, ""),
        ({"trace_metadata": "null", "trace_name": "None"}, ""),
        ({"trace_metadata": "None", "trace_name": "review"}, "review"),
        ({"trace_metadata": "{'agent': 'writer', 'n': None}", "trace_name": None}, "writer"),
        ({"trace_metadata": "\"{'agent': 'writer'}\"", "trace_name": None}, "writer"),
        ({"trace_metadata": '{"agent": {"name": "x"}}', "trace_name": "y"}, "y"),
        ({"trace_metadata": "{'agent': __import__('os')}", "trace_name": "y"}, "y"),
        ({"trace_metadata": '["agent"]', "trace_name": "y"}, "y"),
        ({"metadata": '{"agent": "helper"}', "trace_metadata": '{"agent_name": "planner"}'}, "helper"),
    ],
)
def test_pitfall_9_what_stands_in_columns_of_json(fields: dict[str, Any], agent: str) -> None:
    assert call_of("a", **fields).agent == agent


def test_pitfall_10_totals_are_of_generations_and_a_call_within_a_call_is_one_more(
    reading: Reading, store: Store
) -> None:
    put_trace(store, name="planner_task")
    put_call(store, "outer", **USAGE)
    put_call(store, "inner", **USAGE)
    assert sorted(reading.on()) == ["inner", "outer"]
    assert sum(span.input_tokens or 0 for span in reading.counted) == 20


def test_pitfall_11_what_is_in_the_log_of_a_writer_only_is_read(tmp_path: Path, clock: Clock) -> None:
    store = OnSqlite(tmp_path / "llm.db", "b")
    store.run("PRAGMA wal_autocheckpoint = 0")
    before = store.path.stat().st_size
    put_call(store, "g", **USAGE)
    reading = Reading(store, clock)
    assert reading.on() == ["g"]
    put_call(store, "h", **USAGE)
    assert reading.on() == ["h"]
    # It did stand in the log only, which shows that the file was not taken for one that nobody writes.
    assert store.path.stat().st_size == before
    reading.rows.close()
    store.close()


def test_pitfall_11_a_log_that_cannot_be_read_is_told_with_the_remedy(tmp_path: Path, clock: Clock) -> None:
    store = OnSqlite(tmp_path / "llm.db", "b")
    put_call(store, "g", **USAGE)
    # What a container sees when the file is mounted and the folder is not.
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "llm.db").write_bytes(store.path.read_bytes())
    (alone / "llm.db-wal").mkdir()
    store.path = alone / "llm.db"
    with pytest.raises(SourceError, match="mount the folder whole"):
        Reading(store, clock).on()
    store.close()


def test_pitfall_12_the_cost_that_is_stored_wins() -> None:
    assert call_of("b", input_cost=0.01, output_cost=0.02, total_cost=0.5, **USAGE).cost == 0.5
    assert call_of("b", input_cost=0.01, output_cost=0.02, total_cost=0.0, **USAGE).cost == pytest.approx(0.03)
    assert call_of("a", input_cost=0.01, output_cost=0.02, **USAGE).cost == pytest.approx(0.03)
    assert call_of("a", **USAGE).cost is None


def test_pitfall_13_quantiles_are_of_our_histograms() -> None:
    page = (Path(__file__).parent / "fixtures" / "llm_metrics" / "a" / "page.txt").read_text()
    of_planner = [
        line.split("#")[0].split()[-1]
        for line in page.splitlines()
        if line.startswith("gen_ai_client_inference_duration_seconds_bucket") and '"planner"' in line
    ]
    # One call of 1.894 s: between the bounds 1.28 and 2.56.
    assert of_planner[:9] == ["0"] * 8 + ["1"]


# Reading on.


def test_pages_hold_every_row_once_whatever_their_times_are(reading: Reading, store: Store, small_pages: None) -> None:
    ids = [f"g{number:02}" for number in range(20)]
    for number, id_ in enumerate(ids):
        # Seven of a time, more than a page holds; with a T and a space.
        put_call(store, id_, created_at=f"2026-03-01{'T '[number % 2]}10:00:0{number // 7}", **USAGE)
    assert sorted(reading.on()) == ids
    assert reading.repeated == 0
    put_call(store, "g20", created_at="2026-03-01T10:00:09", **USAGE)
    reading.again()
    assert reading.on() == ["g20"]


def test_a_batch_of_several_pages_goes_on_behind_the_last(
    reading: Reading, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BATCH_ROWS", 5)
    monkeypatch.setattr(Sqlite, "page_rows", 2)
    monkeypatch.setattr(Postgresql, "page_rows", 2)
    for number in range(9):
        put_call(store, f"g{number}", **USAGE)
    first = reading.rows.poll()
    assert [[row[0] for row in page.rows] for page in first.records] == [["g0", "g1"], ["g2", "g3"], ["g4", "g5"]]
    assert (first.size, first.more) == (6, True)
    # The first is lost; then it was committed.
    reading.again()
    assert reading.on() == [f"g{number}" for number in range(9)]
    reading.rows.seek(first.cursor)
    assert [[row[0] for row in page.rows] for page in reading.rows.poll().records] == [["g6", "g7"], ["g8"]]


def test_what_comes_late_is_read_also_over_a_restart(reading: Reading, store: Store, small_pages: None) -> None:
    for number in range(4):
        put_call(store, f"g{number}", **USAGE)
    reading.on()
    for number in range(5):
        put_call(store, f"late{number}", created_at="2026-03-01T09:00:00", **USAGE)
    assert sorted(reading.later(2 * reader.LOOK_SECONDS)) == [f"late{number}" for number in range(5)]
    put_call(store, "later", created_at="2026-02-28T12:00:00", **USAGE)
    reading.again()
    assert reading.on() == ["later"]


def test_nothing_is_asked_twice_of_a_store_that_stands_still(reading: Reading, store: Store) -> None:
    put_call(store, "g", **USAGE)
    reading.on()
    read = reading.read
    assert reading.later(5) == []
    assert reading.later(5) == []
    assert reading.read == read
    batch = reading.rows.poll()
    assert (batch.records, batch.cursor) == ([], {})


def test_a_cursor_that_nobody_can_read_is_the_beginning(reading: Reading, store: Store) -> None:
    put_call(store, "g", **USAGE)
    reading.cursor = {"place": b'{"after": 7}'}
    reading.again()
    assert reading.on() == ["g"]


def test_rows_of_a_table_that_was_made_anew_are_not_missed(tmp_path: Path, clock: Clock) -> None:
    store = OnSqlite(tmp_path / "llm.db", "b")
    for number in range(10):
        put_call(store, f"g{number}", **USAGE)
    reading = Reading(store, clock)
    reading.on()
    store.run("CREATE TABLE kept AS SELECT * FROM generations WHERE id >= 'g8'")
    store.run("DROP TABLE generations")
    store.run("ALTER TABLE kept RENAME TO generations")
    put_call(store, "new", **USAGE)
    [(number,)] = sqlite3.connect(store.path).execute("SELECT rowid FROM generations WHERE id = 'new'").fetchall()
    assert number == 3
    assert reading.on() == ["new"]
    reading.rows.close()
    store.close()


def test_a_file_in_the_place_of_another_is_read_from_its_beginning(tmp_path: Path, clock: Clock) -> None:
    store = OnSqlite(tmp_path / "llm.db", "a")
    for number in range(5):
        put_call(store, f"g{number}", **USAGE)
    reading = Reading(store, clock)
    reading.on()
    other = OnSqlite(tmp_path / "other.db", "b")
    put_call(other, "g0", **USAGE)
    put_call(other, "h", **USAGE)
    other.run("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    store.close()
    (tmp_path / "other.db").rename(store.path)
    assert reading.on() == ["h"]
    reading.rows.close()
    store.path.unlink()
    with pytest.raises(SourceError, match="No such file"):
        reading.on()


def test_a_server_that_restarts_loses_nothing(server: Server, clock: Clock, small_pages: None) -> None:
    store = OnPostgresql(server, "restarted", "b")
    for number in range(7):
        put_call(store, f"g{number}", **USAGE)
    reading = Reading(store, clock)
    first = reading.rows.poll()
    assert [row[0] for row in first.records[0].rows] == ["g0", "g1", "g2"]
    reading.cursor = first.cursor
    server.stop()
    with pytest.raises(SourceError, match=r"postgresql://postgres@127\.0\.0\.1:\d+/restarted: "):
        reading.on()
    server.start()
    put_call(store, "g7", **USAGE)
    reading.again()
    assert sorted(reading.later(2 * reader.LOOK_SECONDS)) == ["g3", "g4", "g5", "g6", "g7"]
    reading.rows.close()
    store.close()


def test_a_transaction_that_was_open_at_the_last_look_is_seen_by_the_next(server: Server, clock: Clock) -> None:
    store = OnPostgresql(server, "under_way", "a")
    put_call(store, "first", created_at="2026-03-01 10:30:00", **USAGE)
    reading = Reading(store, clock)
    with server.connect("under_way") as writer:
        writer.autocommit = False
        writer.execute(
            "INSERT INTO generations (id, trace_id, created_at, input_tokens)"
            " VALUES ('slow', 't', '2026-03-01 10:00', 1)"
        )
        put_call(store, "second", created_at="2026-03-01 10:40:00", **USAGE)
        assert reading.on() == ["first", "second"]
        assert reading.later(2 * reader.LOOK_SECONDS) == []
        writer.commit()
    assert reading.later(2 * reader.LOOK_SECONDS) == ["slow"]
    reading.rows.close()
    store.close()


def test_text_that_is_not_utf_8_costs_no_row(tmp_path: Path, clock: Clock) -> None:
    store = OnSqlite(tmp_path / "llm.db", "b")
    put_call(store, "good", **USAGE)
    store.run("UPDATE generations SET model = CAST(x'ff616263' AS TEXT)")
    put_call(store, "better", **USAGE)
    reading = Reading(store, clock)
    assert reading.on() == ["good", "better"]
    assert reading.call("good").model == "�abc"
    reading.rows.close()
    store.close()


# Runs.


def test_a_trace_of_an_agent_is_a_run_that_ends_when_nothing_more_is_heard_of_it(
    reading: Reading, store: Store
) -> None:
    put_trace(store, trace_metadata='{"agent": "planner"}')
    put_call(store, "g1", created_at="2026-03-01T10:00:05", **USAGE)
    put_call(store, "g2", created_at="2026-03-01T10:00:09", level="ERROR", status_message="timed out", **USAGE)
    assert reading.on() == ["g1", "g2"]

    [run] = reading.runs.sweep(NOW + 20 * DAY).ended

    assert (run.kind, run.agent, run.error, run.duration) == ("run", "planner", "timeout", 9.0)
    assert (run.inference_calls, run.total_tokens) == (2, 30)


def test_what_comes_after_the_end_of_a_run_is_counted_and_changes_no_run(reading: Reading, store: Store) -> None:
    put_trace(store, name="planner_task")
    put_call(store, "g1", **USAGE)
    reading.on()
    assert len(reading.runs.sweep(NOW + 20 * DAY).ended) == 1
    put_call(store, "g2", created_at="2026-03-01T10:00:09", **USAGE)
    assert reading.later(2 * reader.LOOK_SECONDS) == ["g2"]
    assert reading.runs.sweep(NOW + 20 * DAY).ended == []


# What a user can mend.


def test_a_database_of_another_kind_is_told_in_one_line(tmp_path: Path, server: Server) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE generations (id TEXT)")
    done = once(f"llm-metrics://{path}")
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "agentgauge: not an llm_metrics database of a layout that is known: it has no table 'traces'"
    )
    server.connect("postgres").execute("CREATE TABLE IF NOT EXISTS traces (id text)")
    server.connect("postgres").execute("CREATE TABLE IF NOT EXISTS generations (id text, metadata text)")
    done = once(f"llm-metrics+postgresql://postgres@127.0.0.1:{server.port}/postgres")
    assert done.returncode == 2
    assert "there is no column 'completion_end_time'" in done.stderr
    assert "Traceback" not in done.stderr


def once(url: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "exporters", "once", url]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **environment}
    )


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("llm-metrics://", "names no file"),
        ("llm-metrics:///nowhere/llm.db", "No such file or directory; check the path, or start llm_metrics"),
        ("llm-metrics:///tmp", "is not a file"),
        ("llm-metrics:///dev/null?latency=h", "is not a file"),
        ("llm-metrics:///etc/passwd?latency=h", "should be one of ms, s, auto"),
        ("llm-metrics:///etc/passwd?settle=soon", "settle: 'soon' is not a duration"),
        ("llm-metrics:///etc/passwd?password_file=x", "unknown option 'password_file'"),
        ("llm-metrics+postgresql://user@host", "name one database"),
        ("llm-metrics+postgresql://user@host:port/db", "check the port"),
        ("llm-metrics+postgresql://user@host/db?password_file=/nowhere/pw", "No such file"),
        ("llm-metrics+postgresql://user:hunter2@host/db", "PGPASSWORD"),
        ("llm-metrics+postgresql://user:hunter2@host/db?latenzy=s", "unknown option 'latenzy'"),
        ("llm-metrics+postgresql://user:hunter2@host/db?since=x", "is not a duration"),
        ("llm-metrics+postgresql://user@host/db?password=hunter2", "unknown option 'password'"),
    ],
)
def test_a_url_that_cannot_be_is_told_with_its_remedy_and_without_its_password(url: str, said: str) -> None:
    with pytest.raises(SourceError) as refused:
        open_source(url)
    assert said in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_password_comes_from_the_environment_or_a_file_and_is_never_told(server: Server, tmp_path: Path) -> None:
    admin = server.connect("postgres")
    admin.execute("DROP ROLE IF EXISTS reader")
    admin.execute("CREATE ROLE reader LOGIN PASSWORD 'hunter2'")
    OnPostgresql(server, "guarded", "b").close()
    server.connect("guarded").execute("GRANT SELECT ON generations, traces TO reader")
    rules = server.directory / "data" / "pg_hba.conf"
    trusting = rules.read_text()
    rules.write_text(f"host all reader 127.0.0.1/32 scram-sha-256\n{trusting}")
    admin.execute("SELECT pg_reload_conf()")
    url = f"llm-metrics+postgresql://reader@127.0.0.1:{server.port}/guarded"
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    try:
        for done in (once(url, PGPASSWORD="hunter2"), once(f"{url}?password_file={file}")):
            assert (done.returncode, done.stderr) == (0, "")
        file.write_text("hunter3\n")
        for done in (once(url), once(url, PGPASSWORD="hunter3"), once(f"{url}?password_file={file}")):
            assert done.returncode == 2
            assert "put the password into PGPASSWORD" in done.stderr
            assert "hunter" not in done.stderr
    finally:
        rules.write_text(trusting)
        admin.execute("SELECT pg_reload_conf()")


def test_a_role_that_may_only_read_is_enough_and_less_is_told(server: Server) -> None:
    store = OnPostgresql(server, "rights", "b")
    put_call(store, "g", **USAGE)
    admin = server.connect("rights")
    admin.execute("DROP ROLE IF EXISTS looker")
    admin.execute("CREATE ROLE looker LOGIN")
    url = f"llm-metrics+postgresql://looker@127.0.0.1:{server.port}/rights"
    done = once(url)
    assert done.returncode == 2
    assert "GRANT SELECT ON generations, traces" in done.stderr
    admin.execute("GRANT SELECT ON generations, traces TO looker")
    assert once(url).returncode == 0
    store.close()


def test_a_file_is_opened_read_only(tmp_path: Path) -> None:
    store = OnSqlite(tmp_path / "llm.db", "a")
    database = Sqlite(store.path)
    with pytest.raises(SourceError, match="readonly"):
        database.fetch(text("DELETE FROM generations"))
    database.close()
    store.close()


def test_a_server_is_asked_in_transactions_that_cannot_write_nor_last(server: Server) -> None:
    store = OnPostgresql(server, "settings", "b")
    database = Postgresql(place_of(urlsplit(store.url), ""))
    with pytest.raises(SourceError, match="read-only transaction"):
        database.fetch(text("DELETE FROM generations RETURNING id"))
    assert database.fetch(text("SHOW statement_timeout")) == [("30s",)]
    database.close()
    store.close()


# Traces of a backlog, which are read beside the pages of calls.


def agents_of_pages(store: OnSqlite, clock: Clock) -> tuple[list[bool], list[tuple[str, str]]]:
    """Of each page whether its traces were read beside it, and of each call its agent."""
    rows, beside, agents = Reading(store, clock).rows, [], []
    more = True
    while more:
        batch = rows.poll()
        more = batch.more
        for page in batch.records:
            found = translate(page, "")
            beside.append(page.traces is not None)
            agents += [(span.span_id, span.agent) for span in found.spans if span.kind == "inference"]
    rows.close()
    return beside, agents


def put_backlog(store: OnSqlite, traces: list[str], calls: list[str], *, each: int = 2) -> list[tuple[str, str]]:
    """Put traces and so many calls of each; return each call with its agent."""
    for trace in traces:
        put_trace(store, trace, name=f"{trace}_agent_task")
    put = [(f"{number} of {trace}", trace) for trace in calls for number in range(each)]
    for call, trace in put:
        put_call(store, call, trace, **USAGE)
    return [(call, f"{trace}_agent" if trace in traces else "") for call, trace in put]


EIGHT = ["t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7"]


def test_traces_that_stand_in_the_order_of_the_calls_are_read_beside_them(
    tmp_path: Path, clock: Clock, small_pages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "_TRACES", 2)
    store = OnSqlite(tmp_path / "store.db", "b")
    put = put_backlog(store, EIGHT, EIGHT)
    # Sixteen calls, three a page; whether it is a backlog the first page tells.
    assert agents_of_pages(store, clock) == ([False, True, True, True, True, True], put)
    store.close()


def test_a_page_with_a_trace_that_is_not_there_is_asked_for_with_its_traces(
    tmp_path: Path, clock: Clock, small_pages: None
) -> None:
    store = OnSqlite(tmp_path / "store.db", "b")
    # The calls of the third page are of t3, t3 and t4.
    put = put_backlog(store, [trace for trace in EIGHT if trace != "t4"], EIGHT)
    assert agents_of_pages(store, clock) == ([False, True, False, False, True, True], put)
    store.close()


def test_traces_in_another_order_than_the_calls_are_looked_up(
    tmp_path: Path, clock: Clock, small_pages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "_TRACES", 1)
    store = OnSqlite(tmp_path / "store.db", "b")
    names = [f"t{number}" for number in range(16)]
    put = put_backlog(store, names[::-1], names, each=1)
    assert agents_of_pages(store, clock) == ([False] * 6, put)
    store.close()


def test_traces_without_numbers_of_their_own_are_looked_up(tmp_path: Path, clock: Clock, small_pages: None) -> None:
    store = OnSqlite(tmp_path / "store.db", "b")
    put = put_backlog(store, EIGHT, EIGHT)
    with sqlite3.connect(store.path) as db:
        columns = "id TEXT PRIMARY KEY, name TEXT, trace_metadata TEXT, created_at TEXT"
        db.execute(f"CREATE TABLE kept ({columns}) WITHOUT ROWID")
        db.execute("INSERT INTO kept SELECT id, name, trace_metadata, created_at FROM traces")
        db.execute("DROP TABLE traces")
        db.execute("ALTER TABLE kept RENAME TO traces")
    assert agents_of_pages(store, clock) == ([False] * 6, put)
    store.close()


# Hostile rows.

HOSTILE = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=30),
    st.binary(max_size=10),
    st.sampled_from(
        [
            "1969-12-31 23:59:59",
            "2100-01-01T00:00:00",
            "9999-12-31T23:59:59.999999-23:59",
            "0001-01-01 00:00:00+23:59",
            "{'agent': 'x'}",
            "{'agent': " + "[" * 500,
            '{"agent": ' + "[" * 5000,
            '{"agent_name": "\\ud800"}',
            "\ud800",
            "None",
            "null",
            "{'agent': 1e999}",
        ]
    ),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.lists(
        st.tuples(
            st.one_of(st.just("g"), HOSTILE),
            st.one_of(st.just("t"), HOSTILE),
            *([HOSTILE] * 8),
            st.one_of(st.just("2026-03-01 10:00:00"), HOSTILE),
            *([HOSTILE] * (len(FIELDS) - 11)),
        ),
        min_size=1,
        max_size=5,
    ),
    zeros=st.booleans(),
)
def test_whatever_stands_in_a_row_is_a_span_or_a_counted_bad_record(rows: list[tuple[Any, ...]], zeros: bool) -> None:
    found = translate(Page(rows=rows, zeros=zeros, unit=1000.0), "")
    calls = [span for span in found.spans if span.kind == "inference"]
    assert found.records == len(rows) == len(calls) + sum(found.bad.values())
    assert found.bad.keys() <= {"wrong_type", "out_of_range", "timestamp", "missing_field", "id_too_long"}
    for span in found.spans:
        assert 0.0 <= span.time < 4102444800.0
        assert all(value is None or 0 <= value < 2**53 for value in (span.input_tokens, span.cost, span.duration))
        "".join((span.trace_id, span.span_id, span.agent, span.model, span.provider)).encode()
    unit_of([row[LATENCY] for row in rows])


def test_a_row_that_cannot_be_used_leaves_the_others_of_its_page_as_they_are() -> None:
    usable = {"trace_id": "t", "created_at": "2026-03-01T10:00:00", "input_tokens": 10, "output_tokens": 5}
    rows = [
        {"id": "whole", **usable},
        {"id": "impossible", **usable, "input_tokens": -1},
        {"id": "half", **usable, "completion_start_time": "yesterday", "completion_end_time": "2026-03-01T10:00:02"},
        {"id": "gr\xfcn", **usable},
    ]
    page = Page(rows=[tuple(row.get(name) for name in FIELDS) for row in rows], zeros=True, unit=1000.0)
    found = translate(page, "")
    assert (found.records, found.bad) == (4, {"out_of_range": 1})
    assert [(span.span_id, span.input_tokens, span.duration) for span in found.spans] == [
        ("whole", 10, None), ("half", 10, 2.0), ("gr\xfcn", 10, None),
    ]  # fmt: skip


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=5),
            *[HOSTILE.filter(lambda value: not isinstance(value, str) or "\ud800" not in value)] * 4,
        ),
        min_size=1,
        max_size=6,
        unique_by=lambda row: row[0],
    )
)
def test_whatever_stands_in_a_file_is_read_and_summed(tmp_path: Path, values: list[tuple[Any, ...]]) -> None:
    path = tmp_path / "hostile.db"
    path.unlink(missing_ok=True)
    store = OnSqlite(path, "a")
    for id_, created, tokens, cost, ended in values:
        stamp = "" if created is None or created != created else created  # SQLite stores NaN as NULL
        row = {"created_at": stamp, "input_tokens": tokens, "total_cost": cost}
        put_call(store, id_, completion_end_time=ended, level="ERROR", **row)
    reading = Reading(store, Clock())
    ids = reading.on()
    assert len(ids) + sum(reading.bad.values()) == reading.read == len(values)
    sums = open_source(store.url).sums
    assert sums is not None
    assert sums(0.0, NOW).calls is not None
    reading.rows.close()
    store.close()
