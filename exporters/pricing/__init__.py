"""The cost of a model call: agreed prices first, then what the store reports, then list prices as of its day."""

from collections.abc import Mapping, Sequence

from exporters.pricing.agreed import Agreed, Entry
from exporters.pricing.listed import DAY, list_price
from exporters.pricing.rates import Parts, Price, Rates, cost
from exporters.pricing.table import table_price
from exporters.span import Span

# Prices remembered, by provider, model and day; and the longest name that is looked for. Both are
# bounds on what a stranger's names may cost.
_KNOWN = 10_000
_LONGEST = 256


class Prices:
    """Sets the cost of the spans of one source.

    `agreed` are entries of a file of negotiated prices, `table` prices for models that the price
    list does not have. Looking a price up takes 0.2 ms, so it is done once a day and model.
    """

    def __init__(
        self, source: str = "", *, agreed: Sequence[Entry] = (), table: Mapping[tuple[str, str], Price] | None = None
    ) -> None:
        self._agreed = Agreed(agreed, source)
        self._has_agreed = bool(self._agreed)
        self._table = table or {}
        self._known: dict[tuple[str, str, float], Price | None] = {}

    def __call__(self, span: Span) -> None:
        """Set `cost` and `cost_source` of a model call, or the reason why it has none in `unpriced`.

        Usage that cannot be right is told in `invalid_usage`, and is not priced. A call that failed
        without using tokens has neither cost nor reason: there is nothing to price.
        """
        given, taken = span.input_tokens, span.output_tokens
        parts = _NONE
        if span.cache_read_tokens or span.cache_write_tokens or span.reasoning_tokens:
            parts = _parts(span)
        if self._has_agreed and self._agree(span, parts):
            return
        if span.cost is not None:
            span.cost_source = "reported"
            return
        if (given is None and taken is None) or span.invalid_usage or not span.model:
            span.unpriced = _lack(span)
            return
        time = span.time
        key = (span.provider, span.model, time // DAY)
        try:
            price = self._known[key]
        except KeyError:
            price = self._find(key)
        if price is None:
            span.unpriced = "unknown_model"
        elif not price.tiers:
            span.unpriced = "not_by_token"
        else:
            rates = price.rates(given or 0, time % DAY) if price.starts or price.turns else price.tiers[0]
            span.cost = cost(rates, given or 0, taken or 0, parts)
            span.cost_source = "computed"
            if parts is not _NONE:
                _compare(span, rates, parts)

    def _agree(self, span: Span, parts: Parts) -> bool:
        """Price a call as agreed, if that was and the call's usage allows it."""
        found = self._agreed(span)
        if found is None:
            return False
        entry, rates = found
        known = span.input_tokens is not None or span.output_tokens is not None
        if entry.by_call:
            if span.error and not known:
                return False
            span.cost = rates.call
        elif not known or span.invalid_usage:
            return False
        else:
            span.cost = cost(rates, span.input_tokens or 0, span.output_tokens or 0, parts)
            _compare(span, rates, parts)
        span.cost_source = "override"
        return True

    def _find(self, key: tuple[str, str, float]) -> Price | None:
        provider, model, day = key
        if len(provider) + len(model) > _LONGEST:
            return None
        price = list_price(provider, model, day)
        if price is None or not price.tiers:
            price = table_price(self._table, provider, model) or price
        if len(self._known) >= _KNOWN:
            self._known.clear()
        self._known[key] = price
        return price


_NONE = (0, 0, 0)


def _parts(span: Span) -> Parts:
    """Return the tokens read from a cache, written to it and spent on reasoning. Says of usage that it is
    invalid when a part exceeds its whole, as it does where input is counted without what is cached."""
    read, write, reasoned = span.cache_read_tokens or 0, span.cache_write_tokens or 0, span.reasoning_tokens or 0
    if read + write > (span.input_tokens or 0):
        span.invalid_usage = "cache_exceeds_input"
    elif reasoned > (span.output_tokens or 0):
        span.invalid_usage = "reasoning_exceeds_output"
    return read, write, reasoned


def _compare(span: Span, rates: Rates, parts: Parts) -> None:
    """Say what a cache saved and cost in a call, against the same call without one: nothing where tokens read from
    it or written to it have no price of their own, but cost what fresh ones do."""
    read, written, _ = parts
    if read and rates.cache_read < rates.input:
        span.cache_saving = read * (rates.input - rates.cache_read)
    if written and rates.cache_write > rates.input:
        span.cache_surcharge = written * (rates.cache_write - rates.input)


def _lack(span: Span) -> str:
    """Return why a call cannot be priced whatever the prices are; nothing for one that failed and used nothing."""
    if span.input_tokens is None and span.output_tokens is None:
        return "no_split" if span.unsplit_tokens is not None else "" if span.error else "no_usage"
    return "invalid_usage" if span.invalid_usage else "no_model"
