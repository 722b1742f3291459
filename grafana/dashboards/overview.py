"""Overview: the first page, for a glance each morning."""

from exporters.catalogue.tables import AGENT_CHANGES, MODEL_CHANGES, PERIODS
from grafana.dashboard import Dashboard, Row

OVERVIEW = Dashboard(
    topic="Overview",
    question="Are the agents well, what do they do, and what do they cost?",
    refresh="30s",
    rows=(
        Row(
            entries=(
                "runs",
                "run_error_share",
                "run_latency_p95",
                "tokens",
                "spend",
                "spend_today",
                "spend_month",
                "source_lag",
            )
        ),
        Row(title="Against the period before", entries=(PERIODS,)),
        Row(title="What changed", entries=(AGENT_CHANGES,)),
        Row(entries=(MODEL_CHANGES,)),
        Row(title="Trend", entries=("runs_by_agent", "spend_by_model", "spend_band")),
        Row(title="Latency", entries=("run_latency", "run_latency_heatmap")),
        Row(title="Tokens and tools", entries=("tokens_by_class", "calls_by_tool")),
        Row(title="Errors", entries=("run_error_ratio_by_agent", "run_errors_by_type")),
        Row(title="Exporter", entries=("source_up",)),
    ),
)
