"""Anomalies: is today like other days?"""

from exporters.catalogue.tables import ANOMALIES
from streamlit_portal.tab import Tab

TAB = Tab(
    title="Anomalies",
    path="anomalies",
    question="What is unlike the same hour of other weeks: spend, tokens, failures or duration, and whose?",
    board="agents-anomalies",
    cards=("spend_anomaly", "token_anomaly", "error_anomaly", "latency_anomaly"),
    tables=(ANOMALIES,),
    rows=(("spend_band", "token_band"), ("error_band", "latency_band")),
)
