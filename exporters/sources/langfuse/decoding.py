"""JSON of a server as structs: what cannot be decoded is said in one way, and an odd row costs itself alone."""

import json
from collections.abc import Collection
from typing import Any, TypeVar

import msgspec

from exporters.sources.langfuse.scanner import MalformedError, TooManyError, members

# Whatever decoders raise at what others wrote; ValueError is also invalid UTF-8, and a number of too many digits.
UNDECODABLE = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)

# Decoded, small values take a hundred times their size. A row with more commas than this is cut down to the columns
# that are read before it is decoded, and an object or a list in one of them may have so many bytes.
_MOST_COMMAS = 1 << 17
_LARGEST_VALUE = 1 << 16
_MOST_COLUMNS = 10_000
# A float has 309 digits; more is infinite, and Python refuses to read whole numbers of some thousand.
_MOST_DIGITS = 400

Decoded = TypeVar("Decoded")
Columns = TypeVar("Columns", bound=msgspec.Struct)


class BadRowError(ValueError):
    """A row that cannot be used; its text is the reason's label value."""


def decoded(body: bytes, decoder: "msgspec.json.Decoder[Decoded]") -> Decoded | None:
    """Decode a reply; return None when it is not what the decoder is for."""
    try:
        return decoder.decode(body)
    except UNDECODABLE:
        return None


def decoded_row(body: bytes, decoder: "msgspec.json.Decoder[Columns]", kind: type[Columns]) -> Columns:
    """Decode the columns of a row that `kind` has, for which the decoder is. Raises BadRowError."""
    try:
        if len(body) > 2 * _MOST_COMMAS and body.count(b",") > _MOST_COMMAS:
            body = cut_down(body, kind.__struct_encode_fields__, largest=_LARGEST_VALUE)
        return decoder.decode(body)
    except BadRowError:
        raise
    except UNDECODABLE:
        return _loosely(body, kind)


def cut_down(body: bytes, columns: Collection[str], *, largest: int | None = None) -> bytes:
    """Return an object with some of its columns only, however deeply the others are nested; what they hold is not
    judged. Raises BadRowError: `json`, `not_an_object`, and `too_wide` for an object or a list of more than
    `largest` bytes in one of them.
    """
    try:
        places = members(body, {name.encode() for name in columns}, most=_MOST_COLUMNS)
    except TooManyError:
        raise BadRowError("too_wide") from None
    except MalformedError:
        raise BadRowError("json" if body.lstrip()[:1] in (b"{", b"") else "not_an_object") from None
    for start, end in places.values():
        if largest is not None and end - start > largest and body[start : start + 1] in (b"{", b"["):
            raise BadRowError("too_wide")
    return b"{%s}" % b",".join(b'"%s":%s' % (name, body[start:end]) for name, (start, end) in places.items())


def _loosely(body: bytes, kind: type[Columns]) -> Columns:
    """Decode what is not strict JSON or not of the known types: a lone surrogate in a prompt is not ours to judge.
    Raises BadRowError."""
    names = kind.__struct_encode_fields__
    try:
        try:
            row = _loads(body)
        except RecursionError:
            row = _loads(cut_down(body, names))
    except RecursionError:
        raise BadRowError("too_deep") from None
    except BadRowError:
        raise
    except ValueError:
        raise BadRowError("json") from None
    if not isinstance(row, dict):
        raise BadRowError("not_an_object")
    try:
        return msgspec.convert({name: _printable(value) for name, value in row.items() if name in names}, kind)
    except UNDECODABLE as error:
        raise BadRowError(_reason(str(error))) from None


def _loads(body: bytes) -> Any:
    return json.loads(body.decode("utf-8", "replace"), parse_int=_whole)


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _printable(value: Any) -> Any:
    """Replace lone surrogates, which no encoder takes, and leave out what a map of amounts has no place for."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        plain = {key: inner for key, inner in value.items() if not isinstance(inner, dict | list)}
        return {_printable(key): _printable(inner) for key, inner in plain.items()}
    return value


def _reason(message: str) -> str:
    if "missing required field" in message:
        return "missing_field"
    if "of length <=" in message:
        return "too_wide"
    return "timestamp" if "Time" in message or "timestamp" in message else "wrong_type"
