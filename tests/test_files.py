"""Reading the lines of files: boundaries, order, what the cursor holds, and being woken."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from file_stage import PATIENCE, Exporter, append, call, calls, files_of, look_at_once, whole_lines
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.sources import SourceError, lines
from exporters.sources.createagents.translation import translate
from exporters.sources.files import Files
from exporters.sources.folder import folder_of
from exporters.sources.position import BEGINNING, HEAD_BYTES, Position, decode, encode

TODAY = "traces_2026-02-03.jsonl"
LATER = "traces_2026-02-04.jsonl"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    look_at_once(monkeypatch)
    opened = files_of(tmp_path)
    yield opened
    opened.close()


def read_on(files: Files) -> tuple[list[bytes], dict[str, int]]:
    """The records and the lines given up until there is nothing more to read."""
    records, bad, more = [], {}, True
    while more:
        batch = files.poll()
        records += whole_lines(batch)
        for reason, count in batch.bad.items():
            bad[reason] = bad.get(reason, 0) + count
        more = batch.more
    return records, bad


# Boundaries


@pytest.mark.parametrize("off", [-2, -1, 0, 1, 2])
def test_a_line_that_ends_about_where_a_batch_does(tmp_path: Path, files: Files, off: int) -> None:
    """Its newline is the last byte of the first MiB when `off` is 0."""
    first = b"a" * (lines.BATCH_BYTES - 1 + off)
    append(tmp_path / TODAY, first + b"\nb\nc\n")
    assert read_on(files) == ([first, b"b", b"c"], {})


@pytest.mark.parametrize("off", [-2, -1, 0, 1, 2])
def test_lines_that_end_about_where_a_batch_does(tmp_path: Path, files: Files, off: int) -> None:
    before, last = b"a" * (lines.BATCH_BYTES - 1000), b"b" * (998 + off)
    append(tmp_path / TODAY, before + b"\n" + last + b"\n")
    assert read_on(files) == ([before, last], {})
    append(tmp_path / TODAY, b"c\n")
    assert read_on(files) == ([b"c"], {})


@pytest.mark.parametrize(("off", "fits"), [(-1, True), (0, True), (1, False), (2, False)])
def test_a_line_about_as_long_as_a_line_may_be(tmp_path: Path, files: Files, off: int, fits: bool) -> None:
    """With its newline it takes exactly the bytes that a line may take when `off` is 0."""
    longest = b"a" * (lines.LINE_BYTES - 1 + off)
    append(tmp_path / TODAY, b"before\n" + longest + b"\nafter\n")
    if fits:
        assert read_on(files) == ([b"before", longest, b"after"], {})
    else:
        assert read_on(files) == ([b"before", b"after"], {"too_long": 1})


def test_a_long_line_that_is_not_finished_is_waited_for(tmp_path: Path, files: Files) -> None:
    begun = b"a" * (3 * lines.BATCH_BYTES)
    append(tmp_path / TODAY, begun)
    assert read_on(files) == ([], {})
    append(tmp_path / TODAY, begun + b"\n")
    assert read_on(files) == ([begun + begun], {})


@given(
    texts=st.lists(st.binary(max_size=60).map(lambda text: text.translate(None, b"\n\0")), max_size=12),
    cuts=st.lists(st.integers(0, 600), max_size=6),
)
@settings(max_examples=150, deadline=None)
def test_any_lines_written_in_any_pieces_come_out_whole(
    tmp_path_factory: pytest.TempPathFactory, texts: list[bytes], cuts: list[int]
) -> None:
    """With batches of 16 bytes and lines of at most 40, newline included."""
    folder = tmp_path_factory.mktemp("pieces")
    written = b"".join(text + b"\n" for text in texts)
    places = sorted({0, len(written), *(min(cut, len(written)) for cut in cuts)})
    with pytest.MonkeyPatch.context() as patch:
        look_at_once(patch)
        patch.setattr(lines, "BATCH_BYTES", 16)
        patch.setattr(lines, "LINE_BYTES", 40)
        files = files_of(folder)
        records: list[bytes] = []
        given_up = 0
        for start, end in pairwise(places):
            append(folder / TODAY, written[start:end])
            new, bad = read_on(files)
            records += new
            given_up += bad.get("too_long", 0)
        files.close()
    assert records == [text for text in texts if len(text) < 40]
    assert given_up == sum(len(text) >= 40 for text in texts)


def test_lines_end_in_a_newline_and_nothing_else(tmp_path: Path, files: Files) -> None:
    """Not in what str.splitlines() takes for one; a carriage return before the newline does no harm."""
    odd = call(1, inputs={"user_message": "PLACE"}).replace(b"PLACE", "a\u2028b\u2029c\x85d".encode())
    append(tmp_path / TODAY, odd + b"\n" + call(2) + b"\r\n" + call(3) + b"\r\n")
    records, _ = read_on(files)
    assert records == [odd, call(2) + b"\r", call(3) + b"\r"]
    found = translate(records)
    assert [span.input_tokens for span in found.spans] == [1, 2, 3]
    assert found.bad == {}


# Order and backlog


def test_one_file_is_read_to_its_end_before_the_next(
    tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "BATCH_BYTES", 4)
    append(tmp_path / "traces_2026-02-03_100000.jsonl", b"4\n5\n6\n")
    append(tmp_path / "traces_2026-02-04.jsonl", b"7\n")
    append(tmp_path / TODAY, b"1\n2\n3\n")
    assert read_on(files) == ([b"1", b"2", b"3", b"4", b"5", b"6", b"7"], {})


def test_what_was_rotated_away_is_read_before_what_goes_on_under_the_name(tmp_path: Path, files: Files) -> None:
    append(tmp_path / TODAY, b"3\n")
    append(tmp_path / f"{TODAY}.1", b"2\n")
    append(tmp_path / f"{TODAY}.2", b"1\n")
    assert read_on(files) == ([b"1", b"2", b"3"], {})


def test_the_backlog_is_what_is_still_to_be_read(tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BATCH_BYTES", 1024)
    append(tmp_path / "traces_1.jsonl", b"x" * 511 + b"\n" + b"x" * 511 + b"\n" + b"x" * 511 + b"\n")
    append(tmp_path / "traces_2.jsonl", b"y" * 99 + b"\n")
    assert files.backlog() == 0  # not looked at yet
    batch = files.poll()
    assert (batch.size, files.backlog(), batch.more) == (1024, 612, True)
    batch = files.poll()
    assert (batch.size, files.backlog(), batch.more) == (612, 0, False)
    append(tmp_path / "traces_2.jsonl", b"unfinished")
    files.poll()
    assert files.backlog() == 0


def test_many_empty_files_do_not_hold_up_a_poll(tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each counts for something, so that a poll ends and who wants to stop is heard."""
    monkeypatch.setattr(lines, "BATCH_BYTES", 2560)
    for number in range(25):
        (tmp_path / f"traces_{number:02}.jsonl").touch()
        os.utime(tmp_path / f"traces_{number:02}.jsonl", (0, 0))
    assert [files.poll().more for _ in range(3)] == [True, True, False]


# The cursor


def test_the_state_holds_no_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of a line that was read, nor of one that is unfinished, nor of an open run."""
    look_at_once(monkeypatch)
    folder = tmp_path / "traces"
    folder.mkdir()
    canary = "the-canary-sings-4711"
    append(folder / TODAY, b"".join(call(n, inputs={"user_message": canary}) + b"\n" for n in range(20)))
    append(folder / TODAY, call(21, outputs={"response_preview": canary}))
    exporter = Exporter(folder, tmp_path / "state")
    exporter.read_on()
    assert exporter.calls == (20, 190)
    stored = [file.read_bytes() for file in exporter.state.iterdir() if file.is_file()]
    exporter.stop()
    stored += [file.read_bytes() for file in exporter.state.iterdir() if file.is_file()]
    assert any(TODAY.encode() in content for content in stored)
    assert not any(canary.encode() in content for content in stored)


def test_a_cursor_has_a_part_for_each_file_and_forgets_it_with_the_file(tmp_path: Path, files: Files) -> None:
    append(tmp_path / TODAY, b"1\n")
    append(tmp_path / "traces_2 100%.jsonl", b"2\n")
    first = files.poll().cursor
    assert sorted(first) == ["traces_2%20100%25.jsonl", TODAY]
    assert decode(first[TODAY]).offset == 2
    assert files.poll().cursor == {}
    (tmp_path / TODAY).unlink()
    assert files.poll().cursor == {TODAY: b""}
    assert files.poll().cursor == {}
    files.seek({**first, TODAY: b""})
    assert read_on(files) == ([], {})


def test_a_seek_goes_back_to_where_the_cursor_says(tmp_path: Path, files: Files) -> None:
    append(tmp_path / TODAY, b"1\n")
    cursor = files.poll().cursor
    append(tmp_path / TODAY, b"2\n")
    assert read_on(files) == ([b"2"], {})
    files.seek(cursor)
    assert read_on(files) == ([b"2"], {})
    files.seek({})
    assert read_on(files) == ([b"1", b"2"], {})


def test_a_position_comes_back_as_it_was_written() -> None:
    position = Position(5000, b"12345678", HEAD_BYTES, b"abcdefgh", 4096, True)
    assert decode(encode(position)) == position
    assert decode(b"") == decode(b"\xc1") == BEGINNING


# Being woken


def woken(files: Files, change: Callable[[], None]) -> float:
    """The seconds from a change to the end of a wait; the quickest of a few, as others use the machine too."""
    took = []
    for _ in range(8):
        files.poll()
        began = time.monotonic()
        change()
        files.wait(PATIENCE)
        took.append(time.monotonic() - began)
    return min(took)


def watching(files: Files, folder: Path) -> None:
    """Return when events come."""
    deadline = time.monotonic() + PATIENCE
    while "probe" not in files._watch._names:
        assert time.monotonic() < deadline
        files._watch.begin()
        (folder / "probe").write_bytes(b"")
        files._watch.wait(0.05)


@pytest.fixture
def patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    """A reader that looks at the folder of its own accord only every minute."""
    monkeypatch.setattr("exporters.sources.files.SCAN_SECONDS", PATIENCE)
    folder = tmp_path / "traces"
    folder.mkdir()
    opened = files_of(folder)
    opened.poll()
    yield opened
    opened.close()


def test_a_new_line_ends_the_wait_within_a_tenth_of_a_second(patient: Files) -> None:
    watching(patient, patient.folder)
    assert woken(patient, lambda: append(patient.folder / TODAY, b"1\n")) < 0.1
    assert set(read_on(patient)[0]) <= {b"1"}


def test_a_new_line_is_read_without_a_look_at_the_folder(patient: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    append(patient.folder / TODAY, b"0\n")
    patient.seek({})
    assert read_on(patient) == ([b"0"], {})
    watching(patient, patient.folder)
    monkeypatch.setattr(patient, "_scan", lambda: pytest.fail("looked at the folder"))
    append(patient.folder / TODAY, b"1\n")
    records: list[bytes] = []
    deadline = time.monotonic() + PATIENCE
    while not records and time.monotonic() < deadline:
        patient.wait(1)
        records += whole_lines(patient.poll())
    assert records == [b"1"]


def test_a_folder_that_took_the_place_of_another_is_watched(patient: Files, tmp_path: Path) -> None:
    watching(patient, patient.folder)
    patient.folder.rename(tmp_path / "away")
    patient.folder.mkdir()
    patient._watch.taken()
    watching(patient, patient.folder)
    assert woken(patient, lambda: append(patient.folder / TODAY, b"1\n")) < 0.1


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("OS file watch limit reached")])
def test_without_events_the_look_at_the_folder_is_the_net(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("exporters.sources.watch.RustNotify", fail)
    monkeypatch.setattr("exporters.sources.files.SCAN_SECONDS", 0.2)
    monkeypatch.setattr("exporters.sources.files.SCAN_SHARE", 0.0)
    files = files_of(tmp_path)
    assert files.poll().records == []
    append(tmp_path / TODAY, b"1\n")
    began = time.monotonic()
    files.wait(PATIENCE)
    assert 0.1 < time.monotonic() - began < 10
    assert whole_lines(files.poll()) == [b"1"]
    files.close()


def test_a_large_folder_is_looked_at_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that took a second is followed by one after twenty."""
    clock = [100.0]
    monkeypatch.setattr("exporters.sources.files.time.monotonic", lambda: clock[0])
    files = files_of(tmp_path)
    listed = os.scandir

    def slow(path: Any) -> Any:
        looks.append(clock[0])
        clock[0] += 1.0
        return listed(path)

    looks: list[float] = []
    monkeypatch.setattr("exporters.sources.files.os.scandir", slow)
    for second in range(100, 145):
        clock[0] = max(clock[0], float(second))
        files.poll()
    assert looks == [100.0, 121.0, 142.0]
    files.close()


def test_files_that_are_not_what_they_were_are_not_each_looked_for_in_the_folder(
    tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All were rewritten while nobody looked: a few looks for where their lines went, not fifty."""
    for number in range(50):
        append(tmp_path / f"traces_{number:02}.jsonl", b"old %d\n" % number)
    read_on(files)
    for number in range(50):
        (tmp_path / f"traces_{number:02}.jsonl").write_bytes(b"new %d\n" % number)
    looks: list[int] = []
    scan = files._scan
    monkeypatch.setattr(files, "_scan", lambda: bool(looks.append(1) or scan()))
    assert read_on(files) == ([b"new %d" % number for number in range(50)], {})
    assert len(looks) <= 6


def test_where_the_lines_of_a_file_begun_anew_went_is_looked_for_once(
    tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a line, rotated away: it stays new for seconds, which is no reason to look on and on."""
    append(tmp_path / TODAY, b"1")
    assert read_on(files) == ([], {})
    (tmp_path / TODAY).rename(tmp_path / f"{TODAY}.1")
    append(tmp_path / TODAY, b"22\n")
    looks: list[int] = []
    scan = files._scan
    monkeypatch.setattr(files, "_scan", lambda: bool(looks.append(1) or scan()))
    assert read_on(files) == ([b"22"], {})
    assert len(looks) <= 6


def test_a_new_file_that_an_event_tells_of_is_read_without_a_look_at_the_folder(
    patient: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of many thousand files may gain one each second."""
    watching(patient, patient.folder)
    monkeypatch.setattr(patient, "_scan", lambda: pytest.fail("looked at the folder"))
    append(patient.folder / TODAY, b"1\n")
    records: list[bytes] = []
    deadline = time.monotonic() + PATIENCE
    while not records and time.monotonic() < deadline:
        patient.wait(1)
        records += whole_lines(patient.poll())
    assert records == [b"1"]


def test_what_was_written_before_the_first_event_is_read_in_its_order(patient: Files) -> None:
    """Between the first look and the beginning of the watch: an event of the new file alone would have
    it read before what was written before it."""
    append(patient.folder / TODAY, b"1\n")
    patient.seek({})
    assert read_on(patient) == ([b"1"], {})
    append(patient.folder / TODAY, b"2\n")
    append(patient.folder / LATER, b"3\n")
    patient.wait(1)  # begins to watch
    append(patient.folder / LATER, b"4\n")
    assert read_on(patient) == ([b"2", b"3", b"4"], {})


def test_a_file_renamed_after_a_look_is_read_on_before_it_is_forgotten(
    patient: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One batch says that the old name is gone and how far the new one is read: a kill between two such
    batches would have the file read again."""
    file = patient.folder / TODAY
    append(file, b"1" * HEAD_BYTES + b"\n")
    reader = files_of(patient.folder)
    cursor = reader.poll().cursor
    reader.close()
    append(file, b"2\n")
    listed = os.scandir

    def renamed_meanwhile(path: Any) -> Any:
        found = list(listed(path))
        monkeypatch.undo()
        file.rename(patient.folder / f"{TODAY}.1")
        return nullcontext(found)

    monkeypatch.setattr("exporters.sources.files.os.scandir", renamed_meanwhile)
    patient.seek(cursor)
    batch = patient.poll()
    assert whole_lines(batch) == [b"2"]
    assert batch.cursor.keys() == {TODAY, f"{TODAY}.1"}
    assert batch.cursor[TODAY] == b""


@pytest.mark.parametrize("rotate", [Path.rename, shutil.copy], ids=["renamed", "copied and truncated"])
@pytest.mark.parametrize("event", [False, True], ids=["by a look", "by an event"])
def test_a_new_file_rotated_before_it_was_read_is_read_before_what_goes_on_under_its_name(
    patient: Files, monkeypatch: pytest.MonkeyPatch, rotate: Callable[[Path, Path], Any], event: bool
) -> None:
    file, other = patient.folder / LATER, patient.folder / TODAY
    append(file, b"1\n2\n")
    append(other, b"0\n")
    opened = os.open

    def rotated_meanwhile(path: str, flags: int) -> int:
        """While the other file is opened, which is read before."""
        monkeypatch.undo()
        rotate(file, patient.folder / f"{LATER}.1")
        file.write_bytes(b"3\n")
        return opened(path, flags)

    if event:
        monkeypatch.setattr(patient._watch, "taken", lambda: {TODAY, LATER})
    else:
        patient.seek({})
    monkeypatch.setattr("exporters.sources.files.os.open", rotated_meanwhile)
    assert read_on(patient) == ([b"0", b"1", b"2", b"3"], {})


def test_closing_ends_a_wait_and_a_poll_after_it_is_empty(patient: Files) -> None:
    waiter = threading.Thread(target=patient.wait, args=(PATIENCE,))
    waiter.start()
    append(patient.folder / TODAY, b"1\n")
    patient.close()
    waiter.join(PATIENCE / 2)
    assert not waiter.is_alive()
    batch = patient.poll()
    assert (batch.records, batch.cursor, batch.more) == ([], {}, False)
    began = time.monotonic()
    patient.wait(PATIENCE)
    assert time.monotonic() - began < 1


# The folder


def test_a_url_names_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my traces 100%"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder_of(urlsplit(f"createagents://{tmp_path}/my%20traces%20100%25")) == folder
    assert folder_of(urlsplit("createagents:///~/my%20traces%20100%25")) == folder
    assert folder_of(urlsplit("createagents://~/my%20traces%20100%25")) == folder


def test_a_folder_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The permission is denied by hand: a test that runs as root is never denied one."""

    def deny(path: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("exporters.sources.files.os.scandir", deny)
    with pytest.raises(SourceError, match="may not be read; grant this user read permission"):
        folder_of(urlsplit(f"createagents://{tmp_path}"))


def test_the_stage_writes_what_the_source_reads() -> None:
    """The numbers that the tests of files add up are really in the lines."""
    found = translate([calls(3, 4)])
    assert [(span.kind, span.ended, span.input_tokens) for span in found.spans] == [
        ("inference", True, 3),
        ("inference", True, 4),
    ]
    assert found.bad == {}
