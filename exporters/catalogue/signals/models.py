"""Model calls: how many, how well, how fast, and which model."""

from exporters.catalogue.model import Limit, Signal
from exporters.catalogue.signals.parts import QUANTILES, TOKENS_BY_CLASS, quantiles

# Bounds of the histogram, in seconds, as its labels are written.
_WITHIN = ("0.64", "1.28", "2.56", "5.12", "10.24", "20.48", "40.96", "81.92")
_CALLS = "sum by (gen_ai_request_model) (increase(agentgauge_inference_calls_total{$where}[$window]))"
_SPEND = "sum by (gen_ai_request_model) (increase(agentgauge_cost_usd_total{$where}[$window]))"
_P95 = (
    "histogram_quantile(0.95, sum by (gen_ai_request_model, le) "
    '(increase(gen_ai_client_inference_duration_seconds_bucket{error_type="",$where}[$window])))'
)
# What has a cost has a place in the plane.
_IN_THE_PLANE = "\nor ".join(
    f'label_replace({expr} and on (gen_ai_request_model) {_SPEND} > 0, "stat", "{stat}", "", "")'
    for stat, expr in (("duration", _P95), ("cost", f"1000 * {_SPEND} / ({_CALLS} > 0)"), ("calls", f"{_CALLS} > 0"))
)

INFERENCE = (
    Signal(
        name="inference_calls",
        title="Model calls",
        unit="short",
        expr="sum(increase(agentgauge_inference_calls_total{$where}[$window]))",
        means="Model calls that ended in the time range, whatever their outcome.",
        view="stat",
        over="range",
        decimals=0,
        better="higher",
    ),
    Signal(
        name="inference_error_share",
        title="Failed model calls",
        unit="percentunit",
        expr='sum(increase(agentgauge_inference_calls_total{outcome="error",$where}[$window]))'
        "\n/ (sum(increase(agentgauge_inference_calls_total{$where}[$window])) > 0)",
        means="Share of model calls that failed or were never answered.",
        view="stat",
        over="range",
        decimals=1,
        better="lower",
    ),
    Signal(
        name="inference_latency_p95",
        title="Good call p95",
        unit="s",
        expr="histogram_quantile(0.95, sum by (le) "
        '(increase(gen_ai_client_inference_duration_seconds_bucket{error_type="",$where}[$window])))',
        means="95 of 100 model calls that succeeded were faster than this.",
        view="stat",
        over="range",
        better="lower",
    ),
    Signal(
        name="inference_latency",
        title="Good model call duration",
        unit="s",
        expr=quantiles("gen_ai_client_inference_duration_seconds", 'error_type="",'),
        means="How long model calls that succeed take: median, 95th and 99th percentile, and mean. Retries count as calls.",
        by=("stat",),
        colours=QUANTILES,
    ),
    Signal(
        name="inference_latency_heatmap",
        title="Good model calls by duration",
        unit="s",
        expr='sum by (le) (increase(gen_ai_client_inference_duration_seconds_bucket{error_type="",$where}[$window]))',
        means="How many model calls that succeeded took how long. Two bands mean two kinds of calls, which a percentile hides.",
        by=("le",),
        view="heatmap",
    ),
    Signal(
        name="inference_latency_by_model",
        title="Good model call duration, p95 by model",
        unit="s",
        expr="topk(10, histogram_quantile(0.95, sum by (gen_ai_request_model, le) "
        '(rate(gen_ai_client_inference_duration_seconds_bucket{error_type="",$where}[$window]))))',
        means="Of each model's calls that succeeded, 95 of 100 were faster than this; the ten slowest models.",
        by=("gen_ai_request_model",),
        better="lower",
        record="model:gen_ai_client_inference_duration_seconds:p95_rate5m",
        limits=(
            Limit(
                says="A model answers too slowly.",
                headline="Good model calls take {} (p95)",
                dashboard="agents-models",
                above=60.0,
                window="15m",
                hold="10m",
                # Of fewer calls the 95th percentile is the slowest one.
                when="sum by (gen_ai_request_model) "
                '(increase(agentgauge_inference_calls_total{outcome="ok",$where}[$window])) >= 20',
                do="Compare the models: one slow model means its provider, so switch traffic or lower its "
                "output limit; all slow means our network or a proxy.",
            ),
        ),
    ),
    Signal(
        name="inference_within_by_model",
        title="Answered within, by model",
        unit="percentunit",
        expr="sum by (gen_ai_request_model, le) "
        f'(increase(gen_ai_client_inference_duration_seconds_bucket{{error_type="",le=~"{"|".join(_WITHIN)}",$where}}[$window]))'
        "\n/ ignoring (le) group_left () (sum by (gen_ai_request_model) "
        '(increase(gen_ai_client_inference_duration_seconds_count{error_type="",$where}[$window])) > 0)',
        means="Which share of each model's good calls was answered within so many seconds: how their durations are "
        "distributed, side by side.",
        by=("gen_ai_request_model", "le"),
        view="matrix",
        over="range",
        decimals=0,
        columns=tuple((bound, f"{bound} s") for bound in _WITHIN),
    ),
    Signal(
        name="first_chunk_by_model",
        title="Time to first chunk, p95 by model",
        unit="s",
        expr="topk(10, histogram_quantile(0.95, sum by (gen_ai_request_model, le) "
        "(rate(gen_ai_client_inference_time_to_first_chunk_seconds_bucket{$where}[$window]))))",
        means="95 of 100 streamed answers of each model began sooner than this; the ten slowest models.",
        by=("gen_ai_request_model",),
        better="lower",
        empty="No store says when an answer began",
    ),
    Signal(
        name="speed_by_model",
        title="Output tokens per second by model",
        unit="short",
        expr="sum by (gen_ai_request_model) (rate(gen_ai_client_inference_usage_output_tokens_total{$where}[$window]))"
        "\n/ (sum by (gen_ai_request_model) "
        '(rate(gen_ai_client_inference_duration_seconds_sum{error_type="",$where}[$window])) > 0)',
        means="Output tokens, reasoning included, by the time that good calls took, from the request to the end of the "
        "answer. Calls without usage make it too low.",
        by=("gen_ai_request_model",),
        decimals=1,
        better="higher",
        empty="Unknown",
    ),
    Signal(
        name="cost_against_latency",
        title="Cost against duration by model",
        unit="currencyUSD",
        expr=_IN_THE_PLANE,
        means="Each model by the 95th percentile of its good calls' durations in seconds, by what 1,000 of its calls cost, "
        "and as large as it has calls: the best are low and on the left. Models without a price are left out.",
        by=("gen_ai_request_model", "stat"),
        view="scatter",
        over="range",
        decimals=2,
        empty="Unknown",
        columns=(("duration", "Good call p95"), ("cost", "Cost per 1,000 calls"), ("calls", "Calls")),
    ),
    Signal(
        name="calls_by_model",
        title="Model calls per minute by model",
        unit="short",
        expr="topk(10, 60 * sum by (gen_ai_request_model) (rate(agentgauge_inference_calls_total{$where}[$window])))",
        means="Model calls that ended, per minute, of the ten busiest models.",
        by=("gen_ai_request_model",),
        view="stacked",
    ),
    Signal(
        name="inference_error_ratio_by_model",
        title="Failed model calls by model",
        unit="percentunit",
        expr='sum by (gen_ai_request_model) (rate(agentgauge_inference_calls_total{outcome="error",$where}[$window]))'
        "\n/ (sum by (gen_ai_request_model) (rate(agentgauge_inference_calls_total{$where}[$window])) > 0)",
        means="Share of each model's calls that failed or were never answered.",
        by=("gen_ai_request_model",),
        decimals=1,
        better="lower",
        record="model:agentgauge_inference_calls:error_ratio_rate5m",
        limits=(
            Limit(
                says="Too many calls of a model fail.",
                headline="{} of model calls fail",
                dashboard="agents-errors",
                above=0.1,
                window="15m",
                hold="5m",
                when="sum by (gen_ai_request_model) "
                '(increase(agentgauge_inference_calls_total{outcome="error",$where}[$window])) >= 3',
                do="Look at the types of error: rate_limited asks for a lower pace or a higher quota, "
                "authentication for a new key, server_error and timeout for the provider's status page.",
            ),
        ),
    ),
    Signal(
        name="inference_errors_by_type",
        title="Failed model calls per hour by type of error",
        unit="short",
        expr="3600 * sum by (error_type) (rate(agentgauge_inference_errors_total{$where}[$window]))",
        means="Model calls that failed, per hour, by type of error. 'no_response' calls were begun and never "
        "answered before their run ended.",
        by=("error_type",),
        view="stacked",
        empty="No errors",
    ),
    Signal(
        name="inference_error_latency_by_type",
        title="Failed model call duration, p95 by type of error",
        unit="s",
        expr="histogram_quantile(0.95, sum by (error_type, le) "
        '(rate(gen_ai_client_inference_duration_seconds_bucket{error_type!="",$where}[$window])))',
        means="Of the model calls that failed, 95 of 100 were over sooner than this, by type of error. Calls that were never "
        "answered have no duration.",
        by=("error_type",),
        empty="No failed call has a duration",
    ),
    Signal(
        name="inference_errors_by_model",
        title="Failed model calls per hour by model",
        unit="short",
        expr="topk(10, 3600 * sum by (gen_ai_request_model) "
        "(rate(agentgauge_inference_errors_total{$where}[$window])))",
        means="Model calls that failed, per hour, of the ten models that fail most.",
        by=("gen_ai_request_model",),
        empty="No errors",
    ),
)

MODEL_COLUMNS = (
    Signal(
        name="model_calls",
        title="Calls",
        unit="short",
        expr="sum by (gen_ai_request_model) (increase(agentgauge_inference_calls_total{$where}[$window]))",
        means="Model calls that ended in the time range.",
        by=("gen_ai_request_model",),
        view="column",
        over="range",
        decimals=0,
    ),
    Signal(
        name="model_error_share",
        title="Failed",
        unit="percentunit",
        expr="sum by (gen_ai_request_model) "
        '(increase(agentgauge_inference_calls_total{outcome="error",$where}[$window]))'
        "\n/ (sum by (gen_ai_request_model) (increase(agentgauge_inference_calls_total{$where}[$window])) > 0)",
        means="Share of the calls that failed or were never answered.",
        by=("gen_ai_request_model",),
        view="column",
        over="range",
        decimals=1,
        better="lower",
    ),
    Signal(
        name="model_latency_p95",
        title="Good call p95",
        unit="s",
        expr="histogram_quantile(0.95, sum by (gen_ai_request_model, le) "
        '(increase(gen_ai_client_inference_duration_seconds_bucket{error_type="",$where}[$window])))',
        means="95 of 100 calls that succeeded were faster than this.",
        by=("gen_ai_request_model",),
        view="column",
        over="range",
        better="lower",
    ),
    Signal(
        name="model_input_tokens",
        title="Input tokens",
        unit="short",
        expr="sum by (gen_ai_request_model) "
        "(increase(gen_ai_client_inference_usage_input_tokens_total{$where}[$window]))",
        means="Input tokens, cached ones included.",
        by=("gen_ai_request_model",),
        view="column",
        over="range",
        decimals=0,
        empty="Unknown",
    ),
    Signal(
        name="model_output_tokens",
        title="Output tokens",
        unit="short",
        expr="sum by (gen_ai_request_model) "
        "(increase(gen_ai_client_inference_usage_output_tokens_total{$where}[$window]))",
        means="Output tokens, reasoning included.",
        by=("gen_ai_request_model",),
        view="column",
        over="range",
        decimals=0,
        empty="Unknown",
    ),
    Signal(
        name="model_spend",
        title="Spend",
        unit="currencyUSD",
        expr="sum by (gen_ai_request_model) (increase(agentgauge_cost_usd_total{$where}[$window]))",
        means="Cost of the model's priced calls.",
        by=("gen_ai_request_model",),
        view="column",
        over="range",
        decimals=2,
        better="lower",
        empty="Unknown",
    ),
    Signal(
        name="model_latency_p50",
        title="Good call p50",
        unit="s",
        expr=_P95.replace("0.95", "0.5"),
        means="Half of the calls that succeeded were faster than this.",
        by=("gen_ai_request_model",),
        view="column",
        over="range",
        better="lower",
    ),
    Signal(
        name="model_cost_per_1k_tokens",
        title="Per 1,000 tokens",
        unit="currencyUSD",
        expr=f"1000 * {_SPEND}\n/ (sum by (gen_ai_request_model) ({TOKENS_BY_CLASS}) > 0)",
        means="What 1,000 tokens cost on average, input and output together.",
        by=("gen_ai_request_model",),
        view="column",
        over="range",
        decimals=4,
        better="lower",
        empty="Unknown",
    ),
    Signal(
        name="model_unpriced_calls",
        title="Unpriced calls",
        unit="short",
        expr="sum by (gen_ai_request_model) (increase(agentgauge_inference_unpriced_total{$where}[$window]))",
        means="Calls without a cost; they are in no cost total.",
        by=("gen_ai_request_model",),
        view="column",
        over="range",
        decimals=0,
        better="lower",
        empty="None",
    ),
)
