"""Findings: tables of what the portal works out from several signals, with the numbers it goes by."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

import pandas as pd  # type: ignore[import-untyped]  # has no types of its own
import streamlit as st

from exporters.catalogue.model import Signal
from exporters.catalogue.signals import SIGNALS
from streamlit_portal import advice, lines, units, versions
from streamlit_portal.advice import Use
from streamlit_portal.prometheus import Answer, Query
from streamlit_portal.versions import Version
from streamlit_portal.widgets import Page, plain

_MONTH = 30 * 86_400
_QUANTILE = re.compile(r"histogram_quantile\(0\.95, (.*)\)", re.DOTALL)
_ARROW = "\N{RIGHTWARDS ARROW}"

Who = tuple[str, ...]
Cells = dict[str, str]

_TITLES = {
    "versions": "Versions of agents, and whether they differ by more than chance",
    "models": "Cheaper models that did as well",
}
_HOW = {
    "versions": "Each version beside the most used one of its agent. Failures by the test of two proportions, "
    "durations of good runs by that of Mann and Whitney; what chance does in one pair of a hundred is taken for "
    "chance.",
    "models": f"By the same agent, with {advice.LEAST_CALLS} calls of each or more: a fifth cheaper, not failing more "
    "often by more than chance, and good ones not slower by more than a fifth. What the answers are worth is not known "
    "here.",
}
_NOTHING = {
    "versions": "No agent has two versions with runs in the time range.",
    "models": "None in the time range.",
}


def show(finding: Literal["versions", "models"], page: Page) -> None:
    """Draw a finding, and how it was come by."""
    with st.container(key="finding", border=True, gap="xxsmall"):
        st.header(plain(_TITLES[finding]), anchor=False)
        st.caption(plain(_HOW[finding]))
        st.fragment(_drawn, run_every=page.calm)(finding, page)


def _drawn(finding: Literal["versions", "models"], page: Page) -> None:
    problem, rows = _of_versions(page) if finding == "versions" else _of_models(page)
    if problem or not rows:
        st.markdown(plain(problem or _NOTHING[finding]))
    else:
        st.dataframe(pd.DataFrame(rows), hide_index=True, alt=_TITLES[finding])


def _of_versions(page: Page) -> tuple[str, list[Cells]]:
    names = ("version_runs", "version_error_share", "version_latency_p95")
    counted = _counted(SIGNALS["version_latency_p95"])
    problem, answers = _asked(page, [*(SIGNALS[name] for name in names), counted])
    runs, failed, slow = (_numbers(SIGNALS[name], answer) for name, answer in zip(names, answers, strict=False))
    buckets = dict(_buckets(answers[-1])) if answers else {}
    found = [
        Version(
            agent=who[0], version=who[1], runs=count, failed=failed.get(who, 0.0), p95=slow.get(who, 0.0),
            buckets=buckets.get(who, ()),
        )
        for who, count in runs.items()
        if count >= 1
    ]  # fmt: skip
    return problem, [_of_difference(one) for one in versions.differences(found)]


def _of_difference(one: versions.Difference) -> Cells:
    version, usual = one.version, one.usual
    share, seconds = SIGNALS["version_error_share"], SIGNALS["version_latency_p95"]
    return {
        "Agent": version.agent,
        "Version": version.version,
        "Beside": usual.version,
        "Runs": f"{version.runs:,.0f} and {usual.runs:,.0f}",
        "Failed": f"{units.of(share, version.failed)} and {units.of(share, usual.failed)}",
        "Failures": one.failures,
        "Good run p95": f"{units.of(seconds, version.p95)} and {units.of(seconds, usual.p95)}",
        "Durations": one.durations,
    }


def _of_models(page: Page) -> tuple[str, list[Cells]]:
    names = ("agent_model_calls", "agent_model_error_share", "agent_model_latency_p95", "agent_model_cost")
    problem, answers = _asked(page, [SIGNALS[name] for name in names])
    calls, failed, slow, cost = (_numbers(SIGNALS[name], answer) for name, answer in zip(names, answers, strict=True))
    uses = [
        Use(agent=who[0], model=who[1], calls=count, failed=failed[who], p95=slow[who], cost=cost[who] / 1000)
        for who, count in calls.items()
        if who in failed and who in slow and who in cost
    ]
    return problem, [_of_advice(one, page) for one in advice.advise(uses)]


def _of_advice(one: advice.Advice, page: Page) -> Cells:
    dear, cheap = one.dear, one.cheap
    share, seconds, money = (SIGNALS[f"agent_model_{of}"] for of in ("error_share", "latency_p95", "cost"))

    def both(signal: Signal, before: float, after: float) -> str:
        return f"{units.of(signal, before)} {_ARROW} {units.of(signal, after)}"

    return {
        "Agent": dear.agent,
        "From": dear.model,
        "To": cheap.model,
        "Saving a month": units.text(one.saving * _MONTH / page.scope.span.seconds, "currencyUSD", 2),
        "Per 1,000 calls": both(money, 1000 * dear.cost, 1000 * cheap.cost),
        "Failed": both(share, dear.failed, cheap.failed),
        "Good call p95": both(seconds, dear.p95, cheap.p95),
        "Calls": f"{dear.calls:,.0f} and {cheap.calls:,.0f}",
    }


def _asked(page: Page, signals: list[Signal]) -> tuple[str, tuple[Answer, ...]]:
    now = page.now()
    answers = page.ask([Query(expr=page.scope.expression(one, page.scope.span.seconds), end=now) for one in signals])
    return next((answer.problem for answer in answers if answer.problem), ""), answers


def _counted(signal: Signal) -> Signal:
    """Return the signal of the buckets that a quantile is taken of."""
    match = _QUANTILE.fullmatch(signal.expr)
    if not match:
        raise ValueError(f"{signal.name} is not a 95th percentile")
    return replace(signal, expr=match[1], by=(*signal.by, "le"))


def _numbers(signal: Signal, answer: Answer) -> Mapping[Who, float]:
    return {lines.names(signal, series): series.points[-1][1] for series in answer.series}


def _buckets(answer: Answer) -> Iterator[tuple[Who, tuple[float, ...]]]:
    """Yield for each version how many good runs were in each bucket, from the shortest on."""
    below: dict[Who, dict[float, float]] = {}
    for who, count in _numbers(_counted(SIGNALS["version_latency_p95"]), answer).items():
        below.setdefault(who[:-1], {})[float(who[-1])] = count
    for who, bounds in below.items():
        counts = [bounds[bound] for bound in sorted(bounds)]
        yield who, tuple(max(0.0, upper - lower) for lower, upper in zip([0.0, *counts], counts, strict=False))
