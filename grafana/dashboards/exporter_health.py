"""Exporter health: for who wonders whether the other dashboards can be believed."""

from grafana.dashboard import Dashboard, Row

EXPORTER_HEALTH = Dashboard(
    topic="Exporter health",
    question="Is every record read in time, counted and priced, and is the exporter itself well?",
    variables=("source",),
    rows=(
        Row(
            entries=(
                "inference_calls",
                "sources_down",
                "series_used",
                "tokens",
                "without_usage_share",
                "streamed_without_usage",
                "unpriced_share",
                "source_lag",
            )
        ),
        Row(title="Up", entries=("exporter_up", "source_up", "state_up")),
        Row(title="Behind", entries=("source_last_success_age", "source_lag_by_source")),
        Row(title="Backlog", entries=("source_backlog", "source_backlog_records")),
        Row(title="Reading", entries=("records_by_source", "open_runs", "bad_records_by_reason")),
        Row(title="Trust", entries=("reconcile_drift", "invalid_usage_by_reason")),
        Row(title="Speed", entries=("rate_limit_used", "commit_duration")),
        Row(title="Use of resources", entries=("exporter_memory", "exporter_cpu", "label_overflow")),
    ),
)
