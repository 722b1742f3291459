"""Where the parts of a text of JSON stand, without recursion: for one that is nested or large past what can be decoded.

What stands within a part is passed over, not judged.
"""

import re
from collections.abc import Collection

# Possessive throughout: nothing is tried in a second way, so that the time is linear in the text. The alternative that
# never matches is for Python before 3.11.5, whose repetitions went on where the one that was tried last had failed, and
# not where it had begun (https://github.com/python/cpython/issues/100061).
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+|(?!))*+"'
_PLAIN = rb'[^"\[\]{}]++|' + _STRING
# An array or an object with up to three others in each other is passed over in one step.
_SHALLOW = rb"[\[{](?:" + _PLAIN + rb"|(?!))*+[\]}]"
for _ in range(3):
    _SHALLOW = rb"[\[{](?:" + _PLAIN + b"|" + _SHALLOW + rb"|(?!))*+[\]}]"
# And so is the way down to where something closes, but for texts that have brackets themselves.
_DOWN = rb'(?P<down>[\[{](?:[^"\[\]{}]++|"[^"\\\[\]{}]*+"|[\[{]++|(?!))*+)'
_INSIDE = re.compile(rb"(?:" + _PLAIN + b"|" + _SHALLOW + rb"|(?!))*+(?:" + _DOWN + rb"|(?P<up>[\]}]++))", re.S)
_BETWEEN = re.compile(
    rb'(?:[^"\[\]{},]++|' + _STRING + b"|" + _SHALLOW + rb"|(?!))*+(?:" + _DOWN + rb"|(?P<end>[\]},]))", re.S
)
_KEY = re.compile(rb"\s*+(" + _STRING + rb")\s*+:\s*+", re.S)
_EMPTY = re.compile(rb"\s*+[\]}]")
_BLANK = re.compile(rb"\s*+")

# From where to where a part goes.
Place = tuple[int, int]


class MalformedError(ValueError):
    """A text whose parts cannot be told from each other."""


class TooManyError(ValueError):
    """A text of more parts than were allowed."""


def members(text: bytes, names: Collection[bytes], *, most: int) -> dict[bytes, Place]:
    """Return where the values stand that an object has under some names, as written there; of a name that comes
    twice, the last, as decoders do. The text is the object and nothing else.

    Raises MalformedError, and TooManyError when it has more than `most` members of whatever name.
    """
    places, end = _parts(text, _opened(text, 0, b"{"), b"}", most)
    if _BLANK.fullmatch(text, end) is None:
        raise MalformedError
    values = {}
    for start, end in places:
        key = _KEY.match(text, start, end)
        if key is None:
            raise MalformedError
        name = key[1][1:-1]
        if name in names:
            values[name] = (key.end(), end)
    return values


def elements(text: bytes, place: Place, *, most: int) -> list[Place]:
    """Return where the elements of the array stand that is at a place. Raises as `members` does."""
    return _parts(text, _opened(text, place[0], b"["), b"]", most)[0]


def _opened(text: bytes, at: int, bracket: bytes) -> int:
    """Return where an array or an object goes on after its bracket."""
    blank = _BLANK.match(text, at)
    start = blank.end() if blank else at
    if text[start : start + 1] != bracket:
        raise MalformedError
    return start + 1


def _parts(text: bytes, at: int, bracket: bytes, most: int) -> tuple[list[Place], int]:
    """Return what stands between commas up to a closing bracket, and where the text goes on after that."""
    empty = _EMPTY.match(text, at)
    places: list[Place] = []
    end = empty.end() - 1 if empty else -1
    while not empty:
        end = _end(text, at)
        places.append((at, end))
        if len(places) > most:
            raise TooManyError
        if text[end : end + 1] != b",":
            break
        at = end + 1
    if text[end : end + 1] != bracket:
        raise MalformedError
    return places, end + 1


def _end(text: bytes, at: int) -> int:
    """Return where the part that begins at `at` ends: at a comma, or at the bracket that closes what it is in."""
    depth = 0
    while True:
        match = (_INSIDE if depth else _BETWEEN).match(text, at)
        if match is None:
            raise MalformedError
        start, at = match.span(match.lastgroup or 0)
        if match.lastgroup == "down":
            depth += text.count(b"[", start, at) + text.count(b"{", start, at)
        elif at - start > depth:
            return start + depth
        else:
            depth -= at - start
