"""What the portal finds in the numbers of several signals, and when it says nothing."""

import re

import pytest

from streamlit_portal import findings, noise
from streamlit_portal.advice import Advice, Use, advise
from streamlit_portal.prometheus import Answer, Series
from streamlit_portal.versions import Version, differences


@pytest.mark.parametrize(
    ("bad", "count", "other_bad", "other_count", "chance"),
    [
        # 10 of 100 and 20 of 100: z = 0.1 / sqrt(0.15 * 0.85 * 0.02) = 1.980.
        (10, 100, 20, 100, 0.0477),
        (100, 1000, 200, 1000, 0.0),
        (15, 100, 15, 100, 1.0),
        (0, 100, 0, 50, 1.0),
        (0, 0, 5, 10, 1.0),
    ],
)
def test_the_chance_of_two_shares(
    bad: float, count: float, other_bad: float, other_count: float, chance: float
) -> None:
    assert noise.of_shares(bad, count, other_bad, other_count) == pytest.approx(chance, abs=1e-4)
    assert noise.of_shares(other_bad, other_count, bad, count) == pytest.approx(chance, abs=1e-4)


@pytest.mark.parametrize(
    ("counts", "others", "chance"),
    [
        # U = 0 of 9; the variance is 9 / 12 * (7 - 48 / 30) = 4.05, and z = 4.5 / 2.012 = 2.236.
        ((3, 0), (0, 3), 0.0253),
        # U = 50 * 50 + 50 * 75 = 6250 of 10000, where half is chance's: as many more in the second as in the first.
        ((50, 50), (50, 50), 1.0),
        ((100, 0, 0), (0, 0, 100), 0.0),
        ((5, 0), (9, 0), 1.0),
        ((), (), 1.0),
        ((0, 0), (4, 4), 1.0),
    ],
)
def test_the_chance_of_two_histograms(counts: tuple[float, ...], others: tuple[float, ...], chance: float) -> None:
    assert noise.of_durations(counts, others) == pytest.approx(chance, abs=1e-4)
    assert noise.of_durations(others, counts) == pytest.approx(chance, abs=1e-4)


DEAR = Use(agent="a", model="dear", calls=1000, failed=0.02, p95=10.0, cost=0.01)


def cheap(**but: float) -> Use:
    fields = {"calls": 500.0, "failed": 0.02, "p95": 10.0, "cost": 0.002} | but
    return Use(agent="a", model="cheap", **fields)


@pytest.mark.parametrize(
    "one",
    [
        cheap(),
        cheap(calls=200.0),
        cheap(cost=0.008),
        cheap(p95=12.0),
        # 3 % of 500 beside 2 % of 1000: z = 1.2, which is chance.
        cheap(failed=0.03),
        cheap(failed=0.0),
    ],
    ids=["as good", "just enough calls", "just cheap enough", "just fast enough", "no worse than chance", "better"],
)
def test_a_cheaper_model_that_did_as_well_is_named_with_what_it_saves(one: Use) -> None:
    assert list(advise([DEAR, one])) == [Advice(dear=DEAR, cheap=one, saving=pytest.approx(1000 * (0.01 - one.cost)))]


@pytest.mark.parametrize(
    "one",
    [
        cheap(calls=199.0),
        cheap(cost=0.0081),
        cheap(p95=12.1),
        # 5 % of 500 beside 2 % of 1000: z = 3.2.
        cheap(failed=0.05),
        Use(agent="b", model="cheap", calls=500, failed=0.02, p95=10.0, cost=0.002),
    ],
    ids=["too few calls", "not cheap enough", "too slow", "fails more", "of another agent"],
)
def test_nothing_is_said_of_what_is_not_as_good_or_not_known_to_be(one: Use) -> None:
    assert list(advise([DEAR, one])) == []


def test_the_cheapest_is_named_and_the_largest_saving_stands_first() -> None:
    cheapest = Use(agent="a", model="cheapest", calls=300, failed=0.02, p95=9.0, cost=0.001)
    other = [
        Use(agent="b", model=model, calls=9000, failed=0.0, p95=1.0, cost=cost)
        for model, cost in (("x", 0.01), ("y", 0.005))
    ]
    found = [(one.dear.agent, one.dear.model, one.cheap.model) for one in advise([DEAR, cheap(), cheapest, *other])]
    # 9000 * 0.005 = 45; 1000 * 0.009 = 9; 500 * 0.001 = 0.5.
    assert found == [("b", "x", "y"), ("a", "dear", "cheapest"), ("a", "cheap", "cheapest")]


def version(name: str, runs: float, failed: float, *buckets: float) -> Version:
    return Version(agent="a", version=name, runs=runs, failed=failed, p95=1.0, buckets=buckets)


def said(*found: Version) -> list[tuple[str, str, str, str]]:
    return [(one.version.version, one.usual.version, one.failures, one.durations) for one in differences(found)]


def test_a_version_stands_beside_the_one_that_is_used_most() -> None:
    usual = version("1", 1000, 0.05, 500, 500)
    worse = version("2", 400, 0.15, 50, 350)
    same = version("3", 400, 0.06, 190, 210)
    better = version("4", 400, 0.005, 390, 10)
    assert said(usual, worse, same, better) == [
        ("2", "1", "Fails more", "Slower"),
        ("3", "1", "May be chance", "May be chance"),
        ("4", "1", "Fails less", "Faster"),
    ]


def test_few_runs_say_nothing_and_one_version_is_compared_with_none() -> None:
    usual, few = version("1", 1000, 0.0, 1000, 0), ("Fewer than 30 runs", "Fewer than 30 good runs")
    assert said(usual, version("2", 29, 0.0, 0, 29)) == [("2", "1", *few)]
    assert said(usual, version("2", 100, 0.75, 0, 25)) == [("2", "1", "Fails more", few[1])]
    assert said(version("1", 1000, 0.0, 1000, 0)) == []


def test_the_buckets_of_a_version_are_counts_of_their_own() -> None:
    labels = {"gen_ai_agent_name": "a", "gen_ai_agent_version": "1"}
    answer = Answer(
        series=tuple(
            Series(labels={**labels, "le": le}, points=((0.0, count),))
            for le, count in (("10.0", 7.0), ("+Inf", 9.0), ("2.0", 4.0))
        )
    )
    assert dict(findings._buckets(answer)) == {("a", "1"): (4.0, 3.0, 2.0)}


def test_only_a_quantile_has_buckets() -> None:
    counted = findings._counted(findings.SIGNALS["version_latency_p95"])
    assert re.match(r"sum by \(gen_ai_agent_name, gen_ai_agent_version, le\) \(increase\(", counted.expr)
    with pytest.raises(ValueError, match="version_runs is not a 95th percentile"):
        findings._counted(findings.SIGNALS["version_runs"])
