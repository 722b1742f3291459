"""How far a table has been read: known by the last rows that were, not by a number or a clock.

SQLite gives a new row the number after the highest that there is, so rows stand in the order in which
they were written, and one that is written again moves to the end. But the numbers of the newest rows
are given again when these are deleted, a restored or another file has numbers of its own, and
`created_at` has whole seconds of a clock that can be set back. So the place is the last rows
themselves. Where one of them still stands and no other row has come before it, all up to it was read;
what stands behind it is read, and rows that were read before are known by their ids.
"""

from collections.abc import Iterable

import msgspec

# How many of the last rows are kept: when more of the newest are deleted at once, all is read again.
KEPT = 64
# Numbers of rows begin at 1 unless somebody chose others.
BEGINNING = -(2**63)


class Place(msgspec.Struct, array_like=True):
    """The last rows that were read, by number and span, in order; and, in nanoseconds since 1970, the
    start of what is old enough to be left out, as it was when the table was first read."""

    last: list[tuple[int, bytes]] = []
    since: int | None = None

    def moved(self, rows: Iterable[tuple[int, bytes]]) -> "Place":
        """Return the place after rows that follow it."""
        return Place([*self.last, *rows][-KEPT:], self.since)

    def standing(self, found: Iterable[tuple[int, bytes]]) -> "Place":
        """Return the place up to which all that is in the table has been read.

        `found` are the rows whose numbers are from that of the first of `last` to that of the last.
        Without any of `last` it is the beginning.
        """
        known = set(self.last)
        standing = []
        for row in found:
            if row not in known:
                break
            standing.append(row)
        return Place(standing, self.since)


encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Place).decode


def decode(value: bytes) -> Place:
    """Return what `encode` wrote; the beginning for what is none: reading a table again is harmless."""
    try:
        return _decode(value)
    except msgspec.MsgspecError:
        return Place()
