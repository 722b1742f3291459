"""Tools: for who gives them to agents."""

from exporters.catalogue.tables import AGENT_TOOLS
from exporters.catalogue.tables import TOOLS as TOOLS_TABLE
from grafana.dashboard import Dashboard, Row

TOOLS = Dashboard(
    topic="Tools",
    question="Which tools do the agents call, and which of them are slow or failing?",
    variables=("source", "environment", "agent", "tool"),
    rows=(
        Row(entries=("tool_calls", "tool_error_share", "tool_latency_p95")),
        Row(title="Where", entries=(TOOLS_TABLE,)),
        Row(title="Who uses which", entries=(AGENT_TOOLS,)),
        Row(title="Trend", entries=("calls_by_tool", "tool_latency_by_tool")),
        Row(title="Latency", entries=("tool_latency", "tool_latency_heatmap")),
        Row(title="Errors", entries=("tool_error_ratio_by_tool", "tool_errors_by_type")),
    ),
)
