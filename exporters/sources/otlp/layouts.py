"""The attributes of spans in protobuf, read by what came before: what their bytes said, and in which order they stood.

An instrumentation writes the same attributes, in the same order, on each of its spans. To expect the next one takes
half as long as to look what it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from exporters.sources.genai_names import FACTS
from exporters.sources.otlp.attributes import pair, text
from exporters.sources.otlp.wire import varint

# The attributes of a span that say something; others are passed over.
_WANTED = {name.encode(): fact for name, fact in FACTS.items()}
# Short attributes that are remembered as they stand, with what they say: most come again.
_SHORT = 96
_REMEMBERED = 16_384
# Names of spans whose attributes are remembered, of each this many; and how often they are looked at anew when
# others came than expected.
_NAMES = 64
_EXPECTED = 64
_LOOKS = 256

# A fact, the place of its name among those of the fact, and the value.
Fact = tuple[str, int, Any]
# Of an attribute that is expected: its size with its tag, 0 where that varies; and of one that says nothing how it
# begins, up to the end of its name, and how long that is. Where the size varies, tag and length are left out of that.
Expected = tuple[int, bytes, int]


@dataclass(slots=True)
class Memory:
    """What requests have told."""

    # By all the bytes of an attribute.
    facts: dict[bytes, Fact] = field(default_factory=dict)
    # By the name of spans.
    layouts: dict[str, list[Expected]] = field(default_factory=dict)
    _looks: int = 0

    def bound(self) -> None:
        """Forget all when it is much."""
        if len(self.facts) >= _REMEMBERED:
            self.facts.clear()
            self.layouts.clear()
            self._looks = 0

    def remember(self, attribute: bytes, fact: Fact) -> None:
        """Remember what an attribute says, as far as there is room."""
        if len(attribute) < _SHORT and len(self.facts) < _REMEMBERED:
            self.facts[attribute] = fact

    def expect(self, name: str, data: bytes, at: int, end: int) -> None:
        """Expect of spans of a name what attributes stand in one that was read; they begin at a place."""
        if self._looks < _LOOKS and (name in self.layouts or len(self.layouts) < _NAMES):
            self._looks += 1
            self.layouts[name] = list(self._expected(data, at, end))

    def _expected(self, data: bytes, at: int, end: int) -> Iterator[Expected]:
        for _ in range(_EXPECTED):
            if at + 4 > end or data[at] != 0x4A:
                return
            size = data[at + 1]
            if size <= 0x7F:
                to_name = at + 4 + data[at + 3]
                wanted = data[at + 4 : to_name] in _WANTED
                yield (size + 2, b"", 0) if wanted else (size + 2, data[at:to_name], to_name - at)
                at += 2 + size
            elif data[at + 2] < 0x80:
                to_name = at + 5 + data[at + 4]
                # What is long and wanted is read each time, as what nobody expected.
                head = b"\0" if data[at + 5 : to_name] in _WANTED else data[at + 3 : to_name]
                yield 0, head, len(head)
                at += 3 + size - 0x80 + (data[at + 2] << 7)
            else:
                return


_UNKNOWN: list[Expected] = []


def read(  # noqa: PLR0912, PLR0917 -- one loop: a call for each attribute takes its time
    data: bytes, at: int, end: int, name: str, memory: Memory, said: dict[str, Any], places: dict[str, int]
) -> int:
    """Add what the attributes say that follow each other from a place on in a span of a name; return where they end.

    `said` is what `sorted_out` makes of them, and `places` are those of the names that are not the first.
    """
    begin, missed, layout, recall = at, 0, memory.layouts.get(name, _UNKNOWN), memory.facts.get
    for size, head, length in layout:
        if not length:
            known = recall(data[at : at + size])
            if known is not None:
                at += size
                # As in `read_one`, whose call for each attribute would take as long as this.
                fact, place, value = known
                if fact not in said:
                    said[fact] = value
                    if place:
                        places[fact] = place
                elif place < places.get(fact, 0):
                    said[fact], places[fact] = value, place
                continue
        elif size:
            if data[at : at + length] == head:
                at += size
                continue
        elif data[at + 3 : at + 3 + length] == head and data[at] == 0x4A:
            low, high = data[at + 1], data[at + 2]
            if low > 0x7F and high < 0x80:
                at += 3 + low - 0x80 + (high << 7)
                continue
        if at >= end or data[at] != 0x4A:
            break
        at = read_one(data, at, memory, said, places)
        missed += 1
    if at > end:
        # What stands behind the span looked like more of it.
        at = begin
        said.clear()
        places.clear()
    while at < end and data[at] == 0x4A:
        at = read_one(data, at, memory, said, places)
    if missed * 2 >= len(layout) and begin < at:
        memory.expect(name, data, begin, end)
    return at


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
    value: Any
    if data[begin] == 0x0A and data[middle] == 0x12 and middle + 2 + data[middle + 1] == end:
        kind = data[middle + 2]
        if kind == 0x18 and data[end - 1] < 0x80 and end - middle < 6:
            low = data[middle + 3]
            return known[0], known[1], low if end - middle == 4 else low - 0x80 + (data[middle + 4] << 7)
        if kind == 0x0A and middle + 4 + data[middle + 3] == end:
            value = text(data, middle + 4, end)
            return None if value == "" else (known[0], known[1], value)
    value = pair(data, begin, end)[1]
    return None if value is None or value == "" else (known[0], known[1], value)
