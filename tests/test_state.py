"""The state: what is committed together, read back, refused, and gone back to after a failed commit."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from crash_chats import Chats
from crash_exporter import until
from crash_folder import Folder
from crash_recount import Samples, expected, samples, totals

from exporters import lock
from exporters.aggregate import Aggregate, Key
from exporters.lock import StateError, StateInUseError
from exporters.open_traces import Closed
from exporters.runner import Runner
from exporters.scrapers import Scrapers
from exporters.settling import Changes
from exporters.sources import open_source
from exporters.span import Span
from exporters.state import Change, State
from exporters.trace import OpenRun, OpenTrace
from exporters.tree import Known, Link
from exporters.waiting import Arrived

RUN = Span("run", False, "t1", "r1", time=5.0, agent="writer")


def change(source: str = "s", **fields: object) -> Change:
    nothing: dict[str, object] = {"cursor": {}, "open": {}, "closed": {}, "caught_up": False, "newest": 0.0}
    return Change(source=source, **{**nothing, **fields})  # type: ignore[arg-type]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def state(directory: Path) -> Iterator[State]:
    opened = State(directory)
    yield opened
    opened.close()


def reopened(state: State) -> State:
    """The state as the next process finds it."""
    state.close()
    state.__init__(state.directory)  # type: ignore[misc]
    return state


# Tables.


def test_a_new_state_is_empty_and_says_that_it_is_new(state: State) -> None:
    found = state.source("s")
    assert (found.cursor, found.open, found.caught_up, found.newest) == ({}, {}, False, 0.0)
    assert state.cells() == []
    assert state.scrapers() == ({}, 0)
    assert state.counted("s", "t1") is None
    assert state.created
    assert not reopened(state).created


def test_every_table_gives_back_what_was_committed_of_its_source_only(state: State) -> None:
    trace = OpenTrace(touched=5.0, runs={"r1": OpenRun(RUN, inference_calls=2, tokens=None)}, counted={"c1": None})
    cell: tuple[Key, bytes] = (("run", "s", ("", 'wri"ter\n', "")), b"\x01\x02")
    state.commit(
        change(cursor={"a": b"1", "b": b"2"}, open={"t1": trace}, caught_up=True, newest=7.5, closed={
            "t0": Closed(["r0", "c0"], complete=True)
        }),
        [cell],
    )  # fmt: skip
    state.commit(change("other", cursor={"a": b"9"}), [])
    found = reopened(state).source("s")
    assert found.cursor == {"a": b"1", "b": b"2"}
    assert found.open == {"t1": trace}
    assert (found.caught_up, found.newest) == (True, 7.5)
    assert state.counted("s", "t0") == ["r0", "c0"]
    assert state.counted("other", "t0") is None
    assert state.cells() == [cell]
    assert state.source("other").cursor == {"a": b"9"}


def test_parts_of_a_cursor_and_open_traces_are_replaced_and_forgotten(state: State) -> None:
    state.commit(change(cursor={"a": b"1", "b": b"2"}, open={"t1": OpenTrace(), "t2": OpenTrace(touched=1.0)}), [])
    state.commit(change(cursor={"a": b"3", "b": b""}, open={"t1": None}), [])
    found = reopened(state).source("s")
    assert found.cursor == {"a": b"3"}
    assert found.open == {"t2": OpenTrace(touched=1.0)}


def test_a_part_may_be_the_name_of_a_file_that_is_no_text(state: State) -> None:
    part = os.fsdecode(b"traces_\xff.jsonl")
    state.commit(change(cursor={part: b"1"}), [])
    assert reopened(state).source("s").cursor == {part: b"1"}
    state.commit(change(cursor={part: b""}), [])
    assert state.source("s").cursor == {}


def test_counted_spans_are_put_behind_or_replaced(state: State) -> None:
    def close(complete: bool, *spans: str) -> None:
        state.commit(change(closed={"t": Closed(spans, complete)}), [])

    close(False, "a", 'b"')
    assert state.counted("s", "t") == ["a", 'b"']
    close(False, "c")
    assert state.counted("s", "t") == ["a", 'b"', "c"]
    close(True, "d")
    assert reopened(state).counted("s", "t") == ["d"]
    # Nothing was counted in it: there is nothing to be remembered.
    state.commit(change(closed={"u": Closed((), False)}), [])
    assert state.counted("s", "u") is None


def test_a_log_that_has_grown_is_put_into_the_table_and_both_are_one_memory(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporters.counted._LATELY", 2)

    def close(**closed: Closed) -> None:
        state.commit(change(closed=closed), [])

    def logged() -> int:
        (count,) = state._db.execute("SELECT count(*) FROM counted_lately").fetchone()
        return int(count)

    close(a=Closed(["a1"], complete=False), b=Closed(["b1"], complete=False))
    assert logged() == 1
    # The third trace is one too many for the log: all three go to the table.
    close(c=Closed(["c1"], complete=False))
    assert logged() == 0
    # Behind what the table has, and instead of it.
    close(a=Closed(["a2"], complete=False), b=Closed(["b2"], complete=True))
    for _ in range(2):
        assert [state.counted("s", trace) for trace in "abcd"] == [["a1", "a2"], ["b2"], ["c1"], None]
        state = reopened(state)
    # Into a table that has the same traces.
    close(d=Closed(["d1"], complete=False))
    assert logged() == 0
    assert [state.counted("s", trace) for trace in "abcd"] == [["a1", "a2"], ["b2"], ["c1"], ["d1"]]


@pytest.mark.parametrize("read", [0, 1, 1_000_000])
def test_a_table_of_any_size_is_asked_for_what_it_has(state: State, monkeypatch: pytest.MonkeyPatch, read: int) -> None:
    monkeypatch.setattr("exporters.counted._LATELY", 1)
    monkeypatch.setattr("exporters.counted._READ", read)
    for trace in ("a", "b"):
        state.commit(change(closed={trace: Closed([f"{trace}1"], True), f"{trace}'": Closed(["x"], True)}), [])
    state = reopened(state)
    state.commit(change(closed={"c": Closed(["c1"], True)}), [])
    assert [state.counted("s", trace) for trace in "abcd"] == [["a1"], ["b1"], ["c1"], None]


def test_what_format_5_wrote_of_closed_traces_is_remembered_with_what_is_written_since(state: State) -> None:
    rows = [("t1", b'"a","b",', 0), ("t1", b'"c",', 0), ("t2", b'"d",', 1), ("t2", b'"e",', 0)]
    state._db.executemany("INSERT INTO counted_lately (source, trace, spans, complete) VALUES ('s', ?, ?, ?)", rows)
    state._db.execute("INSERT INTO counted VALUES ('s', 't2', ?)", (b'"old",',))
    state._db.execute("PRAGMA user_version = 5")
    state = reopened(state)
    state.commit(change(closed={"t1": Closed(["f"], False), "t3": Closed(["g"], True)}), [])
    for _ in range(2):
        assert [state.counted("s", f"t{number}") for number in range(1, 5)] == [
            ["a", "b", "c", "f"], ["d", "e"], ["g"], None
        ]  # fmt: skip
        state = reopened(state)


def test_what_waits_is_kept_by_row_until_it_goes(state: State) -> None:
    first, second = Arrived(1.5, RUN), Arrived(2.5, Span("part", True, "t1", "p1", "r1"))
    state.commit(change(waiting=Changes([], {1: [first], 2: [second, first]})), [])
    state.commit(change("other", waiting=Changes([], {1: [second]})), [])
    assert reopened(state).source("s").waiting == {1: [first], 2: [second, first]}
    # A row may come and go within one commit.
    state.commit(change(waiting=Changes([1, 4], {3: [first], 4: [second]})), [])
    assert reopened(state).source("s").waiting == {2: [second, first], 3: [first]}
    assert state.source("other").waiting == {1: [second]}


def test_rows_of_what_waits_go_wherever_they_stand(state: State) -> None:
    rows = {number: [Arrived(float(number), RUN)] for number in range(1, 10)}
    state.commit(change(waiting=Changes([], rows)), [])
    state.commit(change(waiting=Changes([9, 2, 3, 5], {})), [])
    assert sorted(reopened(state).source("s").waiting) == [1, 4, 6, 7, 8]


def test_where_settled_spans_stand_is_kept_commit_by_commit(state: State) -> None:
    run = Known({"r1": Link("run", "", "writer", "2", "production", "greeting", "3")}, {"c0": True}, "r1")
    call = Known({"c1": Link("inference", "r1", "", "", "", "", "", counted=True, used=True)}, {}, "r1")
    state.commit(change(waiting=Changes([], {}, {"t1": run})), [])
    state.commit(change("other", waiting=Changes([], {}, {"t1": call})), [])
    state.commit(change(waiting=Changes([], {}, {"t1": call, "t2": Known()})), [])
    assert reopened(state).source("s").settled == [{"t1": run}, {"t1": call, "t2": Known()}]
    assert state.source("other").settled == [{"t1": call}]


def test_of_settled_spans_the_last_are_kept_of_each_source(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporters.place_rows.REMEMBERED", 4)
    monkeypatch.setattr("exporters.place_rows._TOO_MANY", 2)
    link = Link("tool", "r1", "", "", "", "", "")

    def settle(number: int, source: str = "s") -> list[str]:
        """Settle two spans; return the traces that are kept."""
        of = Known({"a": link}, {"b": False}, "r1")
        state.commit(change(source, waiting=Changes([], {}, {f"t{number}": of})), [])
        return [trace for row in state.source("s").settled for trace in row]

    assert settle(0) == ["t0"]
    settle(9, "other")
    assert [settle(1), settle(2)] == [["t0", "t1"], ["t0", "t1", "t2"]]
    # Eight are too many, of which the last four stay.
    assert settle(3) == ["t2", "t3"]
    reopened(state)
    assert [settle(4), settle(5)] == [["t2", "t3", "t4"], ["t4", "t5"]]
    assert state.source("other").settled != []


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
def test_a_state_of_an_older_format_is_brought_up_when_it_is_opened(state: State, version: int) -> None:
    trace = OpenTrace(touched=5.0, runs={"r1": OpenRun(RUN)}, counted={"c1": None})
    state.commit(change(cursor={"a": b"1"}, open={"t1": trace}, caught_up=True, newest=7.5), [])
    if version < 5:
        state._db.execute("DROP TABLE places")
    if version < 3:
        state._db.execute("DROP TABLE waiting")
    if version == 1:
        state._db.executescript("DROP TABLE ledger; DROP TABLE ledger_since; DELETE FROM meta WHERE name = 'zone'")
    state._db.execute(f"PRAGMA user_version = {version}")
    found = reopened(state).source("s")
    assert (found.cursor, found.open, found.caught_up, found.newest) == ({"a": b"1"}, {"t1": trace}, True, 7.5)
    assert (found.waiting, found.settled) == ({}, [])
    state.commit(change(waiting=Changes([], {1: [Arrived(1.5, RUN)]}, {"t1": Known()})), [])
    found = reopened(state).source("s")
    assert (found.waiting, found.settled) == ({1: [Arrived(1.5, RUN)]}, [{"t1": Known()}])


def test_what_format_3_wrote_of_what_waits_is_read_by_the_names_of_its_fields(state: State) -> None:
    kept = [
        [1.5, {"kind": "tool", "ended": True, "trace_id": "t1", "span_id": "s1", "tool": "search", "duration": 0.5}]
    ]
    state._db.execute("INSERT INTO waiting VALUES ('s', 7, ?)", (msgspec.msgpack.encode(kept),))
    state._db.executescript("DROP TABLE places; PRAGMA user_version = 3")
    span = Span("tool", True, "t1", "s1", tool="search", duration=0.5)
    assert reopened(state).source("s").waiting == {7: [Arrived(1.5, span)]}
    assert reopened(state)._db.execute("PRAGMA user_version").fetchone() == (6,)


def test_what_waits_comes_back_with_every_field_of_its_spans(state: State) -> None:
    # Each field another value, none of them its default.
    sample = {float: 1.25, int: 7}
    values: dict[str, Any] = {"kind": "score", "error": "timeout"}
    for place, of in enumerate(msgspec.structs.fields(Span)):
        plain = next((kind for kind in (bool, int, float, str) if kind in (of.type, *get_args(of.type))), str)
        values.setdefault(of.name, f"a{place}" if plain is str else True if plain is bool else sample[plain] + place)
    full = Arrived(2.5, Span(**values))
    state.commit(change(waiting=Changes([], {1: [full]})), [])
    assert reopened(state).source("s").waiting == {1: [full]}


def test_a_row_that_was_written_before_a_span_had_its_last_fields_is_read(state: State) -> None:
    kept = [[1.5, ["tool", True, "t1", "s1", "r1", 3.5, "support"]]]
    state._db.execute("INSERT INTO waiting VALUES ('s', 7, ?)", (msgspec.msgpack.encode(kept),))
    span = Span("tool", True, "t1", "s1", "r1", 3.5, "support")
    assert reopened(state).source("s").waiting == {7: [Arrived(1.5, span)]}


def test_a_state_that_ends_with_the_process_keeps_nothing_of_what_waits(directory: Path) -> None:
    state = State(directory, lasting=False)
    state.commit(change(waiting=Changes([], {1: [Arrived(1.5, RUN)]}, {"t1": Known()})), [])
    found = state.source("s")
    assert (found.waiting, found.settled) == ({}, [])
    state.close()


def test_scrapers_are_remembered_in_order_and_the_highest_promise_outlives_them(state: State) -> None:
    state.show("a", 5)
    state.show("b", 9)
    state.show("a", 7)
    state.show("c", 2, forgotten="b")
    found, shown = reopened(state).scrapers()
    assert list(found.items()) == [("a", 7), ("c", 2)]
    assert shown == 9


# What is refused.


def test_a_second_state_in_the_same_directory_is_refused_until_the_first_is_closed(directory: Path) -> None:
    first = State(directory)
    with pytest.raises(StateInUseError, match="another exporter uses this state; stop it, or give this one its own"):
        State(directory)
    first.close()
    State(directory).close()


def test_directory_and_database_are_for_their_owner_only(state: State) -> None:
    assert state.directory.stat().st_mode & 0o777 == 0o700
    assert (state.directory / "state.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("mode", "left"), [(0o777, 0o755), (0o775, 0o755), (0o722, 0o700), (0o2770, 0o2750)])
@pytest.mark.parametrize("used", [False, True])
def test_others_lose_the_right_to_write_into_a_directory_that_is_there(
    directory: Path, mode: int, left: int, used: bool
) -> None:
    if used:
        State(directory).close()
    directory.mkdir(exist_ok=True)
    directory.chmod(mode)
    State(directory).close()
    assert directory.stat().st_mode & 0o7777 == left


@pytest.mark.parametrize(("mode", "name"), [(0o1777, None), (0o777, "lockers.txt"), (0o777, "notes.txt")])
def test_a_directory_for_everybody_is_refused_and_left_alone(directory: Path, mode: int, name: str | None) -> None:
    directory.mkdir()
    if name:
        (directory / name).touch()
    directory.chmod(mode)
    with pytest.raises(StateError, match="everybody may write into it"):
        State(directory)
    assert directory.stat().st_mode & 0o7777 == mode


def test_a_directory_with_other_things_in_it_into_which_everybody_may_write_is_refused_and_left_alone(
    directory: Path,
) -> None:
    directory.mkdir()
    (directory / "notes.txt").touch()
    directory.chmod(0o1777)
    with pytest.raises(StateError, match="everybody may write into it; name a folder of the state's own, or chmod o-w"):
        State(directory)
    assert directory.stat().st_mode & 0o7777 == 0o1777
    directory.chmod(0o755)
    State(directory).close()
    assert directory.stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "fuse.sshfs"])
def test_a_network_file_system_is_refused_also_with_a_blank_in_its_name(
    directory: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    far = directory / "far away ü"
    mounts = tmp_path / "mounts"
    escaped = str(far).replace(" ", "\\040")
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {escaped} {kind} rw 0 0\nnone /proc proc rw 0 0\n")
    monkeypatch.setattr(lock, "_MOUNTS", mounts)
    with pytest.raises(StateError, match="is on a network file system, which loses commits; use a local disk"):
        State(far / "state")
    State(directory / "far").close()


def test_the_innermost_mount_is_what_counts(directory: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"server:/x {tmp_path} nfs4 rw 0 0\n/dev/sdb {directory} ext4 rw 0 0\n")
    monkeypatch.setattr(lock, "_MOUNTS", mounts)
    assert lock.file_system(directory) == "ext4"
    assert lock.file_system(tmp_path / "beside") == "nfs4"
    mounts.unlink()
    assert lock.file_system(directory) == ""


def test_a_file_where_the_directory_should_be_is_told_in_one_line(directory: Path) -> None:
    directory.write_text("")
    with pytest.raises(StateError, match=f"^{directory}: File exists; give the directory to the user that runs"):
        State(directory)


def test_a_creation_that_was_cut_short_is_begun_again(directory: Path) -> None:
    directory.mkdir()
    (directory / "state.new").write_bytes(b"half")
    state = State(directory)
    assert state.created and state.cells() == []
    state.close()


# Durability.


def test_commits_are_synced_and_the_log_is_taken_over_when_the_state_is_opened(directory: Path) -> None:
    state = State(directory)
    assert state._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert state._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    state.commit(change(cursor={"a": b"1"}), [])
    left = {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "state.db-shm"}
    assert len(left["state.db-wal"]) > 4096
    state.close()
    # As a kill leaves it: what is in the log was perhaps never synced.
    for name, content in left.items():
        (directory / name).write_bytes(content)
    state = State(directory)
    assert state.source("s").cursor == {"a": b"1"}
    db = sqlite3.connect(f"file:{directory / 'state.db'}?immutable=1", uri=True)
    assert db.execute("SELECT value FROM cursors").fetchall() == [(b"1",)]
    db.close()
    state.close()


# A runner whose commits fail.


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    path = tmp_path / "traces"
    path.mkdir()
    return Folder(path)


def write(folder: Folder, chats: Chats, lines: int) -> None:
    for _ in range(lines):
        folder.write(chats.line())


def runner_of(folder: Folder, directory: Path) -> Runner:
    return Runner([open_source(f"createagents://{folder.path}")], directory, Aggregate(lambda: 1.0), idle=3600.0)


@pytest.fixture
def runner(folder: Folder, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    for room in ("runner", "committed"):
        monkeypatch.setattr(f"exporters.{room}.RETRY_SECONDS", 0.05)
    found = runner_of(folder, directory)
    yield found
    found.stop()


def shown(runner: Runner, scraper: str = "prometheus") -> Samples:
    return samples(runner.page(scraper, openmetrics=False).decode())


def failing(error: Exception) -> Callable[..., None]:
    def commit(*_: object) -> None:
        raise error

    return commit


def test_after_a_failed_commit_the_page_shows_the_last_committed_totals_until_one_succeeds(
    folder: Folder, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats = Chats(11)
    write(folder, chats, 40)
    runner.start()
    before = expected(folder.lines)
    until(lambda: totals(shown(runner)) == before, 10)
    with monkeypatch.context() as broken:
        broken.setattr(State, "commit", failing(StateError("the disk is full")))
        write(folder, chats, 40)
        until(lambda: runner.problem, 10)
        # It can be opened again and again; that does not say that it works.
        for _ in range(20):
            assert totals(shown(runner)) == before
            assert shown(runner)["agentgauge_state_up{}"] == 0
            assert (runner.problem, runner.ready) == ("the disk is full", False)
    until(lambda: totals(shown(runner)) == expected(folder.lines), 10)
    assert (runner.problem, runner.ready) == ("", True)
    assert shown(runner)["agentgauge_state_up{}"] == 1


def test_a_backlog_whose_last_commit_fails_is_not_shown_yet(
    folder: Folder, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, Chats(12), 40)
    with monkeypatch.context() as broken:
        broken.setattr(State, "commit", failing(StateError("no")))
        runner.start()
        until(lambda: runner.problem, 10)
        page = shown(runner)
        assert totals(page) == {}
        assert page['agentgauge_source_caught_up{source="createagents"}'] == 0
    # It is a backlog still: its first sample is its value, not 0.
    first = until(lambda: totals(shown(runner, "another")), 10)
    assert first == expected(folder.lines)


def test_an_exception_that_nobody_foresaw_costs_a_source_one_attempt_and_counts_nothing_twice(
    folder: Folder, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, Chats(13), 40)
    with monkeypatch.context() as broken:
        broken.setattr(State, "commit", failing(OverflowError("too large")))
        runner.start()
        failed = 'agentgauge_source_errors_total{source="createagents"}'
        until(lambda: shown(runner).get(failed, 0) >= 2, 10)
        assert totals(shown(runner)) == {}
    until(lambda: totals(shown(runner)) == expected(folder.lines), 10)


def test_that_an_empty_store_was_caught_up_survives_a_restart(folder: Folder, directory: Path) -> None:
    runner = runner_of(folder, directory)
    runner.read_to_end(lambda source, size: None)
    runner.stop()
    write(folder, Chats(14, bad=0.0), 40)
    runner = runner_of(folder, directory)
    runner.read_to_end(lambda source, size: None)
    # Born after the store was caught up: at 0 on the first scrape, at their value on the next.
    assert totals(shown(runner)) == {}
    assert totals(shown(runner)) == expected(folder.lines)
    runner.stop()


def test_reading_to_the_end_with_a_state_that_cannot_be_used_raises(folder: Folder, directory: Path) -> None:
    directory.mkdir()
    (directory / "state.db").touch()
    runner = runner_of(folder, directory)
    with pytest.raises(StateError, match=r"damaged \(it is empty\)"):
        runner.read_to_end(lambda source, size: None)
    runner.stop()


# What scrapers are shown of births.


class Promises:
    """What was promised to each scraper, as the state keeps it."""

    def __init__(self) -> None:
        self.kept: dict[str, int] = {}
        self.highest = 0

    def __call__(self, scraper: str, born: int, forgotten: str) -> None:
        self.kept.pop(scraper, None)
        self.kept[scraper] = born
        self.kept.pop(forgotten, None)
        self.highest = max(self.highest, born)

    def restored(self, born: int) -> Scrapers:
        found = Scrapers()
        found.restore(self.kept, self.highest, born)
        return found


def test_a_birth_is_at_zero_on_each_scrapers_first_look_and_at_its_value_from_the_next() -> None:
    scrapers, promise = Scrapers(), Promises()
    assert scrapers.scrape("a", 0, promise) == 0
    assert scrapers.scrape("b", 0, promise) == 0
    assert scrapers.scrape("a", 3, promise) == 0
    assert scrapers.scrape("a", 3, promise) == 3
    assert scrapers.scrape("b", 4, promise) == 0
    assert scrapers.scrape("b", 4, promise) == 4
    # A stranger's counting begins with the first sample it takes: nothing that anybody saw falls.
    assert scrapers.scrape("c", 5, promise) == 4


def test_another_scraper_does_not_use_up_a_zero_over_a_kill() -> None:
    scrapers, promise = Scrapers(), Promises()
    scrapers.scrape("prometheus", 0, promise)
    for _ in range(3):
        scrapers.scrape("curl", 3, promise)
    assert promise.highest == 3
    scrapers = promise.restored(3)
    assert scrapers.scrape("curl", 3, promise) == 3
    assert scrapers.scrape("prometheus", 3, promise) == 0
    assert scrapers.scrape("prometheus", 3, promise) == 3


def test_a_zero_that_was_shown_before_a_kill_is_shown_once_more() -> None:
    scrapers, promise = Scrapers(), Promises()
    scrapers.scrape("a", 0, promise)
    assert scrapers.scrape("a", 3, promise) == 0
    assert promise.restored(3).scrape("a", 3, promise) == 0


def test_without_a_state_nothing_new_is_promised() -> None:
    scrapers, promise = Scrapers(), Promises()
    scrapers.scrape("a", 0, promise)
    scrapers.scrape("a", 3, promise)
    assert scrapers.scrape("a", 3, None) == 0
    assert scrapers.scrape("a", 3, promise) == 3


def test_the_scraper_that_came_longest_ago_is_forgotten_and_sees_nothing_fall() -> None:
    scrapers, promise = Scrapers(), Promises()
    for number in range(64):
        scrapers.scrape(str(number), 5, promise)
    scrapers.scrape("0", 5, promise)
    scrapers.scrape("one more", 5, promise)
    assert len(promise.kept) == 64
    # "1" was forgotten, not "0", which came again; as a stranger it sees what it saw.
    assert scrapers.scrape("0", 6, promise) == 5
    assert scrapers.scrape("1", 6, promise) == 5


def test_births_of_a_state_begun_anew_are_births_again() -> None:
    scrapers, promise = Scrapers(), Promises()
    scrapers.scrape("a", 50, promise)
    scrapers.restore({}, 0, 0)
    assert scrapers.scrape("a", 2, promise) == 0
    assert scrapers.scrape("a", 2, promise) == 2
