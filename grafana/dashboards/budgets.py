"""Budgets: for who has promised that it will not cost more."""

from exporters.catalogue.tables import BUDGETS as BUDGETS_TABLE
from grafana.dashboard import Dashboard, Row

BUDGETS = Dashboard(
    topic="Budgets",
    question="What of each budget is spent, is it spent too fast, and where will its period end?",
    since="now-7d/d",
    variables=(),
    rows=(
        Row(
            entries=(
                "budget_least_left",
                "unbudgeted_spend",
                "cost_per_ok_run",
                "spend_forecast",
                "budgets_past",
                "spend_today",
                "spend_month",
                "source_lag",
            )
        ),
        Row(title="Where", entries=(BUDGETS_TABLE,)),
        Row(title="How full", entries=("budget_used", "budget_state")),
        Row(title="Where it ends", entries=("budget_forecast", "budget_burn", "spend_forecast_range")),
        Row(title="Trust", entries=("source_up", "budget_stale", "budgets_kept")),
    ),
)
