"""TABLES: those that answer "which one?": a line for each agent, model or tool, a column for each signal."""

from dataclasses import dataclass

from exporters.catalogue.model import Signal
from exporters.catalogue.signals import SIGNALS


@dataclass(frozen=True, kw_only=True)
class Table:
    """Named columns of signals that keep the same labels; the labels' values are the first columns.

    `name` makes the panel id, as a signal's name does. `sort` is the signal whose column puts
    the largest first; without one the first label does, from the last of the alphabet.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    sort: str = ""
    height: int = 8

    @property
    def signals(self) -> tuple[Signal, ...]:
        """The signals of the columns; ValueError when one cannot stand in this table."""
        found = tuple(SIGNALS[name] for name in self.columns)
        for signal in found:
            if signal.view != "column" or signal.by != self.labels:
                raise ValueError(f"{signal.name} is not a column of {' and '.join(self.labels)}")
        return found


PERIODS = Table(
    name="periods_table",
    title="This period and the one before",
    labels=("period",),
    columns=(
        "period_runs",
        "period_calls",
        "period_ok_share",
        "period_latency_p50",
        "period_latency_p95",
        "period_latency_p99",
        "period_tokens",
        "period_spend",
    ),
    height=6,
)
AGENTS = Table(
    name="agents_table",
    title="Agents in the time range",
    labels=("gen_ai_agent_name",),
    columns=(
        "agent_runs",
        "agent_error_share",
        "agent_latency_p95",
        "agent_calls_per_run",
        "agent_tools_per_run",
        "agent_tokens",
        "agent_spend",
        "agent_cost_per_ok_run",
    ),
    sort="agent_spend",
)
AGENT_CHANGES = Table(
    name="agent_changes_table",
    title="Agents, and what changed against the period before",
    labels=("gen_ai_agent_name",),
    columns=(
        "agent_runs",
        "agent_error_share",
        "agent_error_change",
        "agent_latency_p95",
        "agent_latency_change",
        "agent_spend",
        "agent_spend_change",
    ),
    sort="agent_spend_change",
)
MODEL_CHANGES = Table(
    name="model_changes_table",
    title="Models, and what changed against the period before",
    labels=("gen_ai_request_model",),
    columns=(
        "model_calls",
        "model_error_share",
        "model_error_change",
        "model_latency_p95",
        "model_latency_change",
        "model_spend",
        "model_spend_change",
    ),
    sort="model_spend_change",
)
MODELS = Table(
    name="models_table",
    title="Models in the time range",
    labels=("gen_ai_request_model",),
    columns=(
        "model_calls",
        "model_error_share",
        "model_latency_p50",
        "model_latency_p95",
        "model_input_tokens",
        "model_output_tokens",
        "model_cost_per_1k_tokens",
        "model_spend",
        "model_unpriced_calls",
    ),
    sort="model_spend",
)
BUDGETS = Table(
    name="budgets_table",
    title="Budgets in their periods",
    labels=("budget",),
    columns=(
        "budget_limit",
        "budget_spent",
        "budget_due",
        "budget_left",
        "budget_end_low",
        "budget_end_expected",
        "budget_end_high",
        "budget_runs_out",
    ),
    sort="budget_limit",
)
OBJECTIVES = Table(
    name="objectives_table",
    title="Objectives now",
    labels=("gen_ai_agent_name", "objective"),
    columns=(
        "objective_target",
        "objective_attained",
        "objective_budget_left",
        "objective_burn_rate",
        "objective_time_left",
    ),
    sort="objective_burn_rate",
)
TOOLS = Table(
    name="tools_table",
    title="Tools in the time range",
    labels=("gen_ai_tool_name",),
    columns=("tool_column_calls", "tool_column_error_share", "tool_column_latency_p95", "tool_column_time"),
    sort="tool_column_time",
)
AGENT_MODELS = Table(
    name="agent_models_table",
    title="Agents and the models they call",
    labels=("gen_ai_agent_name", "gen_ai_request_model"),
    columns=("agent_model_calls", "agent_model_error_share", "agent_model_latency_p95", "agent_model_cost"),
    sort="agent_model_calls",
)
VERSIONS = Table(
    name="versions_table",
    title="Versions of agents",
    labels=("gen_ai_agent_name", "gen_ai_agent_version"),
    columns=(
        "version_runs",
        "version_error_share",
        "version_latency_p95",
        "version_calls_per_run",
        "version_cost_per_ok_run",
    ),
    sort="version_runs",
)
AGENT_TOOLS = Table(
    name="agent_tools_table",
    title="Agents and the tools they call",
    labels=("gen_ai_agent_name", "gen_ai_tool_name"),
    columns=("agent_tool_calls", "agent_tool_error_share", "agent_tool_latency_p95"),
    sort="agent_tool_calls",
)
SCORES = Table(
    name="scores_table",
    title="Scores in the time range",
    labels=("gen_ai_evaluation_name", "gen_ai_agent_name"),
    columns=("score_count", "score_mean", "score_change"),
    sort="score_count",
)
ANOMALIES = Table(
    name="anomalies_table",
    title="Agents, and how many deviations above the usual",
    labels=("gen_ai_agent_name",),
    columns=(
        "spend_column_anomaly",
        "token_column_anomaly",
        "error_column_anomaly",
        "latency_column_anomaly",
        "runs_column_against_usual",
    ),
    sort="spend_column_anomaly",
)
