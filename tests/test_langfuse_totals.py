"""A project's own totals, to hold ours against: on every surface, and within what a plan allows to ask."""

import json
from collections.abc import Iterator

import pytest
from langfuse_server import PUBLIC, SECRET, Fault, Langfuse, served

from exporters.sources import SourceError, Sums
from exporters.sources.langfuse.client import Client
from exporters.sources.langfuse.keys import Keys
from exporters.sources.langfuse.totals import AN_HOUR, Totals

START = 1_770_000_000.0


def filled(version: str) -> Langfuse:
    """Three calls within the period and one after it; and a tool call, which is none of them."""
    project = Langfuse(version)
    usage = (
        {"input": 100, "output": 20, "total": 120},
        # Anthropic's names for what was cached: part of the total, not of what the server calls input.
        {"input": 10, "output": 5, "cache_read_input_tokens": 1000, "total": 1015},
        {"input": 50, "output": 5},
    )
    for number, details in enumerate(usage):
        cost = {"costDetails": {"total": 0.25}} if number else {}
        project.add(id=f"call-{number}", start=START + number, model="gpt-4o", usageDetails=details, **cost)
    project.add(id="tool", type="TOOL", start=START + 1)
    project.add(id="after", start=START + 3600, model="gpt-4o", usageDetails={"input": 7, "total": 7})
    return project


@pytest.fixture
def totals(request: pytest.FixtureRequest) -> Iterator[tuple[Langfuse, Totals]]:
    project = filled(getattr(request, "param", "4.35.0"))
    with served(project) as url:
        client = Client(url, Keys(PUBLIC, SECRET), 5.0)
        yield project, Totals(client, "auto")
        client.close()
    assert project.breaches == []


@pytest.mark.parametrize("totals", ["3.50.0", "3.150.0", "3.225.3", "4.10.0", "4.35.0"], indirect=True)
def test_the_totals_of_a_period_are_the_same_on_every_surface(totals: tuple[Langfuse, Totals]) -> None:
    """Also where numbers are written as text."""
    assert totals[1](START, START + 3600) == Sums(calls=3, input_tokens=1160, output_tokens=30, cost=0.5)


def test_a_period_without_calls_has_none(totals: tuple[Langfuse, Totals]) -> None:
    assert totals[1](START - 7200, START - 3600) == Sums(calls=0, input_tokens=0, output_tokens=0, cost=0.0)


def test_the_same_question_is_asked_once_an_hour_and_few_others(totals: tuple[Langfuse, Totals]) -> None:
    project, ask = totals
    for _ in range(5):
        assert ask(START, START + 3600).calls == 3
    for hour in range(1, 20):
        ask(START + 3600 * hour, START + 3600 * hour + 1)
    questions = [request for request in project.requests if request.path == "/v2/metrics"]
    assert len(questions) == AN_HOUR
    # Within the 100 a day of the smallest plan.
    assert 24 * AN_HOUR <= 100
    assert ask(START + 1, START + 2) == Sums()


@pytest.mark.parametrize("totals", ["3.150.0", "3.225.3", "4.10.0", "4.35.0"], indirect=True)
def test_a_call_across_midnight_is_of_the_day_on_which_it_ended(totals: tuple[Langfuse, Totals]) -> None:
    project, ask = totals
    midnight = START - START % 86_400 + 86_400 * 3
    given = {"model": "gpt-4o", "usageDetails": {"input": 30, "output": 4, "total": 34}, "costDetails": {"total": 0.5}}
    project.add(id="within", start=midnight - 60, **given)
    project.add(id="across", start=midnight - 5, end=midnight + 5, **given)
    project.add(id="a tool", type="TOOL", start=midnight - 5, end=midnight + 5)
    project.add(id="at once", start=midnight, end=midnight + 1, **given)
    assert ask(midnight - 86_400, midnight) == Sums(calls=1, input_tokens=30, output_tokens=4, cost=0.5)
    assert ask(midnight, midnight + 86_400) == Sums(calls=2, input_tokens=60, output_tokens=8, cost=1.0)


@pytest.mark.parametrize(
    "body",
    [
        *(b"<html>", b"{}", b'{"data": 5}', b'{"data": [5]}', b"[]", b"", b"\xff", b'{"data":[{"a":tru}]}'),
        b'{"data": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"data": [{"sum_totalTokens": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}]}",
        b'{"data": [' + b"{}," * 2_000_000 + b"{}]}",
    ],
    ids=range(11),
)
@pytest.mark.parametrize("totals", ["3.50.0", "3.225.3", "4.35.0"], indirect=True)
def test_a_reply_that_is_no_total_is_said_in_one_line(totals: tuple[Langfuse, Totals], body: bytes) -> None:
    project, ask = totals
    project.fault = lambda request: Fault(200, body) if "metrics" in request.path else None
    with pytest.raises(SourceError, match="no list of totals"):
        ask(START, START + 3600)


@pytest.mark.parametrize(
    "number", ['"NaN"', '"Infinity"', "1e300", "-1e300", "1" * 300, f'"{"1" * 5000}"', '"many"', "null"]
)
def test_a_total_that_no_total_can_be_is_unknown(totals: tuple[Langfuse, Totals], number: str) -> None:
    project, ask = totals
    body = f'{{"data":[{{"count_count":{number},"sum_totalTokens":7,"sum_outputTokens":2,"sum_totalCost":{number}}}]}}'
    project.fault = lambda request: Fault(200, body.encode()) if request.path == "/v2/metrics" else None
    found = ask(START, START + 3600)
    assert (found.calls, found.input_tokens, found.output_tokens, found.cost) == (None, 5, 2, None)


@pytest.mark.parametrize("totals", ["3.50.0"], indirect=True)
def test_days_that_go_on_for_ever_have_an_end(totals: tuple[Langfuse, Totals]) -> None:
    project, ask = totals
    usage = {"model": "gpt-4o", "countObservations": 1, "totalUsage": 3, "outputUsage": 1, "totalCost": 0}
    page = json.dumps({"data": [{"usage": [usage]}] * 100}).encode()
    project.fault = lambda request: Fault(200, page) if request.path == "/metrics/daily" else None
    assert ask(START, START + 3600).calls == 1000


@pytest.mark.parametrize("totals", ["3.225.3", "4.35.0"], indirect=True)
def test_a_call_across_midnight_that_cannot_be_read_costs_itself(totals: tuple[Langfuse, Totals]) -> None:
    project, ask = totals
    midnight = START - START % 86_400 + 86_400 * 3
    for name in ("good", "deep"):
        project.add(id=name, start=midnight - 5, end=midnight + 5, usageDetails={"input": 30, "output": 4, "total": 34})
    project.observations[-1]["usageDetails"] = {"input": "<deep>"}
    project.raw["<deep>"] = b"[" * 2000 + b"]" * 2000
    project.validates = False
    project.fault = lambda request: Fault(200, b'{"data":[]}') if "metrics" in request.path else None
    assert ask(midnight, midnight + 86_400) == Sums(calls=1, input_tokens=30, output_tokens=4, cost=0.0)
