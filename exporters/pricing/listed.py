"""List prices: genai-prices, which knows what a model cost on a day of the past."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from exporters.pricing.names import candidates
from exporters.pricing.rates import Price, Rates

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice

DAY = 86400.0
_LAST_DAY = 47_482.0  # 2100-01-01


def list_price(provider: str, model: str, day: float) -> Price | None:
    """Return a model's list price on a day since 1970; None when it is in no list.

    A price without tokens, as of speech by the hour or of what a subscription includes, has no tiers.
    """
    listed = _listed(provider, model)
    if listed is None:
        return None
    # Whatever a store's clock says; a time that is no number is taken for the first day.
    day = min(max(0.0, day), _LAST_DAY)
    turns = _turns(listed)
    first, *others = (
        _of_tokens(listed.get_prices(datetime.fromtimestamp(day * DAY + turn, UTC))) for turn in (0.0, *turns)
    )
    return Price(first.tiers, first.starts, turns, tuple(others)) if turns else first


@lru_cache(maxsize=10_000)
def _listed(provider: str, model: str) -> "ModelInfo | None":
    # Imported late: it takes 0.2 s and 40 MB, which a store that reports its costs need not pay.
    from genai_prices.data_snapshot import DataSnapshot, get_snapshot  # noqa: PLC0415

    # Each search in a view of its own: a view remembers every name that it was ever asked for, and
    # the names are written by strangers.
    view = DataSnapshot(get_snapshot().providers, from_auto_update=False)
    asked = set()
    for seller, name in candidates(provider, model):
        try:
            found = view.find_provider(name, seller or None, None)
            if (found.id, name) not in asked:
                asked.add((found.id, name))
                return view.find_provider_model(name, found, None, None)[1]
        except LookupError:
            continue
    return None


def _turns(listed: "ModelInfo") -> tuple[float, ...]:
    """The seconds of a day at which a model becomes cheaper or dearer, as at night."""
    from genai_prices.types import TimeOfDateConstraint  # noqa: PLC0415

    conditions = [part.constraint for part in listed.prices] if isinstance(listed.prices, list) else []
    times = {
        edge.hour * 3600.0 + edge.minute * 60 + edge.second
        for condition in conditions
        if isinstance(condition, TimeOfDateConstraint)
        for edge in (condition.start_time, condition.end_time)
    }
    return tuple(sorted(times - {0.0}))


# Keyed by the object of the price list, which is the same from day to day until the price changes.
_KNOWN: "dict[int, tuple[ModelPrice, Price]]" = {}


def _of_tokens(price: "ModelPrice") -> Price:
    known = _KNOWN.get(id(price))
    if known is None:
        starts = _tier_starts(price)
        by_token = price.input_mtok is not None or price.output_mtok is not None
        tiers = tuple(_rates(price, start) for start in (0, *starts)) if by_token else ()
        known = _KNOWN[id(price)] = (price, Price(tiers, starts))
    return known[1]


def _tier_starts(price: "ModelPrice") -> tuple[int, ...]:
    """The prompt lengths, in tokens, above which a model has another price."""
    tiers = (getattr(part, "tiers", ()) for part in vars(price).values())
    return tuple(sorted({tier.start for part in tiers for tier in part}))


def _rates(price: "ModelPrice", start: int) -> Rates:
    """Ask the price list what a token costs in the tier that begins at `start` input tokens.

    Within a tier prices are linear, so one question for each class of token is enough.
    """
    from genai_prices import Usage  # noqa: PLC0415

    tokens = start + 1000

    def cost(**usage: int) -> float:
        return float(price.calc_price(Usage(**usage))["total_price"])

    call = cost(input_tokens=0)
    fresh = cost(input_tokens=tokens)
    return Rates(
        input=(fresh - call) / tokens,
        output=(cost(input_tokens=tokens, output_tokens=1000) - fresh) / 1000,
        cache_read=(cost(input_tokens=tokens, cache_read_tokens=tokens) - call) / tokens,
        cache_write=(cost(input_tokens=tokens, cache_write_tokens=tokens) - call) / tokens,
        reasoning=(cost(input_tokens=tokens, output_tokens=1000, output_reasoning_tokens=1000) - fresh) / 1000,
        call=call,
    )
