"""OTLP's JSON taken apart: where the spans of a request stand that cannot be decoded as a whole."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from exporters.sources.json_scan import Scanner

# Of resources, scopes and spans together: each takes its time, also when it is empty.
_MOST = 1_000_000
# A byte order mark that an editor left, and what a power cut left in front of a line.
_IN_FRONT = b"\xef\xbb\xbf\0 \t\r\n"


class _EnoughError(Exception):
    """What stands behind this is not looked at."""


@dataclass(slots=True)
class Part:
    """One of the resource_spans of a request: the text of its resource, if it has one, and the texts of its spans."""

    resource: bytes = b""
    spans: list[bytes] = field(default_factory=list)


class Parts:
    """The parts of a request, whose fields have the names that JSON gives them or those of protobuf."""

    def __init__(self, data: bytes, most: int) -> None:
        """Find the parts, with the texts of up to so many spans. Raises ScanError when they cannot be told apart."""
        self.found: list[Part] = []
        # How many spans there are past the bound, at least; and how often something else stands where a resource_spans,
        # a scope_spans or a list should.
        self.beyond = 0
        self.misplaced = 0
        self._room = most
        self._left = _MOST
        self._scanner = Scanner(data.lstrip(_IN_FRONT))
        try:
            self._read()
        except _EnoughError:
            self.beyond += 1

    def _read(self) -> None:
        for name in self._scanner.members():
            if name in (b"resourceSpans", b"resource_spans"):
                for _ in self._objects():
                    self._read_resource()
        self._scanner.end()

    def _read_resource(self) -> None:
        part = Part()
        for name in self._scanner.members():
            if name == b"resource":
                part.resource = self._scanner.value()
            elif name in (b"scopeSpans", b"scope_spans"):
                for _ in self._objects():
                    self._read_scope(part)
        if part.spans:
            self.found.append(part)

    def _read_scope(self, part: Part) -> None:
        for name in self._scanner.members():
            if name == b"spans":
                for _ in self._elements():
                    if self._room:
                        self._room -= 1
                        part.spans.append(self._scanner.value())
                    else:
                        self.beyond += 1

    def _objects(self) -> Iterator[None]:
        """Go through the elements of a list that are objects."""
        for _ in self._elements():
            if self._scanner.is_at(b"{"):
                yield
            else:
                self.misplaced += 1

    def _elements(self) -> Iterator[None]:
        """Go through the elements of a list; what is none has none."""
        if not self._scanner.is_at(b"["):
            self.misplaced += not self._scanner.is_at(b"null")
            return
        for _ in self._scanner.elements():
            self._left -= 1
            if self._left < 0:
                raise _EnoughError
            yield
