"""What several signals share: the parts of a histogram and of the tokens, and the colours of both."""

QUANTILES = (("p50", "light-blue"), ("p95", "blue"), ("p99", "dark-blue"), ("mean", "purple"))
OUTCOMES = (("ok", "green"), ("error", "red"))

# `or` goes by labels, which input and output share, so each part is told apart first.
TOKENS_BY_CLASS = """
  label_replace(increase(gen_ai_client_inference_usage_input_tokens_total{$where}[$window]), "class", "input", "", "")
  or label_replace(increase(gen_ai_client_inference_usage_output_tokens_total{$where}[$window]), "class", "output", "", "")
  or label_replace(increase(agentgauge_inference_unsplit_tokens_total{$where}[$window]), "class", "not split", "", "")
"""


# Only where there is a cost: what has no price would make the rest seem cheaper.
PRICED_TOKENS = f"""({TOKENS_BY_CLASS})
  and ignoring (class, cost_source) increase(agentgauge_cost_usd_total{{$where}}[$window]) > 0"""


def before(expr: str) -> str:
    """Return the same question of the period before: every window of it ends where this one begins."""
    return expr.replace("[$window]", "[$window] offset $window")


def known_before(counter: str) -> str:
    """Return a condition that holds where the period before is known from its beginning, two windows ago.

    Else it would seem that little happened in it.
    """
    return f"and on () count_over_time(count({counter}{{$where}} offset $window)[5m:1m] offset $window)"


def changed(expr: str) -> str:
    """Return by how much a value differs from that of the period before; absent where one of them is unknown."""
    return f"({expr})\n- ({before(expr)})"


def risen(expr: str) -> str:
    """Return by how much parts of a sum differ from the period before.

    Who is new has risen from nothing, and who is gone has fallen to it.
    """
    return f"{changed(expr)}\nor ({expr})\nor 0 - ({before(expr)})"


def quantiles(histogram: str, matcher: str = "") -> str:
    """Return one expression with p50, p95, p99 and the mean of a histogram, told apart by `stat`.

    `matcher` stands before `$where`, and ends with a comma.
    """
    buckets = f"sum by (le) (rate({histogram}_bucket{{{matcher}$where}}[$window]))"
    parts = [
        f'label_replace(histogram_quantile({q}, {buckets}), "stat", "{stat}", "", "")'
        for q, stat in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    ]
    total, count = (f"sum(rate({histogram}_{part}{{{matcher}$where}}[$window]))" for part in ("sum", "count"))
    mean = f"{total} / ({count} > 0)"
    return "\nor ".join([*parts, f'label_replace({mean}, "stat", "mean", "", "")'])
