"""Which files are to be read next: in the order in which their lines were written, rotated ones included."""

import re
from collections.abc import Container
from heapq import heappop, heappush

# What tools that rotate by a rename or a copy put behind a name.
_ROTATED = re.compile(r"(?P<name>.*)(?:\.(?P<number>\d+)|-(?P<day>\d{8}))")

# Whether it is a new file behind all that was read before, and its age.
_Place = tuple[bool, str, bool, int]
Turn = tuple[_Place, str]


class Due:
    """The files to read, with how many bytes as of the last look; `known` are those that were read before."""

    def __init__(self, known: Container[str]) -> None:
        self._known = known
        self.left: dict[str, int] = {}
        self._queue: list[Turn] = []

    def add(self, name: str, left: int = 0) -> None:
        """Have a file read, in the order in which the files were written: a call's answer may stand
        in another file than the call. Files that were read before come before new ones."""
        if name not in self.left:
            new = name not in self._known
            age = age_of(name)
            heappush(self._queue, ((new and age[0] not in self._known, *age), name))
        self.left[name] = max(left, self.left.get(name, 0))

    def turn(self) -> Turn | None:
        """Take the file whose turn it is; it stays due until it is `done`, or takes its turn `again`."""
        return heappop(self._queue) if self._queue else None

    def again(self, turn: Turn) -> None:
        """Give a file that was taken its turn back."""
        heappush(self._queue, turn)

    def done(self, turn: Turn) -> None:
        """Nothing more is to be read of a file that was taken."""
        del self.left[turn[1]]

    def rotated_from(self, name: str) -> bool:
        """Return whether a file waits for its turn that was renamed or copied away from a name."""
        return any(place[1] == name and not place[2] for place, _ in self._queue)


def age_of(name: str) -> tuple[str, bool, int]:
    """Order names by when their lines were written: `x.2`, `x.1`, `x`, and `x-20261120` before `x`."""
    rotated = _ROTATED.fullmatch(name)
    if rotated is None:
        return name, True, 0
    number, day = rotated["number"], rotated["day"]
    return rotated["name"], False, -int(number) if number else int(day)
