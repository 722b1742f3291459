"""A project's own totals, to check ours against: from the newer metrics, the older ones, or the days of the oldest."""

import json
import threading
import time
from typing import Any, Generic, Literal, TypeVar

import msgspec

from exporters.sources import SourceError, Sums
from exporters.sources.langfuse.borders import CALLS, lasting_over, plus
from exporters.sources.langfuse.client import Client, RefusedError
from exporters.sources.langfuse.decoding import decoded
from exporters.sources.langfuse.rows import Amount
from exporters.sources.langfuse.surfaces import Surface, detect, iso

# The smallest plan of Cloud allows 100 questions a day.
AN_HOUR = 4
_HOUR = 3600.0

_MEASURES = (("count", "count"), ("totalTokens", "sum"), ("outputTokens", "sum"), ("totalCost", "sum"))
_DAYS_A_PAGE = 100
# A period is a week or so.
_PAGES = 10
# Bytes; a year of a hundred models is as much.
_LARGEST = 4 << 20
_TOO_MUCH = 1e18


class _Model(msgspec.Struct, rename="camel"):
    """What was used of a model in a day."""

    model: str | None = None
    count_observations: Amount = None
    total_usage: Amount = None
    output_usage: Amount = None
    total_cost: Amount = None


class _Day(msgspec.Struct):
    usage: list[_Model] | None = None


Row = TypeVar("Row")


class _Reply(msgspec.Struct, Generic[Row]):
    data: list[Row]


_totals = msgspec.json.Decoder(_Reply[dict[str, Amount]])
_days = msgspec.json.Decoder(_Reply[_Day])


class Totals:
    """Asks for the totals of a period, a few times an hour at most; past that the answer is unknown.

    Langfuse adds up what began in the period, not what ended: calls that lasted over a border of it are moved, where
    the server can be asked for them. Its input tokens are those whose key begins with
    `input`, so that what was cached under another name is missing: all but the output is taken for input instead.
    """

    def __init__(self, client: Client, api: Literal["auto", "v1", "v2"], age: float = 86_400.0) -> None:
        """`age` bounds how long a call may last, in seconds."""
        self._client = client
        self._api = api
        self._age = age
        self._surface: Surface | None = None
        # What was asked within the last hour, and when.
        self._asked: dict[tuple[float, float], tuple[float, Sums]] = {}
        self._lock = threading.Lock()

    def __call__(self, since: float, until: float) -> Sums:
        """Return the totals of `[since, until)` in Unix seconds. Raises SourceError."""
        with self._lock:
            now = time.monotonic()
            self._asked = {period: found for period, found in self._asked.items() if now < found[0] + _HOUR}
            known = self._asked.get((since, until))
            if known is not None:
                return known[1]
            if len(self._asked) >= AN_HOUR:
                return Sums()
            try:
                if self._surface is None:
                    self._surface = detect(self._client, self._api)
                found = self._ask(self._surface, since, until)
            except RefusedError as refusal:
                # Not asked again either: a question that failed counts as one.
                self._asked[since, until] = (now, Sums())
                raise SourceError(str(refusal)) from None
            self._asked[since, until] = (now, found)
            return found

    def _ask(self, surface: Surface, since: float, until: float) -> Sums:
        if not surface.by_end:
            return self._by_days(since, until)
        path = "/metrics" if surface.paged else "/v2/metrics"
        question = [("query", json.dumps(_query(since, until), separators=(",", ":")))]
        rows = _data(self._client.get(path, question), _totals)
        if not rows:
            rows = [dict.fromkeys((f"{how}_{measure}" for measure, how in _MEASURES), 0)]
        found = _sums(*(_number(rows[0].get(f"{how}_{measure}")) for measure, how in _MEASURES))
        return self._moved(self._moved(found, surface, since, 1), surface, until, -1)

    def _moved(self, sums: Sums, surface: Surface, border: float, times: int) -> Sums:
        return plus(sums, lasting_over(self._client, surface, border, self._age), times)

    def _by_days(self, since: float, until: float) -> Sums:
        """Add up the days of `/metrics/daily`, which servers before 3.150 have; what has no model is no call."""
        sums = [0.0, 0.0, 0.0, 0.0]
        period = [("fromTimestamp", iso(since)), ("toTimestamp", iso(until)), ("limit", str(_DAYS_A_PAGE))]
        for page in range(1, _PAGES + 1):
            days = _data(self._client.get("/metrics/daily", [*period, ("page", str(page))]), _days)
            for model in (model for day in days for model in day.usage or () if model.model):
                amounts = (model.count_observations, model.total_usage, model.output_usage, model.total_cost)
                sums = [total + (_number(amount) or 0.0) for total, amount in zip(sums, amounts, strict=True)]
            if len(days) < _DAYS_A_PAGE:
                break
        return _sums(*sums)


def _query(since: float, until: float) -> dict[str, Any]:
    return {
        "view": "observations",
        "dimensions": [],
        "metrics": [{"measure": measure, "aggregation": how} for measure, how in _MEASURES],
        "filters": [{"type": "stringOptions", "column": "type", "operator": "any of", "value": list(CALLS)}],
        "fromTimestamp": iso(since),
        "toTimestamp": iso(until),
    }


def _data(body: bytes, decoder: "msgspec.json.Decoder[_Reply[Row]]") -> list[Row]:
    reply = decoded(body, decoder) if len(body) <= _LARGEST else None
    if reply is None:
        raise RefusedError("the reply is no list of totals in JSON")
    return reply.data


def _number(amount: Amount) -> float | None:
    """Read a number, also one that is written as text, as the newer metrics do; None for one that no total can be."""
    try:
        number = None if amount is None else float(amount)
    except (ValueError, OverflowError):
        return None
    return number if number is not None and abs(number) < _TOO_MUCH else None


def _sums(calls: float | None, tokens: float | None, output: float | None, cost: float | None) -> Sums:
    counted = None if calls is None else round(calls)
    if tokens is None or output is None:
        return Sums(calls=counted, cost=cost)
    return Sums(calls=counted, input_tokens=round(tokens - output), output_tokens=round(output), cost=cost)
