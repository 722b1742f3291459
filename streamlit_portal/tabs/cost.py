"""Cost: where does the money go, and how much of it is known?"""

from streamlit_portal.tab import Tab

TAB = Tab(
    title="Cost",
    path="cost",
    question="Where does the money go, and how much of it is known?",
    board="agents-cost",
    cards=(
        "spend",
        "spend_today",
        "spend_month",
        "cost_per_ok_run",
        "cost_per_1k_tokens",
        "cache_share",
        "cache_saved",
        "unpriced_share",
    ),
    rows=(("spend_by_model",), ("spend_by_hour",), ("spend_share_by_agent", "unpriced_by_reason")),
)
