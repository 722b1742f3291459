"""Versions: how an agent's versions differ, and whether that is more than noise."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from streamlit_portal import noise

# Fewer runs of either version say nothing.
LEAST_RUNS = 30


@dataclass(frozen=True, kw_only=True)
class Version:
    """The runs of one version of an agent: how many, which share failed; p95 in seconds and buckets of good ones."""

    agent: str
    version: str
    runs: float
    failed: float
    p95: float
    buckets: Sequence[float] = ()


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A version beside the one of its agent that has most runs, and what is to be said of what differs."""

    version: Version
    usual: Version
    failures: str
    durations: str


def differences(found: Iterable[Version]) -> Iterator[Difference]:
    """Yield a difference for each version besides the most used one of its agent, in the order of their names."""
    ordered = sorted(found, key=lambda one: (one.agent, one.version))
    for _, of_agent in groupby(ordered, key=lambda one: one.agent):
        versions = list(of_agent)
        usual = max(versions, key=lambda one: one.runs)
        for one in versions:
            if one is not usual:
                yield Difference(
                    version=one, usual=usual, failures=_failures(one, usual), durations=_durations(one, usual)
                )


def _failures(one: Version, usual: Version) -> str:
    chance = noise.of_shares(one.failed * one.runs, one.runs, usual.failed * usual.runs, usual.runs)
    return _said("runs", (one.runs, usual.runs), chance, "Fails more" if one.failed > usual.failed else "Fails less")


def _durations(one: Version, usual: Version) -> str:
    chance = noise.of_durations(one.buckets, usual.buckets)
    good = sum(one.buckets), sum(usual.buckets)
    return _said("good runs", good, chance, "Slower" if _place(one.buckets) > _place(usual.buckets) else "Faster")


def _said(what: str, counted: tuple[float, float], chance: float, words: str) -> str:
    if min(counted) < LEAST_RUNS:
        return f"Fewer than {LEAST_RUNS} {what}"
    return words if chance < noise.SIGNIFICANT else "May be chance"


def _place(buckets: Sequence[float]) -> float:
    """Return the mean place of the runs among the buckets."""
    return sum(place * count for place, count in enumerate(buckets)) / (sum(buckets) or 1)
