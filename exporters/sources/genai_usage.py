"""Tokens and money of a model call, as the conventions count them, from whatever a span says."""

import json
from collections.abc import Mapping
from typing import Any

from exporters.sources.langfuse.usage import OutOfRangeError, cost_of, tokens_of
from exporters.sources.records import MOST, RecordError, count, number, text

# Input, output, read from a cache, written to one, spent on reasoning; and all, where neither of the first is known.
Used = tuple[int | None, int | None, int | None, int | None, int | None, int | None]


def tokens(said: Mapping[str, Any]) -> Used:
    """Return the tokens that facts by the names of `genai_names` tell. Raises RecordError."""
    if "usage_details" in said:
        # Langfuse's map of usage by type, or a model API's own map in its place.
        details = _object(said["usage_details"])
        if details:
            try:
                return tokens_of(_flat(details))
            except OutOfRangeError:
                raise RecordError("out_of_range") from None
    # What nearly all are, first.
    given, taken, unsplit = said.get("input_tokens"), said.get("output_tokens"), None
    if type(given) is not int or type(taken) is not int or not (0 <= given < MOST and 0 <= taken < MOST):
        given, taken = count(given), count(taken)
        if given is None or taken is None:
            given, taken, unsplit = _split(given, taken, count(said.get("total_tokens")))
    read = count(said["cache_read"]) if "cache_read" in said else None
    written = count(said["cache_write"]) if "cache_write" in said else None
    reasoned = count(said["reasoning"]) if "reasoning" in said else None
    return given, taken, read, written, reasoned, unsplit


def _flat(details: Mapping[str, Any]) -> Mapping[str, Any]:
    """Take parts out of the maps that OpenAI puts within its map; they are in its plain numbers already,
    which a total says."""
    flat = {name: value for name, value in details.items() if not isinstance(value, Mapping)}
    if len(flat) == len(details):
        return details
    given, taken = (count(_first(flat, *names)) for names in (_GIVEN, _TAKEN))
    flat.setdefault("total_tokens", (given or 0) + (taken or 0))
    for name, value in details.items():
        if isinstance(value, Mapping):
            side = "output" if name.startswith(("output", "completion")) else "input"
            flat.update((f"{side}_{part}", amount) for part, amount in value.items())
    return flat


_GIVEN = ("prompt_tokens", "input_tokens", "input")
_TAKEN = ("completion_tokens", "output_tokens", "output")


def _split(given: int | None, taken: int | None, total: int | None) -> tuple[int | None, int | None, int | None]:
    """Return input and output, of which one may follow from the total, and the total where both are unknown."""
    if total is None or (given is None and taken is None):
        return given, taken, total
    if given is None and taken is not None and taken <= total:
        given = total - taken
    elif taken is None and given is not None and given <= total:
        taken = total - given
    return given, taken, None


def cost(said: Mapping[str, Any], used: Used) -> float | None:
    """Return the money in USD that a span reports; of another currency, nothing is known. Raises RecordError."""
    if "cost" in said or "cost_details" in said or "input_cost" in said or "output_cost" in said:
        try:
            return _cost(said, used)
        except OutOfRangeError:
            raise RecordError("out_of_range") from None
    return None


def _cost(said: Mapping[str, Any], used: Used) -> float | None:
    if "cost_details" in said:
        details = _object(said["cost_details"])
        if details:
            return cost_of(details)
    if text(said.get("currency", "USD")).upper() != "USD":
        return None
    whole, given, taken = (number(said.get(name)) for name in ("cost", "input_cost", "output_cost"))
    if whole is not None or (given is None and taken is None):
        return None if whole is None else float(whole)
    # Half of it is all of it only where the other half has no tokens, as with embeddings.
    if (given is None and used[0]) or (taken is None and used[1]):
        return None
    return float((given or 0) + (taken or 0))


def _object(value: Any) -> Mapping[str, Any]:
    """Return an attribute that is an object, or JSON text of one; else an empty one. Raises RecordError."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise RecordError("json") from None
    return value if isinstance(value, Mapping) else {}


def _first(details: Mapping[str, Any], *names: str) -> Any:
    return next((details[name] for name in names if details.get(name) is not None), None)
