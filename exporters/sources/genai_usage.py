"""Tokens and money of a model call, as the conventions count them, from whatever a span says."""

import json
from collections.abc import Mapping
from typing import Any

from exporters.sources.records import RecordError, count, number, text
from exporters.span import Span


def put_usage(span: Span, said: Mapping[str, Any]) -> None:
    """Fill in tokens and cost from facts by the names of `genai_names`. Raises RecordError."""
    details = _object(said.get("usage_details"))
    if details:
        put_details(span, details)
    else:
        span.cache_read_tokens = count(said.get("cache_read"))
        span.cache_write_tokens = count(said.get("cache_write"))
        span.reasoning_tokens = count(said.get("reasoning"))
        _put_tokens(
            span, count(said.get("input_tokens")), count(said.get("output_tokens")), count(said.get("total_tokens"))
        )
    span.cost = _cost(span, said)


def put_details(span: Span, details: Mapping[str, Any]) -> None:
    """Fill in tokens from Langfuse's map of usage by type. Raises RecordError.

    Its parts are apart from each other: `input` leaves out what the other keys of input count, so
    these are added. Where the map is OpenAI's own (`prompt_tokens`, or details within it), or has
    Anthropic's own names, it counts as those do: the one with cached tokens in, the other without.
    """
    amounts: dict[str, int] = {}
    for key, value in details.items():
        if isinstance(value, Mapping):
            for name, inner in value.items():
                part = {"cached_tokens": "cache_read", "reasoning_tokens": "reasoning"}.get(name)
                if part:
                    _add(amounts, part, inner)
        elif key not in _WHOLE:
            _add(amounts, _part(key), value)
            _add(amounts, "output" if key.startswith("output") or "reasoning" in key else "input", value)
    given = count(_first(details, "prompt_tokens", "input_tokens", "input"))
    taken = count(_first(details, "completion_tokens", "output_tokens", "output"))
    span.cache_read_tokens, span.cache_write_tokens = amounts.get("cache_read"), amounts.get("cache_write")
    span.reasoning_tokens = amounts.get("reasoning")
    if "input" in amounts:
        given = (given or 0) + amounts["input"]
    if "output" in amounts:
        taken = (taken or 0) + amounts["output"]
    _put_tokens(span, given, taken, count(_first(details, "total_tokens", "total")))


_WHOLE = frozenset(
    ("prompt_tokens", "input_tokens", "input", "completion_tokens", "output_tokens", "output", "total_tokens", "total")
)


def _part(key: str) -> str:
    """Return what a key of usage is a part of, besides input or output."""
    if "cache" in key:
        return "cache_write" if "creat" in key or "write" in key else "cache_read"
    return "reasoning" if "reasoning" in key else ""


def _add(amounts: dict[str, int], part: str, value: Any) -> None:
    amount = count(value)
    if amount is not None:
        amounts[part] = amounts.get(part, 0) + amount


def _put_tokens(span: Span, given: int | None, taken: int | None, total: int | None) -> None:
    """Set input and output, of which one may follow from the total, or the total when both are unknown."""
    if total is not None and (given is None or taken is None):
        if given is None and taken is None:
            span.unsplit_tokens = total
        elif given is None and taken is not None and taken <= total:
            given = total - taken
        elif taken is None and given is not None and given <= total:
            taken = total - given
    span.input_tokens, span.output_tokens = given, taken


def _cost(span: Span, said: Mapping[str, Any]) -> float | None:
    """Return the money in USD that a span reports; of another currency, nothing is known."""
    details = _object(said.get("cost_details"))
    if details:
        whole = number(details.get("total"))
        parts = [amount for amount in map(number, details.values()) if amount is not None]
        return float(whole if whole is not None else sum(parts))
    if "cost" not in said and "input_cost" not in said and "output_cost" not in said:
        return None
    if text(said.get("currency", "USD")).upper() != "USD":
        return None
    whole, given, taken = (number(said.get(name)) for name in ("cost", "input_cost", "output_cost"))
    if whole is not None or (given is None and taken is None):
        return None if whole is None else float(whole)
    # Half of it is all of it only where the other half has no tokens, as with embeddings.
    if (given is None and span.input_tokens) or (taken is None and span.output_tokens):
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
