"""What is remembered of attributes in protobuf: what their bytes say, and in which order they stand in spans of a name.

An instrumentation writes the same attributes, in the same order, on each of its spans. To expect the next one takes
half as long as to look what it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from exporters.sources.genai_names import FACTS

# The attributes of a span that say something; others are passed over.
WANTED = {name.encode(): fact for name, fact in FACTS.items()}
# Short attributes that are remembered as they stand, with what they say: most come again.
SHORT = 96
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
        if len(attribute) < SHORT and len(self.facts) < _REMEMBERED:
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
                wanted = data[at + 4 : to_name] in WANTED
                yield (size + 2, b"", 0) if wanted else (size + 2, data[at:to_name], to_name - at)
                at += 2 + size
            elif data[at + 2] < 0x80:
                to_name = at + 5 + data[at + 4]
                # What is long and wanted is read each time, as what nobody expected.
                head = b"\0" if data[at + 5 : to_name] in WANTED else data[at + 3 : to_name]
                yield 0, head, len(head)
                at += 3 + size - 0x80 + (data[at + 2] << 7)
            else:
                return
