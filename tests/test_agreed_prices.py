"""Prices of one's own: the file of negotiated prices, and the table in LiteLLM's format."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.pricing import Prices
from exporters.pricing.agreed import Agreed, Entry, read_agreed
from exporters.pricing.table import read_table
from exporters.runs import Runs
from exporters.sources import SourceError
from exporters.span import Span

MILLION = 1e-6
# What the list says of gpt-4o-mini: USD 0.15 and 0.60 for a million tokens.
LISTED = (1000 * 0.15 + 500 * 0.60) * MILLION


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def call(time: str = "2026-03-01T12:00:00", **fields: object) -> Span:
    usual = {"model": "gpt-4o-mini", "provider": "openai", "input_tokens": 1000, "output_tokens": 500}
    ids = {"trace_id": "t", "span_id": "s"}
    return Span("inference", True, time=at(time), **{**ids, **usual, **fields})


@pytest.fixture
def priced(tmp_path):
    """Price a call as a file with this text says; returns (cost, where it is from)."""

    def priced(text: str, span: Span, source: str = "prod") -> tuple[float | None, str]:
        path = tmp_path / "prices.yml"
        path.write_text(text)
        Prices(source, agreed=read_agreed(path))(span)
        return span.cost, span.cost_source or span.unpriced

    return priced


FLAT = "prices:\n  - {model: gpt-4o-mini, input: 1, output: 2}\n"


def test_an_agreed_price_wins_over_the_list_and_over_what_the_store_reports(priced):
    agreed = (pytest.approx((1000 * 1 + 500 * 2) * MILLION, rel=1e-9), "override")
    assert priced(FLAT, call()) == agreed
    assert priced(FLAT, call(cost=0.25)) == agreed
    assert priced(FLAT, call(model="gpt-4o", cost=0.25)) == (0.25, "reported")
    assert priced("prices: []", call()) == (pytest.approx(LISTED), "computed")


def test_every_class_of_tokens_has_its_price_and_else_that_of_what_it_is_a_part_of(priced):
    usage = {
        "input_tokens": 1000, "cache_read_tokens": 600, "cache_write_tokens": 100, "output_tokens": 500,
        "reasoning_tokens": 200,
    }  # fmt: skip
    every = """
prices:
  - {model: gpt-4o-mini, input: 10, output: 40, cache_read: 1, cache_write: 12.5, reasoning: 30, call: 0.001}
"""
    by_hand = (300 * 10 + 600 * 1 + 100 * 12.5 + 300 * 40 + 200 * 30) * MILLION + 0.001
    assert priced(every, call(**usage))[0] == pytest.approx(by_hand, rel=1e-9)
    plain = "prices: [{model: gpt-4o-mini, input: 10, output: 40}]"
    assert priced(plain, call(**usage))[0] == pytest.approx((1000 * 10 + 500 * 40) * MILLION, rel=1e-9)
    assert priced(plain, call(input_tokens=0, output_tokens=0)) == (0.0, "override")
    assert priced("prices: [{model: gpt-4o-mini, input: 0, output: 0}]", call()) == (0.0, "override")


@pytest.mark.parametrize(
    ("time", "cost"),
    [
        ("2025-12-31T23:59:59", LISTED),
        ("2026-01-01T00:00:00", (1000 * 1 + 500 * 2) * MILLION),
        ("2026-06-30T23:59:59", (1000 * 1 + 500 * 2) * MILLION),
        ("2026-07-01T00:00:00", (1000 * 3 + 500 * 4) * MILLION),
        ("2030-01-01T00:00:00", (1000 * 3 + 500 * 4) * MILLION),
    ],
)
def test_a_price_holds_from_its_first_day_until_the_next_and_before_it_the_list_does(priced, time, cost):
    # In whatever order they stand in the file.
    entries = [
        "  - {model: gpt-4o-mini, valid_from: 2026-07-01, input: 3, output: 4}\n",
        "  - {model: gpt-4o-mini, valid_from: 2026-01-01, input: 1, output: 2}\n",
    ]
    for text in ("".join(entries), "".join(reversed(entries))):
        assert priced("prices:\n" + text, call(time))[0] == pytest.approx(cost, rel=1e-9)


@pytest.mark.parametrize(
    ("scope", "fields", "is_meant"),
    [
        ("model: 'gpt-4o*'", {}, True),
        ("model: 'GPT-4O-?ini'", {}, True),
        ("model: gpt-4o", {}, False),
        ("model: gpt-4o", {"model": "gpt-4o-2024-08-06"}, True),
        ("model: gpt-4o", {"model": "openai/gpt-4o"}, True),
        ("model: openai/gpt-4o", {"model": "openai/gpt-4o"}, True),
        ("model: 'llama*', provider: ollama", {"model": "llama3.2:7b", "provider": "ollama"}, True),
        ("model: '*', provider: openai", {}, True),
        ("model: '*', provider: azure", {}, False),
        ("model: '*', provider: azure", {"provider": "azure.ai.openai"}, True),
        ("model: '*', provider: 'azure*'", {"provider": "azure.ai.openai"}, True),
        ("model: '*', provider: openai", {"provider": ""}, False),
        ("model: '*', provider: openai", {"provider": "", "model": "openai/gpt-4o"}, True),
        ("model: '*', agent: Scout", {"agent": "scout"}, True),
        ("model: '*', agent: Scout", {"agent": ""}, False),
        ("model: '*', environment: 'prod*'", {"environment": "production"}, True),
        ("model: '*', environment: 'prod*'", {}, False),
        ("model: '*', source: prod", {}, True),
        ("model: '*', source: test", {}, False),
    ],
)
def test_an_entry_is_of_the_calls_that_all_its_names_match(priced, scope, fields, is_meant):
    cost, source = priced(f"prices: [{{{scope}, input: 1, output: 2}}]", call(**fields))
    assert (source == "override") == is_meant
    if is_meant:
        assert cost == pytest.approx((1000 * 1 + 500 * 2) * MILLION)


def test_a_price_agreed_for_an_agent_is_of_calls_that_only_their_run_names():
    entry = Entry(model="*", agent="Scout", input=1, output=2)
    runs = Runs(Prices(agreed=[entry]), lambda _: None)
    time = at("2026-03-01")
    outcome = runs.add(
        [Span("run", False, "t", "r", time=time, agent="Scout"), call(parent_id="r"), call(trace_id="t2")], time + 60
    )
    assert [(span.agent, span.cost_source) for span in outcome.ended] == [("Scout", "override"), ("", "computed")]


def test_the_first_entry_that_matches_and_has_begun_decides(priced):
    text = """
prices:
  - {model: 'gpt-4o*', agent: Scout, valid_from: 2026-02-01, input: 1, output: 0}
  - {model: 'gpt-4o*', valid_from: 2026-01-01, input: 2, output: 0}
  - {model: 'gpt-4o*', valid_from: 2026-03-01, input: 3, output: 0}
  - {model: '*', input: 4, output: 0}
"""
    for agent, day, input_price in [
        ("Scout", "2026-01-15", 2),
        ("Scout", "2026-02-15", 1),
        ("Scout", "2026-03-15", 1),
        ("Other", "2026-02-15", 2),
        ("Other", "2026-03-15", 3),
        ("Other", "2025-06-01", 4),
    ]:
        span = call(f"{day}T00:00:00", agent=agent)
        assert priced(text, span) == (pytest.approx(1000 * input_price * MILLION), "override"), (agent, day)


def test_a_price_by_the_call_needs_no_tokens_and_one_by_the_token_does(priced):
    by_call = "prices: [{model: gpt-4o-mini, call: 0.004}]"
    unknown = {"input_tokens": None, "output_tokens": None}
    assert priced(by_call, call()) == (0.004, "override")
    assert priced(by_call, call(**unknown)) == (0.004, "override")
    assert priced(by_call, call(error="timeout", **unknown)) == (None, "")
    assert priced(FLAT, call(**unknown)) == (None, "no_usage")
    assert priced(FLAT, call(cost=0.25, **unknown)) == (0.25, "reported")
    assert priced(FLAT, call(cache_read_tokens=1001)) == (None, "invalid_usage")
    assert priced(FLAT, call(cache_read_tokens=1001, cost=0.25)) == (0.25, "reported")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "should be 'prices:' and under it a list of entries"),
        ("- {model: a}", "should be 'prices:' and under it a list of entries"),
        ("price: []", "should be 'prices:' and under it a list of entries"),
        ("prices: {model: a}", "should be 'prices:' and under it a list of entries"),
        ("prices:\n  - model: [", "line 2: not YAML"),
        ("prices:\n\t- a", "line 2: not YAML"),
        ("prices: [!!python/object/apply:os.system [id]]", "line 1: not YAML"),
        ("prices: [a]", "entry 1: expected `object`, got `str`"),
        ("prices: [{input: 1, output: 2}]", "entry 1: object missing required field `model`"),
        ("prices: [{model: '', input: 1, output: 2}]", "entry 1 (): model: expected `str` of length >= 1"),
        ("prices: [{model: m, input: 1, output: 2}, {model: n, inptu: 1}]", "entry 2 (n): object contains unknown fi"),
        ("prices: [{model: m, input: '1', output: 2}]", "entry 1 (m): input: expected `float | null`, got `str`"),
        ("prices: [{model: m, input: yes, output: 2}]", "entry 1 (m): input: expected `float | null`, got `bool`"),
        ("prices: [{model: m, input: -1, output: 2}]", "entry 1 (m): input: expected `float` >= 0.0"),
        ("prices: [{model: m, input: .nan, output: 2}]", "entry 1 (m): input: "),
        ("prices: [{model: m, input: .inf, output: 2}]", "entry 1 (m): input: expected `float` <= 100000.0"),
        ("prices: [{model: m, input: 1}]", "entry 1 (m): output: is missing"),
        ("prices: [{model: m, output: 1}]", "entry 1 (m): input: is missing"),
        ("prices: [{model: m}]", "entry 1 (m): input: is missing"),
        ("prices: [{model: m, call: 1, cache_read: 1}]", "entry 1 (m): input: is missing"),
        ("prices: [{model: m, valid_from: soon, input: 1, output: 2}]", "entry 1 (m): valid_from: invalid RFC3339"),
        ("prices: [{model: m, valid_from: 2026-01-01T10:00:00Z, input: 1, output: 2}]", "entry 1 (m): valid_from: "),
        ("prices: [{model: m, valid_from: 2026-02-30, input: 1, output: 2}]", "not YAML"),
        ("prices:\n- model: m\n  input: 1\n  input: 2\n  output: 2", "line 4: 'input' is there twice"),
        ("prices: []\nprices: []", "line 2: 'prices' is there twice"),
    ],
)
def test_a_file_with_a_fault_is_refused_in_one_line_with_the_entry_and_the_field(tmp_path, text, said):
    path = tmp_path / "prices.yml"
    path.write_text(text)
    with pytest.raises(SourceError) as refused:
        read_agreed(path)
    line = str(refused.value)
    assert line.startswith(f"{path}: ")
    assert said in line
    assert "\n" not in line


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(SourceError, match="No such file or directory; name a file of prices"):
        read_agreed(tmp_path / "none.yml")
    with pytest.raises(SourceError, match="Is a directory"):
        read_agreed(tmp_path)
    (tmp_path / "latin.yml").write_bytes(b"prices: [{model: caf\xe9}]")
    with pytest.raises(SourceError, match="not UTF-8"):
        read_agreed(tmp_path / "latin.yml")


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: f"prices: {text}".encode("utf-8", "replace")))
def test_whatever_is_in_the_file_it_is_read_or_refused_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("prices") / "prices.yml"
    path.write_bytes(content)
    try:
        read_agreed(path)
    except SourceError as error:
        assert "\n" not in str(error)


def test_the_example_of_the_documentation_is_valid(tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "prices.md").read_text()
    path = tmp_path / "prices.yml"
    path.write_text(page.split("```yaml\n")[1].split("```")[0])
    assert [entry.model for entry in read_agreed(path)] == ["gpt-4o*", "gpt-4o*", "llama3.2", "our-search"]


def test_names_of_strangers_take_bounded_memory_of_a_file_of_prices(tmp_path):
    path = tmp_path / "prices.yml"
    path.write_text(FLAT)
    agreed = Agreed(read_agreed(path), "s")
    for number in range(25_000):
        agreed(call(agent=f"agent {number}"))
    agreed(call(agent="x" * 2000))
    assert 0 < len(agreed._known) <= 10_000
    assert all(sum(map(len, key)) < 1024 for key in agreed._known)


# LiteLLM's format.

TABLE = {
    "sample_spec": {"input_cost_per_token": "what a token costs", "max_tokens": "how many"},
    "our-model": {"litellm_provider": "hosted_vllm", "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06},
    "azure/our-other": {
        "litellm_provider": "azure", "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06,
        "cache_read_input_token_cost": 1e-07, "cache_creation_input_token_cost": 1.25e-06,
        "output_cost_per_reasoning_token": 3e-06, "input_cost_per_request": 0.01,
        "input_cost_per_token_above_128k_tokens": 2e-06, "output_cost_per_token_above_200k_tokens": 5e-06,
    },
    "gpt-4o-mini": {"litellm_provider": "openai", "input_cost_per_token": 9.0, "output_cost_per_token": 9.0},
    "our-pictures": {"litellm_provider": "openai", "output_cost_per_image": 0.04},
}  # fmt: skip


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps(TABLE))
    return Prices(table=read_table(path))


@pytest.mark.parametrize(
    ("model", "provider", "fields", "cost"),
    [
        ("our-model", "hosted_vllm", {}, (1000 * 1 + 500 * 2) * MILLION),
        ("hosted_vllm/our-model", "hosted_vllm", {}, (1000 * 1 + 500 * 2) * MILLION),
        ("our-model", "", {}, (1000 * 1 + 500 * 2) * MILLION),
        (
            "our-other", "azure.ai.openai",
            {"cache_read_tokens": 600, "cache_write_tokens": 100, "reasoning_tokens": 200},
            (300 * 1 + 600 * 0.1 + 100 * 1.25 + 300 * 2 + 200 * 3) * MILLION + 0.01,
        ),
        ("azure/our-other", "", {"input_tokens": 128_000}, (128_000 * 1 + 500 * 2) * MILLION + 0.01),
        ("azure/our-other", "", {"input_tokens": 128_001}, (128_001 * 2 + 500 * 2) * MILLION + 0.01),
        ("azure/our-other", "", {"input_tokens": 200_001}, (200_001 * 2 + 500 * 5) * MILLION + 0.01),
        # The list comes first: the table has no dates.
        ("gpt-4o-mini", "openai", {}, LISTED),
        ("our-pictures", "openai", {}, None),
        ("sample_spec", "", {}, None),
    ],
)  # fmt: skip
def test_a_table_prices_what_the_list_does_not_have(table, model, provider, fields, cost):
    span = call(model=model, provider=provider, **fields)
    table(span)
    assert span.cost == (None if cost is None else pytest.approx(cost, rel=1e-9))
    assert span.cost_source == ("" if cost is None else "computed")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[]", "not a table of prices in LiteLLM's format"),
        (b'{"m": 1}', "not a table of prices in LiteLLM's format"),
        (b"\xff", "not a table of prices in LiteLLM's format"),
        (b'{"m": {"input_cost_per_token": "1e-6"}}', "entry 'm': input_cost_per_token: should be USD from 0 to 10"),
        (b'{"m": {"output_cost_per_token": -1}}', "entry 'm': output_cost_per_token: should be USD"),
        (b'{"m": {"input_cost_per_token": 1000}}', "entry 'm': input_cost_per_token: should be USD"),
    ],
)
def test_a_table_with_a_fault_is_refused_with_the_entry_and_the_field(tmp_path, content, said):
    path = tmp_path / "table.json"
    path.write_bytes(content)
    with pytest.raises(SourceError) as refused:
        read_table(path)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    with pytest.raises(SourceError, match="No such file"):
        read_table(tmp_path / "none.json")
