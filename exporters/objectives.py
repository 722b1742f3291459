"""Objectives: what share of an agent's runs should succeed, and within what time, as a file of one's own says."""

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
from prometheus_client.utils import floatToGoString

from exporters.aggregate import Aggregate
from exporters.catalogue.metrics import AGENT_SECONDS
from exporters.declarations import Declaration, convert, read_entries
from exporters.feed import PLANS
from exporters.health import Health
from exporters.sources import SourceError

HELP = "docs/objectives.md"
EVERY_AGENT = "*"
_DAY = 86_400.0
_AGENT = PLANS["run"].labels.index("gen_ai_agent_name")
_SHARE = re.compile(r"(\d{1,2}(?:\.\d+)?)\s*%")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m)")
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0}

Kind = Literal["success", "latency"]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A share of runs, over a window in seconds. `le` is the bucket of runs that are fast enough, "" for success."""

    kind: Kind
    ratio: float
    window: float
    le: str = ""


class _Latency(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    within: str
    share: str


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    agent: str | list[str]
    success: str | None = None
    latency: _Latency | None = None
    window: Literal["7d", "28d", "30d"] = "30d"


# The objectives of each agent that the file names, and of every other under `*`, by kind.
Objectives = Mapping[str, Mapping[Kind, Objective]]


def read_objectives(path: Path) -> Objectives:
    """Read a file of objectives. Raises SourceError with one line that names file, entry and field."""
    found: dict[str, dict[Kind, Objective]] = {}
    for number, entry in enumerate(read_entries(path, under="objectives", help_page=HELP), 1):
        named = f"{path}: entry {number}{_whose(entry)}"
        agents, objectives = _entry(entry, named)
        for agent in agents:
            of_agent = found.setdefault(agent, {})
            for objective in objectives:
                if objective.kind in of_agent:
                    who = "every agent" if agent == EVERY_AGENT else f"agent '{agent}'"
                    raise SourceError(f"{named}: {who} has an objective of {objective.kind} already; leave one out")
                of_agent[objective.kind] = objective
    return found


def _whose(entry: Any) -> str:
    agent = entry.get("agent") if isinstance(entry, dict) else None
    return f" ({agent})" if isinstance(agent, str) else ""


def _entry(found: Any, named: str) -> tuple[Sequence[str], list[Objective]]:
    """Return whose objectives an entry tells, and which."""
    entry = convert(found, _Entry, named)
    agents = [entry.agent] if isinstance(entry.agent, str) else entry.agent
    if not agents or not all(agents):
        raise SourceError(f"{named}: agent: should be a name, several, or '*' for every agent")
    for agent in agents:
        if EVERY_AGENT in agent and agent != EVERY_AGENT:
            raise SourceError(f"{named}: agent: '{agent}' is no pattern; write whole names, or '*' for every agent")
    window = int(entry.window[:-1]) * _DAY
    objectives = []
    if entry.success is not None:
        objectives.append(Objective(kind="success", ratio=_share(entry.success, f"{named}: success"), window=window))
    if (latency := entry.latency) is not None:
        ratio, le = _share(latency.share, f"{named}: latency.share"), _bound(latency.within, f"{named}: latency.within")
        objectives.append(Objective(kind="latency", ratio=ratio, window=window, le=le))
    if not objectives:
        raise SourceError(f"{named}: says neither 'success' nor 'latency'; see {HELP}")
    return agents, objectives


def _share(text: str, named: str) -> float:
    """Read 99.5% as 0.995. All would leave no run to fail, and none would be no objective."""
    match = _SHARE.fullmatch(text.strip())
    ratio = round(float(match[1]) / 100, 12) if match else 0.0
    if not 0 < ratio < 1:
        raise SourceError(f"{named}: '{text}' is not a share such as 99.5%, above 0% and below 100%")
    return ratio


def _bound(text: str, named: str) -> str:
    """Return the bound of the histogram that a duration is, as `le` says it on the page."""
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise SourceError(f"{named}: '{text}' is not a duration such as 25.6s")
    seconds = round(float(match[1]) * _SECONDS[match[2]], 6)
    if seconds not in AGENT_SECONDS:
        at = bisect_left(AGENT_SECONDS, seconds)
        nearest = " and ".join(f"{bound:g}s" for bound in AGENT_SECONDS[max(0, at - 1) : at + 1])
        raise SourceError(f"{named}: runs are not told apart at {text}; the nearest that are: {nearest}")
    return str(floatToGoString(seconds))  # type: ignore[no-untyped-call] # typed in part


def of_agent(objectives: Objectives, agent: str) -> dict[Kind, Objective]:
    """Return the objectives of an agent: its own, and of those that it has none of, everybody's."""
    return {**objectives.get(EVERY_AGENT, {}), **objectives.get(agent, {})}


def tell(health: Health, declared: Declaration[Objectives], aggregate: Aggregate) -> None:
    """Say on the page what the objectives are of each agent on it, after a look whether the file has changed."""
    declared.refresh()
    health.set("agentgauge_objectives_file_broken", int(bool(declared.problem)))
    told = {
        (objective.kind, agent, objective.le): objective
        for agent in sorted(_agents(aggregate))
        for objective in of_agent(declared.value, agent).values()
    }
    health.replace("agentgauge_objective_ratio", {labels: one.ratio for labels, one in told.items()})
    health.replace("agentgauge_objective_window_seconds", {labels[:2]: one.window for labels, one in told.items()})


def _agents(aggregate: Aggregate) -> Iterable[str]:
    """Return the names of the agents whose runs are on the page; a store may name none, which is "" here."""
    return {
        values[_AGENT] for kind, source, values in aggregate.cells if kind == "run" and source in aggregate.caught_up
    }
