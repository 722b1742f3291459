"""Overview: is anything wrong, and what does it cost?"""

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
        "cache_share",
        "unpriced_share",
        "source_lag",
    ),
    rows=(("runs_by_agent",), ("run_errors_by_type", "run_latency", "spend_by_model")),
)
