"""A folder of traces as other people's tools leave it: written, torn, rotated, copied and truncated."""

import shutil
import threading
from pathlib import Path
from random import Random

from crash_chats import Chats

# Below it, a file has not enough in it to be known again under another name.
_LEAST_BYTES = 4096


class Folder:
    """Writes lines and rotates files. `lines` are those that have been written whole, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[bytes] = []
        self._seconds = 0
        self._file = path / "traces_2026-11-21.jsonl"

    def write(self, line: bytes, *, torn_at: int = 0) -> None:
        """Append a line, in two writes if it is torn."""
        whole = line + b"\n"
        with self._file.open("ab", buffering=0) as file:
            for part in (whole[:torn_at], whole[torn_at:]):
                if part:
                    assert file.write(part) == len(part)
        self.lines.append(line)

    def worth_rotating(self) -> bool:
        return self._file.exists() and self._file.stat().st_size >= _LEAST_BYTES

    def next_file(self) -> None:
        """What the framework does past 100 MiB: the next line goes to a file named by the second."""
        self._seconds += 1
        hours, rest = divmod(self._seconds, 3600)
        name = f"traces_2026-11-21_{hours:02}{rest // 60:02}{rest % 60:02}.jsonl"
        self._file = self.path / name

    def rename(self) -> None:
        """What logrotate does: `.1` becomes `.2`, the file `.1`, and a new one is begun."""
        self._shift()
        self._file.rename(self._numbered(1))

    def copy_and_truncate(self) -> None:
        """What logrotate does with `copytruncate`."""
        self._shift()
        shutil.copyfile(self._file, self._numbered(1))
        with self._file.open("r+b") as file:
            file.truncate()

    def _shift(self) -> None:
        last = 1
        while self._numbered(last).exists():
            last += 1
        for number in range(last, 1, -1):
            self._numbered(number - 1).rename(self._numbered(number))

    def _numbered(self, number: int) -> Path:
        return self._file.with_name(f"{self._file.name}.{number}")


class Writer:
    """Writes chats into a folder from a thread, and rotates, until it is stopped."""

    def __init__(self, folder: Folder, seed: int) -> None:
        self.folder = folder
        self.done: dict[str, int] = {"next_file": 0, "rename": 0, "copy_and_truncate": 0}
        self._random = Random(seed)
        self._chats = Chats(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, name="writer")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Write what chats under way still have to say, and end."""
        self._stop.set()
        self._thread.join()
        for line in self._chats.rest():
            self.folder.write(line)

    def _write(self) -> None:
        random = self._random
        while not self._stop.is_set():
            for _ in range(random.randint(1, 12)):
                self.folder.write(self._chats.line(), torn_at=random.choice((0, 0, 0, 7, 200)))
            if self.folder.worth_rotating() and random.random() < 0.05:
                what = random.choice(list(self.done))
                getattr(self.folder, what)()
                self.done[what] += 1
            self._stop.wait(random.random() * 0.06)
