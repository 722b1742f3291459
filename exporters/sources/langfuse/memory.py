"""What was brought lately: a fingerprint of each row, so that reading again shows what is new and what changed."""

import struct
from collections.abc import Mapping
from hashlib import blake2b

# A minute of rows is one part of the cursor. All of them together are at most so many rows (16 bytes each, and some
# hundred in memory); past it the oldest minutes are forgotten, and what is counted then is only known downstream.
BUCKET_SECONDS = 60
MOST_ROWS = 200_000

_PREFIX = "seen/"
_ENTRY = struct.Struct("<QQ")


class Memory:
    """Fingerprints by identity, in minutes of the rows' own times, kept as parts of the cursor."""

    def __init__(self) -> None:
        self._minutes: dict[tuple[str, int], dict[int, int]] = {}
        self._rows = 0
        self._moved: set[tuple[str, int]] = set()

    def restore(self, cursor: Mapping[str, bytes]) -> None:
        """Go back to what is committed."""
        self._minutes, self._moved = {}, set()
        for part, blob in cursor.items():
            if part.startswith(_PREFIX):
                stream, minute = part.removeprefix(_PREFIX).split("/")
                self._minutes[stream, int(minute)] = dict(_ENTRY.iter_unpack(blob))
        self._rows = sum(map(len, self._minutes.values()))

    def look(self, stream: str, time: float, identity: str, mark: str) -> str:
        """Note a row; return whether it is `new`, `same`, or has `changed` since it was brought."""
        key = (stream, int(time // BUCKET_SECONDS))
        minute = self._minutes.setdefault(key, {})
        name, print_ = _hash(identity), _hash(mark)
        before = minute.get(name)
        if before == print_:
            return "same"
        minute[name] = print_
        self._moved.add(key)
        if before is not None:
            return "changed"
        self._rows += 1
        return "new"

    def moved(self, stream: str, oldest: float) -> dict[str, bytes]:
        """Return the parts of the cursor that moved; minutes before `oldest` are not read again and forgotten."""
        gone = [key for key in self._minutes if key[0] == stream and (key[1] + 1) * BUCKET_SECONDS <= oldest]
        rows = self._rows - sum(len(self._minutes[key]) for key in gone)
        for key in sorted(self._minutes.keys() - set(gone), key=lambda key: key[1]):
            if rows <= MOST_ROWS:
                break
            gone.append(key)
            rows -= len(self._minutes[key])
        for key in gone:
            self._rows -= len(self._minutes.pop(key))
            self._moved.add(key)
        parts = {
            f"{_PREFIX}{key[0]}/{key[1]}": b"".join(_ENTRY.pack(*entry) for entry in self._minutes.get(key, {}).items())
            for key in self._moved
        }
        self._moved = set()
        return parts


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
