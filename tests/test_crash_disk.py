"""Disks that fail: each sync a kill, syncs that answer EIO, and a disk that is full."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_chats import Chats
from crash_exporter import Exporter, Ledger, until
from crash_folder import Folder
from crash_recount import Samples, expected, totals
from crash_state import committed, counted_by_hand

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
SYNCS = "fdatasync,fsync"


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    found = Exporter(tmp_path)
    yield found
    found.kill()


@pytest.fixture
def folder(exporter: Exporter) -> Folder:
    return Folder(exporter.folder)


def may_trace() -> bool:
    """Whether a process may be traced here: not in every container."""
    return subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0


def shows(exporter: Exporter, ledger: Ledger, truth: Samples) -> bool:
    page = exporter.scrape()
    if page is not None:
        ledger.note(page)
    return page is not None and totals(page) == truth


@needs_strace
def test_a_kill_at_each_sync_leaves_cursor_and_totals_of_one_commit(exporter: Exporter, folder: Folder) -> None:
    if not may_trace():
        pytest.skip("processes may not be traced here")
    chats, ledger = Chats(5), Ledger()
    killed = []
    for nth in range(1, 25):
        kill = ["-e", f"trace={SYNCS}", "-e", f"inject={SYNCS}:signal=KILL:when={nth}"]
        for _ in range(20):
            folder.write(chats.line())
        exporter.start(prefix=["strace", "-D", "-f", "-o", os.devnull, *kill])
        deadline = time.monotonic() + 30
        # Each line is a commit, at least, until the one that kills.
        while not exporter.ended() and time.monotonic() < deadline:
            page = exporter.scrape()
            if page is not None:
                ledger.note(page)
                folder.write(chats.line())
            time.sleep(0.02)
        assert exporter.process is not None
        killed.append(exporter.process.wait(1))
        if (exporter.state / "state.db").exists():
            crashed = exporter.state.with_name(f"crashed-{nth}")
            shutil.copytree(exporter.state, crashed)
            traces = {trace for trace, _ in counted_by_hand(folder.lines, length(folder)).counted}
            found = committed(crashed, traces)
            assert found == counted_by_hand(folder.lines, found.offset)
    assert killed == [-signal.SIGKILL] * 24
    exporter.start()
    until(lambda: shows(exporter, ledger, expected(folder.lines)), 20, exporter.log.read_text)
    assert ledger.falls == []
    # The first kills are in the making of the state, the others in its commits.
    assert ledger.pages > 100


def length(folder: Folder) -> int:
    return sum(len(line) + 1 for line in folder.lines)


def told(exporter: Exporter) -> tuple[int, str, str]:
    """What is said of the state: on /-/ready with its status, and on the front page."""
    ready, front = exporter.get("/-/ready"), exporter.get("/")
    assert ready is not None and front is not None
    return ready[0], ready[1], front[1]


@needs_strace
def test_while_syncs_answer_eio_the_page_stands_still_and_says_why_and_afterwards_it_goes_on(
    exporter: Exporter, folder: Folder
) -> None:
    if not may_trace():
        pytest.skip("processes may not be traced here")
    chats, ledger = Chats(6), Ledger()
    for _ in range(50):
        folder.write(chats.line())
    exporter.start()
    before = expected(folder.lines)
    until(lambda: shows(exporter, ledger, before), 30, exporter.log.read_text)
    inject = ["-e", f"trace={SYNCS}", "-e", f"inject={SYNCS}:error=EIO:when=3+"]
    with subprocess.Popen(
        ["strace", "-f", "-o", os.devnull, *inject, "-p", str(exporter.pid)], stderr=subprocess.PIPE
    ) as strace:
        assert strace.stderr is not None
        assert b"attached" in strace.stderr.readline()

        def failed() -> bool:
            folder.write(chats.line())
            page = exporter.scrape()
            assert page is not None
            ledger.note(page)
            return page["agentgauge_state_up{}"] == 0

        until(failed, 30, exporter.log.read_text)
        status, ready, front = told(exporter)
        assert status == 503
        assert f"{exporter.state}/state.db: disk I/O error" in ready
        assert f"{exporter.state}/state.db: disk I/O error" in front
        first = exporter.awaited()
        for _ in range(30):
            folder.write(chats.line())
        ledger.note(exporter.awaited())
        assert totals(exporter.awaited()) == totals(first)
        strace.terminate()
    until(lambda: shows(exporter, ledger, expected(folder.lines)), 30, exporter.log.read_text)
    until(lambda: (exporter.awaited())["agentgauge_state_up{}"] == 1, 10)
    assert told(exporter)[0] == 200
    assert ledger.falls == []
    log = "\n".join(exporter.lines())
    assert "Traceback" not in log
    assert "disk I/O error; totals stand still until it works again" in log
    assert f"state: {exporter.state} can be used again" in log


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("a file system can be mounted by root only")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def fill(path: Path) -> None:
    """Write a file until the disk is full to the last byte."""
    with path.open("ab", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass


def test_a_full_disk_stops_the_totals_and_not_the_page_and_space_brings_them_on_without_a_restart(
    small_disk: Path, tmp_path: Path
) -> None:
    exporter = Exporter(tmp_path, state=small_disk / "state")
    folder, chats, ledger = Folder(exporter.folder), Chats(7), Ledger()
    try:
        for _ in range(50):
            folder.write(chats.line())
        exporter.start()
        until(lambda: shows(exporter, ledger, expected(folder.lines)), 30, exporter.log.read_text)
        fill(small_disk / "filler")

        def failed() -> bool:
            for _ in range(20):
                folder.write(chats.line())
            page = exporter.scrape()
            assert page is not None
            ledger.note(page)
            return page["agentgauge_state_up{}"] == 0

        until(failed, 30, exporter.log.read_text)
        still = totals(exporter.awaited())
        status, ready, front = told(exporter)
        assert status == 503
        assert "the disk is full; free some space, and the exporter goes on by itself" in ready
        assert "the disk is full; free some space, and the exporter goes on by itself" in front
        # It is tried again, more than once, and nothing changes.
        end = time.monotonic() + 6
        while time.monotonic() < end:
            folder.write(chats.line())
            page = exporter.awaited()
            ledger.note(page)
            assert page["agentgauge_state_up{}"] == 0
            assert totals(page) == still
            assert "disk is full" in told(exporter)[1]
            time.sleep(0.1)
        (small_disk / "filler").unlink()
        until(lambda: shows(exporter, ledger, expected(folder.lines)), 30, exporter.log.read_text)
        assert exporter.awaited()["agentgauge_state_up{}"] == 1
        assert told(exporter)[0] == 200
        assert not exporter.ended()
        assert ledger.falls == []
        log = exporter.lines()
        assert sum("the disk is full" in line for line in log) == 1
        assert sum("can be used again" in line for line in log) == 1
        assert "Traceback" not in "\n".join(log)
    finally:
        exporter.kill()
