"""The cost of a call, against the providers' list prices, multiplied by hand."""

import subprocess
import sys
import tracemalloc
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        # All of it from the cache, and written to it.
        (
            "gpt-4o-mini", "openai", {"input_tokens": 100, "output_tokens": 0, "cache_read_tokens": 100},
            100 * 0.075 * MILLION,
        ),
        (
            "claude-sonnet-4-5", "anthropic", {"input_tokens": 100, "cache_write_tokens": 100, "output_tokens": 1},
            (100 * 3.75 + 1 * 15) * MILLION,
        ),
        # Reasoning is output like any other, 10 and 40 a million later 2 and 8: see below.
        (
            "o3", "openai", {"input_tokens": 1000, "output_tokens": 900, "reasoning_tokens": 800},
            (1000 * 2 + 900 * 8) * MILLION,
        ),
        # But here: 2 in, 8 out, 3 for reasoning.
        (
            "perplexity/sonar-deep-research", "openrouter",
            {"input_tokens": 1000, "output_tokens": 900, "reasoning_tokens": 800},
            (1000 * 2 + 100 * 8 + 800 * 3) * MILLION,
        ),
        # 3 and 15, and USD 14 for a thousand requests.
        (
            "sonar-pro", "perplexity", {"input_tokens": 1000, "output_tokens": 500},
            (1000 * 3 + 500 * 15) * MILLION + 0.014,
        ),
        ("sonar-pro", "perplexity", {"input_tokens": 0, "output_tokens": 0}, 0.014),
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


@pytest.mark.parametrize(
    ("moment", "rates"),
    [
        # DeepSeek's nights were at half price until September 2025, 16:30 to 00:30 UTC.
        ("2025-05-01T00:29:59", (0.135, 0.55)),
        ("2025-05-01T00:30:00", (0.27, 1.10)),
        ("2025-05-01T16:29:59", (0.27, 1.10)),
        ("2025-05-01T16:30:00", (0.135, 0.55)),
    ],
)
def test_a_price_that_changes_at_an_hour_is_that_of_the_hour(moment, rates):
    span = Span(
        "inference", True, "t", "s", time=at(moment), model="deepseek-chat", provider="deepseek",
        input_tokens=1000, output_tokens=500,
    )  # fmt: skip
    Prices()(span)
    assert span.cost == pytest.approx((1000 * rates[0] + 500 * rates[1]) * MILLION, rel=1e-9)


@pytest.mark.parametrize(
    ("model", "provider", "parts", "saving", "surcharge"),
    [
        # 3 a million, 0.30 from the cache, 3.75 into it.
        ("claude-sonnet-4-5", "anthropic", {"cache_read_tokens": 800}, 800 * 2.70 * MILLION, None),
        ("claude-sonnet-4-5", "anthropic", {"cache_write_tokens": 100}, None, 100 * 0.75 * MILLION),
        (
            "claude-sonnet-4-5", "anthropic", {"cache_read_tokens": 800, "cache_write_tokens": 100},
            800 * 2.70 * MILLION, 100 * 0.75 * MILLION,
        ),
        # 0.15 and 0.075; into the cache they cost what they cost.
        ("gpt-4o-mini", "openai", {"cache_read_tokens": 600, "cache_write_tokens": 100}, 600 * 0.075 * MILLION, None),
        # No price of its own for a cached token.
        ("gpt-4", "openai", {"cache_read_tokens": 600}, None, None),
        ("gpt-4o-mini", "openai", {"reasoning_tokens": 5}, None, None),
        ("gpt-4o-mini", "openai", {}, None, None),
    ],
)  # fmt: skip
def test_what_a_cache_saved_and_cost_is_known_where_its_price_is(model, provider, parts, saving, surcharge):
    span = priced(model, provider, input_tokens=1000, output_tokens=10, **parts)
    assert span.cost_source == "computed"
    assert (span.cache_saving, span.cache_surcharge) == (pytest.approx(saving), pytest.approx(surcharge))
    reported = priced(model, provider, input_tokens=1000, output_tokens=10, cost=0.5, **parts)
    assert (reported.cache_saving, reported.cache_surcharge) == (None, None)


@pytest.mark.parametrize(
    ("usage", "reason"),
    [
        # Stores that count input without what is cached; a store that says nothing of the input.
        ({"input_tokens": 100, "output_tokens": 9, "cache_read_tokens": 101}, "cache_exceeds_input"),
        ({"input_tokens": 100, "cache_read_tokens": 60, "cache_write_tokens": 41}, "cache_exceeds_input"),
        ({"output_tokens": 9, "cache_read_tokens": 1}, "cache_exceeds_input"),
        ({"input_tokens": 100, "output_tokens": 9, "reasoning_tokens": 10}, "reasoning_exceeds_output"),
        ({"input_tokens": 100, "output_tokens": 9, "reasoning_tokens": 9, "cache_read_tokens": 100}, ""),
        ({"input_tokens": 100, "output_tokens": 9, "reasoning_tokens": 0, "cache_read_tokens": 0}, ""),
    ],
)
def test_parts_that_exceed_their_whole_are_told_and_never_priced(usage, reason):
    span = priced(**usage)
    assert (span.invalid_usage, span.unpriced) == (reason, "invalid_usage" if reason else "")
    assert (span.cost is None) == bool(reason)
    reported = priced(cost=0.5, **usage)
    assert (reported.invalid_usage, reported.unpriced, reported.cost) == (reason, "", 0.5)


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
        # In the list without a price of tokens: of audio by the hour, which 10 tokens say nothing of.
        ("whisper-1", {"input_tokens": 10, "output_tokens": 1}, "not_by_token"),
        # A failed call that used nothing has nothing to price.
        ("gpt-4o-mini", {"error": "timeout"}, ""),
        ("gpt-4o-mini", {"error": "timeout", "unsplit_tokens": 5}, "no_split"),
    ],
)
def test_a_call_without_a_price_says_why_and_costs_nothing_known(model, fields, reason):
    span = priced(model, **fields)
    assert (span.cost, span.cost_source, span.unpriced) == (None, "", reason)


SONNET, GPT_4O, GEMINI = 3, 2.5, 1.25  # USD for a million input tokens


@pytest.mark.parametrize(
    ("model", "provider", "rate"),
    [
        # The adapter is named after an SDK: models of others behind it are looked for everywhere.
        ("claude-sonnet-4-5", "openai", SONNET),
        ("claude-sonnet-4-5", "", SONNET),
        ("gpt-4o-mini", "", 0.15),
        ("GPT-4o", "OpenAI", GPT_4O),
        ("gpt-4o", "litellm", GPT_4O),
        # OpenTelemetry's names of providers that the list knows under another.
        ("gemini-2.5-pro", "gcp.gemini", GEMINI),
        ("gemini-2.5-pro", "gcp.gen_ai", GEMINI),
        ("gemini-2.5-pro", "gcp.vertex_ai", GEMINI),
        ("grok-4", "x_ai", 3),
        ("gpt-4o", "azure.ai.openai", GPT_4O),
        ("gpt-4o", "azure.ai.inference", GPT_4O),
        ("mistral-large-latest", "mistral_ai", 2),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "aws.bedrock", 3.3),
        # Names with the provider before them, or as a cloud has them.
        ("openai/gpt-4o", "", GPT_4O),
        ("azure/gpt-4o", "", GPT_4O),
        ("openai/gpt-4o", "azure", GPT_4O),
        ("openai:gpt-4o", "", GPT_4O),
        ("litellm_proxy/azure/gpt-4o", "", GPT_4O),
        ("anthropic:claude-sonnet-4-5", "", SONNET),
        ("models/gemini-2.5-pro", "", GEMINI),
        ("models/gemini-2.5-pro", "google", GEMINI),
        ("gemini/gemini-2.5-pro", "", GEMINI),
        ("projects/p/locations/l/publishers/google/models/gemini-2.5-pro", "", GEMINI),
        ("bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0", "", 3.3),
        ("bedrock/us-east-1/anthropic.claude-sonnet-4-5-20250929-v1:0", "litellm", 3.3),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "", 3.3),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws", 3.3),
        ("openrouter/anthropic/claude-3.5-sonnet", "", SONNET),
        ("ft:gpt-4o-mini-2024-07-18:acme::x", "", 0.3),
        # Dates: as the list has them, written closely, and of an issue that is yet to be listed.
        ("gpt-4o-2024-08-06", "openai", GPT_4O),
        ("gpt-4o-20240806", "openai", GPT_4O),
        ("claude-sonnet-4-5@20250929", "gcp.vertex_ai", SONNET),
        ("claude-sonnet-4-5-20991231", "anthropic", SONNET),
    ],
)
def test_a_model_is_found_by_the_names_that_providers_gateways_and_clouds_give_it(model, provider, rate):
    span = priced(model, provider, input_tokens=1000, output_tokens=0)
    assert (span.cost, span.unpriced) == (pytest.approx(1000 * rate * MILLION), "")
    assert (span.model, span.provider) == (model, provider)


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("llama3.2", "ollama"),
        ("deepseek-r1", "ollama"),
        ("deepseek-r1:7b", ""),
        ("deepseek-r1:latest", "openai"),
        ("ollama/deepseek-r1", ""),
        ("hosted_vllm/gpt-oss-120b", "litellm"),
        # Of somebody else: what it costs there is not known.
        ("gpt-4o", "ibm.watsonx.ai"),
        ("claude-sonnet-4-5", "aws.bedrock"),
    ],
)
def test_a_model_on_a_machine_of_one_s_own_or_at_another_seller_has_no_list_price(model, provider):
    span = priced(model, provider, input_tokens=10, output_tokens=1)
    assert (span.cost, span.unpriced) == (None, "unknown_model")


NUMBERS = st.none() | st.integers(0, 2**63)


@given(
    model=st.text(max_size=300) | st.sampled_from(["gpt-4o", "o3", "deepseek-chat", "a/b/c/d", "models/", "openai/:"]),
    provider=st.text(max_size=20) | st.sampled_from(["openai", "aws.bedrock", "azure", "deepseek"]),
    time=st.floats(),
    counts=st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    cost=st.none() | st.floats(0, 1e9),
)
def test_every_call_is_priced_or_has_a_reason_whatever_a_store_says(model, provider, time, counts, cost):
    given_, taken, read, write, reasoned, unsplit = counts
    span = Span(
        "inference", True, "t", "s", time=time, model=model, provider=provider, input_tokens=given_,
        output_tokens=taken, cache_read_tokens=read, cache_write_tokens=write, reasoning_tokens=reasoned,
        unsplit_tokens=unsplit, cost=cost,
    )  # fmt: skip
    PRICES(span)
    assert (span.cost is None) == bool(span.unpriced) == (not span.cost_source)
    assert span.cost is None or span.cost >= 0


PRICES = Prices()


def test_names_without_end_take_no_more_memory_than_a_few_thousand():
    prices = Prices()

    def ask(begin: int, end: int) -> None:
        for number in range(begin, end):
            prices(Span("inference", True, "t", "s", model=f"m{number}", provider=f"p{number}", input_tokens=1))

    ask(0, 12_000)
    tracemalloc.start()
    try:
        ask(12_000, 24_000)
        assert tracemalloc.get_traced_memory()[0] < 8 << 20
        for number in range(40):
            prices(Span("inference", True, "t", "s", model=str(number) * (1 << 20), input_tokens=1))
        assert tracemalloc.get_traced_memory()[0] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_store_that_reports_its_costs_does_not_pay_for_the_price_list():
    """The list takes 40 MB and a fifth of a second: it is loaded by the first call that needs it."""
    script = """
import sys
from exporters.pricing import Prices
from exporters.span import Span
prices = Prices()
prices(Span("inference", True, "t", "s", model="gpt-4o", input_tokens=1, cost=0.5))
assert not {"genai_prices", "yaml"} & sys.modules.keys()
prices(Span("inference", True, "t", "s", model="gpt-4o", input_tokens=1))
assert "genai_prices" in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
