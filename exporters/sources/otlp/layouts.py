"""What attributes of spans in protobuf said, by their bytes, and in which order they stood.

An instrumentation writes the same attributes, in the same order, on each of its spans. To expect the next ones takes
less than half as long as to look what they are.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice, repeat
from typing import Any

from exporters.sources.genai_names import FACTS, NAMED

# The attributes of a span that say something, by name: the fact, and the name's place among those of the fact.
WANTED = {name.encode(): fact for name, fact in FACTS.items()}
# Attributes are remembered as they stand, with what they say: most come again. Each is so short, of so many.
SHORT = 96
_REMEMBERED = 16_384
# So are some that follow each other. Of one stretch there are several lengths, as the names in it have them; one that
# has said something new so often mostly will.
_TOGETHER = 512
_TOLD = 4_096
_LENGTHS = 8
_NEW = 512
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
    # How often they said what was not remembered.
    new: int = 0


# What is expected next. Either a stretch, or an attribute that says something, and nothing else; or one that says
# nothing: how it begins, up to the end of its name, how long that is, and how long all of it. That is 0 where it is so
# long that it varies; then tag and length are left out of how it begins.
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
    # For the fields of spans that may still be read, see `wire`.
    room: Iterator[None] = field(default_factory=lambda: repeat(None))
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
        if len(attribute) < SHORT and len(self.facts) < _REMEMBERED:
            self.facts[attribute] = fact

    def remember_together(self, attributes: bytes, told: Told, stretch: Stretch) -> None:
        """Remember what several say, as far as there is room."""
        stretch.new += 1
        size = len(attributes)
        if stretch.new > _NEW or size > _TOGETHER or len(self.told) >= _TOLD:
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
            layout.expected = list(expected(data, at, end))
            self.layouts[name] = layout


def expected(data: bytes, at: int, end: int) -> Iterator[Expected]:
    """Yield what to expect where there are attributes such as those that begin at a place."""
    stretch = Stretch(0)
    for first, name, value, stop in islice(_attributes(data, at, end), _EXPECTED):
        fact = WANTED.get(data[name:value])
        short = name == first + 4
        if short and fact is not None and fact[0] in NAMED:
            stretch.attributes += 1
            continue
        if stretch.attributes:
            yield stretch, b"", 0, 0
            stretch = Stretch(0)
        if not short:
            # What is long and wanted is read each time, as what nobody expected.
            head = data[first + 3 : value] if fact is None else b"\0"
            yield None, head, len(head), 0
        elif fact is not None:
            yield None, b"", 0, 0
        else:
            yield None, data[first:value], value - first, stop - first
    if stretch.attributes:
        yield stretch, b"", 0, 0


def _attributes(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield of attributes where they begin, where their name does, where it ends, and where they do; as long as each
    has a length of one byte or two."""
    while at + 4 <= end and data[at] == 0x4A:
        begin, size = at + 2, data[at + 1]
        if size > 0x7F:
            if data[begin] > 0x7F:
                return
            size += (data[begin] << 7) - 0x80
            begin += 1
        name = begin + 2
        yield at, name, name + data[begin + 1], begin + size
        at = begin + size
