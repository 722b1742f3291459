"""What happens around the demo's agents: the rhythm of day and week, slow spells, bad deploys, flaky tools."""

import math
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from random import Random
from typing import Literal

from exporters.demo.scenario import AGENTS, Agent

DAY = 86_400.0
HOUR = 3_600.0

# The past of a demo ends on a bad deploy that was rolled back, so that there is something to see
# in its last hours: this many hours before the present it begins and ends.
_EVE_DEPLOY = (2.6 * HOUR, 1.4 * HOUR)


@dataclass(frozen=True, kw_only=True)
class Incident:
    """A spell of trouble: `failing` is added to a call's chance to fail, `slower` multiplies its duration.

    `subject` is the agent of a bad deploy, the provider of a slow spell, the tool of a flaky one.
    """

    kind: Literal["deploy", "slow", "flaky"]
    subject: str
    start: float
    end: float
    failing: float
    slower: float


@dataclass(frozen=True, kw_only=True)
class Weather:
    """The incidents of every moment, the same for the same seed. Times are Unix seconds.

    `live` is when the demo's past ends. From then on the story runs `speed` times as fast as
    the clock: incidents are nearer to each other and shorter, calls take as long as always.
    `asked` are incidents besides, whose times are seconds of the clock after `live`.
    """

    seed: int
    live: float
    speed: float = 1.0
    asked: tuple[Incident, ...] = ()

    def story(self, at: float) -> float:
        """Return how far the story is at a moment of the clock."""
        return at if at <= self.live else self.live + (at - self.live) * self.speed

    def incident(self, kind: Literal["deploy", "slow", "flaky"], subject: str, at: float) -> Incident | None:
        """Return the trouble that a subject is in, if it is in any."""
        for incident in self.asked:
            if (incident.kind, incident.subject) == (kind, subject) and incident.start <= at - self.live < incident.end:
                return incident
        story = self.story(at)
        day = int(story // DAY)
        for incident in (*_incidents(self.seed, day), *_incidents(self.seed, day - 1), self._eve()):
            if incident.kind == kind and incident.subject == subject and incident.start <= story < incident.end:
                return incident
        return None

    def _eve(self) -> Incident:
        since, until = _EVE_DEPLOY
        return _bad_deploy("support", self.live - since, self.live - until)


def busy(agent: Agent, story: float) -> float:
    """Return how busy an agent is at a moment of the story, in local time: 1 at the height of its day."""
    # By the local clock, as people work.
    local = datetime.fromtimestamp(story)
    hour = local.hour + local.minute / 60
    weekend = local.weekday() >= 5
    if agent.hours == "always":
        return 1.0
    if agent.hours == "office":
        return 0.08 if weekend else 0.08 + 0.92 * _bump(hour, 8, 18)
    return (0.15 + 0.85 * _bump(hour, 6, 23)) * (0.6 if weekend else 1.0)


def _bump(hour: float, start: float, end: float) -> float:
    return math.sin(math.pi * (hour - start) / (end - start)) if start < hour < end else 0.0


@cache
def _incidents(seed: int, day: int) -> tuple[Incident, ...]:
    """Return what begins on a day: often a slow spell, now and then a bad deploy, a few flaky tools."""
    random = Random(f"{seed}/{day}")  # noqa: S311 - a story, not a secret
    found = []
    if random.random() < 0.5:
        agent = random.choice(AGENTS)
        start = day * DAY + random.uniform(8, 18) * HOUR
        found.append(_bad_deploy(agent.name, start, start + random.uniform(1.0, 2.0) * HOUR))
    if random.random() < 0.8:
        start = day * DAY + random.uniform(0, 24) * HOUR
        end = start + random.uniform(0.4, 1.5) * HOUR
        slower = random.uniform(2.0, 4.0)
        found.append(Incident(kind="slow", subject="openai", start=start, end=end, failing=0.06, slower=slower))
    tools = [tool.name for agent in AGENTS for tool in agent.tools if not tool.asks]
    for _ in range(random.randint(1, 4)):
        start = day * DAY + random.uniform(0, 24) * HOUR
        end = start + random.uniform(0.2, 0.8) * HOUR
        subject = random.choice(tools)
        found.append(Incident(kind="flaky", subject=subject, start=start, end=end, failing=0.4, slower=1.5))
    return tuple(found)


def _bad_deploy(agent: str, start: float, end: float) -> Incident:
    return Incident(kind="deploy", subject=agent, start=start, end=end, failing=0.15, slower=2.2)
