"""Evaluations: how good are the answers, and is it getting better?"""

from exporters.catalogue.tables import SCORES
from streamlit_portal.tab import Tab

TAB = Tab(
    title="Evaluations",
    path="evaluations",
    question="How good is what the agents do, of what is judged, and is it getting better?",
    board="agents-evaluations",
    cards=("scores", "mean_score", "scores_per_run", "runs"),
    tables=(SCORES,),
    rows=(("score_by_name", "score_by_agent"), ("score_heatmap", "scores_by_agent")),
)
