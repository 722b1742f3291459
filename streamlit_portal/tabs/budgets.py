"""Budgets: what may still be spent, and does it last?"""

from exporters.catalogue.tables import BUDGETS
from streamlit_portal.tab import Tab

TAB = Tab(
    title="Budgets",
    path="budgets",
    question="What of each budget is spent, is it spent too fast, and where will its period end?",
    board="agents-budgets",
    cards=(
        "budget_least_left",
        "unbudgeted_spend",
        "cost_per_ok_run",
        "spend_forecast",
        "budgets_past",
        "spend_today",
        "spend_month",
        "source_lag",
    ),
    rows=(("budget_used", "budget_state"), ("budget_forecast", "budget_burn")),
    tables=(BUDGETS,),
)
