"""Where the values of a JSON text begin and end, without recursion: for a text that no decoder takes as a whole,
because a part of it is nested too deep, is too much, or no JSON at all.

What stands around a value that is asked for is read strictly; a value that is passed over is not judged, except that
its brackets match. Time grows with the text, whatever stands in it, and memory with its depth, by a byte a level.
"""

import re
from collections.abc import Iterator

import msgspec

# Possessive: what was passed over once is never looked at in another way.
_BLANK = rb"[ \t\n\r]*+"
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TEXT = rb'[^"\[\]{}]++|' + _STRING


def _many(*patterns: bytes) -> bytes:
    # The last, which never matches, is for Python before 3.11.5: a repetition went on where the pattern that was tried
    # last had failed, and not where it had begun (https://github.com/python/cpython/issues/100061).
    return rb"(?:" + b"|".join((*patterns, rb"(?!)")) + rb")*+"


def _flat(*patterns: bytes) -> bytes:
    """What matches a list or an object that holds nothing but these."""
    return rb"\[" + _many(*patterns) + rb"\]|\{" + _many(*patterns) + rb"\}"


# One that holds few others in each other is passed over in one step, with what stands around it.
_FLAT = _flat(_TEXT, _flat(_TEXT, _flat(_TEXT)))
# Up to the next brackets, and these. Of several that open, the last is left: it may be that of a flat one.
_WITHIN = re.compile(_many(_TEXT, _FLAT) + rb"(?:([\[{](?:[\[{](?=[\[{]))*+)|([\]}]++))", re.S).match
_WHOLE_FLAT = re.compile(_FLAT, re.S).match
_WHOLE_STRING = re.compile(_STRING, re.S).match
_UP_TO_OBJECT = re.compile(_many(rb'[^"{]++', _STRING) + rb"\{", re.S).match
# A number, or one of the words of JSON or of Python.
_WORD = re.compile(rb"[-+.\w]++").match
_SPACE = re.compile(_BLANK).match
_KEY = re.compile(_BLANK + rb"(" + _STRING + rb")" + _BLANK + rb":" + _BLANK, re.S).match
_NEXT = re.compile(_BLANK + rb"([,\]}])" + _BLANK).match
_OPENED = bytes.maketrans(b"]}", b"[{")


class ScanError(ValueError):
    """A text whose parts cannot be told apart."""


def end_of(text: bytes, at: int) -> int:
    """Return the place after the value that begins at a place. Raises ScanError."""
    first = text[at : at + 1]
    if first in (b"[", b"{"):
        flat = _WHOLE_FLAT(text, at)
        return flat.end() if flat else _end_of_nested(text, at)
    found = (_WHOLE_STRING if first == b'"' else _WORD)(text, at)
    if found is None:
        raise ScanError
    return found.end()


def holds_more(text: bytes, most: int) -> bool:
    """Whether there are more objects than so many in a text; braces in strings are none."""
    if text.count(b"{") <= most:
        return False
    at = 0
    for _ in range(most + 1):
        found = _UP_TO_OBJECT(text, at)
        if found is None:
            return False
        at = found.end()
    return True


def _end_of_nested(text: bytes, at: int) -> int:
    # The brackets that are open, the innermost last.
    opened = bytearray(text[at : at + 1])
    at += 1
    while found := _WITHIN(text, at):
        opens, closes = found.groups()
        if opens is not None:
            opened += opens
        else:
            # The innermost stands first in the text.
            matching = closes[: len(opened)].translate(_OPENED)
            if opened[: -len(matching) - 1 : -1] != matching:
                break
            del opened[-len(matching) :]
            if not opened:
                return found.start(2) + len(matching)
        at = found.end()
    raise ScanError


class Scanner:
    """Walks through a text: `at` is the place of the value that is next.

    Whoever is at a value goes into it with `members` or `elements`, or past it; a value that is left as it is, is
    passed over. What is asked raises ScanError where the text ends too early or something else stands there.
    """

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.at = 0
        self._pass_blanks()

    def is_at(self, bracket: bytes) -> bool:
        """Whether the next value begins with this bracket."""
        return self.text.startswith(bracket, self.at)

    def value(self) -> bytes:
        """Return the text of the next value, and go past it."""
        begin = self.at
        self.skip()
        return self.text[begin : self.at]

    def skip(self) -> None:
        """Go past the next value."""
        self.at = end_of(self.text, self.at)

    def members(self) -> Iterator[bytes]:
        """Go into an object: yield each member's name, with its value as the next one, and end behind the object."""
        self._open(b"{")
        more = not self._closes(b"}")
        while more:
            key = _KEY(self.text, self.at)
            if key is None:
                raise ScanError
            begin = self.at = key.end()
            yield _name(key[1])
            if self.at == begin:
                self.skip()
            more = self._another(b"}")

    def elements(self) -> Iterator[None]:
        """Go into an array: yield for each element, which is the next value, and end behind the array."""
        self._open(b"[")
        more = not self._closes(b"]")
        while more:
            begin = self.at
            yield
            if self.at == begin:
                self.skip()
            more = self._another(b"]")

    def end(self) -> None:
        """See that nothing follows."""
        self._pass_blanks()
        if self.at != len(self.text):
            raise ScanError

    def _pass_blanks(self) -> None:
        found = _SPACE(self.text, self.at)
        self.at = found.end() if found else self.at

    def _open(self, bracket: bytes) -> None:
        if not self.is_at(bracket):
            raise ScanError
        self.at += 1
        self._pass_blanks()

    def _closes(self, bracket: bytes) -> bool:
        if self.is_at(bracket):
            self.at += 1
            return True
        return False

    def _another(self, closing: bytes) -> bool:
        found = _NEXT(self.text, self.at)
        if found is None or found[1] not in (b",", closing):
            raise ScanError
        # Blanks behind the end of a list belong to what it stands in; `_NEXT` passes over them again.
        self.at = found.end()
        return found[1] == b","


def _name(quoted: bytes) -> bytes:
    """Return what a member's name says."""
    if b"\\" not in quoted:
        return quoted[1:-1]
    try:
        return msgspec.json.decode(quoted, type=str).encode()
    except (msgspec.DecodeError, UnicodeEncodeError):
        return quoted[1:-1]
