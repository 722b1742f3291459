"""The pickers along the top of a dashboard, and the matchers that they put into every query."""

from collections.abc import Iterable
from dataclasses import dataclass

from exporters.catalogue.metrics import labels_by_series


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A picker of the values of one label.

    `series` are those whose values are offered: all of one kind of span, as not every store
    has runs, or calls.
    """

    name: str
    label: str
    series: tuple[str, ...]


_CALLS = "agentgauge_inference_calls_total"
_TOOL_CALLS = "agentgauge_tool_calls_total"
_ALL = ("agentgauge_runs_total", _CALLS, _TOOL_CALLS)

# In this order on every dashboard; each offers what the ones before it leave.
VARIABLES = (
    Variable(name="source", label="source", series=("agentgauge_source_up",)),
    Variable(name="environment", label="deployment_environment_name", series=_ALL),
    Variable(name="agent", label="gen_ai_agent_name", series=_ALL),
    Variable(name="model", label="gen_ai_request_model", series=(_CALLS,)),
    Variable(name="tool", label="gen_ai_tool_name", series=(_TOOL_CALLS,)),
)


def where(names: Iterable[str]) -> dict[str, str]:
    """Return the matcher of each label whose picker is among `names`, as `fill` takes them."""
    chosen = set(names)
    return {variable.label: f'=~"${variable.name}"' for variable in VARIABLES if variable.name in chosen}


def query(variable: Variable) -> str:
    """Return the Grafana query for the values of a picker, narrowed by the pickers before it."""
    known = labels_by_series()
    before = VARIABLES[: VARIABLES.index(variable)]
    matchers = [f'{other.label}=~"${other.name}"' for other in before if _have(variable.series, other.label, known)]
    if len(variable.series) == 1:
        selector = variable.series[0]
    else:
        selector = ""
        matchers.insert(0, f'__name__=~"{"|".join(variable.series)}"')
    return f"label_values({selector}{'{' + ','.join(matchers) + '}' if matchers else ''}, {variable.label})"


def _have(series: Iterable[str], label: str, known: dict[str, tuple[str, ...]]) -> bool:
    return all(label in known[name] for name in series)
