"""Tools: which one fails or keeps agents waiting?"""

from streamlit_portal.tab import Tab

TAB = Tab(
    title="Tools",
    path="tools",
    question="Which tool fails or keeps agents waiting?",
    board="agents-tools",
    cards=("runs", "tool_calls", "tool_error_share", "tool_latency_p95"),
    table=("tool_column_calls", "tool_column_error_share", "tool_column_latency_p95", "tool_column_time"),
    table_title="Tools in the time range",
    rows=(("calls_by_tool", "tool_error_ratio_by_tool"), ("tool_latency_by_tool", "tool_latency_heatmap")),
)
