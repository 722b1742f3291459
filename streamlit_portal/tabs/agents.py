"""Agents: which one fails, is slow, loops or costs most?"""

from exporters.catalogue.tables import AGENTS, VERSIONS
from streamlit_portal.tab import Tab

TAB = Tab(
    title="Agents",
    path="agents",
    question="Which agent fails, is slow, loops or costs most?",
    board="agents-agents",
    cards=("runs", "run_error_share", "run_latency_p95", "cost_per_ok_run"),
    tables=(AGENTS, VERSIONS),
    finding="versions",
    rows=(("runs_by_agent", "run_error_ratio_by_agent"), ("run_latency_heatmap", "calls_per_run")),
)
