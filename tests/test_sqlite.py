"""A SQLite file of somebody else: only what it stores is read, within a time, and no value longer than is asked for."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from exporters.sources import SourceError
from exporters.sources.long_rows import FIRST, LAST, past_long_rows
from exporters.sources.sqlite import LONGEST_VALUE, Database, HeldError, TooLongError

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with a table of two rows."""
    found = tmp_path / "store.db"
    write(found, "CREATE TABLE rows (id TEXT, number INTEGER)", "INSERT INTO rows VALUES ('a', 1), ('b', 2)")
    return found


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with closing(Database(path, writer="the writer", text=str)) as found:
        yield found


def write(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


# Time.


def test_a_question_without_an_answer_is_broken_off_and_the_next_is_answered(path: Path) -> None:
    with closing(Database(path, writer="the writer", text=str, seconds=0.2)) as database:
        began = time.monotonic()
        with pytest.raises(SourceError, match=r"store\.db: interrupted; there was no answer in time"):
            database.fetch(ENDLESS)
        assert 0.2 <= time.monotonic() - began < 5
        # It is the question that has a time, not the connection.
        assert database.fetch("SELECT id FROM rows") == [("a",), ("b",)]
        with database.snapshot(), pytest.raises(SourceError, match="no answer in time"):
            list(database.each(ENDLESS, ()))


def test_a_question_may_be_given_more_time_than_others(path: Path) -> None:
    counting = ENDLESS.replace("FROM n)", "FROM n WHERE i < 300000)")
    with closing(Database(path, writer="the writer", text=str, seconds=0.0)) as database:
        with pytest.raises(SourceError, match="no answer in time"):
            database.fetch(counting)
        assert database.fetch(counting, seconds=60.0) == [(300_000,)]


def test_a_file_that_is_held_is_waited_for_and_said_to_be_held(path: Path, database: Database) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(HeldError, match="database is locked; its writer has held it for long"):
            database.fetch("SELECT id FROM rows")


# Length.


def test_a_value_past_the_length_that_is_asked_for_is_not_read(path: Path, database: Database) -> None:
    write(path, "UPDATE rows SET id = hex(zeroblob(5000)) WHERE number = 2")
    assert database.fetch("SELECT id FROM rows WHERE number = 1", longest=9_999) == [("a",)]
    # That the row holds a long value does not matter while that one is not read.
    assert database.fetch("SELECT number FROM rows", longest=9_999) == [(1,), (2,)]
    with pytest.raises(TooLongError):
        database.fetch("SELECT id FROM rows", longest=9_999)
    assert len(database.fetch("SELECT id FROM rows", longest=10_000)[1][0]) == 10_000
    # What one question may read says nothing of the next.
    assert len(database.fetch("SELECT id FROM rows")[1][0]) == 10_000


def test_no_value_past_16_mebibytes_is_read_by_any_question(path: Path, database: Database) -> None:
    write(path, f"UPDATE rows SET id = zeroblob({LONGEST_VALUE}) WHERE number = 1",
          f"UPDATE rows SET id = zeroblob({LONGEST_VALUE + 1}) WHERE number = 2")  # fmt: skip
    assert len(database.fetch("SELECT id FROM rows WHERE number = 1")[0][0]) == LONGEST_VALUE
    for statement in ("SELECT id FROM rows", f"SELECT hex(zeroblob({LONGEST_VALUE}))"):
        with pytest.raises(TooLongError, match=r"store\.db: .*; a value is longer than 16 MiB; shorten or delete it"):
            database.fetch(statement)
        with database.snapshot(), pytest.raises(TooLongError):
            list(database.each(statement, ()))


def test_a_schema_that_fills_the_memory_is_not_read(path: Path) -> None:
    write(path, f"CREATE VIEW long AS SELECT '{'x' * 2_000_000}'")
    with pytest.raises(SourceError, match=r"store\.db: ") as refused:
        Database(path, writer="the writer", text=str)
    assert "\n" not in str(refused.value)


# Kinds.


def test_the_columns_of_a_table_are_those_that_it_stores(path: Path, database: Database) -> None:
    write(
        path, "CREATE TABLE Other (id TEXT, twice AS (number * 2) VIRTUAL, thrice AS (number * 3) STORED, number INT)"
    )
    assert database.columns("rows") == ["id", "number"]
    assert database.columns("other") == ["id", "thrice", "number"]
    assert database.columns("nowhere") == []
    # An index, or a column, of that name is no table.
    write(path, "CREATE INDEX beside ON rows (id)")
    assert database.columns("beside") == []


@pytest.mark.parametrize("text", [str, bytes])
def test_what_computes_its_rows_is_no_table(path: Path, text: type[str] | type[bytes]) -> None:
    write(path, "CREATE VIEW seen AS SELECT 1 AS id", "CREATE VIRTUAL TABLE found USING fts5 (id)")
    with closing(Database(path, writer="the writer", text=text)) as database:
        assert database.columns("rows") == ["id", "number"]
        for name, what in (("seen", "a view"), ("SEEN", "a view"), ("found", "a virtual table")):
            with pytest.raises(SourceError, match=f"'{name}' is {what}, and only tables are read"):
                database.columns(name)


def test_nothing_outside_the_file_can_be_reached_or_written(path: Path, database: Database) -> None:
    for statement in ("DELETE FROM rows", "ATTACH ':memory:' AS other", "PRAGMA user_version = 7"):
        with pytest.raises(SourceError):
            database.fetch(statement)
    settings = ("trusted_schema", "cell_size_check", "mmap_size", "cache_size")
    assert [database.fetch(f"PRAGMA {name}")[0][0] for name in settings] == [0, 1, 0, -2000]


def test_text_that_is_not_utf_8_is_repaired_or_given_as_it_is(path: Path, database: Database) -> None:
    write(path, "UPDATE rows SET id = CAST(x'ff61' AS TEXT) WHERE number = 1")
    assert database.fetch("SELECT id FROM rows") == [("\N{REPLACEMENT CHARACTER}a",), ("b",)]
    with closing(Database(path, writer="the writer", text=bytes)) as as_bytes:
        assert as_bytes.fetch("SELECT id FROM rows") == [(b"\xffa",), (b"b",)]


@pytest.mark.parametrize("suffix", ["", "-journal", "-wal", "-shm"])
def test_what_is_no_file_is_not_opened(path: Path, suffix: str) -> None:
    if not suffix:
        path.unlink()
    path.with_name(f"store.db{suffix}").mkdir()
    with pytest.raises(SourceError, match=rf"store\.db{suffix}: is not a file"):
        Database(path, writer="the writer", text=str)


def test_a_file_in_the_place_of_another_is_noticed(path: Path, database: Database) -> None:
    assert database.is_current()
    other = path.with_name("other.db")
    write(other, "CREATE TABLE rows (id TEXT)")
    other.replace(path)
    assert not database.is_current()
    path.unlink()
    with pytest.raises(SourceError, match="No such file or directory; check the path, or start the writer"):
        database.is_current()


# Rows with a value that is too long.


@for_all(
    rows=st.lists(st.integers(FIRST, LAST) | st.integers(-50, 50), unique=True, max_size=30).map(sorted),
    long=st.sets(st.integers(0, 29), max_size=8),
    widest=st.integers(1, 64),
)
def test_rows_past_which_it_goes_on_are_those_that_are_too_long(rows: list[int], long: set[int], widest: int) -> None:
    too_long = {rows[place] for place in long if place < len(rows)}
    asked = 0

    def ask(first: int, last: int) -> list[int]:
        nonlocal asked
        asked += 1
        assert first <= last < first + widest
        found = [row for row in rows if first <= row <= last]
        if too_long & {*found}:
            raise TooLongError
        return found

    def following(row: int) -> int | None:
        return next((other for other in rows if other > row), None)

    stretches = list(past_long_rows(following, ask, after=FIRST - 1, widest=widest))

    assert [row for _, found in stretches for row in found or ()] == [row for row in rows if row not in too_long]
    assert [last for last, found in stretches if found is None] == sorted(too_long)
    # Each halves a stretch down to itself, and what is beside it doubles up again.
    assert asked <= len(rows) + len(too_long) * 2 * (widest.bit_length() + 1)


def test_of_a_stretch_that_ends_nothing_is_asked_past_its_end() -> None:
    asked = []
    stretches = past_long_rows(lambda row: row + 1, lambda *ends: asked.append(ends), after=0, last=25, widest=10)
    assert [last for last, _ in stretches] == [10, 20, 25]
    assert asked == [(1, 10), (11, 20), (21, 25)]
