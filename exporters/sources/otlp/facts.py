"""What the attributes of a span in protobuf say: looked up where they stood before, and else read."""

from collections.abc import Iterator
from typing import Any

from exporters.sources.genai_names import NAMED
from exporters.sources.otlp.attributes import pair, text
from exporters.sources.otlp.layouts import SHORT, WANTED, Expected, Fact, Layout, Memory, Stretch, Told, expected
from exporters.sources.otlp.wire import TooManyFieldsError, varint
from exporters.sources.records import text as kept

# Bytes of a whole number up to 16,383, with its tags and its length.
_OF_COUNT = (4, 5)


def read(  # noqa: PLR0917 -- by their names they would take longer
    data: bytes, at: int, end: int, name: bytes, memory: Memory, said: dict[str, Any], places: dict[str, int]
) -> tuple[str, int]:
    """Add what the attributes say that follow each other from a place on in a span of a name; return the name as
    text, and where they end.

    `said` is what `sorted_out` makes of them, and `places` are those of the names that are not the first.
    """
    layout = memory.layouts.get(name) or Layout(text(name, 0, len(name)))
    begin = at
    try:
        at, missed = _as_expected(data, at, end, layout.expected, memory, said, places)
    except IndexError:
        # It went on behind the request.
        at, missed = end + 1, 0
    if at > end:
        # What stands behind the span looked like more of it.
        at = begin
        said.clear()
        places.clear()
    if at < end and data[at] == 0x4A:
        at = _others(data, at, end, memory, said, places)
    if missed * 2 >= len(layout.expected) and begin < at:
        memory.expect(name, layout, data, begin, end)
    return layout.name, at


def _others(  # noqa: PLR0917 -- as `read`
    data: bytes, at: int, end: int, memory: Memory, said: dict[str, Any], places: dict[str, int]
) -> int:
    """Read attributes that nobody expected, and return where they end."""
    for _ in memory.room:
        if at >= end or data[at] != 0x4A:
            return at
        at = read_one(data, at, memory, said, places)
    raise TooManyFieldsError


def _as_expected(  # noqa: PLR0912, PLR0917 -- one loop: a call for each attribute takes its time
    data: bytes,
    at: int,
    end: int,
    layout: list[Expected],
    memory: Memory,
    said: dict[str, Any],
    places: dict[str, int],
) -> tuple[int, int]:
    """Read attributes that are expected, as long as there are some; return where they end, or a place behind the
    span, and how often another was there."""
    missed, recall, recall_all = 0, memory.facts.get, memory.told.get
    for stretch, head, length, size in layout:
        if length:
            if size:
                if data[at : at + length] == head:
                    at += size
                    continue
            elif data[at + 3 : at + 3 + length] == head and data[at] == 0x4A:
                low, high = data[at + 1], data[at + 2]
                if low > 0x7F and high < 0x80:
                    at += 3 + low - 0x80 + (high << 7)
                    continue
        elif stretch is None:
            stop = at + 2 + data[at + 1]
            known = recall(data[at:stop])
            if known is not None:
                at = stop
                # As in `read_one`, whose call for each attribute would take as long as this.
                fact, place, value = known
                if fact not in said:
                    said[fact] = value
                    if place:
                        places[fact] = place
                elif place < places.get(fact, 0):
                    said[fact], places[fact] = value, place
                continue
        else:
            for together in stretch.lengths:
                told = recall_all(data[at : at + together])
                if told is not None:
                    at += together
                    break
            else:
                told, at, others = _together(data, at, end, stretch, memory)
                missed += others
            if said and not said.keys().isdisjoint(told[0]):
                _merge(*told, said, places)
            else:
                said.update(told[0])
                if told[1]:
                    places.update(told[1])
            continue
        if at >= end or data[at] != 0x4A:
            break
        at = read_one(data, at, memory, said, places)
        missed += 1
    return at, missed


def _together(data: bytes, at: int, end: int, stretch: Stretch, memory: Memory) -> tuple[Told, int, bool]:
    """Read what stands where a stretch is expected, and remember it; return it, where it ends, and whether other
    attributes were there."""
    told: Told = {}, {}
    begin, left = at, stretch.attributes
    while left and at < end and data[at] == 0x4A:
        at = read_one(data, at, memory, *told)
        left -= 1
    if [of and of.attributes for of, _, _, _ in expected(data, begin, at)] != [stretch.attributes]:
        return told, at, True
    memory.remember_together(data[begin:at], told, stretch)
    return told, at, False


def _merge(said: dict[str, Any], places: dict[str, int], into: dict[str, Any], its_places: dict[str, int]) -> None:
    """Add facts to others, of which some may have been told by a name to be believed before or after these."""
    for fact, value in said.items():
        place = places.get(fact, 0)
        if fact not in into or place < its_places.get(fact, 0):
            into[fact], its_places[fact] = value, place


def read_one(data: bytes, at: int, memory: Memory, said: dict[str, Any], places: dict[str, int]) -> int:
    """Add what the attribute at a place says, if it is wanted; return where it ends."""
    size, begin = data[at + 1], at + 2
    if size > 0x7F:
        size, begin = varint(data, at + 1)
    end = begin + size
    known = memory.facts.get(data[at:end]) if size < SHORT else None
    if known is None:
        known = _fact(data, begin, end, memory.room)
        if known is None:
            return end
        memory.remember(data[at:end], known)
    fact, place, value = known
    if fact not in said:
        said[fact] = value
        if place:
            places[fact] = place
    elif place < places.get(fact, 0):
        said[fact], places[fact] = value, place
    return end


def _fact(data: bytes, begin: int, end: int, room: Iterator[None]) -> Fact | None:
    """Return what an attribute says: the fact, the place of this name among the fact's, and the value.

    None where it says nothing that is wanted.
    """
    try:
        # As every exporter writes them: the name, then the value, and nothing else.
        middle = begin + 2 + data[begin + 1]
        known = WANTED.get(data[begin + 2 : middle])
        if known is None:
            return None
        plain = data[begin] == 0x0A and data[middle] == 0x12 and middle + 2 + data[middle + 1] == end
    except IndexError:
        # It has no name or no value, and the request ends with it.
        return None
    fact, place = known
    value: Any
    if plain and data[middle + 2] == 0x18 and data[end - 1] < 0x80 and end - middle in _OF_COUNT and fact not in NAMED:
        low = data[middle + 3]
        value = low if end - middle == 4 else low - 0x80 + (data[middle + 4] << 7)
    elif plain and data[middle + 2] == 0x0A and middle + 4 + data[middle + 3] == end:
        value = text(data, middle + 4, end)
    else:
        value = pair(data, begin, end, room)[1]
    if fact in NAMED:
        value = kept(value)
    return None if value is None or value == "" else (fact, place, value)
