"""The attributes of spans in protobuf, read by what came before: what their bytes said, and in which order they stood.

An instrumentation writes the same attributes, in the same order, on each of its spans. To expect the next ones takes
a third as long as to look what they are.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from exporters.sources.genai_names import FACTS, NAMED
from exporters.sources.otlp.attributes import pair, text
from exporters.sources.otlp.wire import varint
from exporters.sources.records import text as kept

# The attributes of a span that say something; others are passed over.
_WANTED = {name.encode(): fact for name, fact in FACTS.items()}
# Short attributes that are remembered as they stand, with what they say: most come again.
_SHORT = 96
_REMEMBERED = 16_384
# Of those that follow each other, so many bytes are remembered together, so often; and of one stretch at most so
# many lengths, for there are as many as its names have, and so many that were not known.
_TOGETHER = 512
_TOLD = 4_096
_LENGTHS = 8
_MISSED = 512
# Names of spans whose attributes are remembered, of each this many; and how often they are looked at anew when
# others came than expected.
_NAMES = 64
_EXPECTED = 64
_LOOKS = 256

# A fact, the place of its name among those of the fact, and the value.
Fact = tuple[str, int, Any]
# What several attributes say: the facts, and the places of those names that are not the first.
Told = tuple[dict[str, Any], dict[str, int]]


@dataclass(slots=True)
class Stretch:
    """Attributes that follow each other and mostly say what others said before, such as the names of models."""

    attributes: int
    # How many bytes they had, together.
    lengths: list[int] = field(default_factory=list)
    missed: int = 0


# What is expected next: attributes that say something, None where it is one; or one that says nothing, by how it
# begins, up to the end of its name, how long that is, and how long it is itself with its tag. That is 0 where it
# varies; then tag and length are left out of how it begins.
Expected = tuple[Stretch | None, bytes, int, int]


@dataclass(slots=True)
class Layout:
    """What spans of a name have brought."""

    name: str
    expected: list[Expected] = field(default_factory=list)


@dataclass(slots=True)
class Memory:
    """What requests have told."""

    # By all the bytes of an attribute, and of several.
    facts: dict[bytes, Fact] = field(default_factory=dict)
    told: dict[bytes, Told] = field(default_factory=dict)
    # By the name of spans.
    layouts: dict[bytes, Layout] = field(default_factory=dict)
    _looks: int = 0

    def bound(self) -> None:
        """Forget all when it is much."""
        if len(self.facts) >= _REMEMBERED or len(self.told) >= _TOLD:
            self.facts.clear()
            self.told.clear()
            self.layouts.clear()
            self._looks = 0

    def remember(self, attribute: bytes, fact: Fact) -> None:
        """Remember what an attribute says, as far as there is room."""
        if len(attribute) < _SHORT and len(self.facts) < _REMEMBERED:
            self.facts[attribute] = fact

    def remember_together(self, attributes: bytes, told: Told, stretch: Stretch) -> None:
        """Remember what several say, as far as there is room."""
        stretch.missed += 1
        size = len(attributes)
        if stretch.missed > _MISSED or size > _TOGETHER or len(self.told) >= _TOLD:
            return
        if size not in stretch.lengths:
            if len(stretch.lengths) == _LENGTHS:
                return
            stretch.lengths.append(size)
        self.told[attributes] = told

    def expect(self, name: bytes, layout: Layout, data: bytes, at: int, end: int) -> None:
        """Expect of spans of a name what attributes stand in one that was read; they begin at a place."""
        if self._looks < _LOOKS and (name in self.layouts or len(self.layouts) < _NAMES):
            self._looks += 1
            layout.expected = list(_expected(data, at, end))
            self.layouts[name] = layout


def _expected(data: bytes, at: int, end: int) -> Iterator[Expected]:
    stretch = None
    for _ in range(_EXPECTED):
        if at + 4 > end or data[at] != 0x4A:
            break
        size = data[at + 1]
        if size <= 0x7F:
            to_name = at + 4 + data[at + 3]
            fact = _WANTED.get(data[at + 4 : to_name])
            if fact is not None and fact[0] in NAMED:
                stretch = stretch or Stretch(0)
                stretch.attributes += 1
            else:
                if stretch is not None:
                    yield stretch, b"", 0, 0
                    stretch = None
                yield (None, b"", 0, 0) if fact is not None else (None, data[at:to_name], to_name - at, size + 2)
            at += 2 + size
        elif data[at + 2] < 0x80:
            if stretch is not None:
                yield stretch, b"", 0, 0
                stretch = None
            to_name = at + 5 + data[at + 4]
            # What is long and wanted is read each time, as what nobody expected.
            head = b"\0" if data[at + 5 : to_name] in _WANTED else data[at + 3 : to_name]
            yield None, head, len(head), 0
            at += 3 + size - 0x80 + (data[at + 2] << 7)
        else:
            break
    if stretch is not None:
        yield stretch, b"", 0, 0


def read(  # noqa: PLR0917 -- as read by what calls it
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
    while at < end and data[at] == 0x4A:
        at = read_one(data, at, memory, said, places)
    if missed * 2 >= len(layout.expected) and begin < at:
        memory.expect(name, layout, data, begin, end)
    return layout.name, at


def _as_expected(  # noqa: PLR0912, PLR0917 -- one loop: a call for each attribute takes its time
    data: bytes,
    at: int,
    end: int,
    expected: list[Expected],
    memory: Memory,
    said: dict[str, Any],
    places: dict[str, int],
) -> tuple[int, int]:
    """Read attributes that are expected, as long as there are some; return where they end, or a place behind the
    span, and how often another was there."""
    missed, recall, recall_all = 0, memory.facts.get, memory.told.get
    for stretch, head, length, size in expected:
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
    if [of and of.attributes for of, _, _, _ in _expected(data, begin, at)] != [stretch.attributes]:
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
    known = memory.facts.get(data[at:end]) if size < _SHORT else None
    if known is None:
        known = _fact(data, begin, end)
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


def _fact(data: bytes, begin: int, end: int) -> Fact | None:
    """Return what an attribute says: the fact, the place of this name among the fact's, and the value.

    None where it says nothing that is wanted.
    """
    # As every exporter writes them: the name, then the value, and nothing else.
    middle = begin + 2 + data[begin + 1]
    known = _WANTED.get(data[begin + 2 : middle])
    if known is None:
        return None
    fact, place = known
    value: Any
    plain = data[begin] == 0x0A and data[middle] == 0x12 and middle + 2 + data[middle + 1] == end
    if plain and data[middle + 2] == 0x18 and data[end - 1] < 0x80 and end - middle < 6 and fact not in NAMED:
        low = data[middle + 3]
        value = low if end - middle == 4 else low - 0x80 + (data[middle + 4] << 7)
    elif plain and data[middle + 2] == 0x0A and middle + 4 + data[middle + 3] == end:
        value = text(data, middle + 4, end)
    else:
        value = pair(data, begin, end)[1]
    if fact in NAMED:
        value = kept(value)
    return None if value is None or value == "" else (fact, place, value)
