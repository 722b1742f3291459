"""Where the history of a project begins: nobody tells, so that it is asked for step by step."""

from exporters.sources.langfuse.client import Client, RefusedError
from exporters.sources.langfuse.surfaces import Surface, parse

_OLDEST = 12 * 365 * 86400.0
# A server that has as many empty pages is taken to have something behind them.
_MOST_PAGES = 100


def begin_of(client: Client, surface: Surface, now: float) -> float:
    """Return a time before which there is no row. Lists go backwards only, so steps back are doubled.

    Raises RefusedError.
    """
    back = 86_400.0
    while back < _OLDEST and _any_before(client, surface, now - back):
        back *= 2
    return now - back


def _any_before(client: Client, surface: Surface, until: float) -> bool:
    page = ""
    for _ in range(_MOST_PAGES):
        try:
            reply = parse(client.get(*surface.any_before(until, page=page)), page)
        except RefusedError as refusal:
            if refusal.kind != "too_large":
                raise
            return True
        if reply.rows or not reply.next:
            return bool(reply.rows)
        page = reply.next
    return True
