"""Models: for who chooses among them."""

from exporters.catalogue.tables import AGENT_MODELS
from exporters.catalogue.tables import MODELS as MODELS_TABLE
from grafana.dashboard import Dashboard, Row

MODELS = Dashboard(
    topic="Models",
    question="Which model is slow, failing or dear?",
    rows=(
        Row(
            entries=(
                "inference_calls",
                "inference_error_share",
                "inference_latency_p95",
                "tokens",
                "spend",
                "cache_share",
                "unpriced_share",
                "source_lag",
            )
        ),
        Row(title="Where", entries=(MODELS_TABLE,)),
        Row(title="Which one", entries=("cost_against_latency", "inference_within_by_model")),
        Row(title="Speed", entries=("inference_latency_by_model", "first_chunk_by_model", "speed_by_model")),
        Row(entries=("inference_latency", "inference_latency_heatmap")),
        Row(title="Trend", entries=("calls_by_model", "spend_by_model")),
        Row(title="Who uses which", entries=(AGENT_MODELS,)),
        Row(title="Tokens per call", entries=("tokens_per_call", "output_tokens_per_call")),
        Row(
            title="Errors",
            entries=("inference_error_ratio_by_model", "inference_errors_by_model", "inference_errors_by_type"),
        ),
    ),
)
