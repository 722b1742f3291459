"""Tools: which one fails or keeps agents waiting?"""

from exporters.catalogue.tables import AGENT_TOOLS, TOOLS
from streamlit_portal.tab import Tab

TAB = Tab(
    title="Tools",
    path="tools",
    question="Which tool fails or keeps agents waiting?",
    board="agents-tools",
    cards=("runs", "tool_calls", "tool_error_share", "tool_latency_p95"),
    tables=(TOOLS, AGENT_TOOLS),
    rows=(("calls_by_tool", "tool_error_ratio_by_tool"), ("tool_latency_by_tool", "tool_latency_heatmap")),
)
