"""What was brought lately: a fingerprint of each row, so that reading again shows what is new and what changed."""

import struct
from collections.abc import Mapping
from hashlib import blake2b

from exporters.sources.langfuse.rows import Observation

# Together they are at most so many rows, of 16 bytes in the state and some hundred in memory. Past it the oldest are
# forgotten: read again, they are told apart downstream, where every counted span is known for ever.
MOST_ROWS = 200_000
# Of one part of the cursor, which is written whole when a row comes to it.
_ROWS_A_PART = 2048

_PREFIX = "seen/"
_ENTRY = struct.Struct("<QQ")

# When its rows came, in whole seconds, and which of those of that second it is.
_Key = tuple[int, int]


class Memory:
    """Fingerprints by identity, in parts of the cursor by when they came."""

    def __init__(self) -> None:
        self._parts: dict[_Key, dict[int, int]] = {}
        self._where: dict[int, _Key] = {}
        self._moved: set[_Key] = set()

    def restore(self, cursor: Mapping[str, bytes]) -> None:
        """Go back to what is committed."""
        self._parts, self._where, self._moved = {}, {}, set()
        for part, blob in sorted(cursor.items()):
            if part.startswith(_PREFIX):
                came, number = part.removeprefix(_PREFIX).split("/")
                key = (int(came), int(number))
                self._parts[key] = dict(_ENTRY.iter_unpack(blob))
                self._where.update(dict.fromkeys(self._parts[key], key))

    def look(self, identity: str, mark: str, now: float, *, note: bool = True) -> str:
        """Return whether a row that comes at `now` is `new`, `same`, or has `changed` since it was brought.

        A new one is remembered unless `note` is false: nobody will read it again. A store may show a row in both
        forms for ever: each is a change once.
        """
        if not note and not self._where:
            return "new"
        name, fingerprint = _hash(identity), _hash(mark)
        key = self._where.get(name)
        if key is None:
            if note:
                self._put(name, fingerprint, now)
            return "new"
        form = _hash(f"{identity} {mark}")
        if self._parts[key][name] == fingerprint or form in self._where:
            return "same"
        self._put(form, fingerprint, now)
        return "changed"

    def moved(self, oldest: float) -> dict[str, bytes]:
        """Return the parts of the cursor that moved. What came before `oldest` is not read again, and forgotten."""
        for key in sorted(self._parts):
            if key[0] >= oldest and len(self._where) <= MOST_ROWS:
                break
            for name in self._parts.pop(key):
                del self._where[name]
            self._moved.add(key)
        parts = {
            f"{_PREFIX}{came}/{number}": b"".join(
                _ENTRY.pack(*entry) for entry in self._parts.get((came, number), {}).items()
            )
            for came, number in self._moved
        }
        self._moved = set()
        return parts

    def _put(self, name: int, fingerprint: int, now: float) -> None:
        key = self._where[name] = self._open(int(now))
        self._parts[key][name] = fingerprint
        self._moved.add(key)

    def _open(self, now: int) -> _Key:
        """Return the part that new rows go to: the newest, until it is full or a minute old."""
        last = max(self._parts, default=(0, 0))
        if now < last[0] + 60 and len(self._parts[last]) < _ROWS_A_PART:
            return last
        key = (now, last[1] + 1 if last[0] == now else 0) if now >= last[0] else (last[0], last[1] + 1)
        self._parts[key] = {}
        return key


def mark_of(row: Observation, *, given_up: bool) -> str:
    """Return what of a row may not change once it is counted."""
    return f"{_written(row.usage_details)}{_written(row.cost_details)}{row.level}{given_up}"


def _written(amounts: Mapping[str, object] | None) -> str:
    """A map of amounts, the same however a server orders it."""
    return ",".join(f"{name}={amounts[name]}" for name in sorted(amounts) if amounts[name]) if amounts else ""


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
