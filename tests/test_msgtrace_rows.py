"""Reading msgtrace's database: every row that is there is given, whatever is done to it, and its writer goes on."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from msgtrace_store import CHAT, SCHEMA, START, Store, given

from exporters.sources import SourceError, open_source
from exporters.sources.msgtrace import place
from exporters.sources.msgtrace.database import connect
from exporters.sources.msgtrace.rows import PAGE_BYTES, PAGE_ROWS, Rows
from exporters.sources.msgtrace.translation import translate
from exporters.sources.sqlite import BUSY_SECONDS, LONGEST_VALUE


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path / "msgtrace.db")
    yield found
    found.close()


@pytest.fixture
def reader(store: Store) -> Iterator[Rows]:
    found = Rows(store.path)
    found.seek({})
    yield found
    found.close()


def cursor_after(reader: Rows) -> dict[str, bytes]:
    """Read to the end; return the cursor that a state would hold then."""
    cursor: dict[str, bytes] = {}
    more = True
    while more:
        batch = reader.poll()
        cursor |= batch.cursor
        more = batch.more
    return cursor


def write(store: Store, *span_ids: str) -> None:
    for span_id in span_ids:
        store.span(span_id)


def delete(store: Store, *span_ids: str) -> None:
    for span_id in span_ids:
        store.execute("DELETE FROM spans WHERE span_id = ?", span_id)


# What is new is given, once, in the order in which it was written.


def test_rows_are_given_once_in_the_order_in_which_they_were_written(store: Store, reader: Rows) -> None:
    write(store, "z", "a", "m")
    assert given(reader) == ["z", "a", "m"]
    assert given(reader) == []
    write(store, "b")
    assert given(reader) == ["b"]


def test_a_cursor_is_where_the_next_process_goes_on(store: Store, reader: Rows) -> None:
    write(store, "a", "b")
    cursor = cursor_after(reader)
    write(store, "c")
    next_one = Rows(store.path)
    next_one.seek(cursor)
    assert given(next_one) == ["c"]
    next_one.close()


@pytest.mark.parametrize("damaged", [b"", b"\xff", b"\x92\x01\x02", b"\x92\x91\x92\xa1x\xc4\x00\xc0"])
def test_a_cursor_that_is_none_is_the_beginning(store: Store, reader: Rows, damaged: bytes) -> None:
    write(store, "a")
    reader.seek({"spans": damaged})
    assert given(reader) == ["a"]


def test_nothing_is_asked_of_the_table_while_nobody_writes(store: Store, reader: Rows) -> None:
    write(store, "a")
    given(reader)
    asked: list[str] = []
    assert reader._database is not None
    reader._database._connection.set_trace_callback(asked.append)

    assert reader.poll().records == []
    assert asked == ["BEGIN", "PRAGMA data_version", "ROLLBACK"]
    write(store, "b")
    assert given(reader) == ["b"]
    assert len(asked) > 6


def test_a_long_table_is_given_in_pages_and_tells_how_much_is_left(store: Store, reader: Rows) -> None:
    with store.transaction():
        store.connection.executemany(
            "INSERT INTO spans VALUES (?, 't', NULL, 'n', 'k', ?, ?, 1.0, '{}', '[]', NULL, NULL, '{}', '')",
            [(f"{number:05}", number, number + 1) for number in range(2 * PAGE_ROWS + 5)],
        )
    sizes, left = [], []
    more = True
    while more:
        batch = reader.poll()
        sizes.append(batch.size)
        left.append(reader.backlog())
        more = batch.more
    assert sizes == [PAGE_ROWS, PAGE_ROWS, 5]
    assert left == [PAGE_ROWS + 5, 5, 0]


def test_memory_does_not_grow_with_the_table(store: Store, reader: Rows) -> None:
    def peak(rows: int) -> int:
        store.execute("DELETE FROM spans")
        with store.transaction():
            store.connection.executemany(
                "INSERT INTO spans VALUES (?, 't', NULL, 'n', 'k', 1, 2, 1.0, ?, '[]', NULL, NULL, '{}', '')",
                [(f"{number:016x}", f'{{"gen_ai.prompt": "{number:0500}"}}') for number in range(rows)],
            )
        reader.seek({})
        tracemalloc.start()
        more = True
        while more:
            batch = reader.poll()
            translate(batch.records)
            more = batch.more
        _, found = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return found

    # A fifth more or less, as the collector comes by; four times as much if it grew.
    assert peak(16 * PAGE_ROWS) < 1.5 * peak(4 * PAGE_ROWS)


def test_rows_of_long_texts_are_given_a_few_at_a_time(store: Store, reader: Rows) -> None:
    text = "x" * (PAGE_BYTES // 4)
    for number in range(10):
        store.span(str(number), {"gen_ai.prompt": text})
    sizes = []
    more = True
    while more:
        batch = reader.poll()
        sizes.append(batch.size)
        more = batch.more
    assert sizes == [4, 4, 2]


def test_a_row_with_an_endless_value_is_a_bad_record_and_the_next_is_read(store: Store, reader: Rows) -> None:
    write(store, "a", "b")
    store.span("long", "x" * (LONGEST_VALUE + 1))
    write(store, "c")
    first = reader.poll()
    assert ([row[1] for row in first.records], first.bad, first.more) == ([b"a", b"b"], {"too_long": 1}, True)
    assert given(reader) == ["c"]
    write(store, "d")
    assert given(reader) == ["d"]


def test_an_endless_id_is_passed_too(store: Store, reader: Rows) -> None:
    store.execute("INSERT INTO spans VALUES (?, 't', NULL, '', '', 1, 1, 1, '', '', '', '', '', '')", "i" * (17 << 20))
    write(store, "a")
    assert reader.poll().bad == {"too_long": 1}
    assert given(reader) == ["a"]
    write(store, "b")
    assert given(reader) == ["b"]


def test_since_leaves_out_what_was_written_before_the_first_that_began_then(store: Store) -> None:
    for number, day in enumerate((0, 5, 11, 3, 20)):
        store.span(str(number), times=(day * 86400.0, day * 86400.0 + 1))
    reader = Rows(store.path, since=10 * 86400.0, now=lambda: START + 20 * 86400.0)
    reader.seek({})
    # The fourth began before that, and came after: it is not known how much more did.
    assert given(reader) == ["2", "3", "4"]
    # All is deleted, or read again for another reason: it is still left out.
    delete(store, "4")
    store.span("5", times=(0.0, 1.0))
    assert given(reader) == ["5"]
    store.execute("DELETE FROM spans WHERE rowid > 2")
    store.span("6", times=(0.0, 1.0))
    assert given(reader) == []
    store.span("7", times=(30 * 86400.0, 30 * 86400.0 + 1))
    assert given(reader) == ["7"]
    reader.close()


def test_since_of_a_store_in_which_all_is_older_reads_only_what_comes(store: Store) -> None:
    store.span("a")
    reader = Rows(store.path, since=86400.0, now=lambda: START + 20 * 86400.0)
    reader.seek({})
    assert given(reader) == []
    store.span("b", times=(20 * 86400.0, 20 * 86400.0 + 1))
    assert given(reader) == ["b"]
    reader.close()


# What is done to a table.


def test_pitfall_1_a_row_that_was_replaced_is_given_again_and_no_other(store: Store, reader: Rows) -> None:
    write(store, "a", "b", "c")
    given(reader)
    # The trace's row has a new number and a new time now: nobody looks at it.
    assert store.execute("SELECT count(*), max(rowid) FROM traces") == [(1, 3)]
    store.span("b", {**CHAT, "gen_ai.usage.output_tokens": 51})
    assert given(reader) == ["b"]
    store.span("b")
    store.span("d")
    assert given(reader) == ["b", "d"]


def test_pitfall_5_numbers_of_deleted_rows_are_given_again_and_no_row_is_lost(store: Store, reader: Rows) -> None:
    write(store, "a", "b", "c", "d")
    cursor = cursor_after(reader)
    delete(store, "c", "d")
    write(store, "e", "f", "g")
    # The new rows have the numbers of the old ones, and the same second.
    assert store.execute("SELECT rowid, span_id FROM spans") == [(1, "a"), (2, "b"), (3, "e"), (4, "f"), (5, "g")]
    assert given(reader) == ["e", "f", "g"]
    reader.seek(cursor)
    assert given(reader) == ["e", "f", "g"]


def test_pitfall_5_the_last_row_may_come_back_to_its_number_after_others(store: Store, reader: Rows) -> None:
    write(store, "a", "b", "c")
    given(reader)
    delete(store, "b", "c")
    write(store, "x", "c")
    assert store.execute("SELECT rowid, span_id FROM spans ORDER BY rowid") == [(1, "a"), (2, "x"), (3, "c")]
    assert given(reader) == ["x", "c"]


def test_rows_deleted_before_and_after_change_nothing(store: Store, reader: Rows) -> None:
    write(store, *"abcdef")
    given(reader)
    delete(store, "a", "d")
    assert given(reader) == []
    delete(store, "e", "f")
    assert given(reader) == []
    write(store, "g")
    assert given(reader) == ["g"]


def test_when_all_that_is_remembered_was_deleted_all_is_read_again(store: Store, reader: Rows) -> None:
    ids = [f"{number:03}" for number in range(place.KEPT + 10)]
    write(store, *ids)
    given(reader)
    store.execute("DELETE FROM spans WHERE rowid > 5")
    write(store, "new")
    assert given(reader) == [*ids[:5], "new"]
    store.execute("DELETE FROM spans")
    assert given(reader) == []
    write(store, "newer")
    assert given(reader) == ["newer"]


def test_vacuum_may_number_rows_anew_and_none_is_lost(store: Store, reader: Rows) -> None:
    write(store, "a", "b", "c")
    given(reader)
    delete(store, "a")
    store.execute("VACUUM")
    write(store, "d")
    assert set(given(reader)) >= {"d"}
    assert given(reader) == []


def test_a_file_that_takes_the_place_of_another_is_read_from_its_beginning(
    store: Store, reader: Rows, tmp_path: Path
) -> None:
    write(store, "a", "b", "c")
    given(reader)
    other = Store(tmp_path / "other.db")
    write(other, "x", "y")
    other.close()
    (tmp_path / "other.db").replace(store.path)
    assert given(reader) == ["x", "y"]


def test_a_backup_that_is_put_back_is_read_on_from_what_of_it_was_read(
    store: Store, reader: Rows, tmp_path: Path
) -> None:
    write(store, "a", "b")
    backup = Store(tmp_path / "backup.db")
    store.connection.backup(backup.connection)
    write(store, "c", "d")
    given(reader)
    write(backup, "e")
    backup.close()
    (tmp_path / "backup.db").replace(store.path)
    assert given(reader) == ["e"]


OPERATIONS = ("write", "write", "resend", "delete_newest", "delete_oldest", "delete_one", "poll", "restart")


@settings(max_examples=60, deadline=None)
@for_all(operations=st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 9)), max_size=60))
def test_every_row_that_a_poll_could_see_is_given(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, int]]
) -> None:
    store = Store(tmp_path_factory.mktemp("store") / "msgtrace.db")
    reader = Rows(store.path)
    reader.seek({})
    committed: dict[str, bytes] = {}
    seen: set[str] = set()
    there: set[str] = set()
    written = 0
    try:
        for what, number in (*operations, ("poll", 0)):
            ids = [span_id for (span_id,) in store.execute("SELECT span_id FROM spans ORDER BY rowid")]
            if what == "write":
                write(store, *(f"s{written + more}" for more in range(number)))
                written += number
            elif what == "resend" and ids:
                write(store, ids[number % len(ids)])
            elif what == "delete_newest":
                store.execute(
                    "DELETE FROM spans WHERE rowid IN (SELECT rowid FROM spans ORDER BY rowid DESC LIMIT ?)", number
                )
            elif what == "delete_oldest":
                store.execute(
                    "DELETE FROM spans WHERE rowid IN (SELECT rowid FROM spans ORDER BY rowid LIMIT ?)", number
                )
            elif what == "delete_one" and ids:
                store.execute("DELETE FROM spans WHERE span_id = ?", ids[number % len(ids)])
            elif what == "poll":
                there |= set(ids)
                batch = reader.poll()
                committed |= batch.cursor
                seen |= {row[1].decode() for row in batch.records}
            elif what == "restart":
                reader.close()
                reader = Rows(store.path)
                reader.seek(committed)
        assert seen == there
    finally:
        reader.close()
        store.close()


# Who writes hardly notices.


def test_a_write_through_our_connection_is_refused(store: Store) -> None:
    database = connect(store.path)
    for statement in (
        "DELETE FROM spans",
        "CREATE TABLE mine (x)",
        "PRAGMA user_version = 7",
        "DROP INDEX idx_spans_name",
    ):
        with pytest.raises(SourceError, match="readonly"):
            database.fetch(statement)
    database.close()
    assert store.execute("PRAGMA user_version") == [(0,)]


def test_reading_leaves_nothing_beside_the_file_and_nothing_in_it(store: Store, reader: Rows) -> None:
    write(store, "a", "b")
    store.close()
    before = store.path.read_bytes()
    given(reader)
    assert list(store.path.parent.iterdir()) == [store.path]
    assert store.path.read_bytes() == before


def test_pitfall_11_the_writer_goes_on_between_two_pages(store: Store, reader: Rows) -> None:
    text = "x" * 1000
    with store.transaction():
        store.connection.executemany(
            "INSERT INTO spans VALUES (?, 't', NULL, 'n', 'k', 1, 2, 1.0, ?, '[]', NULL, NULL, '{}', '')",
            [(f"{number:05}", text) for number in range(5000)],
        )
    assert reader.poll().more
    # No lock is held: the writer has it at once, without waiting for us.
    store.execute("PRAGMA busy_timeout = 0")
    write(store, "new")
    assert given(reader)[-1] == "new"


def test_pitfall_11_a_writer_beside_a_reader_that_reads_on_and_on_is_never_held_for_long(store: Store) -> None:
    text = {"gen_ai.prompt": "x" * 4000}
    for number in range(200):
        store.span(f"{number:05}", text)
    stop = threading.Event()
    passes = []

    def read_on_and_on() -> None:
        while not stop.is_set():
            reader = Rows(store.path)
            reader.seek({})
            passes.append(len(given(reader)))
            reader.close()

    thread = threading.Thread(target=read_on_and_on)
    thread.start()
    longest, written, deadline = 0.0, 0, time.monotonic() + 30
    try:
        while len(passes) < 10 or written < 50:
            began = time.monotonic()
            store.span(f"w{written}", text)
            longest = max(longest, time.monotonic() - began)
            written += 1
            assert time.monotonic() < deadline
    finally:
        stop.set()
        thread.join()
    # msgtrace gives up after 10 s.
    assert longest < 2.0


# What is wrong is told in one line, and read on from when it is mended.


def test_a_file_that_is_locked_for_long_is_told_and_read_when_it_is_free(store: Store, reader: Rows) -> None:
    write(store, "a")
    store.execute("BEGIN EXCLUSIVE")
    # That is no reason not to start.
    open_source(f"msgtrace://{store.path}").reader.close()
    began = time.monotonic()
    with pytest.raises(SourceError, match=r"msgtrace\.db: database is locked; its writer has held it for long"):
        reader.poll()
    assert BUSY_SECONDS - 0.1 < time.monotonic() - began < BUSY_SECONDS + 5
    store.execute("COMMIT")
    assert given(reader) == ["a"]


def test_a_file_that_is_gone_for_a_while_is_told_and_read_on_when_it_is_back(store: Store, reader: Rows) -> None:
    write(store, "a")
    given(reader)
    away = store.path.with_name("away.db")
    store.path.rename(away)
    with pytest.raises(SourceError, match="No such file or directory; check the path, or start msgtrace"):
        reader.poll()
    away.rename(store.path)
    write(store, "b")
    assert given(reader) == ["b"]


def test_a_file_that_is_cut_off_is_told(store: Store, reader: Rows, tmp_path: Path) -> None:
    for number in range(50):
        store.span(str(number), {"gen_ai.prompt": "x" * 3000})
    store.close()
    whole = store.path.read_bytes()
    os.truncate(store.path, 3 * 4096)
    with pytest.raises(SourceError, match="malformed; it was damaged, or is being replaced"):
        given(reader)
    os.truncate(store.path, 0)
    with pytest.raises(SourceError, match="has no table 'spans'; name the database that msgtrace writes"):
        given(reader)
    store.path.write_bytes(whole)
    assert len(given(reader)) == 50


def test_a_write_that_was_broken_off_is_told_until_the_writer_mends_it(store: Store, reader: Rows) -> None:
    write(store, "a")
    given(reader)
    store.close()
    broken_off = (
        "import os, sqlite3, sys\n"
        "writer = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "writer.execute('PRAGMA cache_size = 1')\n"
        "writer.execute('BEGIN')\n"
        "for number in range(300):\n"
        "    writer.execute(\"INSERT INTO spans VALUES (?, 't', NULL, 'n', 'k', 1, 2, 1, ?, '', '', '', '', '')\","
        " (f'lost{number}', 'x' * 2000))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", broken_off, str(store.path)], check=False, timeout=60)
    assert store.path.with_name("msgtrace.db-journal").stat().st_size > 0
    with pytest.raises(SourceError, match="its writer was stopped in the middle of a write"):
        reader.poll()
    writer = Store(store.path)
    write(writer, "b")
    writer.close()
    assert given(reader) == ["b"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "No such file or directory; check the path, or start msgtrace"),
        (lambda path: path.mkdir(), "is not a file; name the database that msgtrace writes"),
        (os.mkfifo, "is not a file; name the database that msgtrace writes"),
        (lambda path: path.write_bytes(b"{}\n" * 2000), "file is not a database; name the database that msgtrace"),
        (lambda path: path.touch(), "has no table 'spans'"),
    ],
    ids=["missing", "folder", "fifo", "text", "empty"],
)  # fmt: skip
def test_what_is_no_database_of_msgtrace_is_told_in_one_line(tmp_path: Path, make, said: str) -> None:
    path = tmp_path / "here#? %.db"
    make(path)
    with pytest.raises(SourceError) as raised:
        open_source(f"msgtrace://{quote(str(path))}")
    assert str(raised.value).startswith(f"{path}: ")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("msgtrace://", "names no file; write it after the slashes"),
        ("msgtrace:///x.db?wait=soon", "msgtrace: wait: 'soon' is not a duration"),
        ("msgtrace:///x.db?latency=ms", "unknown option 'latency'; there are name, environment, since, wait"),
        ("msgtrace:///a%00b.db", "embedded null"),
        ("msgtrace:///~nobody-of-that-name/x.db", "check the path"),
    ],
)
def test_a_url_that_cannot_be_is_told_in_one_line(url: str, said: str) -> None:
    with pytest.raises(SourceError) as raised:
        open_source(url)
    assert said in str(raised.value)


def test_a_file_with_odd_signs_in_its_name_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "here#? %é.db"
    store = Store(path)
    write(store, "a")
    source = open_source(f"msgtrace://{quote(str(path))}?wait=3s&environment=prod&name=mine")
    batch = source.reader.poll()
    assert [span.environment for span in source.spans(batch.records).spans] == ["prod"]
    assert (source.name, source.settles, source.reader.unit) == ("mine", 3.0, "records")
    source.reader.close()
    store.close()


def test_closing_ends_a_wait_and_a_poll_after_it_is_empty(store: Store, reader: Rows) -> None:
    write(store, "a")
    waiter = threading.Thread(target=reader.wait, args=(60.0,))
    waiter.start()
    reader.close()
    waiter.join(0.9)
    assert not waiter.is_alive()
    assert reader.poll().records == []


def test_the_schema_is_that_of_the_published_server() -> None:
    database = sqlite3.connect(":memory:")
    database.executescript(SCHEMA)
    columns = [name for _, name, *_ in database.execute("PRAGMA table_info(spans)")]
    assert columns == [
        "span_id", "trace_id", "parent_span_id", "name", "kind", "start_time", "end_time", "duration_ms", "attributes",
        "events", "status_code", "status_description", "resource_attributes", "created_at",
    ]  # fmt: skip
