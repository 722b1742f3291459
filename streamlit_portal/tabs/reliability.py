"""Reliability: do agents keep their objectives?"""

from exporters.catalogue.tables import OBJECTIVES
from streamlit_portal.tab import Tab

TAB = Tab(
    title="Reliability",
    path="reliability",
    question="Do agents keep their objectives, and how long does the error budget of each last?",
    board="agents-reliability",
    cards=("objectives_set", "objectives_missed", "least_budget_left", "fastest_burn"),
    tables=(OBJECTIVES,),
    rows=(("error_budget_left",), ("burn_rate_1h", "burn_rate_6h"), ("burn_rate_3d",)),
)
