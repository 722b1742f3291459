"""When the demo's chats come, and their lines as they really interleave."""

import heapq
import itertools
from collections.abc import Iterator
from random import Random

from exporters.demo.chat import Chat, Line
from exporters.demo.scenario import AGENTS, Agent
from exporters.demo.weather import HOUR, Weather, busy

# The present is at its height whatever the hour, so that one can watch it; the past grows into it
# over its last hours.
_GROWS_SINCE = 5 * HOUR
_GROWN_SINCE = 2 * HOUR
_SLOT = 60.0


def lines(*, start: float, rate: float, weather: Weather) -> Iterator[Line]:
    """Yield (Unix seconds, line) in the order of time from `start` on, without end.

    `rate` is chats a minute at the height of a past day, and all the time once the past is over;
    then it is multiplied by the weather's speed. The same arguments yield the same lines.
    """
    random = Random(f"{weather.seed}/{start!r}")  # noqa: S311 - a story, not a secret
    waiting: list[tuple[float, int, Line]] = []
    order = itertools.count()
    for at in _arrivals(start, rate, weather, random):
        while waiting and waiting[0][0] <= at:
            yield heapq.heappop(waiting)[2]
        chat = Chat(_agent(weather.story(at), random), at, random=random, weather=weather)
        for line in chat.tell():
            heapq.heappush(waiting, (line[0], next(order), line))


def _arrivals(start: float, rate: float, weather: Weather, random: Random) -> Iterator[float]:
    """Yield when chats begin: a Poisson process whose rate is constant within a minute."""
    at = start
    while True:
        slot_end = (at // _SLOT + 1) * _SLOT
        at += random.expovariate(_rate(at, rate, weather) / 60)
        if at < slot_end:
            yield at
        else:
            # Nothing came in the rest of this minute; a Poisson process does not remember.
            at = slot_end


def _rate(at: float, rate: float, weather: Weather) -> float:
    """Return chats a minute at a moment of the clock."""
    if at >= weather.live:
        return rate * weather.speed
    ago = weather.live - at
    height = sum(agent.share for agent in AGENTS)
    past = rate * sum(agent.share * busy(agent, at) for agent in AGENTS) / height
    if ago >= _GROWS_SINCE:
        return past
    grown = min(1.0, (_GROWS_SINCE - ago) / (_GROWS_SINCE - _GROWN_SINCE))
    return past + (rate - past) * grown * grown


def _agent(story: float, random: Random) -> Agent:
    weights = [agent.share * max(0.12, busy(agent, story)) for agent in AGENTS]
    return random.choices(AGENTS, weights)[0]
