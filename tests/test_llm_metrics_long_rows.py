"""llm_metrics with values that are long, deep or no numbers: a row costs itself when it is read, late, and summed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llm_metrics_store import POSTGRES, OnPostgresql, OnSqlite, Server, Store, postgresql, put_call, put_trace
from test_llm_metrics import DAY, MINUTE, NOW, USAGE, Clock, Reading
from test_sqlite_safety import MEMORY, check, text_of

from exporters.sources import SourceError, Sums, open_source
from exporters.sources.llm_metrics import pages, reader
from exporters.sources.llm_metrics.postgresql import Database as Postgresql
from exporters.sources.llm_metrics.postgresql import place_of
from exporters.sources.llm_metrics.sqlite import Database as Sqlite
from exporters.sources.llm_metrics.sums import sums_of

TOO_LONG = text_of(17 << 20)
LONG = text_of(20_000)


@pytest.fixture(params=["a", "b"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OnSqlite]:
    found = OnSqlite(tmp_path / "llm_metrics.db", request.param)
    yield found
    found.close()


@pytest.fixture
def reading(store: OnSqlite) -> Iterator[Reading]:
    found = Reading(store, Clock())
    yield found
    found.rows.close()


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BATCH_ROWS", 7)
    monkeypatch.setattr(Sqlite, "page_rows", 3)
    monkeypatch.setattr(pages, "_CAREFUL_PAGES", 1)
    monkeypatch.setattr(pages, "_STRETCHES", 2)


def put_calls(store: Store, number: int, **fields: Any) -> list[str]:
    ids = [f"g{place:02}" for place in range(number)]
    for id_ in ids:
        put_call(store, id_, **{**USAGE, **fields})
    return ids


def lengthen(store: OnSqlite, call: str, column: str = "status_message", value: str = TOO_LONG) -> None:
    store.run(f"UPDATE generations SET {column} = {value} WHERE id = ?", call)


# Reading on.


def test_rows_around_one_that_is_too_long_are_each_read_once(
    store: OnSqlite, reading: Reading, small_pages: None
) -> None:
    ids = put_calls(store, 20)
    # At the beginning of a page, in the middle of one, two in a row, and at the end of all.
    long = ("g03", "g07", "g12", "g13", "g19")
    for call in long:
        lengthen(store, call)
    assert reading.on() == [call for call in ids if call not in long]
    assert reading.unread == {"too_long": 5}
    # What is written behind the last of them is read too, and they are not counted again.
    put_call(store, "new", **USAGE)
    assert reading.later(5) == ["new"]
    assert (reading.unread, reading.repeated) == ({"too_long": 5}, 0)


def test_a_table_of_nothing_else_is_read_to_its_end(store: OnSqlite, reading: Reading, small_pages: None) -> None:
    for call in put_calls(store, 5):
        lengthen(store, call, "level")
    assert reading.on() == []
    assert reading.unread == {"too_long": 5}


def test_numbers_that_lie_far_apart_are_passed_too(store: OnSqlite, reading: Reading, small_pages: None) -> None:
    numbers = [-(2**62), -5, 7, 2**40, 2**40 + 1, 2**62, 2**63 - 1]
    for number in numbers:
        put_call(store, str(number), **USAGE)
        store.run("UPDATE generations SET rowid = ? WHERE id = ?", number, str(number))
    lengthen(store, str(2**40))
    assert reading.on() == [str(number) for number in numbers if number != 2**40]
    assert reading.later(reader.THOROUGH_SECONDS + 1) == []


def test_a_cursor_behind_a_row_that_is_too_long_goes_on_there(
    store: OnSqlite, reading: Reading, small_pages: None
) -> None:
    put_calls(store, 12)
    lengthen(store, "g04")
    batch = reading.rows.poll()
    # Three; then two around the one that is too long; then three, and it is enough for one batch.
    assert (batch.size, batch.bad, batch.more) == (8, {"too_long": 1}, True)
    reading.rows.seek(batch.cursor)
    # And then, as after each start, what may have changed meanwhile.
    assert reading.on() == ["g09", "g10", "g11", "g00", "g01", "g02", "g03", "g05", "g06", "g07", "g08"]


def test_long_metadata_and_models_are_read_as_those_of_short_ones(
    store: OnSqlite, reading: Reading, small_pages: None
) -> None:
    put_calls(store, 9)
    about = "metadata" if store.layout == "b" else "generation_metadata"
    metadata = json.dumps({"text": "x" * 20_000, "agent": "writer"})
    store.run(f"UPDATE generations SET {about} = ? WHERE id IN ('g01', 'g05')", metadata)
    lengthen(store, "g06", "model", LONG)
    # Longer than is looked into: a call without an agent.
    store.run(
        f"UPDATE generations SET {about} = ? WHERE id = 'g07'", json.dumps({"agent": "writer", "text": "x" * 70_000})
    )
    assert len(reading.on()) == 9
    assert [span.agent for span in reading.counted] == ["", "writer", "", "", "", "writer", "", "", ""]
    assert reading.call("g06").model == "x" + "0" * 1023
    assert reading.unread == {}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(st.sampled_from(["short", "short", "short", "long", "too long"]), min_size=1, max_size=30),
    traces=st.lists(st.sampled_from(["short", "short", "long", "too long", "missing"]), min_size=10, max_size=10),
)
def test_whatever_is_long_the_others_are_read_once_with_their_agents(
    tmp_path: Path, small_pages: None, kinds: list[str], traces: list[str]
) -> None:
    path = tmp_path / "kinds.db"
    path.unlink(missing_ok=True)
    store = OnSqlite(path, "a")
    for number, kind in enumerate(traces):
        if kind != "missing":
            put_trace(store, f"t{number}", name=f"agent{number}_task")
        if kind in ("long", "too long"):
            store.run(f"UPDATE traces SET name = {LONG if kind == 'long' else TOO_LONG} WHERE id = ?", f"t{number}")
    for number, kind in enumerate(kinds):
        put_call(store, f"g{number:02}", f"t{number // 3}", **USAGE)
        if kind != "short":
            lengthen(store, f"g{number:02}", "model", LONG if kind == "long" else TOO_LONG)

    reading = Reading(store, Clock())
    reading.on()
    reading.rows.close()
    store.close()

    agents = {"long": "x" + "0" * 1023, "too long": "", "missing": ""}
    wanted = [
        (f"g{number:02}", agents.get(traces[number // 3], f"agent{number // 3}"))
        for number, kind in enumerate(kinds)
        if kind != "too long"
    ]
    assert [(span.span_id, span.agent) for span in reading.counted] == wanted
    passed = {number // 3 for number, kind in enumerate(kinds) if kind != "too long"}
    wanted_bad = kinds.count("too long") + sum(traces[number] == "too long" for number in passed)
    assert reading.unread == ({"too_long": wanted_bad} if wanted_bad else {})


# Looking behind.


@pytest.mark.parametrize("column", ["total_tokens", "level", "created_at", "id"])
def test_late_rows_are_read_beside_one_that_is_too_long(
    store: OnSqlite, reading: Reading, small_pages: None, column: str
) -> None:
    under_way = {"created_at": "2026-03-01T10:59:00"}
    late = ("g01", "g13", "g28")
    for number in range(30):
        call = f"g{number:02}"
        put_call(store, call, **under_way, **({} if call in late else USAGE))
    put_call(store, "long", **under_way, **USAGE)
    lengthen(store, "long", column)
    put_call(store, "never", **under_way)
    assert len(reading.on()) == 27
    assert reading.unread == {"too_long": 1}
    # In their places, which only a thorough look shows; it passes over the long one as the first reading did.
    for call in late:
        store.run("UPDATE generations SET output_tokens = 5 WHERE id = ?", call)
    assert reading.later(3 * MINUTE) == []
    assert reading.later(reader.THOROUGH_SECONDS) == [*late, "never"]
    assert reading.unread == {"too_long": 2}
    # And a minute later nothing is new, and nothing is counted again.
    assert reading.later(reader.LOOK_SECONDS + 1) == []
    assert reading.unread == {"too_long": 2}


def test_a_call_that_never_ends_ripens_beside_one_that_is_too_long(
    store: OnSqlite, reading: Reading, small_pages: None
) -> None:
    for call in ("long", "never"):
        put_call(store, call, created_at="2026-03-01T10:59:00")
    lengthen(store, "long", "total_tokens")
    assert reading.on() == []
    assert reading.later(36 * MINUTE) == ["never"]
    assert reading.unread == {"too_long": 1}


def test_long_keys_are_no_part_of_a_look_and_hold_up_nobody(
    store: OnSqlite, reading: Reading, small_pages: None
) -> None:
    put_calls(store, 5)
    lengthen(store, "g01", "id", text_of(5_000))
    lengthen(store, "g02", "created_at", f"'2026-03-01 10:00:00' || {text_of(5_000)}")
    reading.on()
    assert reading.bad == {"id_too_long": 1, "timestamp": 1}
    put_call(store, "g09", created_at="2026-03-01T10:00:01", **USAGE)
    assert reading.later(reader.THOROUGH_SECONDS + 1) == ["g09"]
    assert reading.later(reader.THOROUGH_SECONDS + 1) == []


# How far back.


def test_what_is_older_than_asked_for_is_passed_by_the_index_of_times(store: OnSqlite) -> None:
    times = ("2026-02-01T10:00:00", "2026-03-01T09:00:00", "2026-02-01T10:00:00", "2026-03-01T10:00:00")
    for number, time in enumerate(times):
        put_call(store, f"g{number}", created_at=time, **USAGE)
    # Too long, and old: not even looked at.
    lengthen(store, "g0")
    reading = Reading(store, Clock(), since=2 * DAY)
    assert reading.on() == ["g1", "g3"]
    assert reading.unread == {}
    put_call(store, "g4", created_at="2026-02-01T10:00:00", **USAGE)
    put_call(store, "g5", created_at="2026-03-01T11:00:00", **USAGE)
    assert reading.later(5) == ["g5"]
    reading.rows.close()


def test_of_a_store_in_which_all_is_older_only_what_comes_is_read(store: OnSqlite) -> None:
    put_calls(store, 3, created_at="2025-03-01T10:00:00")
    reading = Reading(store, Clock(), since=2 * DAY)
    assert reading.on() == []
    put_call(store, "new", **USAGE)
    assert reading.later(5) == ["new"]
    reading.rows.close()


# What stands in it.

DEEP = (1_100, 8_000, 100_000)


@pytest.mark.parametrize(
    "metadata",
    [
        *('{"agent": "x", "y": ' + "[" * depth + "]" * depth + "}" for depth in DEEP),
        *('{"y": ' + '{"agent":' * depth + "1" + "}" * depth + "}" for depth in DEEP),
        *("{'agent': " + "-" * depth + "1}" for depth in DEEP),
        "{'agent': " + "1x" * 5_000 + "}",
        '{"agent":"x"' + "".join(f',"a{number}":0' for number in range(1_000_000)) + "}",
    ],
    ids=lambda metadata: f"{metadata[:12]} {len(metadata)}",
)
def test_metadata_of_any_depth_and_width_costs_no_call(
    store: OnSqlite, reading: Reading, metadata: str, capfd: pytest.CaptureFixture[str]
) -> None:
    about = "metadata" if store.layout == "b" else "generation_metadata"
    put_trace(store, name="planner_task", trace_metadata=metadata)
    put_call(store, "deep", **{about: metadata}, **USAGE)
    put_call(store, "other", **USAGE)
    assert reading.on() == ["deep", "other"]
    assert (reading.bad, reading.unread) == ({}, {})
    assert {span.agent for span in reading.counted} == {"planner"}
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("input_tokens", "'99999999999999999999999'", "out_of_range"),
        ("input_tokens", "9223372036854775807", "out_of_range"),
        ("input_tokens", "'many'", "wrong_type"),
        ("input_tokens", "x'00ff'", "wrong_type"),
        ("total_cost", "9e999", "out_of_range"),
        ("total_cost", "x'00ff'", "wrong_type"),
        ("latency_ms", "-9e999", "out_of_range"),
        ("id", "x'00ff'", "wrong_type"),
        ("trace_id", "x'00ff'", "wrong_type"),
        ("model", "x'00ff'", None),
        ("level", "x'00ff'", None),
        ("status_message", "x'00ff'", None),
        ("created_at", "x'00ff'", None),
        ("total_cost", "9e999 - 9e999", None),  # NaN, which SQLite keeps as NULL
    ],
)
def test_a_value_of_another_kind_costs_at_most_its_row(
    store: OnSqlite, reading: Reading, column: str, value: str, reason: str | None
) -> None:
    put_calls(store, 3, completion_end_time="2026-03-01T10:00:00")
    lengthen(store, "g01", column, value)
    assert len(reading.on()) == (2 if reason else 3)
    assert (reading.bad, reading.unread) == ({reason: 1} if reason else {}, {})


# The store's own sums.


def test_sums_leave_out_what_is_no_number_and_what_is_too_long(store: OnSqlite) -> None:
    put_calls(store, 9, input_cost=0.25, output_cost=0.5, total_cost=0.75)
    for call in ("g00", "g01"):
        # Together more than 64 bits.
        lengthen(store, call, "input_tokens", "9223372036854775807")
    lengthen(store, "g02", "input_tokens", "x'00ff'")
    lengthen(store, "g03", "output_tokens", "'many'")
    lengthen(store, "g04", "total_cost", "9e999")
    lengthen(store, "g05", "total_cost", "-9e999")
    sums = open_source(store.url).sums
    assert sums is not None
    # A cost that is none is that of its parts.
    whole = Sums(calls=9, input_tokens=60, output_tokens=40, cost=6.75)
    assert sums(NOW - DAY, NOW) == whole
    # Of these columns no value is read whose type shows that it is no number.
    lengthen(store, "g02", "input_tokens")
    assert sums(NOW - DAY, NOW) == whole
    for call, column in (("g06", "created_at"), ("g07", "completion_end_time")):
        lengthen(store, call, column)
    assert sums(NOW - DAY, NOW) == Sums(calls=7, input_tokens=40, output_tokens=30, cost=5.25)


def test_sums_that_take_too_long_are_given_up(store: OnSqlite) -> None:
    store.run(
        "INSERT INTO generations (id, trace_id, created_at) WITH RECURSIVE n(i) AS"
        " (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT 'g' || i, 't', '2026-03-01 10:00:00' FROM n"
    )
    with pytest.raises(SourceError, match="there was no answer in time"):
        sums_of(lambda: Sqlite(store.path), seconds=0.0)(NOW - DAY, NOW)
    lengthen(store, "g5000", "completion_end_time")
    with pytest.raises(SourceError, match=r"in time|took longer than 0 s"):
        sums_of(lambda: Sqlite(store.path), seconds=0.0)(NOW - DAY, NOW)
    assert sums_of(lambda: Sqlite(store.path))(NOW - DAY, NOW).calls == 4999


# PostgreSQL.


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if POSTGRES is None:
        pytest.skip("PostgreSQL is not installed")
    with postgresql() as found:
        yield found


@pytest.fixture(params=["a", "b"])
def on_server(request: pytest.FixtureRequest, server: Server) -> Iterator[OnPostgresql]:
    found = OnPostgresql(server, f"long_{request.param}", request.param)
    yield found
    found.close()


def test_values_of_a_server_of_any_length_cost_no_memory(server: Server, tmp_path: Path) -> None:
    store = OnPostgresql(server, "length", "b")
    put_calls(store, 100)
    store.run("UPDATE generations SET model = repeat('m', 1000000), status_message = repeat('s', 1000000)")
    store.run("UPDATE generations SET model = repeat('m', 300000000) WHERE id = 'g07'")

    done = check(store.url, tmp_path)

    store.close()
    assert (done.code, done.err) == (0, "")
    assert "100 model calls" in done.out
    assert done.memory < MEMORY


def test_ids_of_a_server_that_are_too_long_are_counted_once_and_passed(on_server: OnPostgresql) -> None:
    for column in ("id", "trace_id"):
        on_server.run(f"ALTER TABLE generations ALTER {column} TYPE text")
    put_calls(on_server, 3)
    on_server.run("UPDATE generations SET id = 'g02' || repeat('x', 100000) WHERE id = 'g02'")
    reading = Reading(on_server, Clock())
    assert reading.on() == ["g00", "g01"]
    assert (reading.bad, reading.read) == ({"id_too_long": 1}, 3)
    put_call(on_server, "g03", **USAGE)
    assert reading.later(5) == ["g03"]
    assert reading.read == 4
    reading.rows.close()


def test_numbers_of_a_server_past_those_of_floats_cost_their_rows(on_server: OnPostgresql) -> None:
    for column in ("total_cost", "input_cost", "latency_ms"):
        on_server.run(f"ALTER TABLE generations ALTER {column} TYPE numeric")
    put_calls(on_server, 5, total_cost=0.75)
    on_server.run("UPDATE generations SET total_cost = 1e400 WHERE id = 'g01'")
    on_server.run("UPDATE generations SET total_cost = 'NaN' WHERE id = 'g02'")
    on_server.run("UPDATE generations SET latency_ms = -1e400 WHERE id = 'g03'")
    reading = Reading(on_server, Clock())
    assert reading.on() == ["g00", "g04"]
    assert reading.bad == {"out_of_range": 3}
    reading.rows.close()
    sums = open_source(on_server.url).sums
    assert sums is not None
    assert sums(NOW - DAY, NOW) == Sums(calls=5, input_tokens=50, output_tokens=25, cost=2.25)


def test_a_view_of_a_server_is_read_and_what_changes_in_it_is_found(on_server: OnPostgresql) -> None:
    on_server.run("ALTER TABLE generations RENAME TO kept")
    on_server.run("CREATE VIEW generations AS SELECT * FROM kept WHERE trace_id != 'hidden'")
    for number in range(3):
        on_server.put("kept", {"id": f"g{number}", "trace_id": "t", "created_at": "2026-03-01T10:30:00", **USAGE})
    reading = Reading(on_server, Clock())
    assert reading.on() == ["g0", "g1", "g2"]
    # Late, so behind what was read.
    on_server.put("kept", {"id": "late", "trace_id": "t", "created_at": "2026-03-01T10:00:00", **USAGE})
    assert reading.later(2 * reader.LOOK_SECONDS) == []
    assert reading.later(reader.THOROUGH_SECONDS) == ["late"]
    reading.rows.close()


def test_a_view_of_a_server_without_end_is_broken_off_and_read_when_it_is_mended(on_server: OnPostgresql) -> None:
    put_calls(on_server, 2)
    on_server.run("ALTER TABLE generations RENAME TO kept")
    on_server.run(
        "CREATE VIEW generations AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
        " SELECT kept.* FROM n, kept WHERE n.i < 0 OR kept.id = 'none'"
    )
    rows = reader.Rows(
        lambda: Postgresql(place_of(urlsplit(on_server.url), ""), seconds=0.5),
        lambda page: [row[0] for row in page.rows],
        since=None, lookback=DAY, settle=MINUTE, unit=None, now=Clock(),
    )  # fmt: skip
    for _ in range(2):
        with pytest.raises(SourceError, match=r"canceling statement due to statement timeout; where generations or"):
            rows.poll()
    on_server.run("CREATE OR REPLACE VIEW generations AS SELECT * FROM kept")
    assert rows.poll().records == [["g00", "g01"]]
    rows.close()


def test_sums_of_a_server_have_more_time_than_pages(on_server: OnPostgresql) -> None:
    put_calls(on_server, 2)
    on_server.run("ALTER TABLE generations RENAME TO kept")
    on_server.run("CREATE VIEW generations AS SELECT kept.* FROM kept, pg_sleep(0.6)")
    place = place_of(urlsplit(on_server.url), "")

    def connect() -> Postgresql:
        return Postgresql(place, seconds=0.3)

    with pytest.raises(SourceError, match="statement timeout"):
        sums_of(connect, seconds=0.3)(NOW - DAY, NOW)
    assert sums_of(connect, seconds=60.0)(NOW - DAY, NOW).calls == 2
