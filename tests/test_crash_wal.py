"""Power cuts: any prefix of the write-ahead log may be left on the disk, and each is one commit or the other."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from crash_chats import Chats
from crash_state import Committed, committed, counted_by_hand

from exporters.aggregate import Aggregate, Key
from exporters.runner import Runner
from exporters.sources import open_source
from exporters.state import Change, State

TABLES = ("meta", "cursors", "sources", "open_traces", "counted", "cells", "scrapers")
WAL_HEADER, FRAME_HEADER = 32, 24


class Recording:
    """A state into which real lines are read, batch by batch, with the log's size after each commit."""

    def __init__(self, directory: Path, *, page_size: int = 4096) -> None:
        self.directory = directory
        self.folder = directory / "traces"
        self.state = directory / "state"
        self.folder.mkdir(parents=True)
        State(self.state).close()
        if page_size != 4096:
            _rewrite(self.state / "state.db", page_size)
        self.page_size = page_size
        self.lines: list[bytes] = []
        self.commits: list[tuple[int, Committed]] = []
        source = open_source(f"createagents://{self.folder}")
        self.runner = Runner([source], self.state, Aggregate(lambda: 1.0), idle=3600.0, durable=False)
        self.db_before = (self.state / "state.db").read_bytes()

    def read(self, lines: Iterable[bytes]) -> None:
        """Append lines to the file and have them read and committed."""
        with (self.folder / "traces_2026-11-21.jsonl").open("ab") as file:
            for line in lines:
                file.write(line + b"\n")
                self.lines.append(line)
        self.runner.read_to_end(lambda source, size: None)
        whole = sum(len(line) + 1 for line in self.lines)
        self.commits.append((len(self.wal()), counted_by_hand(self.lines, whole)))

    def wal(self) -> bytes:
        return (self.state / "state.db-wal").read_bytes()

    def boundaries(self) -> Iterator[int]:
        """The lengths of the log at which a frame ends."""
        return iter(range(WAL_HEADER, len(self.wal()) + 1, FRAME_HEADER + self.page_size))

    def violations(self, lengths: Iterable[int]) -> list[int]:
        """Those lengths of the log that, found after a crash, are not exactly the last commit within them."""
        wal, wrong, known = self.wal(), [], dict[bytes, Committed]()
        traces = {trace for _, found in self.commits for trace, _ in found.counted}
        crashed = self._crashed("crashed")
        log = os.open(crashed / "state.db-wal", os.O_CREAT | os.O_RDWR)
        for length in lengths:
            # Not written anew each time, which costs a sync on some file systems.
            os.ftruncate(log, length)
            os.pwrite(log, wal[:length], 0)
            rows = _rows(crashed / "state.db")
            if rows not in known:
                # The exporter's own code looks at each content once: most lengths leave the same.
                whole = self._crashed("whole")
                (whole / "state.db-wal").write_bytes(wal[:length])
                known[rows] = committed(whole, traces)
            expected = [found for size, found in self.commits if size <= length]
            if known[rows] != (expected[-1] if expected else counted_by_hand([], 0)):
                wrong.append(length)
        os.close(log)
        return wrong

    def _crashed(self, name: str) -> Path:
        directory = self.directory / name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        (directory / "state.db").write_bytes(self.db_before)
        return directory

    def close(self) -> None:
        self.runner.stop()


def _rewrite(path: Path, page_size: int) -> None:
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = DELETE")
    db.execute(f"PRAGMA page_size = {page_size}")
    db.execute("VACUUM")
    db.close()


def _rows(path: Path) -> bytes:
    """All that a database holds, read as after a crash, without a change to it."""
    path.with_name("state.db-shm").unlink(missing_ok=True)
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    rows = [db.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES]
    db.close()
    return repr(rows).encode()


Record = Callable[..., Recording]


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    made: list[Recording] = []

    def make(**options: int) -> Recording:
        made.append(Recording(tmp_path / str(len(made)), **options))
        return made[-1]

    yield make
    for recording in made:
        recording.close()


def test_every_byte_of_a_small_log(record: Record) -> None:
    recording = record(page_size=512)
    chats = Chats(1, bad=0.2)
    recording.read(chats.line() for _ in range(4))
    recording.read(chats.line() for _ in range(3))
    size = len(recording.wal())
    assert 5_000 < size < 25_000
    assert [found.offset > 0 for _, found in recording.commits] == [True, True]
    assert recording.violations(range(0, size + 1)) == []


def read_batches(recording: Recording) -> None:
    """Some batches of a dozen lines or so, each committed."""
    random, chats = Random(2), Chats(2)
    for _ in range(12):
        recording.read(chats.line() for _ in range(random.randint(1, 25)))
    recording.read(chats.rest())


def some_lengths(recording: Recording) -> list[int]:
    """Where frames end, a byte before and after, and any lengths in between."""
    size, random = len(recording.wal()), Random(3)
    ends = [end + near for end in recording.boundaries() for near in (-1, 0, 1)]
    return sorted({length for length in (*ends, *random.sample(range(size), 400)) if length <= size})


def test_every_frame_of_a_log_of_many_batches_and_bytes_in_between(record: Record) -> None:
    recording = record()
    read_batches(recording)
    lengths = some_lengths(recording)
    assert len(recording.commits) == 13
    assert len(lengths) > 600
    assert recording.violations(lengths) == []


def test_a_checkpoint_torn_anywhere_leaves_the_last_commit(record: Record) -> None:
    recording = record()
    read_batches(recording)
    wal = recording.wal()
    state = recording.runner.committed.state
    assert state is not None
    state._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    assert recording.wal() == wal
    before, after = recording.db_before, (recording.state / "state.db").read_bytes()
    pages = len(after) // 4096
    assert pages > len(before) // 4096 and before != after[: len(before)]
    random = Random(4)
    for _ in range(100):
        written = [random.random() < 0.5 for _ in range(pages)]
        recording.db_before = b"".join(
            (after if new else before.ljust(len(after), b"\0"))[page * 4096 : (page + 1) * 4096]
            for page, new in enumerate(written)
        )
        assert recording.violations([len(wal)]) == []


def in_two_transactions(state: State, change: Change, cells: Iterable[tuple[Key, bytes]]) -> None:
    """The commit of a state with the fault that all this is to find: cursor and totals one after the other."""
    state._db.execute("BEGIN IMMEDIATE")
    state._write(change)
    state._db.execute("COMMIT")
    state._db.execute("BEGIN IMMEDIATE")
    state._db.executemany(
        "INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?)",
        [(kind, source, json.dumps(labels, separators=(",", ":")), value) for (kind, source, labels), value in cells],
    )
    state._db.execute("COMMIT")


def test_the_same_look_finds_a_state_that_commits_cursor_and_totals_apart(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(State, "commit", in_two_transactions)
    recording = record()
    read_batches(recording)
    wrong = recording.violations(some_lengths(recording))
    # In each of the 13 batches, the lengths between its two transactions.
    assert len(wrong) > 3 * 13
    assert recording.violations([size for size, _ in recording.commits]) == []


def test_the_same_look_finds_a_total_that_is_missing(record: Record) -> None:
    recording = record()
    read_batches(recording)
    size, found = recording.commits[-1]
    lost = found.totals[1:]
    recording.commits[-1] = (size, replace(found, totals=lost))
    assert recording.violations([size - 1, size]) == [size]
