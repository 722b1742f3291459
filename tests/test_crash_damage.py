"""A state that cannot be used: one line says why, nothing is counted anew, and it goes on once it is mended."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from random import Random

import pytest
from crash_chats import Chats
from crash_exporter import Exporter, Ledger, of_stores, until
from crash_folder import Folder
from crash_recount import expected, totals

ROOT_USER = os.geteuid() == 0
# Root may write anything, so that permissions say nothing to it; without these two powers they do.
AS_ANY_USER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"] if ROOT_USER else []


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of traces and the state of an exporter that has counted it and was ended."""
    directory = tmp_path_factory.mktemp("counted")
    first = Exporter(directory)
    folder, chats = Folder(first.folder), Chats(8)
    for _ in range(60):
        folder.write(chats.line())
    truth = expected(folder.lines)
    first.start()
    until(lambda: totals(first.scrape() or {}) == truth, 30, first.log.read_text)
    assert first.terminate() == 0
    first.log.unlink()
    return directory


@pytest.fixture
def exporter(tmp_path: Path, counted: Path) -> Iterator[Exporter]:
    """An exporter that goes on from there; its state is damaged before it starts."""
    shutil.copytree(counted, tmp_path, dirs_exist_ok=True)
    found = Exporter(tmp_path)
    yield found
    found.kill()


def lines_of(exporter: Exporter) -> list[bytes]:
    (file,) = exporter.folder.iterdir()
    return file.read_bytes().splitlines()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def nul(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def cut(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def noise(path: Path) -> None:
    path.write_bytes(Random(9).randbytes(path.stat().st_size))


def noise_in_the_middle(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + Random(9).randbytes(len(whole) - 4096))


def in_sql(*statements: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        db = sqlite3.connect(path)
        for statement in statements:
            db.execute(statement)
        db.commit()
        db.close()

    return damage


DAMAGES = {
    "empty": (empty, "damaged (it is empty); restore all of {state} from a copy"),
    "nul": (nul, "damaged (file is not a database)"),
    "cut": (cut, "damaged ("),
    "noise": (noise, "damaged (file is not a database)"),
    "noise in the middle": (noise_in_the_middle, "damaged ("),
    "no format": (in_sql("PRAGMA user_version = 0"), "damaged (it has no format number)"),
    "older format": (in_sql("PRAGMA user_version = -1"), "written by an older version (format -1, this one knows"),
    "newer format": (in_sql("PRAGMA user_version = 99"), "written by a newer version (format 99, this one knows"),
    "another database": (in_sql("DROP TABLE cells"), "damaged (no such table: cells)"),
    "a total": (in_sql("UPDATE cells SET value = x'c1'"), "damaged (a total cannot be read: "),
    "labels": (in_sql("UPDATE cells SET labels = labels || '['"), "damaged ("),
    "too many labels": (in_sql("UPDATE cells SET labels = '[\"x\"]' WHERE kind = 'source'"), "damaged (a total cannot"),
    "an open trace": (in_sql("UPDATE open_traces SET value = x'c1'"), "damaged ("),
    "what waits": (in_sql("INSERT INTO waiting VALUES ('createagents', 1, x'c1')"), "damaged ("),
    "places": (in_sql("INSERT INTO places VALUES (1, 'createagents', 1, x'c1')"), "damaged ("),
    "no promise": (in_sql("DELETE FROM meta"), "damaged ("),
}


def refused(exporter: Exporter, said: str) -> None:
    """It serves, says why once in the log and on its pages, and counts nothing."""
    page = exporter.awaited()
    assert page["agentgauge_state_up{}"] == 0
    assert of_stores(page) == {}
    ready = exporter.get("/-/ready")
    assert ready is not None and ready[0] == 503
    assert ready[1].startswith(str(exporter.state)) and said in ready[1] and ready[1].count("\n") == 1
    front = exporter.get("/")
    assert front is not None and front[0] == 200 and escape(ready[1].strip()) in front[1]
    log = exporter.lines()
    assert sum(said in line for line in log) == 1
    assert not any("Traceback" in line for line in log)


@pytest.mark.parametrize(("damage", "said"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_state_is_refused_until_it_is_restored(
    exporter: Exporter, tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(exporter.state, copy)
    damage(exporter.state / "state.db")
    exporter.start()
    refused(exporter, said.format(state=exporter.state))
    for part in exporter.state.glob("state.db*"):
        part.unlink()
    (copy / "state.db").rename(exporter.state / "state.db")
    truth = expected(lines_of(exporter))
    until(lambda: totals(exporter.scrape() or {}) == truth, 20, exporter.log.read_text)
    assert any("can be used again" in line for line in exporter.lines())
    assert not any("is new" in line for line in exporter.lines())
    assert exporter.terminate() == 0


def test_a_damaged_state_that_is_moved_away_is_begun_anew_and_the_log_says_so(exporter: Exporter) -> None:
    nul(exporter.state / "state.db")
    exporter.start()
    refused(exporter, "damaged (file is not a database)")
    exporter.state.rename(exporter.state.with_name("moved away"))
    truth = expected(lines_of(exporter))
    until(lambda: totals(exporter.scrape() or {}) == truth, 20, exporter.log.read_text)
    assert any(f"{exporter.state} is new; every store is counted from its beginning" in x for x in exporter.lines())


def make_read_only_file(exporter: Exporter) -> None:
    (exporter.state / "state.db").chmod(0o400)


def make_read_only_directory(exporter: Exporter) -> None:
    exporter.state.chmod(0o500)


def give_to_another(exporter: Exporter) -> None:
    for path in (*exporter.state.iterdir(), exporter.state):
        shutil.chown(path, "nobody")


def give_back(exporter: Exporter) -> None:
    for path in (exporter.state, *exporter.state.iterdir()):
        if ROOT_USER:
            os.chown(path, os.geteuid(), os.getegid())
        path.chmod(0o700 if path.is_dir() else 0o600)


@pytest.mark.parametrize("take", [make_read_only_file, make_read_only_directory, give_to_another])
def test_a_state_that_may_not_be_written_is_told_until_it_may(
    exporter: Exporter, take: Callable[[Exporter], None]
) -> None:
    if take is give_to_another and not ROOT_USER:
        pytest.skip("files can be given away by root only")
    if ROOT_USER and shutil.which("setpriv") is None:
        pytest.skip("root may write anything, and setpriv is not installed")
    take(exporter)
    exporter.start(prefix=AS_ANY_USER)
    refused(exporter, "give ")
    give_back(exporter)
    truth = expected(lines_of(exporter))
    until(lambda: totals(exporter.scrape() or {}) == truth, 20, exporter.log.read_text)


def test_a_second_exporter_on_the_same_state_ends_with_one_line_and_the_first_goes_on(
    exporter: Exporter, tmp_path: Path
) -> None:
    exporter.start().awaited()
    second = Exporter(tmp_path / "second", folder=exporter.folder, state=exporter.state)
    second.log.parent.mkdir(exist_ok=True)
    second.start()
    assert second.process is not None
    assert second.process.wait(20) == 2
    assert second.lines() == [
        f"agentgauge: {exporter.state}: another exporter uses this state; stop it, or give this one its own --state"
    ]
    truth = expected(lines_of(exporter))
    until(lambda: totals(exporter.scrape() or {}) == truth, 20, exporter.log.read_text)


def test_sigterm_with_work_in_flight_ends_well_within_seconds_and_nothing_is_lost(
    exporter: Exporter, tmp_path: Path
) -> None:
    folder, chats, ledger = Folder(exporter.folder), Chats(10), Ledger()
    folder.lines = lines_of(exporter)
    for _ in range(6):
        with (exporter.folder / "traces_2026-11-21.jsonl").open("ab") as file:
            more = [chats.line() for _ in range(3000)]
            file.write(b"".join(line + b"\n" for line in more))
            folder.lines += more
        exporter.start()
        ledger.note(exporter.awaited())
        assert exporter.terminate(8) == 0
        # Closed in good order: nothing is left to be recovered.
        assert sorted(path.name for path in exporter.state.iterdir()) == ["lock", "state.db"]
    exporter.start()
    truth = expected(folder.lines)
    until(lambda: totals(exporter.scrape() or {}) == truth, 30, exporter.log.read_text)
    assert ledger.falls == []
    assert "Traceback" not in exporter.log.read_text()
