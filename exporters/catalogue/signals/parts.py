"""What several signals share: the parts of a histogram and of the tokens, and the colours of both."""

QUANTILES = (("p50", "light-blue"), ("p95", "blue"), ("p99", "dark-blue"), ("mean", "purple"))
OUTCOMES = (("ok", "green"), ("error", "red"))

# `or` goes by labels, which input and output share, so each part is told apart first.
TOKENS_BY_CLASS = """
  label_replace(increase(gen_ai_client_inference_usage_input_tokens_total{$where}[$window]), "class", "input", "", "")
  or label_replace(increase(gen_ai_client_inference_usage_output_tokens_total{$where}[$window]), "class", "output", "", "")
  or label_replace(increase(agentgauge_inference_unsplit_tokens_total{$where}[$window]), "class", "not split", "", "")
"""


def quantiles(histogram: str) -> str:
    """Return one expression with p50, p95, p99 and the mean of a histogram, told apart by `stat`."""
    buckets = f"sum by (le) (rate({histogram}_bucket{{$where}}[$window]))"
    parts = [
        f'label_replace(histogram_quantile({q}, {buckets}), "stat", "{stat}", "", "")'
        for q, stat in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    ]
    mean = f"sum(rate({histogram}_sum{{$where}}[$window])) / (sum(rate({histogram}_count{{$where}}[$window])) > 0)"
    return "\nor ".join([*parts, f'label_replace({mean}, "stat", "mean", "", "")'])
