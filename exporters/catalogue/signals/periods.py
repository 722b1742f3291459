"""A period against the one before it, of the same length: what is different now, and whose doing it is."""

from exporters.catalogue.model import Signal, Unit
from exporters.catalogue.signals.parts import TOKENS_BY_CLASS, before, changed, known_before, risen

_RUNS = "sum(increase(agentgauge_runs_total{$where}[$window]))"
_OK_RUNS = 'sum(increase(agentgauge_runs_total{outcome="ok",$where}[$window]))'
_CALLS = "sum(increase(agentgauge_inference_calls_total{$where}[$window]))"
_TOKENS = f"sum({TOKENS_BY_CLASS})"
_SPEND = "sum(increase(agentgauge_cost_usd_total{$where}[$window]))"


def _in_two(expr: str, counter: str) -> str:
    """Return a value in this period and in the one before, told apart by `period`.

    Not the difference too: a quantile of a day is dear, and would be computed twice more.
    """
    rows = {"this period": expr, "the one before": f"{before(expr)} {known_before(counter)}"}
    return "\nor ".join(f'label_replace({one}, "period", "{name}", "", "")' for name, one in rows.items())


def _latency(quantile: float) -> str:
    buckets = 'sum by (le) (increase(gen_ai_invoke_agent_duration_seconds_bucket{error_type="",$where}[$window]))'
    return f"histogram_quantile({quantile:g}, {buckets})"


def _column(
    name: str, title: str, unit: Unit, expr: str, *, of: str, means: str, decimals: int | None = None
) -> Signal:
    return Signal(
        name=name,
        title=title,
        unit=unit,
        expr=_in_two(expr, of),
        means=means,
        by=("period",),
        view="column",
        over="range",
        decimals=decimals,
        empty="Unknown",
    )


_OF_RUNS, _OF_CALLS = "agentgauge_runs_total", "agentgauge_inference_calls_total"
_P50, _P95, _P99 = (_latency(quantile) for quantile in (0.5, 0.95, 0.99))

PERIOD_COLUMNS = (
    _column("period_runs", "Runs", "short", _RUNS, of=_OF_RUNS, means="Agent runs that ended.", decimals=0),
    _column("period_calls", "Model calls", "short", _CALLS, of=_OF_CALLS, means="Model calls that ended.", decimals=0),
    _column(
        "period_ok_share",
        "Succeeded",
        "percentunit",
        f"{_OK_RUNS} / ({_RUNS} > 0)",
        of=_OF_RUNS,
        means="Share of the runs that ended well.",
        decimals=1,
    ),
    _column(
        "period_latency_p50",
        "Good run p50",
        "s",
        _P50,
        of=_OF_RUNS,
        means="Half of the good runs were faster than this.",
    ),
    _column(
        "period_latency_p95", "Good run p95", "s", _P95, of=_OF_RUNS, means="95 of 100 good runs were faster than this."
    ),
    _column(
        "period_latency_p99", "Good run p99", "s", _P99, of=_OF_RUNS, means="99 of 100 good runs were faster than this."
    ),
    _column("period_tokens", "Tokens", "short", _TOKENS, of=_OF_CALLS, means="Tokens of model calls.", decimals=1),
    _column("period_spend", "Spend", "currencyUSD", _SPEND, of=_OF_CALLS, means="Cost of priced calls.", decimals=2),
)

# Who is seldom seen changes a lot, by chance.
_ENOUGH = 20


def _of(label: str, word: str, what: str, total: str, latency: str) -> tuple[Signal, ...]:
    """Return the columns that say by how much an agent's or a model's spend, failures and duration changed."""
    count = f"sum by ({label}) (increase({total}{{$where}}[$window]))"
    failed = f'sum by ({label}) (increase({total}{{outcome="error",$where}}[$window]))'
    spend = f"sum by ({label}) (increase(agentgauge_cost_usd_total{{$where}}[$window]))"
    good = f'sum by ({label}) (increase({total}{{outcome="ok",$where}}[$window]))'
    buckets = f'sum by ({label}, le) (increase({latency}_bucket{{error_type="",$where}}[$window]))'
    slow = f"histogram_quantile(0.95, {buckets})"

    def enough(counted: str) -> str:
        two = f"{counted} >= {_ENOUGH} and {before(counted)} >= {_ENOUGH}"
        return f"\nand on ({label}) ({two})\n{known_before(total)}"

    return (
        Signal(
            name=f"{word}_spend_change",
            title="Spend change",
            unit="currencyUSD",
            expr=f"({risen(spend)})\n{known_before(_OF_CALLS)}",
            means="By how much it costs more than in the period before; less is below zero.",
            by=(label,),
            view="column",
            over="range",
            decimals=2,
            better="lower",
            empty="Unknown",
            signed=True,
        ),
        Signal(
            name=f"{word}_error_change",
            title="Failed change",
            unit="percentunit",
            expr=f"({changed(f'{failed} / ({count} > 0)')}){enough(count)}",
            means="By how many points the share of failures is above that of the period before. "
            f"Only with {_ENOUGH} {what} in each.",
            by=(label,),
            view="column",
            over="range",
            decimals=1,
            better="lower",
            empty="Too few",
            signed=True,
        ),
        Signal(
            name=f"{word}_latency_change",
            title="p95 change",
            unit="s",
            expr=f"({changed(slow)}){enough(good)}",
            means=f"By how much the 95th percentile of good {what} is above that of the period before. "
            f"Only with {_ENOUGH} of them in each.",
            by=(label,),
            view="column",
            over="range",
            better="lower",
            empty="Too few",
            signed=True,
        ),
    )


CHANGES = (
    *_of("gen_ai_agent_name", "agent", "runs", "agentgauge_runs_total", "gen_ai_invoke_agent_duration_seconds"),
    *_of(
        "gen_ai_request_model",
        "model",
        "calls",
        "agentgauge_inference_calls_total",
        "gen_ai_client_inference_duration_seconds",
    ),
)
