"""Models: which one is slow, fails or is dear?"""

from exporters.catalogue.tables import MODELS
from streamlit_portal.tab import Tab

TAB = Tab(
    title="Models",
    path="models",
    question="Which model is slow, fails or costs most?",
    board="agents-models",
    cards=("inference_calls", "inference_error_share", "inference_latency_p95", "cache_share"),
    tables=(MODELS,),
    finding="models",
    rows=(("cost_against_latency", "inference_within_by_model"), ("inference_latency_by_model", "speed_by_model")),
)
