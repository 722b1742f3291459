"""Models: which one is slow, fails or is dear?"""

from streamlit_portal.tab import Tab

TAB = Tab(
    title="Models",
    path="models",
    question="Which model is slow, fails or costs most?",
    board="agents-models",
    cards=("inference_calls", "inference_error_share", "inference_latency_p95", "cache_share"),
    table=(
        "model_calls",
        "model_error_share",
        "model_latency_p95",
        "model_input_tokens",
        "model_output_tokens",
        "model_spend",
        "model_unpriced_calls",
    ),
    table_title="Models in the time range",
    rows=(("calls_by_model", "inference_latency_by_model"), ("inference_latency_heatmap", "tokens_by_class")),
)
