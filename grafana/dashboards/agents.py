"""Agents: for who builds one."""

from exporters.catalogue.tables import AGENTS as AGENTS_TABLE
from exporters.catalogue.tables import VERSIONS
from grafana.dashboard import Dashboard, Row
from grafana.dashboards.vitals import VITALS

AGENTS = Dashboard(
    topic="Agents",
    question="Which agent is slow, failing or dear, and what does one run of it take?",
    rows=(
        VITALS,
        Row(title="Where", entries=(AGENTS_TABLE,)),
        Row(title="Versions", entries=(VERSIONS,)),
        Row(title="Trend", entries=("runs_by_agent", "runs_by_outcome")),
        Row(title="Latency", entries=("run_latency", "run_latency_heatmap", "latency_band")),
        Row(title="One run", entries=("calls_per_run", "tools_per_run", "cost_per_run")),
        Row(title="Tokens and cost", entries=("tokens_by_class", "spend_by_agent")),
        Row(title="Errors", entries=("run_error_ratio_by_agent", "run_errors_by_type", "run_stuck_share_by_agent")),
    ),
)
