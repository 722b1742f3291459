"""Evaluations: for who judges what agents answer."""

from exporters.catalogue.tables import SCORES
from grafana.dashboard import Dashboard, Row

EVALUATIONS = Dashboard(
    topic="Evaluations",
    question="How good is what the agents do, of what is judged, and is it getting better?",
    variables=("source", "environment", "agent"),
    since="now-7d",
    rows=(
        Row(entries=("scores", "mean_score", "scores_per_run")),
        Row(title="Where", entries=(SCORES,)),
        Row(title="Trend", entries=("score_by_name", "score_by_agent")),
        Row(title="All of them", entries=("score_heatmap", "scores_by_agent")),
    ),
)
