"""Tokens: how many, of which kind, and what is not known."""

from exporters.catalogue.model import Signal
from exporters.catalogue.signals.parts import QUANTILES, TOKENS_BY_CLASS, quantiles

_INPUT_OUTPUT = (
    ("input", "blue"),
    ("output", "purple"),
    ("cache read", "green"),
    ("cache write", "yellow"),
    ("reasoning", "dark-purple"),
    ("not split", "text"),
)

_OF_WHICH = "\nor ".join(
    f"label_replace(60 * sum(rate(gen_ai_client_inference_usage_{part}_tokens_total{{$where}}[$window])), "
    f'"class", "{words}", "", "")'
    for part, words in (
        ("cache_read_input", "cache read"),
        ("cache_write_input", "cache write"),
        ("reasoning_output", "reasoning"),
    )
)

TOKENS = (
    Signal(
        name="tokens",
        title="Tokens",
        unit="short",
        expr=f"sum({TOKENS_BY_CLASS})",
        means="Tokens of model calls in the time range. Calls of unknown usage are left out.",
        view="stat",
        over="range",
        decimals=1,
    ),
    Signal(
        name="tokens_by_class",
        title="Tokens per minute by class",
        unit="short",
        expr=f"60 * sum by (class) ({TOKENS_BY_CLASS.replace('increase(', 'rate(')})",
        means="Tokens of model calls per minute. 'not split' are totals of stores that do not tell input from output.",
        by=("class",),
        view="stacked",
        colours=_INPUT_OUTPUT,
    ),
    Signal(
        name="tokens_of_which",
        title="Cached and reasoning tokens per minute",
        unit="short",
        expr=_OF_WHICH,
        means="Parts of the input that the providers read from their cache or wrote to it, and of the output that was "
        "spent on reasoning, where the store says.",
        by=("class",),
        empty="Not recorded",
        colours=_INPUT_OUTPUT,
    ),
    Signal(
        name="cache_share",
        title="Input from cache",
        unit="percentunit",
        expr="sum(increase(gen_ai_client_inference_usage_cache_read_input_tokens_total{$where}[$window]))"
        "\n/ (sum(increase(gen_ai_client_inference_usage_input_tokens_total{$where}[$window])) > 0)",
        means="Share of the input tokens that providers read from their cache, at a fraction of the price. "
        "Stores that do not say are in the divisor only.",
        view="stat",
        over="range",
        decimals=1,
        better="higher",
        empty="Unknown",
    ),
    Signal(
        name="tokens_per_call",
        title="Input tokens per model call",
        unit="short",
        expr=quantiles("gen_ai_client_inference_operation_input_tokens"),
        means="How large the prompts are. A rising percentile is a conversation that is never cut.",
        by=("stat",),
        decimals=0,
        colours=QUANTILES,
    ),
    Signal(
        name="output_tokens_per_call",
        title="Output tokens per model call",
        unit="short",
        expr=quantiles("gen_ai_client_inference_operation_output_tokens"),
        means="How large the answers are, reasoning included.",
        by=("stat",),
        decimals=0,
        colours=QUANTILES,
    ),
    Signal(
        name="without_usage_share",
        title="Calls without usage",
        unit="percentunit",
        expr="(sum(increase(agentgauge_inference_without_usage_total{$where}[$window])) or vector(0))"
        "\n/ (sum(increase(agentgauge_inference_calls_total{$where}[$window])) > 0)",
        means="Share of model calls for which the store has no token usage; no token or cost total holds them.",
        view="stat",
        over="range",
        decimals=1,
        better="lower",
    ),
)
