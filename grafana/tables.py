"""The tables that answer "which one?": a line for each agent, model or tool, a column for each signal."""

from dataclasses import dataclass

from exporters.catalogue.model import Signal
from exporters.catalogue.signals import SIGNALS


@dataclass(frozen=True, kw_only=True)
class Table:
    """Named columns of signals that keep one and the same label; its values are the first column.

    `name` makes the panel id, as a signal's name does. `sort` is the signal whose column puts
    the largest first.
    """

    name: str
    title: str
    label: str
    columns: tuple[str, ...]
    sort: str

    @property
    def signals(self) -> tuple[Signal, ...]:
        """The signals of the columns; ValueError when one cannot stand in this table."""
        found = tuple(SIGNALS[name] for name in self.columns)
        for signal in found:
            if signal.view != "column" or signal.by != (self.label,):
                raise ValueError(f"{signal.name} is not a column of {self.label}")
        return found


AGENTS = Table(
    name="agents_table",
    title="Agents in the time range",
    label="gen_ai_agent_name",
    columns=("agent_runs", "agent_error_share", "agent_latency_p95", "agent_tokens", "agent_spend"),
    sort="agent_spend",
)
MODELS = Table(
    name="models_table",
    title="Models in the time range",
    label="gen_ai_request_model",
    columns=(
        "model_calls",
        "model_error_share",
        "model_latency_p95",
        "model_input_tokens",
        "model_output_tokens",
        "model_spend",
        "model_unpriced_calls",
    ),
    sort="model_spend",
)
TOOLS = Table(
    name="tools_table",
    title="Tools in the time range",
    label="gen_ai_tool_name",
    columns=("tool_column_calls", "tool_column_error_share", "tool_column_latency_p95", "tool_column_time"),
    sort="tool_column_time",
)
