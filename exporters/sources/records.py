"""Numbers and names of records that others wrote: what they are worth, or why the record is bad."""

import math
from typing import Any

LATEST = 4102444800.0  # 2100-01-01; a time past it is a broken clock
MOST = 2**53  # past it, a float no longer counts by ones
# Names and ids are kept in memory and in the state for long: no record may fill these with one.
LONGEST = 1024


class RecordError(Exception):
    """A record that cannot be used; its text is the reason's label value."""


def number(value: Any) -> float | int | None:
    """Return a number that is not negative, written as one or as text; None where there is none.

    Raises RecordError: `wrong_type`, `non_finite` or `out_of_range`.
    """
    if value is None:
        return None
    if isinstance(value, str):
        value = _read(value)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RecordError("wrong_type")
    if isinstance(value, float) and not math.isfinite(value):
        raise RecordError("non_finite")
    if 0 <= value < MOST:
        return value
    raise RecordError("out_of_range")


def _read(said: str) -> float | int | None:
    said = said.strip()
    try:
        return (int(said) if said.isdigit() and len(said) < 20 else float(said)) if said else None
    except ValueError:
        raise RecordError("wrong_type") from None


def count(value: Any) -> int | None:
    """Return a whole number that is not negative, None where there is none. Raises RecordError as `number` does."""
    # What nearly all are, first: this is asked six times for each call.
    if value is None or (type(value) is int and 0 <= value < MOST):
        return value
    found = number(value)
    if isinstance(found, float):
        if not found.is_integer():
            raise RecordError("wrong_type")
        return int(found)
    return found


def time_of(seconds: float | None) -> float:
    """Return a Unix time. Raises RecordError where there is none, or none before 1970 or after 2099."""
    if seconds is None or not 0.0 < seconds < LATEST:
        raise RecordError("timestamp")
    return seconds


def text(value: Any) -> str:
    """Return a name as it can be kept: cut, without lone surrogates; `""` where it is not a text or a number."""
    if value is None:
        return ""
    if type(value) is str and len(value) <= LONGEST and value.isascii():
        return value.strip()
    if isinstance(value, bytes):
        value = value[: LONGEST * 4].decode("utf-8", "replace")
    if not isinstance(value, str):
        # Python refuses to write out whole numbers of thousands of digits.
        plain = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST
        return repr(value) if plain else ""
    said = value[:LONGEST]
    # Lone surrogates, which no encoder takes, come out of JSON's \ud800.
    return (said if said.isascii() else said.encode("utf-8", "replace").decode()).strip()


def identity(value: Any, *, needed: bool = True) -> str:
    """Return an id whole: one that was cut could be another's. Raises RecordError when it is too long or missing."""
    if type(value) is str and len(value) <= LONGEST and value.isalnum() and value.isascii():
        return value
    if isinstance(value, str | bytes) and len(value) > LONGEST:
        raise RecordError("id_too_long")
    found = text(value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value)
    if needed and not found:
        raise RecordError("missing_field")
    return found
