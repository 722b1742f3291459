"""The cost of a model call whose store reports none, from list prices as of the call's day."""

from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from exporters.span import Span

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice

# Names of OpenTelemetry's `gen_ai.provider.name` that the price list knows under another id.
_PROVIDERS = {
    "x_ai": "x-ai",
    "gcp.gen_ai": "google",
    "gcp.gemini": "google",
    "azure.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "aws.bedrock": "aws",
}
_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class _Rates:
    """USD per token, within one tier of prompt length."""

    fresh_input: float
    output: float
    cache_read: float
    cache_write: float


@dataclass(frozen=True, slots=True)
class _PriceOfDay:
    """A model's price on one day: `tiers[i]` holds from `starts[i - 1]` input tokens on."""

    starts: tuple[int, ...]
    tiers: tuple[_Rates, ...]


class Prices:
    """Sets the cost of spans. Looking a price up takes 0.2 ms, so it is done once a day and model."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, float], _PriceOfDay | None] = {}

    def __call__(self, span: Span) -> None:
        """Set `cost` and `cost_source` of a model call, or the reason why it has none in `unpriced`.

        A call that failed without using tokens has neither: there is nothing to price.
        """
        if span.cost is not None:
            span.cost_source = "reported"
            return
        given, taken = span.input_tokens, span.output_tokens
        if given is None and taken is None:
            if span.unsplit_tokens is not None:
                span.unpriced = "no_split"
            elif not span.error:
                span.unpriced = "no_usage"
            return
        if not span.model:
            span.unpriced = "no_model"
            return
        day = span.time // _DAY
        key = (span.provider, span.model, day)
        if key not in self._known:
            if len(self._known) > 10_000:
                self._known.clear()
            self._known[key] = _price_of_day(span.provider, span.model, day)
        price = self._known[key]
        if price is None:
            span.unpriced = "unknown_model"
            return
        given = given or 0
        rates = price.tiers[bisect_left(price.starts, given)] if price.starts else price.tiers[0]
        read = min(span.cache_read_tokens or 0, given)
        write = min(span.cache_write_tokens or 0, given - read)
        span.cost = (
            (given - read - write) * rates.fresh_input
            + read * rates.cache_read
            + write * rates.cache_write
            + (taken or 0) * rates.output
        )
        span.cost_source = "computed"


def _price_of_day(provider: str, model: str, day: float) -> _PriceOfDay | None:
    """Look a model up in the price list; None when it is not there."""
    listed = _listed(provider, model)
    if listed is None:
        return None
    return _by_tier(listed.get_prices(datetime.fromtimestamp((day + 0.5) * _DAY, UTC)))


@lru_cache(maxsize=10_000)
def _listed(provider: str, model: str) -> "ModelInfo | None":
    """Find a model in the price list.

    `openai` names an SDK as often as a company: any compatible endpoint can be behind it, so a
    model that OpenAI does not sell is looked for everywhere.
    """
    # Imported late: it takes 0.3 s and 40 MB, which a store that reports its costs need not pay.
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415

    for provider_id in dict.fromkeys([_PROVIDERS.get(provider, provider), "" if provider == "openai" else provider]):
        try:
            return get_snapshot().find_provider_model(model, None, provider_id or None, None)[1]
        except LookupError:
            continue
    return None


# Keyed by the object of the price list, which is the same from day to day until the price changes.
_TIERS: "dict[int, tuple[ModelPrice, _PriceOfDay]]" = {}


def _by_tier(price: "ModelPrice") -> _PriceOfDay:
    known = _TIERS.get(id(price))
    if known is None:
        starts = _tier_starts(price)
        known = _TIERS[id(price)] = (price, _PriceOfDay(starts, tuple(_rates(price, start) for start in (0, *starts))))
    return known[1]


def _tier_starts(price: "ModelPrice") -> tuple[int, ...]:
    """The prompt lengths, in tokens, above which a model has another price."""
    tiers = (getattr(part, "tiers", ()) for part in vars(price).values())
    return tuple(sorted({tier.start for part in tiers for tier in part}))


def _rates(price: "ModelPrice", start: int) -> _Rates:
    """Ask the price list what a token costs in the tier that begins at `start` input tokens.

    Within a tier prices are linear, so one question for each class of token is enough.
    """
    from genai_prices import Usage  # noqa: PLC0415

    tokens = start + 1000

    def cost(**usage: int) -> float:
        return float(price.calc_price(Usage(**usage))["total_price"])

    fresh = cost(input_tokens=tokens)
    return _Rates(
        fresh_input=fresh / tokens,
        output=(cost(input_tokens=tokens, output_tokens=1000) - fresh) / 1000,
        cache_read=cost(input_tokens=tokens, cache_read_tokens=tokens) / tokens,
        cache_write=cost(input_tokens=tokens, cache_write_tokens=tokens) / tokens,
    )
