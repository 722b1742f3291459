"""SIGNALS: the questions people ask, each as one PromQL expression with its meaning, limit and remedy."""

from exporters.catalogue.model import Signal
from exporters.catalogue.signals import (
    anomalies,
    budgets,
    calendar,
    cost,
    evaluations,
    exporter,
    loops,
    models,
    pairs,
    periods,
    reliability,
    runs,
    tokens,
    tools,
)


def _by_name(*signals: Signal) -> dict[str, Signal]:
    """Return the signals by name; ValueError when two share one, because the first would be lost in silence."""
    named = {signal.name: signal for signal in signals}
    if len(named) < len(signals):
        names = [signal.name for signal in signals]
        raise ValueError(f"two signals share a name: {sorted({name for name in names if names.count(name) > 1})}")
    return named


SIGNALS: dict[str, Signal] = _by_name(
    *runs.RUNS,
    *runs.AGENT_COLUMNS,
    *loops.LOOPS,
    *models.INFERENCE,
    *models.MODEL_COLUMNS,
    *tokens.TOKENS,
    *cost.COST,
    *calendar.CALENDAR,
    *periods.PERIOD_COLUMNS,
    *periods.CHANGES,
    *budgets.BUDGETS,
    *budgets.BUDGET_COLUMNS,
    *tools.TOOLS,
    *tools.TOOL_COLUMNS,
    *anomalies.ANOMALIES,
    *anomalies.ANOMALY_COLUMNS,
    *reliability.RELIABILITY,
    *reliability.OBJECTIVE_COLUMNS,
    *pairs.PAIR_COLUMNS,
    *evaluations.EVALUATIONS,
    *evaluations.SCORE_COLUMNS,
    *exporter.EXPORTER,
)
