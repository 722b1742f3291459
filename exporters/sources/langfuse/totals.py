"""A project's own totals, to check ours against: from the newer metrics, the older ones, or the days of the oldest."""

import json
import threading
import time
from typing import Any, Literal

import msgspec

from exporters.sources import SourceError, Sums
from exporters.sources.langfuse.client import Client, RefusedError
from exporters.sources.langfuse.surfaces import Surface, detect, iso

# The smallest plan of Cloud allows 100 questions a day.
EVERY_SECONDS = 3600.0

_CALLS = ("GENERATION", "EMBEDDING")
_MEASURES = (
    ("count", "count"),
    ("inputTokens", "sum"),
    ("outputTokens", "sum"),
    ("totalCost", "sum"),
)


class Totals:
    """Asks for the totals of a period, once an hour at most; the answer to another question before that is unknown.

    Langfuse adds up what began in the period, not what ended; and its input tokens are those whose key begins with
    `input`, so what was cached under another name is missing from them.
    """

    def __init__(self, client: Client, api: Literal["auto", "v1", "v2"]) -> None:
        self._client = client
        self._api = api
        self._surface: Surface | None = None
        self._asked: tuple[float, float] | None = None
        self._found = Sums()
        self._next = 0.0
        self._lock = threading.Lock()

    def __call__(self, since: float, until: float) -> Sums:
        """Return the totals of `[since, until)` in Unix seconds. Raises SourceError."""
        with self._lock:
            if self._asked == (since, until):
                return self._found
            if time.monotonic() < self._next:
                return Sums()
            self._next = time.monotonic() + EVERY_SECONDS
            try:
                if self._surface is None:
                    self._surface = detect(self._client, self._api)
                self._found = self._ask(self._surface, since, until)
            except RefusedError as refusal:
                raise SourceError(str(refusal)) from None
            self._asked = (since, until)
            return self._found

    def _ask(self, surface: Surface, since: float, until: float) -> Sums:
        if not surface.by_end:
            return self._by_days(since, until)
        path = "/metrics" if surface.paged else "/v2/metrics"
        rows = _rows(self._client.get(path, [("query", json.dumps(_query(since, until), separators=(",", ":")))]))
        if not rows:
            return Sums(calls=0, input_tokens=0, output_tokens=0, cost=0.0)
        calls, given, taken, cost = (_number(rows[0].get(f"{how}_{measure}")) for measure, how in _MEASURES)
        return Sums(calls=_whole(calls), input_tokens=_whole(given), output_tokens=_whole(taken), cost=cost)

    def _by_days(self, since: float, until: float) -> Sums:
        """Add up the days of `/metrics/daily`, which servers before 3.150 have; what has no model is no call."""
        sums = dict.fromkeys(("countObservations", "inputUsage", "outputUsage", "totalCost"), 0.0)
        period = [("fromTimestamp", iso(since)), ("toTimestamp", iso(until)), ("limit", "100")]
        days: list[dict[str, Any]] = []
        while len(days) % 100 == 0:
            found = _rows(self._client.get("/metrics/daily", [*period, ("page", str(len(days) // 100 + 1))]))
            days += found
            if not found:
                break
        for model in (model for day in days for model in day.get("usage") or () if model.get("model")):
            for name in sums:
                sums[name] += _number(model.get(name)) or 0.0
        calls, given, taken, cost = sums.values()
        return Sums(calls=round(calls), input_tokens=round(given), output_tokens=round(taken), cost=cost)


def _query(since: float, until: float) -> dict[str, Any]:
    return {
        "view": "observations",
        "dimensions": [],
        "metrics": [{"measure": measure, "aggregation": how} for measure, how in _MEASURES],
        "filters": [{"type": "stringOptions", "column": "type", "operator": "any of", "value": list(_CALLS)}],
        "fromTimestamp": iso(since),
        "toTimestamp": iso(until),
    }


def _rows(body: bytes) -> list[dict[str, Any]]:
    try:
        found = msgspec.json.decode(body)["data"]
        if isinstance(found, list) and all(isinstance(row, dict) for row in found):
            return found
    except (msgspec.MsgspecError, LookupError, TypeError):
        pass
    raise RefusedError("the reply is no list of totals in JSON")


def _number(given: Any) -> float | None:
    """Read a number, also one that is written as text, as the newer metrics do."""
    try:
        return None if given is None else float(given)
    except (TypeError, ValueError):
        return None


def _whole(number: float | None) -> int | None:
    return None if number is None else round(number)
