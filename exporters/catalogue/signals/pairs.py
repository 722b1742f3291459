"""Columns of two labels: an agent and its models, its versions, and its tools."""

from exporters.catalogue.model import Signal, Unit

_MODEL = ("gen_ai_agent_name", "gen_ai_request_model")
_VERSION = ("gen_ai_agent_name", "gen_ai_agent_version")
_TOOL = ("gen_ai_agent_name", "gen_ai_tool_name")
# Where no version is known there is nothing to compare.
_KNOWN = 'gen_ai_agent_version!="",'
_GOOD = f'outcome="ok",{_KNOWN}'


def _sum(by: tuple[str, ...], series: str, matcher: str = "") -> str:
    return f"sum by ({', '.join(by)}) (increase({series}{{{matcher}$where}}[$window]))"


def _share(by: tuple[str, ...], total: str, matcher: str = "") -> str:
    failed = _sum(by, total, f'outcome="error",{matcher}')
    return f"({failed} or 0 * {_sum(by, total, matcher)})\n/ ({_sum(by, total, matcher)} > 0)"


def _p95(by: tuple[str, ...], histogram: str, matcher: str = "") -> str:
    """Return the 95th percentile of a duration, of what succeeded."""
    buckets = _sum((*by, "le"), f"{histogram}_bucket", f'error_type="",{matcher}')
    return f"histogram_quantile(0.95, {buckets})"


def _column(
    name: str, title: str, unit: Unit, expr: str, *, by: tuple[str, ...], means: str, decimals: int | None = None
) -> Signal:
    return Signal(
        name=name,
        title=title,
        unit=unit,
        expr=expr,
        means=means,
        by=by,
        view="column",
        over="range",
        decimals=decimals,
        better="" if decimals == 0 else "lower",
        empty="No store says versions of agents" if by == _VERSION else "Unknown",
    )


_CALLS, _TOOL_CALLS, _RUNS = "agentgauge_inference_calls_total", "agentgauge_tool_calls_total", "agentgauge_runs_total"
_UNPRICED = _sum(_MODEL, "agentgauge_inference_unpriced_total")

PAIR_COLUMNS = (
    _column(
        "agent_model_calls", "Calls", "short", _sum(_MODEL, _CALLS), by=_MODEL,
        means="Model calls that ended in the time range.", decimals=0,
    ),
    _column(
        "agent_model_error_share", "Failed", "percentunit", _share(_MODEL, _CALLS), by=_MODEL,
        means="Share of the calls that failed or were never answered.", decimals=1,
    ),
    _column(
        "agent_model_latency_p95", "Good call p95", "s", _p95(_MODEL, "gen_ai_client_inference_duration_seconds"),
        by=_MODEL, means="95 of 100 calls that succeeded were faster than this.",
    ),
    _column(
        "agent_model_cost", "Per 1,000 calls", "currencyUSD",
        f"1000 * {_sum(_MODEL, 'agentgauge_cost_usd_total')}"
        f"\n/ ({_sum(_MODEL, _CALLS)} - ({_UNPRICED} or 0 * {_sum(_MODEL, _CALLS)}) > 0)",
        by=_MODEL, means="What 1,000 calls cost on average; unpriced ones are left out.", decimals=2,
    ),
    _column(
        "version_runs", "Runs", "short", _sum(_VERSION, _RUNS, _KNOWN), by=_VERSION,
        means="Runs of the version that ended in the time range.", decimals=0,
    ),
    _column(
        "version_error_share", "Failed", "percentunit", _share(_VERSION, _RUNS, _KNOWN), by=_VERSION,
        means="Share of the runs that ended in an error or never ended.", decimals=1,
    ),
    _column(
        "version_latency_p95", "Good run p95", "s", _p95(_VERSION, "gen_ai_invoke_agent_duration_seconds", _KNOWN),
        by=_VERSION, means="95 of 100 runs that succeeded were faster than this.",
    ),
    _column(
        "version_calls_per_run", "Calls per run", "short",
        f"{_sum(_VERSION, 'gen_ai_invoke_agent_inference_calls_sum', _KNOWN)}"
        f"\n/ ({_sum(_VERSION, 'gen_ai_invoke_agent_inference_calls_count', _KNOWN)} > 0)",
        by=_VERSION, means="Mean model calls of a run.", decimals=1,
    ),
    _column(
        "version_cost_per_ok_run", "Cost per good run", "currencyUSD",
        f"({_sum(_VERSION, 'agentgauge_run_cost_usd_sum', _KNOWN)} > 0)"
        f"\n/ ({_sum(_VERSION, 'agentgauge_run_cost_usd_count', _GOOD)} > 0)",
        by=_VERSION, means="What all runs cost, divided by those that succeeded.", decimals=4,
    ),
    _column(
        "agent_tool_calls", "Calls", "short", _sum(_TOOL, _TOOL_CALLS), by=_TOOL,
        means="Tool calls of the agent that ended in the time range.", decimals=0,
    ),
    _column(
        "agent_tool_error_share", "Failed", "percentunit", _share(_TOOL, _TOOL_CALLS), by=_TOOL,
        means="Share of the calls that failed or never returned.", decimals=1,
    ),
    _column(
        "agent_tool_latency_p95", "Good call p95", "s", _p95(_TOOL, "gen_ai_execute_tool_duration_seconds"), by=_TOOL,
        means="95 of 100 calls that succeeded were faster than this.",
    ),
)  # fmt: skip
