"""Reliability: for who has promised something."""

from exporters.catalogue.tables import OBJECTIVES
from grafana.dashboard import Dashboard, Row

RELIABILITY = Dashboard(
    topic="Reliability",
    question="Do agents keep their objectives, and how long does the error budget of each last?",
    variables=("source", "environment", "agent"),
    since="now-7d",
    rows=(
        Row(
            entries=(
                "runs",
                "run_error_share",
                "run_latency_p95",
                "objectives_set",
                "objectives_missed",
                "least_budget_left",
                "fastest_burn",
                "source_lag",
            )
        ),
        Row(title="Where", entries=(OBJECTIVES,)),
        Row(title="Error budget", entries=("error_budget_left", "budget_time_left")),
        Row(title="Burn rate", entries=("burn_rate_1h", "burn_rate_6h")),
        Row(entries=("burn_rate_1d", "burn_rate_3d")),
        Row(title="Trust", entries=("objectives_kept",)),
    ),
)
