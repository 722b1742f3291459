"""Langfuse's free maps of usage and cost, read as tokens and dollars."""

from collections.abc import Mapping
from typing import Any, NamedTuple

MOST = 2**53  # past it, a float no longer counts by ones


class OutOfRangeError(Exception):
    """A number that is negative, not finite or past what can be counted."""


class Tokens(NamedTuple):
    """Tokens as OpenTelemetry means them: input with what was cached, output with reasoning. None is unknown."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    # Of a map that has a total only.
    unsplit: int | None = None


def tokens_of(details: Mapping[str, Any] | None) -> Tokens:
    """Sort the keys of `usageDetails`. Raises OutOfRangeError.

    Keys should be disjoint: `input` without what was cached, `output` without reasoning. Where the total says that
    a plain key has the special ones in it already, they are not added again: half the complaints about costs are of
    this one kind. What is neither input nor output (seconds, images, searches) is no token.
    """
    if not details:
        return Tokens()
    plain = {"input": 0, "output": 0}
    special = {"input": 0, "output": 0}
    found: dict[str, int] = {}
    for name, given in details.items():
        count = _count(given)
        side, part = _class_of(name, details)
        if count is None or not side:
            continue
        found[side] = found.get(side, 0) + count
        if part:
            found[part] = found.get(part, 0) + count
        if side == "total":
            continue
        (plain if _is_plain(name) else special)[side] += count
    total = found.get("total")
    if "input" not in found and "output" not in found:
        return Tokens(unsplit=total)
    sums = _sums(plain, special, total)
    return Tokens(
        input=sums["input"] if "input" in found else None,
        output=sums["output"] if "output" in found else None,
        cache_read=found.get("cache_read"),
        cache_write=found.get("cache_write"),
        reasoning=found.get("reasoning"),
    )


def cost_of(details: Mapping[str, Any] | None, *totals: Any) -> float | None:
    """Return USD: the map's total, else the sum of its parts, else the first of `totals` that is more than nothing.

    A row without a price carries an empty map and sometimes a total of 0, which is not known to be free.
    Raises OutOfRangeError.
    """
    known = {name: amount for name, given in (details or {}).items() if (amount := _amount(given)) is not None}
    if known:
        return known["total"] if "total" in known else sum(known.values())
    for given in totals:
        amount = _amount(given)
        if amount:
            return amount
    return None


def _sums(plain: Mapping[str, int], special: Mapping[str, int], total: int | None) -> dict[str, int]:
    """Add the special keys to the plain ones, unless the total says that they are in them."""
    apart = {side: plain[side] + special[side] for side in plain}
    if total is None or sum(apart.values()) == total:
        return apart
    for inside in (("input",), ("output",), ("input", "output")):
        sums = {side: max(plain[side], special[side]) if side in inside else apart[side] for side in plain}
        if sum(sums.values()) == total:
            return sums
    return apart


_PLAIN = {
    "input": ("input", "input_tokens", "prompt_tokens", "prompt_token_count"),
    "output": ("output", "output_tokens", "completion_tokens", "candidates_token_count"),
    "total": ("total", "total_tokens", "total_token_count"),
}
_SIDE_OF = {name: side for side, names in _PLAIN.items() for name in names}


def _is_plain(name: str) -> bool:
    return name.lower() in _SIDE_OF


def _class_of(name: str, details: Mapping[str, Any]) -> tuple[str, str]:
    """Return the side of a key and its special part; nothing for a key that counts no tokens of its own.

    Some stores hold one number under two names (`input` and `prompt_tokens`), or once more under `details.`.
    """
    name = name.lower()
    side = _SIDE_OF.get(name, "")
    if side:
        first = next(other for other in _PLAIN[side] if other in details or other == name)
        return (side if first == name else ""), ""
    if "details" in name:
        return "", ""
    if "cache" in name:
        return "input", "cache_write" if "creat" in name or "writ" in name else "cache_read"
    if "reasoning" in name or "thought" in name:
        return "output", "reasoning"
    for side, words in (("input", ("input", "prompt")), ("output", ("output", "completion", "candidates"))):
        if name.startswith(words):
            return side, ""
    return "", ""


def _count(given: Any) -> int | None:
    amount = _amount(given)
    return None if amount is None else round(amount)


def _amount(given: Any) -> float | None:
    """Read a number, also one written as text, as newer servers write prices."""
    if isinstance(given, bool) or given is None:
        return None
    try:
        amount = float(given)
    except (TypeError, ValueError):
        return None
    except OverflowError:
        raise OutOfRangeError from None
    if 0 <= amount < MOST:
        return amount
    raise OutOfRangeError
