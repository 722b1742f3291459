"""Cost: where does the money go, and how much of it is known?"""

from streamlit_portal.tab import Tab

TAB = Tab(
    title="Cost",
    path="cost",
    question="Where does the money go, and how much of it is known?",
    board="agents-cost",
    cards=(
        "spend",
        "spend_rate",
        "cost_per_ok_run",
        "tokens",
        "cache_share",
        "unpriced_share",
        "without_usage_share",
        "streamed_without_usage",
    ),
    rows=(("spend_by_model",), ("spend_share_by_agent", "cost_per_run", "unpriced_by_reason")),
)
