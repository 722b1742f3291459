"""Calls that lasted over the border of a period: Langfuse adds them up where they began, we where they ended."""

from exporters.sources import Sums
from exporters.sources.langfuse.client import Client
from exporters.sources.langfuse.decoding import BadRowError
from exporters.sources.langfuse.rows import Observation, observation_of
from exporters.sources.langfuse.surfaces import Surface, parse
from exporters.sources.langfuse.usage import OutOfRangeError, cost_of, tokens_of

CALLS = ("GENERATION", "EMBEDDING")
# Past this many pages a project is so large that those at a border are no share of a day that shows.
_PAGES = 10


def lasting_over(client: Client, surface: Surface, border: float, age: float) -> Sums:
    """Return what calls took that began before a Unix time, at most `age` seconds, and ended at it or later.

    Of more than can be asked for, what the first pages have. Raises RefusedError.
    """
    found = Sums(calls=0, input_tokens=0, output_tokens=0, cost=0.0)
    page = ""
    for _ in range(_PAGES):
        reply = parse(client.get(*surface.lasting_over(border, page=page, age=age)), page)
        for body in reply.rows:
            try:
                row = observation_of(bytes(body))
                found = plus(found, _taken(row)) if row.type in CALLS else found
            except (BadRowError, OutOfRangeError):
                continue  # counted as a bad record where it is read to be counted
        page = reply.next
        if not page:
            break
    return found


def plus(one: Sums, other: Sums, times: int = 1) -> Sums:
    """Return a sum and, so many times, another; what either does not know is unknown."""
    return Sums(
        calls=_plus(one.calls, other.calls, times),
        input_tokens=_plus(one.input_tokens, other.input_tokens, times),
        output_tokens=_plus(one.output_tokens, other.output_tokens, times),
        cost=None if one.cost is None or other.cost is None else one.cost + times * other.cost,
    )


def _plus(one: int | None, other: int | None, times: int) -> int | None:
    return None if one is None or other is None else one + times * other


def _taken(row: Observation) -> Sums:
    tokens = tokens_of(row.usage_details)
    return Sums(
        calls=1,
        input_tokens=(tokens.input or 0) + (tokens.unsplit or 0),
        output_tokens=tokens.output or 0,
        cost=cost_of(row.cost_details, row.total_cost, row.calculated_total_cost) or 0.0,
    )
