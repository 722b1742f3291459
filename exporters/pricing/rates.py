"""What a token costs: rates by class of token, for a length of prompt and a time of day."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """USD per token of each class, and per call. `input` is for tokens that no cache has to do with."""

    input: float
    output: float
    cache_read: float
    cache_write: float
    reasoning: float
    call: float = 0.0


@dataclass(frozen=True, slots=True)
class Price:
    """A model's price on one day.

    `tiers[i]` holds above `starts[i - 1]` input tokens, for all tokens of the call: "cliffs", as
    providers have them. `turns` are the times of the day, seconds, at which another price begins,
    and `others` those prices; most models have none.
    """

    tiers: tuple[Rates, ...]
    starts: tuple[int, ...] = ()
    turns: tuple[float, ...] = ()
    others: "tuple[Price, ...]" = ()

    def rates(self, input_tokens: int, time_of_day: float) -> Rates:
        """Return the rates of a call with that many input tokens, at that second of the day."""
        if self.turns:
            turn = bisect_right(self.turns, time_of_day)
            if turn:
                return self.others[turn - 1].rates(input_tokens, time_of_day)
        return self.tiers[bisect_left(self.starts, input_tokens)] if self.starts else self.tiers[0]


# Tokens read from a cache and written to it, which are parts of the input tokens, and tokens spent on
# reasoning, a part of the output tokens.
Parts = tuple[int, int, int]


def cost(rates: Rates, given: int, taken: int, parts: Parts) -> float:
    """Return the USD of a call with `given` input and `taken` output tokens, which the parts do not exceed."""
    read, write, reasoned = parts
    return (
        (given - read - write) * rates.input
        + read * rates.cache_read
        + write * rates.cache_write
        + (taken - reasoned) * rates.output
        + reasoned * rates.reasoning
        + rates.call
    )
