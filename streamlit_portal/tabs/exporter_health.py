"""Exporter health: can the other tabs be believed?"""

from streamlit_portal.tab import Tab

TAB = Tab(
    title="Exporter health",
    path="exporter-health",
    question="Are the stores read, in time and completely? If not, every other number here is old.",
    board="agents-exporter-health",
    cards=("sources_down", "source_lag", "series_used", "without_usage_share"),
    rows=(("source_up", "source_lag_by_source"), ("records_by_source", "bad_records_by_reason")),
)
