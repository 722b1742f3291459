"""Files that grow: every line of a folder once, whatever rotation, truncation or a rewrite does to it.

A file is known by what has been read of it, not by its name or inode: a digest of its first
bytes and one of those before the offset. Where both still stand in a file, reading goes on
there; where they do not, it is another file and is read from its beginning. Reading a line twice
is therefore possible when somebody rewrites a file, and harmless: spans are counted by identity.
Losing one is not possible while it stands in a file of the folder, unless somebody puts it in the
place of a line that was read, as long as that, and far from both the file's beginning and the offset.
"""

import errno
import os
import re
import stat
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from exporters.sources import Batch, lines
from exporters.sources.descriptors import Descriptors
from exporters.sources.due import Due, age_of
from exporters.sources.position import BEGINNING, Position, Positions, past_whole_lines, read_before
from exporters.sources.watch import Watch

# Between two looks at the whole folder, and how many times the length of the last look at least.
SCAN_SECONDS = 5.0
SCAN_SHARE = 20
# Looks in one poll for where the lines went that a file no longer holds: not one for each of many files.
_LOOKS = 4
# What a file takes of a batch at least, so that a poll ends in a folder of many empty ones.
_FILE_BYTES = 256
# A file changed this lately, seconds, may change again and keep its size and time of change.
_UNSETTLED = 2.0


class Files:
    """Reads the lines of the files in a folder whose names match, in blocks; one part of the cursor a file."""

    unit = "bytes"

    def __init__(self, folder: Path, names: re.Pattern[str], *, since: float | None = None) -> None:
        self.folder = folder
        self._names = names
        self._since = since
        self._positions = Positions()
        self._known = self._positions.known
        self._seen: dict[str, tuple[int, int, int]] = {}
        self._descriptors = Descriptors()
        self._due = Due(self._known)
        # Whether a file turned out to be truncated, another or gone, so that what was in it may be elsewhere.
        self._replaced = False
        # Of this poll: names found without a file, and files begun anew with their size when it was looked
        # for what had been rotated away from them.
        self._gone: set[str] = set()
        self._looked: dict[str, int] = {}
        # New files, as they were when they were noticed.
        self._noticed: dict[str, os.stat_result] = {}
        self._problems: dict[str, str] = {}
        self._next_scan = 0.0
        self._buffer: lines.Buffer | None = None
        # Whether the next line did not fit into the rest of the buffer.
        self._full = False
        self._watch = Watch(folder)
        # Held by a poll; whoever closes waits for its end.
        self._lock = threading.Lock()
        self._closed = False

    def seek(self, cursor: Mapping[str, bytes]) -> None:
        """Go to a committed cursor; see Source.seek. What is open stays open: it may be deleted."""
        with self._lock:
            self._descriptors.restore()
            self._seen.clear()
            self._positions.seek(cursor)
            self._next_scan = 0.0

    def poll(self) -> Batch:
        """Read up to about BATCH_BYTES of new lines, one file to its end before the next, as they were
        written: known files first, then by name, what was rotated away before what goes on."""
        batch = Batch([], {})
        with self._lock:
            if self._closed:
                return batch
            # Nobody asks for the next batch, without a seek, before the last one is committed.
            self._descriptors.committed()
            for name in self._watch.taken():
                if self._names.fullmatch(name):
                    self._due.add(name)
                    if name not in self._known and name not in self._noticed:
                        with suppress(OSError):
                            self._noticed[name] = os.lstat(f"{self.folder}/{name}")
            # What was written before a new file was begun is read before it: it is looked for once
            # more, because the look that found the new file may have come past the others too early.
            # Events need no such care, they come in the order of what they tell.
            if time.monotonic() >= self._next_scan and self._scan():
                self._scan()
            room, looks, self._full = lines.BATCH_BYTES, _LOOKS, False
            self._buffer = self._buffer or lines.Buffer()
            self._buffer.used = 0
            self._gone.clear()
            self._looked.clear()
            while room > 0 and not self._full and (turn := self._due.turn()) is not None:
                taken, done = self._attempt(turn[1], batch, self._buffer)
                room -= max(taken, _FILE_BYTES)
                if done:
                    self._due.done(turn)
                else:
                    self._due.again(turn)
                if self._replaced and looks:
                    looks -= 1
                    self._scan()
                self._replaced = False
            batch.more = bool(self._due.left)
            batch.problem = self._problem()
        return batch

    def backlog(self) -> int:
        """Return the bytes that are still to be read, as of the last look at each file."""
        return sum(self._due.left.values())

    def wait(self, seconds: float) -> None:
        """Return when the operating system says that the folder changed, or after `seconds`."""
        if self._watch.begin():
            # What changed since the last look is known from another look only.
            self._next_scan = 0.0
            return
        self._watch.wait(min(seconds, max(0.0, self._next_scan - time.monotonic())))

    def close(self) -> None:
        """Stop watching and close every file; a poll under way is waited for, a later one is empty."""
        self._watch.close()
        with self._lock:
            self._closed = True
            self._descriptors.close()

    def _scan(self) -> bool:
        """Look at every file: the net under the operating system's events. Returns whether one is new."""
        began, new = time.monotonic(), False
        missing = self._known.keys() | self._descriptors.open.keys() | self._problems.keys()
        with os.scandir(self.folder) as entries:
            for entry in entries:
                name = entry.name
                if not self._names.fullmatch(name):
                    continue
                try:
                    if not entry.is_file(follow_symlinks=False):
                        continue
                    found = entry.stat(follow_symlinks=False)
                except OSError:  # gone since, or not to be looked at: the attempt to read it tells
                    self._due.add(name)
                    continue
                missing.discard(name)
                new = new or (name not in self._known and name not in self._due.left)
                if self._seen.get(name) != _look(found):
                    read = self._known.get(name, BEGINNING).offset
                    self._due.add(name, found.st_size - read if found.st_size >= read else found.st_size)
                    if name not in self._known:
                        self._noticed[name] = found
        for name in missing:
            self._due.add(name)
        # A folder of many thousand files is looked at less often.
        now = time.monotonic()
        self._next_scan = now + max(SCAN_SECONDS, SCAN_SHARE * (now - began))
        return new

    def _attempt(self, name: str, batch: Batch, buffer: lines.Buffer) -> tuple[int, bool]:
        """Read one file if it can be read, see `_read`; if not, it is told and tried again after the
        next look at the folder."""
        try:
            taken, done = self._read(name, batch, buffer)
        except OSError as error:
            denied = error.errno in (errno.EACCES, errno.EPERM)
            self._problems[name] = "may not be read; grant this user read permission" if denied else str(error.strerror)
            self._seen.pop(name, None)
            if error.errno == errno.ESTALE and name in self._descriptors.open:
                self._descriptors.drop(name)
            return 0, True
        self._problems.pop(name, None)
        return taken, done

    def _problem(self) -> str:
        if not self._problems:
            return ""
        name = min(self._problems)
        others = f" (and {len(self._problems) - 1} files more)" if len(self._problems) > 1 else ""
        return f"{self.folder / name}: {self._problems[name]}{others}"

    def _read(self, name: str, batch: Batch, buffer: lines.Buffer) -> tuple[int, bool]:
        """Read new lines of one file into the batch; return how many bytes they took, and whether
        nothing more is to be read of that name."""
        path = f"{self.folder}/{name}"
        try:
            there = os.lstat(path)
        except FileNotFoundError:
            there = None
        descriptor = self._descriptors.open.get(name)
        if descriptor is not None and not _same(os.fstat(descriptor), there):
            # Renamed, replaced or deleted while open: what is left in it comes first.
            taken, end = self._take(name, descriptor, batch, buffer)
            if end is not None:
                self._descriptors.drain(name)
            return taken, False
        if there is None and name in self._known and name not in self._gone:
            # Renamed, perhaps: under its other name it is read before it is forgotten under this one.
            self._gone.add(name)
            self._replaced = True
            return 0, False
        if there is None or not stat.S_ISREG(there.st_mode):
            self._forget(name, batch)
            return 0, True
        noticed = self._noticed.pop(name, there)
        if not _same(there, noticed) or there.st_size < noticed.st_size:
            # Rotated before it was ever read: that comes first.
            self._replaced = True
            return 0, False
        if descriptor is None:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            self._descriptors.keep(name, descriptor, self._due.left)
            if not _same(os.fstat(descriptor), there):
                return 0, False  # replaced between the look and the opening: look again
        self._descriptors.open.move_to_end(name)
        taken, end = self._take(name, descriptor, batch, buffer)
        if end is None:
            self._due.left[name] = max(0, there.st_size - self._known[name].offset)
        elif end >= there.st_size and abs(time.time() - there.st_mtime) > _UNSETTLED:
            self._seen[name] = _look(there)
        return taken, end is not None

    def _take(self, name: str, descriptor: int, batch: Batch, buffer: lines.Buffer) -> tuple[int, int | None]:
        """Append new lines of one file and know where it is read on, see `lines.take`; return how
        many bytes they took, and the file's end if that was reached."""
        position = self._known.get(name, BEGINNING)
        begun_anew = name in self._known and not position.offset
        if begun_anew and self._is_behind_another(name, os.fstat(descriptor).st_size):
            return 0, None
        # Without an offset it is not known, or nothing was in it yet.
        found = (
            self._positions.furthest(descriptor, position) if position.offset else self._placed(name, descriptor, batch)
        )
        taken = lines.take(descriptor, found, batch, buffer)
        if taken is None:
            # Truncated or another file: what was rotated away comes first, see `age_of`.
            self._placed(name, descriptor, batch)
            self._replaced = True
            return 0, None
        self._full = not taken.size and taken.end is None
        if taken.size:
            self._positions.know(name, taken.position, batch.cursor)
            batch.size += taken.size
        return taken.size, taken.end

    def _is_behind_another(self, name: str, size: int) -> bool:
        """Whether a file that is begun has to wait, because what stood under its name was copied or
        renamed away, and not read to its end, since the last look."""
        if size in (self._due.left.get(name), self._looked.get(name)):
            return False
        self._looked[name] = size
        self._scan()
        return self._due.rotated_from(name)

    def _placed(self, name: str, descriptor: int, batch: Batch) -> Position:
        """Find where to read on in a file whose position is not known: it may be one that was known
        under another name, or a copy of it."""
        position = self._known.get(age_of(name)[0], BEGINNING)
        if read_before(descriptor, position) is None:
            position = BEGINNING
        position = self._positions.furthest(descriptor, position)
        if not position.offset and self._since is not None and name not in self._known:
            there = os.fstat(descriptor)
            if there.st_mtime < time.time() - self._since:
                position = past_whole_lines(descriptor, there.st_size, lines.BATCH_BYTES)
        self._positions.know(name, position, batch.cursor)
        return position

    def _forget(self, name: str, batch: Batch) -> None:
        self._seen.pop(name, None)
        self._noticed.pop(name, None)
        self._positions.forget(name, batch.cursor)


def _look(found: os.stat_result) -> tuple[int, int, int]:
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def _same(one: os.stat_result, other: os.stat_result | None) -> bool:
    return other is not None and (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
