"""The cost of a call, against the providers' list prices, multiplied by hand."""

from datetime import UTC, datetime

import pytest

from exporters.pricing import Prices
from exporters.span import Span

MILLION = 1e-6


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def priced(model: str = "gpt-4o-mini", provider: str = "openai", day: str = "2025-12-06", **fields: object) -> Span:
    span = Span("inference", True, "t", "s", time=at(f"{day}T12:00:00"), model=model, provider=provider, **fields)
    Prices()(span)
    return span


@pytest.mark.parametrize(
    ("model", "provider", "usage", "cost"),
    [
        # USD 0.15 and 0.60 for a million tokens.
        ("gpt-4o-mini", "openai", {"input_tokens": 1000, "output_tokens": 500}, (1000 * 0.15 + 500 * 0.60) * MILLION),
        # Half price from the cache: 0.075.
        (
            "gpt-4o-mini", "openai", {"input_tokens": 1000, "output_tokens": 500, "cache_read_tokens": 600},
            (400 * 0.15 + 600 * 0.075 + 500 * 0.60) * MILLION,
        ),
        # 3 and 15; reading the cache 0.30, writing it 3.75.
        (
            "claude-sonnet-4-5", "anthropic",
            {"input_tokens": 10_000, "cache_read_tokens": 8_000, "cache_write_tokens": 1_000, "output_tokens": 500},
            (1_000 * 3 + 8_000 * 0.30 + 1_000 * 3.75 + 500 * 15) * MILLION,
        ),
        # More cached than there was: what there was, all of it from the cache.
        (
            "gpt-4o-mini", "openai", {"input_tokens": 100, "output_tokens": 0, "cache_read_tokens": 5_000},
            100 * 0.075 * MILLION,
        ),
        ("gpt-4o-mini", "openai", {"input_tokens": 0, "output_tokens": 0}, 0.0),
        ("gpt-4o-mini", "openai", {"output_tokens": 10}, 10 * 0.60 * MILLION),
        ("gpt-4o-mini", "openai", {"input_tokens": 10}, 10 * 0.15 * MILLION),
    ],
)  # fmt: skip
def test_a_cost_is_the_list_price_of_each_class_of_tokens(model, provider, usage, cost):
    span = priced(model, provider, **usage)
    assert (span.cost, span.cost_source, span.unpriced) == (pytest.approx(cost, rel=1e-9), "computed", "")


@pytest.mark.parametrize(
    ("tokens", "rates"),
    [
        # Gemini 2.5 Pro: 1.25 and 10 up to 200,000 tokens of prompt, 2.50 and 15 above.
        (200_000, (1.25, 10)),
        (200_001, (2.50, 15)),
        (1_000, (1.25, 10)),
        (900_000, (2.50, 15)),
    ],
)
def test_a_long_prompt_costs_the_rate_of_its_tier_for_all_its_tokens(tokens, rates):
    span = priced("gemini-2.5-pro", "google", input_tokens=tokens, output_tokens=1_000)
    assert span.cost == pytest.approx((tokens * rates[0] + 1_000 * rates[1]) * MILLION, rel=1e-9)


def test_a_call_costs_what_its_model_cost_on_that_day():
    """On 10 June 2025 OpenAI took four fifths off the price of o3: from USD 10 and 40 to 2 and 8."""
    usage = {"input_tokens": 1000, "output_tokens": 500}
    before, after = priced("o3", day="2025-05-01", **usage), priced("o3", day="2025-08-01", **usage)
    assert before.cost == pytest.approx((1000 * 10 + 500 * 40) * MILLION)
    assert after.cost == pytest.approx((1000 * 2 + 500 * 8) * MILLION)
    # Also when one Prices is asked of both, in either order.
    prices = Prices()
    for day, cost in (("2025-05-01", before.cost), ("2025-08-01", after.cost), ("2025-05-01", before.cost)):
        span = Span("inference", True, "t", "s", time=at(f"{day}T12:00:00"), model="o3", provider="openai", **usage)
        prices(span)
        assert span.cost == pytest.approx(cost)


def test_a_reported_cost_stands_whatever_the_list_says():
    span = priced(input_tokens=1000, output_tokens=500, cost=0.25)
    assert (span.cost, span.cost_source, span.unpriced) == (0.25, "reported", "")
    free = priced(cost=0.0)
    assert (free.cost, free.cost_source, free.unpriced) == (0.0, "reported", "")


@pytest.mark.parametrize(
    ("model", "fields", "reason"),
    [
        ("gpt-4o-mini", {}, "no_usage"),
        ("gpt-4o-mini", {"unsplit_tokens": 181}, "no_split"),
        ("", {"input_tokens": 10, "output_tokens": 1}, "no_model"),
        ("no-such-model-9", {"input_tokens": 10, "output_tokens": 1}, "unknown_model"),
        ("x" * 5000, {"input_tokens": 10, "output_tokens": 1}, "unknown_model"),
        ("\0\ud800", {"input_tokens": 10, "output_tokens": 1}, "unknown_model"),
        # A failed call that used nothing has nothing to price.
        ("gpt-4o-mini", {"error": "timeout"}, ""),
        ("gpt-4o-mini", {"error": "timeout", "unsplit_tokens": 5}, "no_split"),
    ],
)
def test_a_call_without_a_price_says_why_and_costs_nothing_known(model, fields, reason):
    span = priced(model, **fields)
    assert (span.cost, span.cost_source, span.unpriced) == (None, "", reason)


@pytest.mark.parametrize(
    ("model", "provider", "rate"),
    [
        # The adapter is named after an SDK: models of others behind it are looked for everywhere.
        ("claude-sonnet-4-5", "openai", 3),
        ("claude-sonnet-4-5", "", 3),
        ("gpt-4o-mini", "", 0.15),
        # OpenTelemetry's names of providers that the list knows under another.
        ("gemini-2.5-pro", "gcp.gemini", 1.25),
        ("gemini-2.5-pro", "gcp.gen_ai", 1.25),
        ("grok-4", "x_ai", 3),
    ],
)
def test_a_model_is_found_also_where_the_provider_goes_by_another_name(model, provider, rate):
    span = priced(model, provider, input_tokens=1000, output_tokens=0)
    assert (span.cost, span.unpriced) == (pytest.approx(1000 * rate * MILLION), "")


def test_a_model_on_a_machine_of_one_s_own_has_no_list_price():
    span = priced("llama3.2", "ollama", input_tokens=10, output_tokens=1)
    assert (span.cost, span.unpriced) == (None, "unknown_model")
