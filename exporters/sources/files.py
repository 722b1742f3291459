"""Files that grow: every line of a folder once, whatever rotation, truncation or a rewrite does to it.

A file is known by what has been read of it, not by its name or inode: a digest of its first
bytes and one of those before the offset. Where both still stand in a file, reading goes on
there; where they do not, it is another file and is read from its beginning. Reading a line twice
is therefore possible when somebody rewrites a file, and harmless: spans are counted by identity.
Losing one is not possible while it stands in a file of the folder.
"""

import os
import re
import stat
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from urllib.parse import SplitResult, unquote

import msgspec

from exporters.sources import Batch, SourceError
from exporters.sources.watch import Watch

BATCH_BYTES = 1 << 20
# A line past this is given up, so that one runaway prompt costs one record and not the memory.
LINE_BYTES = 16 << 20
SCAN_SECONDS = 5.0
_HEAD_BYTES = 1024
_TAIL_BYTES = 256
# Descriptors of files that grew lately stay open: a file deleted before it was read to its end can
# still be read through one.
_KEPT_OPEN = 64


class Position(msgspec.Struct, array_like=True):
    """How far a file has been read, and how to know it again. Holds digests, never content."""

    offset: int = 0
    head: bytes = b""
    head_bytes: int = 0
    tail: bytes = b""
    tail_bytes: int = 0
    device: int = 0
    inode: int = 0
    # Inside a line that is too long, of which no newline has come yet.
    skipping: bool = False


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Position).decode


def folder_of(url: SplitResult) -> Path:
    """Return the folder of `scheme:///path`, percent-encoding and a leading `~` resolved.

    Raises SourceError when it is not a folder that can be listed.
    """
    path = unquote(url.netloc + url.path)
    folder = Path(path[1:] if path.startswith("/~") else path).expanduser()
    try:
        os.scandir(folder).close()
    except FileNotFoundError:
        raise SourceError(f"{url.geturl()}: there is no folder {folder}; check the path, or create it") from None
    except NotADirectoryError:
        raise SourceError(f"{url.geturl()}: {folder} is not a folder; name the folder that holds the files") from None
    except PermissionError:
        raise SourceError(f"{url.geturl()}: {folder} may not be read; grant this user read permission") from None
    return folder


class Files:
    """Reads the lines of the files in a folder whose names match; one part of the cursor a file."""

    def __init__(self, folder: Path, names: re.Pattern[str], *, since: float | None = None) -> None:
        self.folder = folder
        self._names = names
        self._since = since
        self._known: dict[str, Position] = {}
        self._seen: dict[str, tuple[int, int, int, int]] = {}
        self._sizes: dict[str, int] = {}
        self._open: OrderedDict[str, int] = OrderedDict()
        self._due: set[str] = set()
        # Where files stood that another has taken the name of; they may turn up under a new one.
        self._moved: deque[Position] = deque(maxlen=64)
        self._next_scan = 0.0
        self._watch = Watch(folder)

    def seek(self, cursor: Mapping[str, bytes]) -> None:
        """Go to a committed cursor; see Source.seek."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()
        self._seen.clear()
        self._sizes.clear()
        self._known = {name: _decode(value) for name, value in cursor.items()}
        self._next_scan = 0.0

    def poll(self) -> Batch:
        """Read up to about BATCH_BYTES of new lines, oldest file name first."""
        batch = Batch([], {})
        self._due |= {name for name in self._watch.taken() if self._names.fullmatch(name)}
        if time.monotonic() >= self._next_scan:
            self._scan(batch)
        for name in sorted(self._due):
            try:
                batch.size += self._read(name, batch)
            except OSError as error:
                batch.problem = f"{self.folder / name}: {error.strerror}"
                self._due.discard(name)
            # One file to its end before the next: the store's order is that of its file names.
            if name in self._due or batch.size >= BATCH_BYTES:
                break
        batch.more = bool(self._due)
        return batch

    def backlog(self) -> int:
        """Return the bytes that the files hold past their offsets, as of the last look at each."""
        return sum(
            max(0, size - (self._known[name].offset if name in self._known else 0))
            for name, size in self._sizes.items()
        )

    def wait(self, seconds: float) -> None:
        """Return when the operating system says that the folder changed, or after `seconds`."""
        self._watch.wait(min(seconds, max(0.0, self._next_scan - time.monotonic())))

    def close(self) -> None:
        """Stop watching and close every file."""
        self._watch.close()
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def _scan(self, batch: Batch) -> None:
        """Look at every file: the net under the operating system's events."""
        began = time.monotonic()
        present = set()
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if not self._names.fullmatch(entry.name) or not entry.is_file(follow_symlinks=False):
                    continue
                present.add(entry.name)
                look = _look(entry.stat(follow_symlinks=False))
                self._sizes[entry.name] = look[2]
                if self._seen.get(entry.name) != look:
                    self._due.add(entry.name)
        # New names first: one of them may be a file that is gone under its old name.
        for name in self._known.keys() - present:
            if name in self._open:
                self._due.add(name)
            elif not any(new not in self._known for new in self._due):
                self._forget(name, batch)
        # A folder of many thousand files is looked at less often.
        self._next_scan = time.monotonic() + max(SCAN_SECONDS, 20 * (time.monotonic() - began))

    def _read(self, name: str, batch: Batch) -> int:
        """Read new lines of one file into the batch; return how many bytes they took."""
        path = self.folder / name
        try:
            there = path.lstat()
        except FileNotFoundError:
            there = None
        descriptor = self._open.get(name)
        if descriptor is not None and not _same(os.fstat(descriptor), there):
            # Renamed, replaced or deleted while open: what is left in it comes first.
            taken, ended = self._take(name, descriptor, batch)
            if ended:
                os.close(self._open.pop(name))
            return taken
        if there is None or not stat.S_ISREG(there.st_mode):
            self._forget(name, batch)
            return 0
        if descriptor is None:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            self._keep_open(name, descriptor)
            there = os.fstat(descriptor)
            self._put(name, self._place(name, descriptor, there))
        taken, ended = self._take(name, descriptor, batch)
        if ended:
            self._seen[name] = _look(there)
            self._sizes[name] = there.st_size
            self._due.discard(name)
        return taken

    def _take(self, name: str, descriptor: int, batch: Batch) -> tuple[int, bool]:
        """Append the whole lines from the file's position on and move it past them.

        Returns how many bytes that took, at most about BATCH_BYTES, and whether the file's end was
        reached; a line without its newline is left for later.
        """
        position = self._known[name]
        data = os.pread(descriptor, BATCH_BYTES, position.offset)
        # Looked at after the reading, so that a truncation in between cannot slip through.
        if not _holds(descriptor, position):  # truncated or rewritten: all that is there is new
            self._put(name, Position())
            return self._take(name, descriptor, batch)
        ended = len(data) < BATCH_BYTES
        skipping = position.skipping
        if skipping:
            data = data[: data.find(b"\n") + 1 or len(data)]
            ended = ended and not data.endswith(b"\n")
            skipping = not data.endswith(b"\n")
        elif not ended and b"\n" not in data:
            data, ended, skipping = self._take_long(descriptor, position.offset, batch)
        else:
            lines = data.split(b"\n")
            unfinished = lines.pop()
            if unfinished:
                data = data[: -len(unfinished)]
            batch.records += lines
        if data:
            self._known[name] = _moved_past(data, descriptor, position, skipping=skipping)
            batch.cursor[name] = _encode(self._known[name])
        return len(data), ended

    def _take_long(self, descriptor: int, offset: int, batch: Batch) -> tuple[bytes, bool, bool]:
        """Append the one line at the offset, longer than a batch; return it, and whether the file
        ended within it, and whether it was given up."""
        data = os.pread(descriptor, LINE_BYTES, offset)
        end = data.find(b"\n") + 1
        if end:
            batch.records.append(data[: end - 1])
            return data[:end], False, False
        if len(data) < LINE_BYTES:
            return b"", True, False
        batch.bad["too_long"] = batch.bad.get("too_long", 0) + 1
        return data, False, True

    def _place(self, name: str, descriptor: int, there: os.stat_result) -> Position:
        """Find where to read on in a file that was just opened: it may be one that was known."""
        inode = (there.st_dev, there.st_ino)
        unrotated = name[: name.rindex(".jsonl") + 6] if ".jsonl" in name else name
        candidates = [
            *(self._known[known] for known in (name, unrotated) if known in self._known),
            *self._moved,
            *(position for position in self._known.values() if (position.device, position.inode) == inode),
        ]
        for position in candidates:
            if position.offset and _holds(descriptor, position):
                return position
        if name not in self._known and self._since is not None and there.st_mtime < time.time() - self._since:
            last = os.pread(descriptor, _TAIL_BYTES, max(0, there.st_size - _TAIL_BYTES))
            first = os.pread(descriptor, _HEAD_BYTES, 0)
            return Position(there.st_size, _digest(first), len(first), _digest(last), len(last), *inode)
        return Position()

    def _put(self, name: str, position: Position) -> None:
        """Set where a file is read on; where its name stood before may yet turn up elsewhere."""
        before = self._known.get(name)
        if before is not None and before.offset and before is not position:
            self._moved.append(before)
        self._known[name] = position

    def _keep_open(self, name: str, descriptor: int) -> None:
        self._open[name] = descriptor
        while len(self._open) > _KEPT_OPEN:
            os.close(self._open.popitem(last=False)[1])

    def _forget(self, name: str, batch: Batch) -> None:
        self._due.discard(name)
        self._seen.pop(name, None)
        self._sizes.pop(name, None)
        if self._known.pop(name, None) is not None:
            batch.cursor[name] = b""


def _moved_past(data: bytes, descriptor: int, position: Position, *, skipping: bool) -> Position:
    """Return the position past `data`, which was read at `position`."""
    found = os.fstat(descriptor)
    head, head_bytes = position.head, position.head_bytes
    if head_bytes < _HEAD_BYTES:
        first = (os.pread(descriptor, min(_HEAD_BYTES, position.offset), 0) + data)[:_HEAD_BYTES]
        head, head_bytes = _digest(first), len(first)
    return Position(
        offset=position.offset + len(data),
        head=head,
        head_bytes=head_bytes,
        tail=_digest(data[-_TAIL_BYTES:]),
        tail_bytes=min(_TAIL_BYTES, len(data)),
        device=found.st_dev,
        inode=found.st_ino,
        skipping=skipping,
    )


def _holds(descriptor: int, position: Position) -> bool:
    """Whether what was read before a position still stands in the file."""
    tail_from = position.offset - position.tail_bytes
    return (
        _digest(os.pread(descriptor, position.head_bytes, 0)) == position.head
        and _digest(os.pread(descriptor, position.tail_bytes, tail_from)) == position.tail
        if position.offset
        else True
    )


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=8).digest()


def _look(found: os.stat_result) -> tuple[int, int, int, int]:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _same(one: os.stat_result, other: os.stat_result | None) -> bool:
    return other is not None and (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
