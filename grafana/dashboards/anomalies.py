"""Anomalies: for who asks whether today is like other days."""

from grafana.dashboard import Dashboard, Row
from grafana.dashboards.vitals import VITALS

ANOMALIES = Dashboard(
    topic="Anomalies",
    question="What is unlike other days: spend, tokens, errors, speed, traffic, or what runs do?",
    rows=(
        VITALS,
        Row(title="What runs do", entries=("run_growth_by_agent", "run_stuck_share_by_agent")),
    ),
)
