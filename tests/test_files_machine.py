"""Files that are written, rotated, truncated, replaced and deleted in any order, with an exporter that
is killed in between: at rest, the totals are those of a model that is a list of lines."""

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from file_stage import Exporter, append, call, look_at_once, run_end, run_start
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from exporters.lock import StateError
from exporters.sources import Batch
from exporters.state import State

# A few lines each, so that what happens to gigabytes happens here too.
BATCH_BYTES = 1500
LINE_BYTES = 6000

# Kind and number of what a line counts; None for a line that counts nothing.
Counts = tuple[str, int] | None
KINDS = st.sampled_from(["call", "call", "call", "start", "end", "long", "too long"])
# What is written, and not read yet, when something befalls a file.
UNREAD = st.lists(KINDS, min_size=1, max_size=3)


@dataclass
class File:
    """A file as it stands in the folder: whole lines, and perhaps the beginning of one."""

    lines: list[tuple[Counts, bytes]] = field(default_factory=list)
    begun: tuple[Counts, bytes, int] | None = None
    # Whether the exporter that runs has it open, and so can read what a deletion takes from the folder.
    held: bool = False

    @property
    def counts(self) -> set[Counts]:
        return {counts for counts, _ in self.lines} - {None}


class Folder(RuleBasedStateMachine):
    """The rules are what writers, rotators and people do to files, and what befalls the exporter."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        look_at_once(self.patch)
        self.patch.setattr("exporters.sources.lines.BATCH_BYTES", BATCH_BYTES)
        self.patch.setattr("exporters.sources.lines.LINE_BYTES", LINE_BYTES)
        # Every poll looks at the folder anew here: it is not to end before the last file of it.
        self.patch.setattr("exporters.sources.files._FILE_BYTES", 0)
        self.patch.setattr(State, "commit", self._commit_or_fail(State.commit))
        self.failures: list[bool] = []
        self.place = Path(tempfile.mkdtemp(prefix="files-"))
        # Durability is not what is tested here, and syncing would take most of the time.
        self.states = Path(tempfile.mkdtemp(prefix="files-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.folder = self.place / "traces"
        self.folder.mkdir()
        self.files: dict[str, File] = {}
        self.current = "traces_2026-02-03.jsonl"
        self.numbers = 0
        self.rotations = 0
        # What is counted, and what only an open descriptor still shows.
        self.counted: set[Counts] = set()
        self.unlinked: set[Counts] = set()
        self.scraped: dict[Any, float] = {}
        self.exporter = Exporter(self.folder, self.states)
        self.up = True
        self.steps = 0
        self.every = 1
        self._rest()

    @initialize(every=st.integers(1, 4), kinds=UNREAD)
    def begin(self, every: int, kinds: list[str]) -> None:
        """Look at the files after so many steps."""
        self.every = every
        self._write(self.current, kinds)

    @invariant()
    def rest_now_and_then(self) -> None:
        self.steps += 1
        if self.up and self.steps % self.every == 0:
            self._rest()

    def teardown(self) -> None:
        try:
            self.come_up()
            self._rest()
        finally:
            if self.up:
                self.exporter.stop()
            self.patch.undo()
            shutil.rmtree(self.place)
            shutil.rmtree(self.states)

    # What writers do

    @rule(kinds=st.lists(KINDS, min_size=1, max_size=5))
    def write(self, kinds: list[str]) -> None:
        """Whole lines at the end of the file of today; the first may meet the beginning of another."""
        self._write(self.current, kinds)

    @rule(kind=KINDS, share=st.floats(0, 1))
    def begin_a_line(self, kind: str, share: float) -> None:
        file = self.files.setdefault(self.current, File())
        if file.begun is None:
            counts, line = self._line(kind)
            cut = 1 + int(share * (len(line) - 2))
            append(self.folder / self.current, line[:cut])
            file.begun = (counts, line, cut)

    @rule(data=st.data())
    def finish_a_line(self, data: st.DataObject) -> None:
        begun = sorted(name for name, file in self.files.items() if file.begun)
        if begun:
            name = data.draw(st.sampled_from(begun))
            counts, line, cut = self.files[name].begun or (None, b"", 0)
            append(self.folder / name, line[cut:])
            self.files[name].lines.append((counts, line))
            self.files[name].begun = None

    # What rotators do

    @rule(unread=UNREAD)
    def rotate_by_rename(self, unread: list[str]) -> None:
        self._write(self.current, unread)
        if self.current in self.files:
            self._rename(self.current, self._rotated())

    @rule(unread=UNREAD)
    def rotate_all_by_one(self, unread: list[str]) -> None:
        """The file becomes .1, the .1 becomes .2, and so on."""
        self._write(self.current, unread)
        base = self.current
        for number in range(9, 0, -1):
            if f"{base}.{number}" in self.files:
                self._rename(f"{base}.{number}", f"{base}.{number + 1}")
        if base in self.files:
            self._rename(base, f"{base}.1")

    @rule()
    def rotate_to_a_new_file(self) -> None:
        """As the framework does past 100 MiB."""
        self.rotations += 1
        self.current = f"traces_2026-02-03_{self.rotations:06}.jsonl"

    @rule(unread=UNREAD)
    def copy_and_truncate(self, unread: list[str]) -> None:
        self._write(self.current, unread)
        if self.current in self.files:
            self._copy(self.current, self._rotated())
            os.truncate(self.folder / self.current, 0)
            file = self.files[self.current]
            file.lines, file.begun = [], None

    # What people do

    @rule(data=st.data(), unread=UNREAD, reborn=UNREAD)
    def delete(self, data: st.DataObject, unread: list[str], reborn: list[str]) -> None:
        """And perhaps begin it anew; it may well get the inode of the old one."""
        if self.files:
            name = data.draw(st.sampled_from(sorted(self.files)))
            self._write(name, unread)
            self._delete(name)
            self._write(name, reborn)

    @rule(data=st.data(), unread=UNREAD)
    def rename_to_another_name(self, data: st.DataObject, unread: list[str]) -> None:
        """Which sorts before or after it, and may be that of another file."""
        if self.files:
            name = data.draw(st.sampled_from(sorted(self.files)))
            self._write(name, unread)
            other = data.draw(st.sampled_from([*sorted(self.files), "traces_0.jsonl", "traces_9.jsonl"]))
            if other != name:
                self._rename(name, other)

    @rule(data=st.data())
    def copy(self, data: st.DataObject) -> None:
        if self.files:
            self._copy(data.draw(st.sampled_from(sorted(self.files))), self._rotated())

    @rule(data=st.data(), unread=UNREAD)
    def replace_by_a_copy(self, data: st.DataObject, unread: list[str]) -> None:
        """The same name, the same content, another inode."""
        if self.files:
            name = data.draw(st.sampled_from(sorted(self.files)))
            self._write(name, unread)
            self._copy(name, "restored")
            self._rename("restored", name)

    @rule(data=st.data())
    def rewrite_without_some_lines(self, data: st.DataObject) -> None:
        """In place, as a dashboard's delete button does."""
        if self.files:
            name = data.draw(st.sampled_from(sorted(self.files)))
            file = self.files[name]
            kept = [line for line in file.lines if data.draw(st.booleans())]
            with (self.folder / name).open("wb") as written:
                written.write(b"".join(line for _, line in kept))
            file.lines, file.begun = kept, None

    @rule(data=st.data())
    def replay_some_lines_to_the_file_of_today(self, data: st.DataObject) -> None:
        """All files are deleted, and what is kept of them is written again."""
        lines = [line for name in sorted(self.files) for line in self.files[name].lines]
        for name in list(self.files):
            self._delete(name)
        for counts, line in lines:
            if data.draw(st.booleans()):
                self._append(self.current, counts, line)

    # What befalls the exporter

    @rule(times=st.integers(1, 3), though_committed=st.booleans())
    def have_the_disk_fail(self, times: int, though_committed: bool) -> None:
        """The next commits fail, whether nothing or all of a batch is then on the disk."""
        self.failures = [though_committed] * times

    @precondition(lambda self: self.up)
    @rule(crash=st.booleans())
    def go_down(self, crash: bool) -> None:
        if crash:
            self.exporter.crash()
        else:
            self.exporter.stop()
        self._went_down()

    @precondition(lambda self: not self.up)
    @rule()
    def come_up(self) -> None:
        if not self.up:
            self.exporter.start()
            self.up = True
            self._rested()

    # Where something is read that only we still hold, a crash in the midst of it loses the rest.
    @precondition(lambda self: self.up and not self.unlinked)
    @rule(batches=st.integers(1, 5))
    def crash_while_reading(self, batches: int) -> None:
        """A batch has been read, and is not committed."""
        seen: list[Batch] = []

        def save(batch: Batch) -> None:
            seen.append(batch)
            if len(seen) == batches:
                self.exporter.save()

        self.exporter.turnstile.at_batch = save
        self.exporter.read_on()
        if len(seen) < batches:
            self.exporter.crash()
        else:
            self.exporter.crash_to_saved()
        self._went_down()
        self.come_up()

    @precondition(lambda self: self.up)
    @rule()
    def scrape(self) -> None:
        page = self.exporter.scrape()
        fallen = {key: (value, page.get(key)) for key, value in self.scraped.items() if page.get(key, -1) < value}
        assert not fallen
        self.scraped = page

    # The model

    def _line(self, kind: str) -> tuple[Counts, bytes]:
        self.numbers += 1
        number = self.numbers
        if kind == "call":
            return ("call", number), call(number) + b"\n"
        if kind == "start":
            return None, run_start(number) + b"\n"
        if kind == "end":
            return ("run", number), run_end(number) + b"\n"
        size = 2 * BATCH_BYTES if kind == "long" else LINE_BYTES + 2 * BATCH_BYTES
        # No two texts end alike: where a line that was read ends in the same bytes, as far back as is looked, as
        # another in its place, nobody can tell that there is another.
        text = f"{number} " * (size // len(f"{number} "))
        line = call(number, outputs={"response_preview": text}) + b"\n"
        return (("call", number) if kind == "long" else None), line

    def _rotated(self) -> str:
        self.rotations += 1
        return f"{self.current}.{self.rotations + 100}"

    def _write(self, name: str, kinds: list[str]) -> None:
        for kind in kinds:
            self._append(name, *self._line(kind))

    def _append(self, name: str, counts: Counts, line: bytes) -> None:
        """Append a line; one that meets the beginning of another is no record together with it."""
        append(self.folder / name, line)
        file = self.files.setdefault(name, File())
        if file.begun is None:
            file.lines.append((counts, line))
        else:
            _, begun, cut = file.begun
            file.lines.append((None, begun[:cut] + line))
            file.begun = None

    def _delete(self, name: str) -> None:
        (self.folder / name).unlink()
        self._gone(self.files.pop(name))

    def _gone(self, file: File) -> None:
        if file.held:
            self.unlinked |= file.counts

    def _rename(self, name: str, other: str) -> None:
        (self.folder / name).rename(self.folder / other)
        replaced = self.files.pop(other, None)
        if replaced is not None:
            self._gone(replaced)
        self.files[other] = self.files.pop(name)

    def _copy(self, name: str, other: str) -> None:
        shutil.copy(self.folder / name, self.folder / other)
        file = self.files[name]
        self.files[other] = File(list(file.lines), file.begun)

    def _went_down(self) -> None:
        self.up = False
        self.unlinked = set()
        for file in self.files.values():
            file.held = False

    def _rest(self) -> None:
        self.exporter.read_on()
        self._rested()

    def _rested(self) -> None:
        """Everything that could be read has been, and nothing else is counted."""
        self.counted |= self.unlinked
        self.unlinked = set()
        for file in self.files.values():
            self.counted |= file.counts
            file.held = True
        calls = [number for kind, number in filter(None, self.counted) if kind == "call"]
        expected = (len(calls), sum(calls), len(self.counted) - len(calls))
        assert self.exporter.counted_comes_to(expected), (self.exporter.counted, expected)
        self.exporter.turnstile.let_through()
        assert not [name for name in _open_files(self.folder) if name.endswith(" (deleted)")]

    def _commit_or_fail(self, commit: Callable[..., None]) -> Callable[..., None]:
        def tried(state: State, *arguments: Any) -> None:
            if not self.failures:
                return commit(state, *arguments)
            if self.failures.pop():
                commit(state, *arguments)
            raise StateError("the disk is full")

        return tried


def _open_files(folder: Path) -> list[str]:
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(descriptor.readlink()))
    return [name for name in found if name.startswith(f"{folder}/")]


def test_totals_equal_the_lines_that_were_written() -> None:
    run_state_machine_as_test(
        Folder,
        settings=settings(
            max_examples=120,
            stateful_step_count=40,
            deadline=None,
            derandomize="CI" in os.environ,
            suppress_health_check=list(HealthCheck),
        ),
    )
