"""Walking a list by time: which stretch is to be read, in which slices, and what is read again."""

from dataclasses import dataclass

import msgspec

# A slice is as wide as a page or two of rows: it grows while one page holds all of it, and shrinks on many.
_NARROW = 1.0
# Times have milliseconds: a row that is to be left out takes along what ended in the same one only. A power of two, so
# that what is added to a time comes out again.
NARROWEST = 2.0**-10
_FIRST = 3600.0
_WIDE = 32 * 86400.0
_MANY_PAGES = 20


@dataclass(frozen=True)
class Tier:
    """How far back to read again, in seconds, and how often: rows arrive late, most of them by little."""

    reach: float
    every: float


# Any row that comes within half an hour of its time is found (Langfuse says up to 15 minutes late): after a mark
# is set, the stretch before it is read once more when it is that old. The short tier finds most of them sooner.
TIERS = (Tier(120.0, 0.0), Tier(1800.0, 600.0))


class Walk(msgspec.Struct, omit_defaults=True):
    """A stretch under way: all before `at` is read, `[at, end)` is being read from `page` on, and so on up to `to`."""

    tier: int
    at: float
    to: float
    end: float
    # Where the next page begins: a cursor, or a number; empty is the first.
    page: str = ""
    pages: int = 0


class Stream(msgspec.Struct, omit_defaults=True):
    """One list and how far it is read; this is what the cursor holds of it."""

    begin: float
    # For each tier, the time up to which the list was read when its last walk began.
    marks: list[float]
    walk: Walk | None = None
    width: float = _FIRST
    rows: int = 0
    # Seconds of the list that those rows are from.
    seconds: float = 0.0


def fresh(begin: float, tiers: tuple[Tier, ...]) -> Stream:
    """Return a list of which nothing is read."""
    return Stream(begin, [begin] * len(tiers))


def start(stream: Stream, tiers: tuple[Tier, ...], now: float, *, deep: bool = False) -> bool:
    """Begin to walk up to `now` as far back as is due, all the way if `deep`; return whether there is anything."""
    stream.marks += stream.marks[-1:] * (len(tiers) - len(stream.marks))  # the server was another version
    due = [number for number, tier in enumerate(tiers) if now - stream.marks[number] >= tier.every]
    if deep:
        due = [len(tiers) - 1]
    if not due or now <= stream.marks[due[-1]]:
        return False
    at = max(stream.begin, stream.marks[due[-1]] - tiers[due[-1]].reach)
    stream.walk = Walk(due[-1], at, now, min(at + stream.width, now))
    return True


def turn(stream: Stream, page: str, rows: int) -> None:
    """Note a page that was read; `page` says where the next begins, and is empty after the last of a slice."""
    walk = stream.walk
    assert walk is not None  # noqa: S101 -- a page was asked for
    walk.pages += 1
    stream.rows += rows
    if page:
        walk.page = page
        return
    stream.seconds += walk.end - walk.at
    if walk.pages == 1:
        stream.width = min(stream.width * 2, _WIDE)
    elif walk.pages > _MANY_PAGES:
        stream.width = max(stream.width / 2, _NARROW)
    walk.at, walk.page, walk.pages = walk.end, "", 0
    walk.end = min(walk.at + stream.width, walk.to)
    if walk.at >= walk.to:
        for number in range(walk.tier + 1):
            stream.marks[number] = walk.to
        stream.walk = None


def again(stream: Stream, *, narrower: bool = False, least: float = _NARROW) -> bool:
    """Begin the slice again, half as wide if asked, down to `least` seconds; return whether it was made narrower."""
    walk = stream.walk
    assert walk is not None  # noqa: S101 -- a page was asked for
    walk.page, walk.pages = "", 0
    if not narrower or walk.end - walk.at <= least:
        return False
    stream.width = max((walk.end - walk.at) / 2, least)
    walk.end = min(walk.at + stream.width, walk.to)
    return True


def resume(stream: Stream, tiers: tuple[Tier, ...]) -> None:
    """Go on with a committed walk; a short one is forgotten, for the next reads further back anyway."""
    walk = stream.walk
    if walk is not None and walk.to - walk.at <= 2 * tiers[-1].reach:
        stream.walk = None


def left(stream: Stream) -> float:
    """Return how many seconds of the walk are still to be read."""
    return 0.0 if stream.walk is None else stream.walk.to - stream.walk.at
