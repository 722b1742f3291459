"""The dashboards, in the order in which people meet them."""

from grafana.dashboards.agents import AGENTS
from grafana.dashboards.anomalies import ANOMALIES
from grafana.dashboards.budgets import BUDGETS
from grafana.dashboards.cost import COST
from grafana.dashboards.errors import ERRORS
from grafana.dashboards.evaluations import EVALUATIONS
from grafana.dashboards.exporter_health import EXPORTER_HEALTH
from grafana.dashboards.models import MODELS
from grafana.dashboards.overview import OVERVIEW
from grafana.dashboards.reliability import RELIABILITY
from grafana.dashboards.tools import TOOLS

DASHBOARDS = (
    OVERVIEW,
    COST,
    BUDGETS,
    MODELS,
    AGENTS,
    TOOLS,
    EVALUATIONS,
    ERRORS,
    RELIABILITY,
    ANOMALIES,
    EXPORTER_HEALTH,
)
