"""Cost: for who pays the bill."""

from grafana.dashboard import Dashboard, Row

COST = Dashboard(
    topic="Cost",
    question="What do the agents cost, who spends it, and how much of it is known?",
    since="now-30d/d",
    refresh="",
    rows=(
        Row(
            entries=(
                "cache_saved",
                "spend_rate",
                "cost_per_ok_run",
                "cost_per_1k_tokens",
                "spend",
                "cache_share",
                "unpriced_share",
                "source_lag",
            )
        ),
        Row(title="Where", entries=("spend_share_by_agent", "spend_share_by_model", "spend_month_by_agent")),
        Row(entries=("spend_share_by_source", "spend_share_by_environment", "tokens_month_by_model")),
        Row(title="When", entries=("spend_by_hour",)),
        Row(title="Trend", entries=("spend_by_model", "spend_by_agent", "cost_per_1k_tokens_by_model")),
        Row(title="Where the tokens go", entries=("tokens_by_class", "tokens_of_which", "tokens_per_call")),
        Row(title="What is known", entries=("spend_by_source_of_price", "unpriced_by_reason", "unpriced_by_model")),
    ),
)
