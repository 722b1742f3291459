"""Runs that do not come to an end: agents that loop, that hit their limit, that are never heard of again."""

from exporters.catalogue.model import Limit, Signal


def _calls_per_run(window: str, least: str) -> str:
    """Return the mean model calls of a run by agent, of agents with more runs than `least` in the window."""
    calls, runs = (f"gen_ai_invoke_agent_inference_calls_{series}{{$where}}{window}" for series in ("sum", "count"))
    by = "sum by (gen_ai_agent_name)"
    return f"{by} (increase({calls})) / ({by} (increase({runs})) {least})"


LOOPS = (
    Signal(
        name="run_growth_by_agent",
        title="Model calls per run, times those of the day before",
        unit="none",
        expr=f"({_calls_per_run('[$window]', '> 0')})\n/ ({_calls_per_run('[1d] offset 1h', '>= 20')} > 0)",
        means="How many times as many model calls a run of an agent makes as on the day before; 1 is as usual. "
        "Agents with fewer than 20 runs that day are left out.",
        by=("gen_ai_agent_name",),
        decimals=1,
        better="lower",
        empty="No agent had 20 runs the day before",
        limits=(
            Limit(
                says="Runs of an agent make far more model calls than usual: it may loop.",
                headline="Runs make {} times the usual model calls",
                dashboard="agents-anomalies",
                above=3.0,
                window="30m",
                hold="5m",
                when="sum by (gen_ai_agent_name) (increase(gen_ai_invoke_agent_inference_calls_count{$where}[$window])) >= 5",
                do="Open the longest of its latest runs: the call that comes again and again names the tool or the instruction "
                "that does not help. Lower the agent's limit of iterations until it is mended, because each turn is paid for.",
            ),
        ),
    ),
    Signal(
        name="run_stuck_share_by_agent",
        title="Runs without an end by agent",
        unit="percentunit",
        expr='sum by (gen_ai_agent_name) (rate(agentgauge_run_errors_total{error_type=~"iteration_limit|abandoned",$where}'
        "[$window]))\n/ (sum by (gen_ai_agent_name) (rate(agentgauge_runs_total{$where}[$window])) > 0)",
        means="Share of each agent's runs that were stopped at their limit of iterations, or of which nothing was heard again.",
        by=("gen_ai_agent_name",),
        decimals=1,
        better="lower",
        empty="All runs end",
        limits=(
            Limit(
                says="Runs of an agent get stuck: they hit their limit of iterations, or never end.",
                headline="{} of runs get stuck",
                dashboard="agents-anomalies",
                above=0.1,
                clears=0.05,
                window="1h",
                hold="5m",
                when="sum by (gen_ai_agent_name) (increase(agentgauge_runs_total{$where}[$window])) >= 10",
                do="See which of the two it is under Failed runs by type of error. At the limit: read the last calls of such a "
                "run, they repeat. Abandoned: the process died or its caller went away, so look at its log and its time-outs.",
            ),
        ),
    ),
)
