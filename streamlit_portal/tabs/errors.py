"""Errors: what fails, and is it us, a provider or a tool?"""

from streamlit_portal.tab import Tab

TAB = Tab(
    title="Errors",
    path="errors",
    question="What fails, and is it an agent, a model's provider or a tool?",
    board="agents-errors",
    cards=("runs", "run_error_share", "inference_error_share", "tool_error_share"),
    rows=(
        ("run_errors_by_type",),
        ("inference_errors_by_type", "inference_errors_by_model", "tool_errors_by_type"),
    ),
)
