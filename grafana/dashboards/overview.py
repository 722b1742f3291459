"""Overview: the first page, for a glance each morning."""

from grafana.dashboard import Dashboard, Row
from grafana.dashboards.vitals import VITALS
from grafana.tables import AGENTS

OVERVIEW = Dashboard(
    topic="Overview",
    question="Are the agents well, what do they do, and what do they cost?",
    refresh="30s",
    rows=(
        VITALS,
        Row(title="Where", entries=(AGENTS,)),
        Row(title="Trend", entries=("runs_by_agent", "spend_by_model")),
        Row(title="Latency", entries=("run_latency", "run_latency_heatmap")),
        Row(title="Tokens and cost", entries=("tokens_by_class", "spend_by_agent")),
        Row(title="Tools", entries=("calls_by_tool", "tool_error_ratio_by_tool")),
        Row(title="Errors", entries=("run_error_ratio_by_agent", "run_errors_by_type")),
        Row(title="Exporter", entries=("source_up",)),
    ),
)
