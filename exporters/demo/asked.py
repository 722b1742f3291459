"""Incidents that are asked for: what `agentgauge demo --incident` says, so that an alert can be seen to fire."""

from typing import Literal

from exporters.demo.scenario import AGENTS
from exporters.demo.weather import Incident
from exporters.sources import seconds_of

_Kind = Literal["deploy", "slow", "flaky"]
# Whom a kind of trouble can befall, and how bad it is where nothing is said.
_SUBJECTS: dict[_Kind, frozenset[str]] = {
    "deploy": frozenset(agent.name for agent in AGENTS),
    "slow": frozenset(model.provider for agent in AGENTS for model, _ in agent.models),
    "flaky": frozenset(tool.name for agent in AGENTS for tool in agent.tools if not tool.asks),
}
_FAILING = {"deploy": 0.5, "slow": 0.06, "flaky": 0.4}
_SLOWER = {"deploy": 2.2, "slow": 3.0, "flaky": 1.5}


def incident(text: str) -> Incident:
    """Read `deploy:support:in=30s,for=10m,failing=0.9`, in seconds after the demo's past has ended.

    Raises ValueError, which says what would be understood.
    """
    kind, _, rest = text.partition(":")
    subject, _, given = rest.partition(":")
    for known, subjects in _SUBJECTS.items():
        if kind == known:
            if subject not in subjects:
                raise ValueError(f"{subject!r} is none of {', '.join(sorted(subjects))}")
            return _incident(known, subject, given)
    raise ValueError(f"{kind!r} is none of {', '.join(_SUBJECTS)}")


def _incident(kind: _Kind, subject: str, given: str) -> Incident:
    options = dict(part.partition("=")[::2] for part in given.split(",") if part)
    start = seconds_of(options.pop("in", "0s"))
    lasts = seconds_of(options.pop("for", "10m"))
    failing = float(options.pop("failing", _FAILING[kind]))
    if options:
        raise ValueError(f"{next(iter(options))!r} is none of in, for, failing")
    if not 0 <= failing <= 1:
        raise ValueError(f"failing is {failing:g}, and a chance is from 0 to 1")
    return Incident(kind=kind, subject=subject, start=start, end=start + lasts, failing=failing, slower=_SLOWER[kind])
