"""Anomalies: for who asks whether today is like other days."""

from exporters.catalogue.tables import ANOMALIES as ANOMALIES_TABLE
from grafana.dashboard import Dashboard, Row

ANOMALIES = Dashboard(
    topic="Anomalies",
    question="What is unlike other days: spend, tokens, errors, speed, traffic, or what runs do?",
    variables=("agent",),
    rows=(
        Row(
            entries=(
                "runs",
                "error_anomaly",
                "latency_anomaly",
                "token_anomaly",
                "spend_anomaly",
                "cache_share",
                "unpriced_share",
                "source_lag",
            )
        ),
        Row(title="Agents", entries=(ANOMALIES_TABLE,)),
        Row(title="What is spent", entries=("spend_band", "spend_anomaly_by_agent")),
        Row(title="Token use", entries=("token_band", "token_anomaly_by_agent")),
        Row(title="Errors", entries=("error_band", "error_anomaly_by_agent")),
        Row(title="Latency", entries=("latency_band", "latency_anomaly_by_agent")),
        Row(title="Traffic", entries=("runs_against_usual", "traffic_against_usual")),
        Row(title="What runs do", entries=("run_growth_by_agent", "run_stuck_share_by_agent")),
        Row(title="Scores", entries=("score_drop",)),
    ),
)
