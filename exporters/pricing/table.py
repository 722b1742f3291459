"""A table of prices in LiteLLM's format, for models that the price list does not have.

The format is that of `model_prices_and_context_window.json`: USD per token, one entry a model and
seller, without dates.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from exporters.pricing.names import candidates, provider_id
from exporters.pricing.rates import Price, Rates
from exporters.sources import SourceError

# A prompt past so many thousand tokens has prices of its own.
_ABOVE = re.compile(r"(\w+_cost_per_token|cache_\w+_input_token_cost)_above_(\d+)k_tokens")
# USD per token or per call; past it somebody has mistaken the unit.
_MOST = 10


def read_table(path: Path) -> dict[tuple[str, str], Price]:
    """Read a table; return its prices by seller and model. Raises SourceError with one line that
    names file, entry and field."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, Any]])
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}; name a file of prices that this user may read") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SourceError(f"{path}: not a table of prices in LiteLLM's format: {error}") from None
    prices: dict[tuple[str, str], Price] = {}
    for model, fields in found.items():
        if model == "sample_spec":  # the table's own description
            continue
        if "input_cost_per_token" not in fields and "output_cost_per_token" not in fields:
            continue  # of pictures, pages or seconds
        try:
            price = _price(fields)
        except ValueError as error:
            raise SourceError(f"{path}: entry '{model}': {error}") from None
        seller, name = provider_id(str(fields.get("litellm_provider", ""))), model.lower()
        for key in ((seller, name), (seller, name.partition("/")[2]), ("", name)):
            if key[1]:
                prices.setdefault(key, price)
    return prices


def table_price(prices: Mapping[tuple[str, str], Price], provider: str, model: str) -> Price | None:
    """Return a model's price; None when it is not in the table."""
    for key in candidates(provider, model):
        if key in prices:
            return prices[key]
    return None


def _price(fields: dict[str, Any]) -> Price:
    starts = sorted({int(above[2]) * 1000 for name in fields if (above := _ABOVE.fullmatch(name))})
    return Price(tuple(_rates(fields, starts[:tier]) for tier in range(len(starts) + 1)), tuple(starts))


def _rates(fields: dict[str, Any], passed: list[int]) -> Rates:
    """The rates of a prompt that has passed some lengths. Raises ValueError with the field."""

    def usd(name: str, otherwise: float) -> float:
        names = (*(f"{name}_above_{start // 1000}k_tokens" for start in reversed(passed)), name)
        found = next((own for own in names if fields.get(own) is not None), None)
        if found is None:
            return otherwise
        value = fields[found]
        if not isinstance(value, int | float) or not 0 <= value <= _MOST:
            raise ValueError(f"{found}: should be USD from 0 to {_MOST}, is {value!r}")
        return float(value)

    fresh, answer = usd("input_cost_per_token", 0.0), usd("output_cost_per_token", 0.0)
    return Rates(
        input=fresh,
        output=answer,
        cache_read=usd("cache_read_input_token_cost", fresh),
        cache_write=usd("cache_creation_input_token_cost", fresh),
        reasoning=usd("output_cost_per_reasoning_token", answer),
        call=usd("input_cost_per_request", 0.0),
    )
