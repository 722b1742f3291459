"""Errors: for who was woken."""

from grafana.dashboard import Dashboard, Row
from grafana.dashboards.vitals import VITALS

ERRORS = Dashboard(
    topic="Errors",
    question="What fails, since when, and is it the agent, the model or a tool?",
    rows=(
        VITALS,
        Row(title="Trend", entries=("runs_by_outcome", "error_band")),
        Row(
            title="Where",
            entries=("run_error_ratio_by_agent", "inference_error_ratio_by_model", "tool_error_ratio_by_tool"),
        ),
        Row(title="Why", entries=("run_errors_by_type", "inference_errors_by_type", "tool_errors_by_type")),
        Row(
            title="How long it took",
            entries=("run_error_latency_by_type", "inference_error_latency_by_type", "tool_error_latency_by_type"),
        ),
        Row(title="Models", entries=("inference_errors_by_model", "inference_latency_by_model")),
        Row(title="Whether you are told", entries=("weekly_drill",)),
    ),
)
