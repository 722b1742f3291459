"""Overview: is anything wrong, and what does it cost?"""

from exporters.catalogue.tables import AGENT_CHANGES, MODEL_CHANGES, PERIODS
from streamlit_portal.tab import Tab

TAB = Tab(
    title="Overview",
    path="",
    question="Do the agents work, how fast are they, and what do they cost?",
    board="agents-overview",
    cards=(
        "runs",
        "run_error_share",
        "run_latency_p95",
        "tokens",
        "spend",
        "spend_today",
        "spend_month",
        "source_lag",
    ),
    tables=(PERIODS, AGENT_CHANGES, MODEL_CHANGES),
    rows=(("runs_by_agent",), ("run_errors_by_type", "run_latency", "spend_by_model")),
)
