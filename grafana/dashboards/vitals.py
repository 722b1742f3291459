"""The first line of a dashboard about agents: always the same eight cards, each in its place."""

from grafana.dashboard import Row

VITALS = Row(
    entries=(
        "runs",
        "run_error_share",
        "run_latency_p95",
        "tokens",
        "spend",
        "cache_share",
        "unpriced_share",
        "source_lag",
    )
)
