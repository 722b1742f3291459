"""Tool calls: how many, how well, how long, and which tool."""

from exporters.catalogue.model import Limit, Signal
from exporters.catalogue.signals.parts import QUANTILES, quantiles

TOOLS = (
    Signal(
        name="tool_calls",
        title="Tool calls",
        unit="short",
        expr="sum(increase(agentgauge_tool_calls_total{$where}[$window]))",
        means="Tool calls that ended in the time range, whatever their outcome.",
        view="stat",
        over="range",
        decimals=0,
        better="higher",
    ),
    Signal(
        name="tool_error_share",
        title="Failed tool calls",
        unit="percentunit",
        expr='sum(increase(agentgauge_tool_calls_total{outcome="error",$where}[$window]))'
        "\n/ (sum(increase(agentgauge_tool_calls_total{$where}[$window])) > 0)",
        means="Share of tool calls that failed or never returned.",
        view="stat",
        over="range",
        decimals=1,
        better="lower",
    ),
    Signal(
        name="tool_latency_p95",
        title="Good tool call p95",
        unit="s",
        expr="histogram_quantile(0.95, sum by (le) "
        '(increase(gen_ai_execute_tool_duration_seconds_bucket{error_type="",$where}[$window])))',
        means="95 of 100 tool calls that succeeded were faster than this.",
        view="stat",
        over="range",
        better="lower",
    ),
    Signal(
        name="calls_by_tool",
        title="Tool calls per minute by tool",
        unit="short",
        expr="topk(10, 60 * sum by (gen_ai_tool_name) (rate(agentgauge_tool_calls_total{$where}[$window])))",
        means="Tool calls that ended, per minute, of the ten busiest tools.",
        by=("gen_ai_tool_name",),
        view="stacked",
    ),
    Signal(
        name="tool_error_ratio_by_tool",
        title="Failed tool calls by tool",
        unit="percentunit",
        expr='sum by (gen_ai_tool_name) (rate(agentgauge_tool_calls_total{outcome="error",$where}[$window]))'
        "\n/ (sum by (gen_ai_tool_name) (rate(agentgauge_tool_calls_total{$where}[$window])) > 0)",
        means="Share of each tool's calls that failed or never returned.",
        by=("gen_ai_tool_name",),
        decimals=1,
        better="lower",
        record="tool:agentgauge_tool_calls:error_ratio_rate5m",
        limits=(
            Limit(
                says="Too many calls of a tool fail.",
                headline="{} of tool calls fail",
                dashboard="agents-errors",
                above=0.3,
                window="15m",
                hold="5m",
                when='sum by (gen_ai_tool_name) (increase(agentgauge_tool_calls_total{outcome="error",$where}[$window])) >= 3',
                do="Call the tool by hand: agents keep paying for calls that cannot succeed, so take it out of "
                "their list until it answers.",
            ),
        ),
    ),
    Signal(
        name="tool_errors_by_type",
        title="Failed tool calls per hour by type of error",
        unit="short",
        expr="3600 * sum by (error_type) (rate(agentgauge_tool_errors_total{$where}[$window]))",
        means="Tool calls that failed, per hour, by type of error.",
        by=("error_type",),
        view="stacked",
        empty="No errors",
    ),
    Signal(
        name="tool_error_latency_by_type",
        title="Failed tool call duration, p95 by type of error",
        unit="s",
        expr="histogram_quantile(0.95, sum by (error_type, le) "
        '(rate(gen_ai_execute_tool_duration_seconds_bucket{error_type!="",$where}[$window])))',
        means="Of the tool calls that failed, 95 of 100 were over sooner than this, by type of error. Calls that never "
        "returned have no duration.",
        by=("error_type",),
        empty="No failed call has a duration",
    ),
    Signal(
        name="tool_latency",
        title="Good tool call duration",
        unit="s",
        expr=quantiles("gen_ai_execute_tool_duration_seconds", 'error_type="",'),
        means="How long tool calls that succeed take: median, 95th and 99th percentile, and mean.",
        by=("stat",),
        colours=QUANTILES,
    ),
    Signal(
        name="tool_latency_by_tool",
        title="Good tool call duration, p95 by tool",
        unit="s",
        expr="topk(10, histogram_quantile(0.95, sum by (gen_ai_tool_name, le) "
        '(rate(gen_ai_execute_tool_duration_seconds_bucket{error_type="",$where}[$window]))))',
        means="Of each tool's calls that succeeded, 95 of 100 were faster than this; the ten slowest tools.",
        by=("gen_ai_tool_name",),
        better="lower",
    ),
    Signal(
        name="tool_latency_heatmap",
        title="Good tool calls by duration",
        unit="s",
        expr='sum by (le) (increase(gen_ai_execute_tool_duration_seconds_bucket{error_type="",$where}[$window]))',
        means="How many tool calls that succeeded took how long. Two bands mean two kinds of calls, which a percentile hides.",
        by=("le",),
        view="heatmap",
    ),
)

TOOL_COLUMNS = (
    Signal(
        name="tool_column_calls",
        title="Calls",
        unit="short",
        expr="sum by (gen_ai_tool_name) (increase(agentgauge_tool_calls_total{$where}[$window]))",
        means="Tool calls that ended in the time range.",
        by=("gen_ai_tool_name",),
        view="column",
        over="range",
        decimals=0,
    ),
    Signal(
        name="tool_column_error_share",
        title="Failed",
        unit="percentunit",
        expr='sum by (gen_ai_tool_name) (increase(agentgauge_tool_calls_total{outcome="error",$where}[$window]))'
        "\n/ (sum by (gen_ai_tool_name) (increase(agentgauge_tool_calls_total{$where}[$window])) > 0)",
        means="Share of the calls that failed or never returned.",
        by=("gen_ai_tool_name",),
        view="column",
        over="range",
        decimals=1,
        better="lower",
    ),
    Signal(
        name="tool_column_latency_p95",
        title="Good call p95",
        unit="s",
        expr="histogram_quantile(0.95, sum by (gen_ai_tool_name, le) "
        '(increase(gen_ai_execute_tool_duration_seconds_bucket{error_type="",$where}[$window])))',
        means="95 of 100 calls that succeeded were faster than this.",
        by=("gen_ai_tool_name",),
        view="column",
        over="range",
        better="lower",
    ),
    Signal(
        name="tool_column_time",
        title="Time spent",
        unit="s",
        expr="sum by (gen_ai_tool_name) (increase(gen_ai_execute_tool_duration_seconds_sum{$where}[$window]))",
        means="Time that agents spent in the tool, calls that failed too; parallel calls add up.",
        by=("gen_ai_tool_name",),
        view="column",
        over="range",
    ),
)
