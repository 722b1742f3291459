"""Advice: which cheaper model did as well on an agent's calls, where there are enough of them to tell."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from streamlit_portal import noise

# Fewer calls of either model say nothing.
LEAST_CALLS = 200
# It has to be so much cheaper, and may be so much slower.
CHEAPER, SLOWER = 0.2, 0.2
# A model is held to do worse if it fails more often and chance would make that of one in twenty pairs alike.
_WORSE = 0.1


@dataclass(frozen=True, kw_only=True)
class Use:
    """What an agent's calls of a model were like: how many, which share failed, seconds of a good one, USD a call."""

    agent: str
    model: str
    calls: float
    failed: float
    p95: float
    cost: float


@dataclass(frozen=True, kw_only=True)
class Advice:
    """A cheaper model that did as well on the same agent's calls, and what it would have saved of them in USD."""

    dear: Use
    cheap: Use
    saving: float


def advise(uses: Iterable[Use]) -> Iterator[Advice]:
    """Yield for each agent and model the cheapest that did as well, the largest saving first.

    As well is: not failing more often by more than chance, and the 95th percentile of good calls not slower by more
    than a fifth. What the answers were worth is not known here.
    """
    enough = sorted((use for use in uses if use.calls >= LEAST_CALLS), key=lambda use: (use.agent, use.model))
    found = []
    for _, of_agent in groupby(enough, key=lambda use: use.agent):
        rivals = list(of_agent)
        for dear in rivals:
            as_good = [one for one in rivals if _is_better(one, dear)]
            if as_good:
                cheap = min(as_good, key=lambda use: use.cost)
                found.append(Advice(dear=dear, cheap=cheap, saving=dear.calls * (dear.cost - cheap.cost)))
    yield from sorted(found, key=lambda one: one.saving, reverse=True)


def _is_better(cheap: Use, dear: Use) -> bool:
    return (
        cheap.cost <= (1 - CHEAPER) * dear.cost
        and cheap.p95 <= (1 + SLOWER) * dear.p95
        and not _fails_more(cheap, dear)
    )


def _fails_more(one: Use, other: Use) -> bool:
    chance = noise.of_shares(one.failed * one.calls, one.calls, other.failed * other.calls, other.calls)
    return one.failed > other.failed and chance < _WORSE
