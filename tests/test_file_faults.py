"""What goes wrong with files that are followed: each fault that other followers have had reported.

Expected totals are worked out from the lines: call n brings n input tokens, so that the count and
the sum of calls 1 to n are n and n * (n + 1) / 2, and a lost or a doubled line shows in both.
"""

import gzip
import os
import shutil
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from file_stage import Exporter, append, call, calls, files_of, look_at_once, run_end, run_start, whole_lines

from exporters.lock import StateError
from exporters.sources import Batch, SourceError, open_source
from exporters.sources.position import TAIL_BYTES
from exporters.state import State

TODAY = "traces_2026-02-03.jsonl"
Follow = Callable[..., Exporter]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    look_at_once(monkeypatch)
    made = tmp_path / "traces"
    made.mkdir()
    return made


@pytest.fixture
def follow(tmp_path: Path, folder: Path) -> Iterator[Follow]:
    """Begin to follow a folder, by default that of the test; it is read to its end."""
    with ExitStack() as stack:

        def begin(options: str = "", where: Path = folder) -> Exporter:
            exporter = Exporter(where, tmp_path / "state", options)
            stack.callback(Exporter.stop, exporter)
            exporter.read_on()
            return exporter

        yield begin


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[Path]:
    """A folder on an ext4 of its own, which gives an inode number to the next file at once."""
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists() or shutil.which("mkfs.ext4") is None:
        pytest.skip("mounting an ext4 image takes root, loop devices and mkfs.ext4")
    image, mounted = tmp_path / "image", tmp_path / "ext4"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    mounted.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    if subprocess.run(["mount", "-o", "loop", str(image), str(mounted)], check=False).returncode:
        pytest.skip("loop devices may not be used here")
    try:
        (mounted / "traces").mkdir()
        yield mounted / "traces"
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def lines_read(exporter: Exporter) -> int:
    return int(exporter.total("agentgauge_records"))


def open_files(folder: Path) -> list[str]:
    """The files of a folder that this process has open; those that are gone end in ` (deleted)`."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(descriptor.readlink()))
        except FileNotFoundError:
            continue  # that of the listing itself
    return sorted(name for name in found if name.startswith(f"{folder}/"))


# 1


@pytest.mark.parametrize("later", [(5,), (5, 6, 7), (5, 6, 7, 8)], ids=["shorter", "as long", "longer"])
def test_copytruncate_regrown_past_the_offset(folder: Path, follow: Follow, later: tuple[int, ...]) -> None:
    """Between two looks: a line that was not read yet is in the copy, and the file has grown again."""
    file = folder / TODAY
    append(file, calls(1, 2, 3))
    exporter = follow()
    append(file, calls(4))
    shutil.copy(file, folder / f"{TODAY}.1")
    os.truncate(file, 0)
    append(file, calls(*later))
    if later == (5, 6, 7):
        assert file.stat().st_size == len(calls(1, 2, 3))
    exporter.read_on()
    assert exporter.calls == (4 + len(later), 10 + sum(later))
    assert lines_read(exporter) == 4 + len(later)  # nothing was read twice either


def test_copytruncate_to_a_name_that_says_nothing_of_the_file(folder: Path, follow: Follow) -> None:
    append(folder / TODAY, calls(1, 2, 3))
    exporter = follow()
    append(folder / TODAY, calls(4))
    shutil.copy(folder / TODAY, folder / "traces_copy.jsonl")
    os.truncate(folder / TODAY, 0)
    exporter.read_on()
    assert exporter.calls == (4, 10)
    assert lines_read(exporter) == 4


def test_rewritten_in_place_with_another_first_line_of_the_same_length(folder: Path, follow: Follow) -> None:
    """Size, and all that stands before the offset as far back as is looked, are what they were."""
    append(folder / TODAY, calls(*range(10, 40)))
    exporter = follow()
    (folder / TODAY).write_bytes(calls(50, *range(11, 40)))
    assert len(calls(*range(11, 40))) > 2 * TAIL_BYTES
    exporter.read_on()
    assert exporter.calls == (31, sum(range(10, 40)) + 50)


# 2


def test_truncated_while_down_is_counted_once_over_three_restarts(folder: Path, follow: Follow) -> None:
    append(folder / TODAY, calls(1, 2, 3))
    exporter = follow()
    exporter.stop()
    os.truncate(folder / TODAY, 0)
    append(folder / TODAY, calls(4))
    exporter.start()
    for _ in range(3):
        assert exporter.calls == (4, 10)
        assert lines_read(exporter) == 4
        exporter.restart()
    append(folder / TODAY, calls(5))
    exporter.read_on()
    assert exporter.calls == (5, 15)


# 3


@pytest.mark.parametrize("later", [(4,), (4, 5, 6), (4, 5, 6, 7)], ids=["shorter", "as long", "longer"])
def test_inode_reused_by_a_new_file_while_down(ext4: Path, follow: Follow, later: tuple[int, ...]) -> None:
    file = ext4 / TODAY
    append(file, calls(1, 2, 3))
    inode = file.stat().st_ino
    exporter = follow(where=ext4)
    exporter.stop()
    file.unlink()
    append(file, calls(*later))
    assert file.stat().st_ino == inode
    exporter.start()
    assert exporter.calls == (3 + len(later), 6 + sum(later))


def test_inode_reused_by_a_new_file_while_we_look_away(
    ext4: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is kept open keeps its inode; one that is not, because others grew, does not."""
    monkeypatch.setattr("exporters.sources.descriptors._KEPT_OPEN", 1)
    file, other = ext4 / TODAY, ext4 / "traces_2026-02-04.jsonl"
    append(file, calls(1, 2))
    append(other, calls(3))
    exporter = follow(where=ext4)
    assert open_files(ext4) == [str(other)]
    inode = file.stat().st_ino
    file.unlink()
    append(file, calls(4, 5))
    assert file.stat().st_ino == inode
    exporter.read_on()
    assert exporter.calls == (5, 15)


# 4


@pytest.mark.parametrize(
    "name", [f"{TODAY}.1", f"{TODAY}-20260203", "traces_2026-02-03_235959.jsonl", "traces_0.jsonl"]
)
@pytest.mark.parametrize("reborn", [True, False])
def test_rotated_by_rename_while_down_with_an_unread_tail(
    folder: Path, follow: Follow, name: str, reborn: bool
) -> None:
    append(folder / TODAY, calls(1, 2, 3))
    exporter = follow()
    exporter.stop()
    append(folder / TODAY, calls(4))
    (folder / TODAY).rename(folder / name)
    if reborn:
        append(folder / TODAY, calls(5))
    exporter.start()
    assert exporter.calls == ((5, 15) if reborn else (4, 10))
    assert lines_read(exporter) == (5 if reborn else 4)
    append(folder / name, calls(6))
    exporter.restart()
    assert lines_read(exporter) == (6 if reborn else 5)


def test_every_rotated_file_moves_on_by_one_while_down(folder: Path, follow: Follow) -> None:
    """As logrotate does it: .1 becomes .2, the file .1, and a new file is begun."""
    append(folder / TODAY, calls(4, 5, 6))
    append(folder / f"{TODAY}.1", calls(1, 2, 3))
    exporter = follow()
    exporter.stop()
    append(folder / TODAY, calls(7))
    (folder / f"{TODAY}.1").rename(folder / f"{TODAY}.2")
    (folder / TODAY).rename(folder / f"{TODAY}.1")
    append(folder / TODAY, calls(8))
    exporter.start()
    assert exporter.calls == (8, 36)
    assert lines_read(exporter) == 8


# 5


@pytest.mark.parametrize("shifted", [False, True], ids=["numbered", "shifted"])
def test_fifty_rotations_with_a_reader_that_falls_behind(
    folder: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch, shifted: bool
) -> None:
    """While each batch of a few lines is on its way to be committed, thirty more are written and rotated."""
    monkeypatch.setattr("exporters.sources.lines.BATCH_BYTES", 2048)
    append(folder / TODAY, calls(1))
    exporter = follow()
    behind = []

    def rotate(_: Batch) -> None:
        done = len(behind)
        if done == 50:
            return
        append(folder / TODAY, calls(*range(30 * done + 2, 30 * done + 32)))
        if shifted:
            for number in range(done, 0, -1):
                (folder / f"{TODAY}.{number}").rename(folder / f"{TODAY}.{number + 1}")
        (folder / TODAY).rename(folder / f"{TODAY}.{1 if shifted else done + 1}")
        behind.append(exporter.files.backlog())

    exporter.turnstile.at_batch = rotate
    while len(behind) < 50:
        exporter.turnstile.let_through()
    exporter.read_on()
    assert max(behind) > 100_000
    assert exporter.calls == (1501, 1501 * 1502 // 2)


def test_rotation_under_load(folder: Path, follow: Follow) -> None:
    """A writer that never waits, in a thread of its own; it rotates fifty times."""
    exporter = follow()

    def write() -> None:
        for rotation in range(50):
            for number in range(100 * rotation + 1, 100 * rotation + 101):
                append(folder / TODAY, calls(number))
            (folder / TODAY).rename(folder / f"{TODAY}.{rotation}")

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        exporter.turnstile.let_through()
    writer.join()
    exporter.read_on()
    assert exporter.calls == (5000, 5000 * 5001 // 2)


# 6


@pytest.mark.parametrize("cut", [1, 200, len(call(2)) - 1, len(call(2))])
def test_half_a_line_then_a_kill_then_the_rest(folder: Path, follow: Follow, cut: int) -> None:
    append(folder / TODAY, calls(1) + call(2)[:cut])
    exporter = follow()
    assert exporter.calls == (1, 1)
    exporter.crash()
    exporter.start()
    assert exporter.calls == (1, 1)
    append(folder / TODAY, call(2)[cut:] + b"\n" + calls(3))
    exporter.read_on()
    assert exporter.calls == (3, 6)
    assert exporter.bad("json") == 0


def test_half_a_line_rotated_away_and_finished_there(folder: Path, follow: Follow) -> None:
    append(folder / TODAY, calls(1, 2, 3) + call(4)[:100])
    exporter = follow()
    (folder / TODAY).rename(folder / f"{TODAY}.1")
    append(folder / TODAY, calls(5))
    exporter.read_on()
    append(folder / f"{TODAY}.1", call(4)[100:] + b"\n")
    exporter.read_on()
    assert exporter.calls == (5, 15)
    assert exporter.bad("json") == 0


# 7


def test_a_line_of_50_mb_costs_one_bad_record(folder: Path, follow: Follow) -> None:
    """And is given up once, however often we are killed within it; memory stays bounded."""
    with (folder / TODAY).open("wb") as file:
        file.write(calls(1) + b'{"inputs": "')
        for _ in range(50):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n' + calls(2))
    exporter = follow()
    assert exporter.calls == (2, 3)
    assert exporter.bad("too_long") == 1
    assert exporter.bad("json") == 0

    tracemalloc.start()
    files = files_of(folder)
    batches = [files.poll()]
    while batches[-1].more:
        batches.append(files.poll())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    files.close()
    assert sum(batch.bad.get("too_long", 0) for batch in batches) == 1
    # Two bounds of a line: what is read, and what of it is looked at.
    assert peak < 48 << 20


def test_killed_within_a_line_that_is_too_long(folder: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporters.sources.lines.BATCH_BYTES", 1000)
    monkeypatch.setattr("exporters.sources.lines.LINE_BYTES", 4000)
    exporter = follow()
    append(folder / TODAY, calls(1) + b"x" * 20_000 + b"\n" + calls(2))

    def save(batch: Batch) -> None:
        if not batch.records and batch.size and not batch.bad:  # some thousand bytes into the line
            exporter.save()
            exporter.turnstile.at_batch = lambda _: None

    exporter.turnstile.at_batch = save
    exporter.read_on()
    exporter.crash_to_saved()
    exporter.start()
    assert exporter.calls == (2, 3)
    assert exporter.bad("too_long") == 1
    assert exporter.bad("json") == 0


# 8


def test_a_cursor_that_says_nothing_has_its_file_read_again(folder: Path) -> None:
    append(folder / TODAY, calls(1, 2))
    files = files_of(folder)
    (part,) = files.poll().cursor
    for damaged in (b"\0\0\0\0", b"{}", b"\x96" + b"\xc0" * 6):
        files.seek({part: damaged})
        assert whole_lines(files.poll()) == [call(1), call(2)]
    files.close()


# 9


@pytest.mark.parametrize("at_once", [True, False])
def test_two_files_with_the_same_first_bytes(folder: Path, follow: Follow, at_once: bool) -> None:
    """The same preamble, longer than what a file is known by, and then lines of their own."""
    other = folder / "traces_2026-02-04.jsonl"
    append(folder / TODAY, calls(1, 2, 3, 4))
    if at_once:
        append(other, calls(1, 2, 3, 5))
    exporter = follow()
    if not at_once:
        append(other, calls(1, 2, 3, 5))
    exporter.read_on()
    assert exporter.calls == (5, 15)
    append(folder / TODAY, calls(6))
    append(other, calls(7))
    exporter.restart()
    append(folder / TODAY, calls(8))
    append(other, calls(9))
    exporter.read_on()
    assert exporter.calls == (9, 45)
    assert lines_read(exporter) == 12  # four and four, and one for each that came later


def test_a_short_file_keeps_its_identity_as_it_grows(folder: Path, follow: Follow) -> None:
    append(folder / TODAY, calls(1))
    exporter = follow()
    for number in range(2, 30):
        append(folder / TODAY, calls(number))
        exporter.restart() if number % 5 == 0 else exporter.read_on()
    assert exporter.calls == (29, 435)
    assert lines_read(exporter) == 29


# 10


@pytest.mark.parametrize("down", [True, False])
def test_device_or_inode_changes_without_a_new_file(folder: Path, follow: Follow, down: bool) -> None:
    append(folder / TODAY, calls(1, 2, 3))
    inode = (folder / TODAY).stat().st_ino
    exporter = follow()
    if down:
        exporter.stop()
    shutil.copy(folder / TODAY, folder / "restored")
    (folder / "restored").rename(folder / TODAY)
    assert (folder / TODAY).stat().st_ino != inode
    append(folder / TODAY, calls(4))
    exporter.start() if down else exporter.read_on()
    assert exporter.calls == (4, 10)
    assert lines_read(exporter) == 4


# 11


def test_a_rotated_copy_inside_the_glob_is_not_counted_again(folder: Path, follow: Follow) -> None:
    append(folder / TODAY, calls(1, 2, 3))
    exporter = follow()
    shutil.copy(folder / TODAY, folder / f"{TODAY}.1")
    os.truncate(folder / TODAY, 0)
    append(folder / TODAY, calls(4))
    exporter.read_on()
    exporter.restart()
    assert exporter.calls == (4, 10)
    assert lines_read(exporter) == 4


def test_a_gzipped_file_beside_is_not_read(folder: Path, follow: Follow) -> None:
    """Its lines were read before it was compressed; lines that only it holds show that it is not."""
    append(folder / TODAY, calls(1))
    for name in (f"{TODAY}.gz", f"{TODAY}.1.gz", f"{TODAY}-20260203.gz", f"{TODAY}.zst"):
        (folder / name).write_bytes(gzip.compress(calls(2)))
    exporter = follow()
    assert exporter.calls == (1, 1)
    assert lines_read(exporter) == 1
    assert open_files(folder) == [str(folder / TODAY)]


# 12


def test_a_deleted_file_is_read_to_its_end_and_closed_at_the_next_look(folder: Path, follow: Follow) -> None:
    append(folder / TODAY, calls(1, 2, 3))
    exporter = follow()
    append(folder / TODAY, calls(4))
    (folder / TODAY).unlink()
    assert open_files(folder) == [f"{folder / TODAY} (deleted)"]
    exporter.turnstile.let_through()
    assert exporter.calls == (4, 10)
    exporter.turnstile.let_through()
    assert open_files(folder) == []


def test_a_deleted_file_with_much_unread_is_read_to_its_end(
    folder: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And before the file that has taken its name."""
    monkeypatch.setattr("exporters.sources.lines.BATCH_BYTES", 4096)
    append(folder / TODAY, calls(1))
    exporter = follow()
    append(folder / TODAY, calls(*range(2, 101)))
    (folder / TODAY).unlink()
    append(folder / TODAY, calls(*range(101, 111)))
    exporter.read_on()
    assert exporter.calls == (110, 6105)
    assert open_files(folder) == [str(folder / TODAY)]


# 13


def test_counters_neither_fall_nor_rise_when_counted_files_go(folder: Path, follow: Follow) -> None:
    days = [folder / f"traces_2026-02-{day:02}.jsonl" for day in range(1, 11)]
    for day, file in enumerate(days):
        append(file, run_start(1000 + day) + b"\n" + calls(3 * day + 1, 3 * day + 2) + run_end(1000 + day) + b"\n")
    exporter = follow()
    assert exporter.runs == 10
    before = exporter.scrape("totals")
    for file in days[:9]:
        file.unlink()
    exporter.read_on()
    assert exporter.scrape("totals") == before
    exporter.restart()
    assert exporter.scrape("totals") == before
    exporter.crash()
    exporter.start()
    assert exporter.scrape("totals") == before
    days[9].unlink()
    exporter.restart()
    assert exporter.scrape("totals") == before


def test_a_file_restored_from_a_copy_counts_nothing(folder: Path, follow: Follow, tmp_path: Path) -> None:
    append(folder / TODAY, calls(1, 2, 3))
    exporter = follow()
    (folder / TODAY).rename(tmp_path / "kept")
    exporter.read_on()
    exporter.restart()
    (tmp_path / "kept").rename(folder / TODAY)
    exporter.read_on()
    assert exporter.calls == (3, 6)


# 15


@pytest.mark.parametrize("after", [False, True], ids=["nothing was committed", "all of it was"])
def test_a_batch_that_could_not_be_committed_is_read_again_although_its_files_are_gone(
    folder: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """The disk is full at the worst moment: a file was read to its end, and is deleted."""
    append(folder / TODAY, calls(1, 2, 3))
    exporter = follow()
    commit, failures = State.commit, []

    def fail(state: State, *arguments: Any) -> None:
        if len(failures) < 3:
            failures.append(0)
            if after:
                commit(state, *arguments)
            raise StateError("the disk is full")
        commit(state, *arguments)

    monkeypatch.setattr(State, "commit", fail)
    append(folder / TODAY, calls(4))
    (folder / TODAY).unlink()
    append(folder / TODAY, calls(5))
    shutil.copy(folder / TODAY, folder / f"{TODAY}.1")
    exporter.read_on()
    assert failures
    assert exporter.calls == (5, 15)
    assert open_files(folder) == [str(folder / TODAY), str(folder / f"{TODAY}.1")]


def test_a_position_that_was_not_committed_is_forgotten(
    folder: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read, not committed, and rotated by copying in the moment between: the copy is not further read
    than what is committed."""
    append(folder / TODAY, calls(1, 2, 3))
    exporter = follow()
    append(folder / TODAY, calls(4))
    commit = State.commit

    def fail(state: State, *arguments: Any) -> None:
        monkeypatch.setattr(State, "commit", commit)
        shutil.copy(folder / TODAY, folder / f"{TODAY}.1")
        os.truncate(folder / TODAY, 0)
        raise StateError("the disk is full")

    monkeypatch.setattr(State, "commit", fail)
    exporter.read_on()
    assert exporter.calls == (4, 10)


# Near misses


@pytest.mark.parametrize("other", ["file", "pipe", "link", "folder"])
def test_a_file_replaced_between_the_look_and_the_opening(
    folder: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """What is opened counts, not what was looked at; and no pipe blocks us."""
    append(folder / TODAY, calls(1))
    open_it, replaced = os.open, []

    def replace(path: Any, *arguments: Any, **more: Any) -> int:
        if str(path).endswith(TODAY) and not replaced:
            (folder / TODAY).rename(folder / f"{TODAY}.1")
            if other == "file":
                append(folder / TODAY, calls(2))
            elif other == "pipe":
                os.mkfifo(folder / TODAY)
            elif other == "link":
                (folder / TODAY).symlink_to(folder / f"{TODAY}.1")
            else:
                (folder / TODAY).mkdir()
            replaced.append(other)
        return open_it(path, *arguments, **more)

    monkeypatch.setattr("exporters.sources.files.os.open", replace)
    exporter = follow()
    assert replaced
    assert exporter.calls == ((2, 3) if other == "file" else (1, 1))
    assert exporter.health("agentgauge_source_up") == 1


def test_links_pipes_and_folders_with_matching_names_are_left_alone(folder: Path, follow: Follow) -> None:
    append(folder / "elsewhere", calls(2))
    (folder / "traces_link.jsonl").symlink_to(folder / "elsewhere")
    (folder / "traces_dangling.jsonl").symlink_to(folder / "nowhere")
    (folder / "traces_folder.jsonl").mkdir()
    os.mkfifo(folder / "traces_pipe.jsonl")
    append(folder / TODAY, calls(1))
    exporter = follow()
    assert exporter.calls == (1, 1)
    assert exporter.health("agentgauge_source_up") == 1
    append(folder / TODAY, calls(3))
    exporter.restart()
    assert exporter.calls == (2, 4)


def test_nul_bytes_at_the_end_that_become_a_line(folder: Path, follow: Follow) -> None:
    """A shared file system shows a file's new size before what was written."""
    file = folder / TODAY
    append(file, calls(1) + bytes(len(calls(2))))
    exporter = follow()
    assert exporter.calls == (1, 1)
    with file.open("r+b") as written:
        written.seek(len(calls(1)))
        written.write(calls(2))
    exporter.read_on()
    assert exporter.calls == (2, 3)


def test_nul_bytes_that_were_a_line_when_power_failed(folder: Path, follow: Follow) -> None:
    append(folder / TODAY, calls(1) + bytes(4000))
    exporter = follow()
    append(folder / TODAY, calls(2, 3))
    exporter.read_on()
    assert exporter.calls == (3, 6)


@pytest.mark.parametrize("hole", [3 << 20, (40 << 20) + 5, (32 << 20) - 100])
def test_a_hole_before_a_line(folder: Path, follow: Follow, hole: int) -> None:
    """Left by a writer that goes on at its old offset after the file was truncated."""
    append(folder / TODAY, calls(1, 2))
    exporter = follow()
    os.truncate(folder / TODAY, 0)
    os.truncate(folder / TODAY, hole)
    exporter.read_on()
    append(folder / TODAY, calls(3, 4))
    exporter.read_on()
    assert exporter.calls == (4, 10)
    assert exporter.bad("too_long") == 0


def test_a_file_that_may_not_be_read_is_told_and_the_others_are_read(
    folder: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The permission is denied by hand: a test that runs as root is never denied one."""
    append(folder / TODAY, calls(1))
    append(folder / "traces_2026-02-04.jsonl", calls(2))
    open_it = os.open

    def deny(path: Any, *arguments: Any, **more: Any) -> int:
        if str(path).endswith(TODAY):
            raise PermissionError(13, "Permission denied", str(path))
        return open_it(path, *arguments, **more)

    with monkeypatch.context() as denied:
        denied.setattr("exporters.sources.files.os.open", deny)
        exporter = follow()
        assert exporter.calls == (1, 2)
        problem = f"{folder / TODAY}: may not be read; grant this user read permission"
        for _ in range(3):  # told as long as it lasts, not only when it is tried
            assert exporter.turnstile.last.problem == problem
            assert exporter.health("agentgauge_source_up") == 0
            append(folder / "traces_2026-02-04.jsonl", b"\n")
            exporter.read_on()
    exporter.read_on()
    assert exporter.calls == (2, 3)
    assert exporter.turnstile.last.problem == ""
    assert exporter.health("agentgauge_source_up") == 1


def test_a_file_that_may_not_be_read_and_is_deleted_is_no_problem_any_more(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(folder / TODAY, calls(1))
    files = files_of(folder)

    def deny(path: Any, *_: Any) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as denied:
        denied.setattr("exporters.sources.files.os.open", deny)
        assert files.poll().problem
    (folder / TODAY).unlink()
    assert files.poll().problem == ""
    files.close()


def test_a_stale_handle_is_opened_again(folder: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a network file system was mounted anew: every use of the old descriptor is an error."""
    append(folder / TODAY, calls(1))
    exporter = follow()
    append(folder / TODAY, calls(2))
    (descriptor,) = exporter.files._descriptors.open.values()
    look = os.fstat

    def stale(number: int) -> os.stat_result:
        if number == descriptor:
            raise OSError(116, "Stale file handle")
        return look(number)

    with monkeypatch.context() as mounted:
        mounted.setattr("exporters.sources.files.os.fstat", stale)
        exporter.turnstile.let_through()
    exporter.read_on()
    assert exporter.calls == (2, 3)
    assert exporter.health("agentgauge_source_up") == 1


def test_the_folder_goes_away_and_comes_back(folder: Path, follow: Follow, tmp_path: Path) -> None:
    append(folder / TODAY, calls(1, 2, 3))
    exporter = follow()
    append(folder / TODAY, calls(4))
    exporter.read_on()
    folder.rename(tmp_path / "away")
    exporter.turnstile.trouble()
    assert exporter.health("agentgauge_source_up") == 0
    assert exporter.calls == (4, 10)
    append(tmp_path / "away" / TODAY, calls(5))
    (tmp_path / "away").rename(folder)
    exporter.read_on()
    assert exporter.calls == (5, 15)
    assert exporter.health("agentgauge_source_up") == 1
    assert lines_read(exporter) == 5  # from where it was, not from where this process began


def test_another_folder_takes_the_place_of_the_one_that_went(folder: Path, follow: Follow, tmp_path: Path) -> None:
    append(folder / TODAY, calls(1, 2, 3))
    exporter = follow()
    folder.rename(tmp_path / "away")
    exporter.turnstile.trouble()
    folder.mkdir()
    append(folder / TODAY, calls(4))
    exporter.read_on()
    assert exporter.calls == (4, 10)
    assert open_files(tmp_path / "away") == []


def test_a_name_that_is_no_text(folder: Path, follow: Follow) -> None:
    name = os.fsdecode(b"traces_\xff\xfe caf\xc3\xa9%41.jsonl")
    append(folder / name, calls(1, 2))
    exporter = follow()
    append(folder / name, calls(3))
    exporter.restart()
    assert exporter.calls == (3, 6)
    assert lines_read(exporter) == 3


def test_since_leaves_out_what_is_older_when_a_file_is_first_seen(folder: Path, follow: Follow) -> None:
    """And counts what is written to an old file from then on, also over a restart."""
    old = folder / "traces_2025-12-01.jsonl"
    append(old, calls(1, 2) + call(3)[:50])
    month_ago = time.time() - 31 * 86400
    os.utime(old, (month_ago, month_ago))
    append(folder / TODAY, calls(4))
    exporter = follow("&since=30d")
    assert exporter.calls == (1, 4)
    exporter.stop()
    append(old, call(3)[50:] + b"\n" + calls(5))
    exporter.start()
    assert exporter.calls == (3, 12)
    assert exporter.bad("json") == 0
    append(old, calls(6))
    exporter.read_on()
    assert exporter.calls == (4, 18)


def test_a_folder_that_cannot_be_listed_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match="there is no folder"):
        open_source(f"createagents://{tmp_path}/nothing")
    with pytest.raises(SourceError, match="is not a folder"):
        open_source(f"createagents://{tmp_path}/file")


def test_twenty_thousand_files_of_one_line(folder: Path) -> None:
    """A first reading takes time and memory by the file; a look afterwards touches none of them."""
    for number in range(20_000):
        (folder / f"traces_2026-02-03_{number:06}.jsonl").write_bytes(b'{"n": %d}\n' % number)
    few = folder.with_name("few")
    few.mkdir()
    for file in sorted(folder.iterdir())[:5000]:
        file.rename(few / file.name)
        shutil.copy(few / file.name, file)
    seconds = {}
    for where, count in ((few, 5000), (folder, 20_000)):
        readings = [read_to_end(where) for _ in range(3)]
        assert readings[0][1] == [b'{"n": %d}' % number for number in range(count)]
        seconds[count] = min(took for took, _ in readings)
    # Four times the files: four times the time, and sixteen if each were held against every other.
    assert seconds[20_000] < 8 * seconds[5000]

    tracemalloc.start()
    read_to_end(few)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5000 * 2048


def read_to_end(folder: Path) -> tuple[float, list[bytes]]:
    """The seconds of work that a first reading of a folder takes, and its lines."""
    began = time.process_time()
    files = files_of(folder)
    records, more, most_open = [], True, 0
    while more:
        batch = files.poll()
        records += whole_lines(batch)
        more = batch.more
        most_open = max(most_open, len(open_files(folder)))
    took = time.process_time() - began
    files.close()
    assert most_open <= 64
    return took, records


def test_a_look_at_a_folder_that_does_not_change_opens_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once what was read is some seconds old: until then it may change without showing it."""
    for number in range(300):
        append(folder / f"traces_2026-02-03_{number:06}.jsonl", calls(number))
    files = files_of(folder)
    while files.poll().more:
        pass
    hour_ago = time.time() - 3600
    for file in folder.iterdir():
        os.utime(file, (hour_ago, hour_ago))
    while files.poll().more:
        pass
    opened: list[str] = []
    monkeypatch.setattr("exporters.sources.files.os.open", lambda path, *_: opened.append(path))
    for reading in ("pread", "preadv"):
        monkeypatch.setattr(f"exporters.sources.lines.os.{reading}", lambda *_: opened.append("read"))
    batch = files.poll()
    assert (batch.records, batch.cursor, batch.more, opened) == ([], {}, False, [])
    monkeypatch.undo()
    files.close()
