"""SQLite files that mean harm, or are merely odd: a value costs its record, a question ends, memory stays small."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from llm_metrics_store import OnSqlite, put_call, put_trace
from msgtrace_store import CHAT, START, Store
from serving import serving, until

from exporters.sources.llm_metrics.rows import FIELDS

# What a command may take at most, in bytes; it begins with about 70 MB.
MEMORY = 150 << 20
# Past the 16 MiB of the longest value that is read.
LONG = 17 << 20
USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
# Runs some code and writes down how much memory that took at its peak: what a parent is told of a child begins with
# what the parent had itself.
MEASURED = """
import sys
CODE
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:")).split()[1]
open(sys.argv[1], "w").write(peak)
sys.exit(code)
"""


@dataclass
class Done:
    """A command that came to its end: `memory` is its peak in bytes."""

    code: int
    out: str
    err: str
    memory: int


def check(url: str, tmp_path: Path, *, seconds: float = 50) -> Done:
    """Run `agentgauge check`, which has to end by itself within so long."""
    return run("from exporters.__main__ import main\ncode = main(['check', sys.argv[2]])", url, tmp_path, seconds)


def sums(url: str, tmp_path: Path, day: float) -> Done:
    """Ask a store for its own sums of a day, the one that begins then."""
    asked = f"open_source(sys.argv[2]).sums({day}, {day + 86400.0})"
    return run(f"from exporters.sources import open_source\ncode = print({asked})", url, tmp_path, 50)


def run(code: str, url: str, tmp_path: Path, seconds: float) -> Done:
    peak = tmp_path / "peak"
    done = subprocess.run(
        [sys.executable, "-c", MEASURED.replace("CODE", code), str(peak), url],
        capture_output=True, text=True, check=False, timeout=seconds,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr, int(peak.read_text()) * 1024)


@pytest.fixture(params=["a", "b"])
def llm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OnSqlite]:
    found = OnSqlite(tmp_path / "llm_metrics.db", request.param)
    yield found
    found.close()


def text_of(size: int) -> str:
    """SQL of a text of so many characters and one, which is made within the database, and is no number to it."""
    return f"'x' || hex(zeroblob({size // 2}))"


# A value of any length costs the record that holds it.


def test_a_model_of_300_megabytes_costs_its_row_and_no_memory(llm: OnSqlite, tmp_path: Path) -> None:
    for call in ("first", "long", "last"):
        put_call(llm, call, **USAGE)
    llm.run(f"UPDATE generations SET model = {text_of(300_000_000)} WHERE id = 'long'")

    done = check(llm.url, tmp_path)

    assert (done.code, done.err) == (0, "")
    assert "2 model calls" in done.out
    assert "1 longer than 16 MiB (too_long)" in done.out
    assert done.memory < MEMORY


@pytest.mark.parametrize("kind", ["text", "blob"])
def test_a_value_that_is_too_long_costs_its_row_whatever_column_it_stands_in(
    llm: OnSqlite, tmp_path: Path, kind: str
) -> None:
    columns = [name for name in FIELDS[: FIELDS.index("trace_name")] if name != "metadata"]
    columns.append("metadata" if llm.layout == "b" else "generation_metadata")
    put_trace(llm, name="planner_task")
    for column in columns:
        put_call(llm, f"before {column}", **USAGE)
        put_call(llm, column, **USAGE)
        value = text_of(LONG) if kind == "text" else f"zeroblob({LONG})"
        llm.run(f"UPDATE generations SET {column} = {value} WHERE id = '{column}'")
    put_call(llm, "last", **USAGE)

    done = check(llm.url, tmp_path)

    assert (done.code, done.err) == (0, "")
    assert "17 model calls" in done.out
    # Of the two costs it is enough to see that they are no numbers, without reading them.
    assert "16 records could not be used:" in done.out
    assert "14 longer than 16 MiB (too_long)" in done.out
    assert "2 with a field of another type than it should be (wrong_type)" in done.out
    assert done.memory < MEMORY


def test_a_trace_with_a_value_that_is_too_long_costs_no_call_of_it(llm: OnSqlite, tmp_path: Path) -> None:
    for trace in ("name", "trace_metadata", "created_at", "short"):
        put_trace(llm, trace, name="planner_task")
        for number in (1, 2):
            put_call(llm, f"{number} of {trace}", trace, **USAGE)
    for column in ("name", "trace_metadata", "created_at"):
        llm.run(f"UPDATE traces SET {column} = {text_of(LONG)} WHERE id = '{column}'")

    done = check(llm.url, tmp_path)

    assert (done.code, done.err) == (0, "")
    assert "8 model calls" in done.out
    assert "6 model calls without an agent's name" in done.out
    assert "3 longer than 16 MiB (too_long)" in done.out
    assert done.memory < MEMORY


def test_long_values_in_every_row_take_no_memory_and_cost_no_row(llm: OnSqlite, tmp_path: Path) -> None:
    for number in range(300):
        put_call(llm, f"g{number}", **USAGE)
    llm.run(f"UPDATE generations SET model = {text_of(1 << 20)}")

    done = check(llm.url, tmp_path)

    assert (done.code, done.err) == (0, "")
    assert "300 model calls" in done.out
    assert "could not be used" not in done.out
    assert done.memory < MEMORY


def test_a_span_of_300_megabytes_costs_its_row_and_no_memory(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "msgtrace.db")) as store:
        for span in ("first", "long", "last"):
            store.span(span)
        store.execute(f"UPDATE spans SET attributes = {text_of(300_000_000)} WHERE span_id = 'long'")

        done = check(f"msgtrace://{store.path}", tmp_path)

    assert (done.code, done.err) == (0, "")
    assert "2 model calls" in done.out
    assert "1 longer than 16 MiB (too_long)" in done.out
    assert done.memory < MEMORY


def test_long_ids_of_the_last_spans_take_no_memory(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "msgtrace.db")) as store:
        store.span("first")
        with store.transaction():
            for number in range(40):
                store.put(f"s{number}")
        store.execute(f"UPDATE spans SET span_id = span_id || {text_of(8 << 20)} WHERE span_id != 'first'")

        done = check(f"msgtrace://{store.path}", tmp_path)

    assert (done.code, done.err) == (0, "")
    assert "40 with an id of more than 1,024 characters (id_too_long)" in done.out
    assert done.memory < MEMORY


def test_attributes_of_a_million_values_take_no_memory_and_cost_no_row(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "msgtrace.db")) as store:
        call = '{"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 7'
        store.span("keys", call + "".join(f', "a{number}": 0' for number in range(800_000)) + "}")
        store.span("values", f'{call}, "x": [{"[], " * 3_000_000}0]}}')
        store.span("usual")

        done = check(f"msgtrace://{store.path}", tmp_path)

    assert (done.code, done.err) == (0, "")
    assert "3 model calls" in done.out
    assert "could not be used" not in done.out
    assert done.memory < MEMORY


def test_sums_of_long_rows_take_no_memory(llm: OnSqlite, tmp_path: Path) -> None:
    for call in ("first", "model", "input_tokens", "completion_end_time", "last"):
        put_call(llm, call, **USAGE)
    for column, size in (("model", 300_000_000), ("input_tokens", 100_000_000), ("completion_end_time", 100_000_000)):
        llm.run(f"UPDATE generations SET {column} = {text_of(size)} WHERE id = '{column}'")

    done = sums(llm.url, tmp_path, 1772323200.0)

    # A model is not asked for; tokens that are no number are none; without a time it is in no period.
    assert done.out == "Sums(calls=4, input_tokens=30, output_tokens=20, cost=0.0)\n"
    assert done.memory < MEMORY


def test_sums_of_long_spans_take_no_memory(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "msgtrace.db")) as store:
        store.span("usual")
        call = '{"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 7, "x": '
        store.span("long", f'{call}"{"x" * 15_000_000}"}}')
        store.span("wide", f"{call}[{'0, ' * 1_000_000}0]}}")
        store.span("wider than is read", f"{call}[{'[], ' * 3_000_000}0]}}")
        store.span("longest")
        store.execute(f"UPDATE spans SET attributes = {text_of(300_000_000)} WHERE span_id = 'longest'")

        done = sums(f"msgtrace://{store.path}", tmp_path, START)

    assert done.out == "Sums(calls=3, input_tokens=114, output_tokens=50, cost=0.375)\n"
    assert done.memory < MEMORY


# What is no table is not read: what it computes may never end.

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"


def computed(table: str, columns: list[str], *, endless: bool, **values: str) -> list[str]:
    """Statements that put a view in the place of a table: rows without end, or one with values that are computed."""
    selected = ", ".join(f"{values.get(name, 'NULL')} AS {name}" for name in ("rowid", *columns))
    body = f"{ENDLESS} SELECT {selected} FROM n" if endless else f"SELECT {selected}"
    return [f"DROP TABLE {table}", f"CREATE VIEW {table} AS {body}"]


def columns_of(path: Path, table: str) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return [name for (name,) in db.execute(f"SELECT name FROM pragma_table_info('{table}')")]


HARM = {
    "an endless view": lambda table, columns: computed(
        table, columns, endless=True, rowid="i", id="'g' || i", span_id="'s' || i", created_at="'2026-03-01'"
    ),
    "a view with a value of 800 MB": lambda table, columns: computed(
        table, columns, endless=False, rowid="1", id="'g'", span_id="'s'", created_at="'2026-03-01'",
        model="hex(zeroblob(400000000))", attributes="hex(zeroblob(400000000))",
        name="hex(zeroblob(400000000))",
    ),
    "a virtual table": lambda table, columns: [
        f"DROP TABLE {table}", f"CREATE VIRTUAL TABLE {table} USING fts5({', '.join(columns)})"
    ],
}  # fmt: skip


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("table", ["generations", "traces", "spans"])
def test_what_is_no_table_is_told_in_one_line_and_not_read(tmp_path: Path, table: str, harm: str) -> None:
    if table == "spans":
        made = Store(tmp_path / "msgtrace.db")
        made.span("s", CHAT)
        url = f"msgtrace://{made.path}"
    else:
        made = OnSqlite(tmp_path / "llm_metrics.db", "b")
        put_call(made, "g", **USAGE)
        url = made.url
    made.close()
    with closing(sqlite3.connect(made.path, isolation_level=None)) as db:
        for statement in HARM[harm](table, columns_of(made.path, table)):
            db.execute(statement)

    done = check(url, tmp_path, seconds=20)

    what = "a virtual table" if harm == "a virtual table" else "a view"
    assert done.code == 2
    assert f"'{table}' is {what}, and only tables are read" in done.err
    assert done.err.count("\n") == 1
    assert done.memory < MEMORY


def test_a_column_that_is_computed_is_told_and_not_read(tmp_path: Path) -> None:
    # Looks for one long text in another: a single step of SQLite, which nothing can break off.
    costly = "instr(hex(zeroblob(8000000)), hex(zeroblob(4000000)) || 'x')"
    with closing(Store(tmp_path / "msgtrace.db")) as store:
        store.span("s")
        store.execute("ALTER TABLE spans DROP COLUMN events")
        store.execute(f"ALTER TABLE spans ADD COLUMN events TEXT GENERATED ALWAYS AS ({costly}) VIRTUAL")

        done = check(f"msgtrace://{store.path}", tmp_path, seconds=20)

    assert done.code == 2
    assert "the table 'spans' stores no column 'events'" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("beside", ["-journal", "-wal"])
@pytest.mark.parametrize("kind", ["llm-metrics", "msgtrace"])
def test_a_pipe_where_a_log_belongs_is_told_and_not_waited_for(tmp_path: Path, kind: str, beside: str) -> None:
    path = tmp_path / "store.db"
    made = Store(path) if kind == "msgtrace" else OnSqlite(path, "a" if beside == "-journal" else "b")
    made.close()
    os.mkfifo(tmp_path / f"store.db{beside}")

    done = check(f"{kind}://{path}", tmp_path, seconds=20)

    assert done.code == 2
    assert f"store.db{beside}: is not a file" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("harm", ["an endless view", "a view with a value of 800 MB"])
def test_a_store_that_becomes_a_view_while_it_is_served_is_down_and_no_other_is(tmp_path: Path, harm: str) -> None:
    good = OnSqlite(tmp_path / "good.db", "a")
    put_call(good, "g", **USAGE)
    bad = OnSqlite(tmp_path / "bad.db", "b")
    put_call(bad, "g", **USAGE)
    urls = (f"{bad.url}?name=bad", f"{good.url}?name=good")
    with serving(tmp_path / "state", *urls) as exporter:
        exporter.await_ready()
        assert exporter.value("agentgauge_source_up", source="bad") == 1
        for statement in HARM[harm]("generations", columns_of(bad.path, "generations")):
            bad.run(statement)
        until(lambda: exporter.value("agentgauge_source_up", source="bad") == 0, exporter.page)
        assert exporter.value("agentgauge_source_errors_total", source="bad") >= 1
        put_call(good, "h", **USAGE)
        until(lambda: exporter.value("agentgauge_inference_calls_total", source="good") == 2, exporter.page)
        assert exporter.value("agentgauge_source_up", source="good") == 1
        assert "'generations' is a view, and only tables are read" in exporter.said()
        assert exporter.value("process_resident_memory_bytes") < MEMORY
    good.close()
    bad.close()


def test_a_file_cannot_make_its_reader_keep_all_of_it(tmp_path: Path) -> None:
    """A file may say how many of its pages are to be kept in memory."""
    store = OnSqlite(tmp_path / "llm_metrics.db", "a")
    # Pages of four rows each, 240 MB of them.
    store.run(
        "INSERT INTO generations (id, trace_id, created_at, input_tokens, output_tokens, output)"
        " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 80000)"
        " SELECT 'g' || i, 't', '2026-03-01 10:00:00', 10, 5, hex(zeroblob(1500)) FROM n"
    )
    store.run("PRAGMA default_cache_size = 1000000")

    done = check(store.url, tmp_path)

    store.close()
    assert (done.code, done.err) == (0, "")
    assert "80,000 model calls" in done.out
    assert done.memory < MEMORY
