"""Prometheus over HTTP: many queries at once, bounded in time, with errors as a state of the answer."""

import concurrent.futures
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests
import streamlit as st

TIMEOUT = 3.0
# After a failure nothing is asked for so long, so that a page of many parts waits once, not many times.
QUIET = 5.0
SILENT = "Prometheus does not answer"
_AT_ONCE = 8
_MEMORY = 30 * 86_400
_quiet_until: dict[str, float] = {}


@dataclass(frozen=True, kw_only=True)
class Query:
    """An expression at one moment, or every `step` seconds from `start` to `end` (Unix seconds)."""

    expr: str
    end: float
    start: float = 0.0
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class Series:
    """A label set and its points, (Unix seconds, finite value) in order of time."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back: series, or in words why there are none."""

    series: tuple[Series, ...] = ()
    problem: str = ""

    @property
    def value(self) -> float | None:
        """The one number of an instant answer without labels, None if there is none."""
        return self.series[0].points[-1][1] if self.series else None


class UnreachableError(Exception):
    """Prometheus was not reached, took too long, or is not ready."""


def ask(url: str, queries: tuple[Query, ...]) -> tuple[Answer, ...]:
    """Answer every query, in their order. Never raises: a problem is in each answer it concerns."""
    if time.monotonic() < _quiet_until.get(url, 0.0):
        return (Answer(problem=SILENT),) * len(queries)
    try:
        return _answers(url, queries)
    except UnreachableError:
        _quiet_until[url] = time.monotonic() + QUIET
        return (Answer(problem=SILENT),) * len(queries)


def label_values(url: str, label: str, end: float) -> tuple[str, ...] | None:
    """Return the values that a label has had in the last thirty days, sorted; None if unknown."""
    if time.monotonic() < _quiet_until.get(url, 0.0):
        return None
    try:
        return _values(url, label, end // 60 * 60)
    except UnreachableError:
        _quiet_until[url] = time.monotonic() + QUIET
        return None


def alert_rules(url: str, moment: float) -> list[dict[str, Any]] | None:
    """Return the alert rules as Prometheus' API tells them, with what of each fires; None while it does not answer.

    `moment` only tells one look from the next.
    """
    if time.monotonic() < _quiet_until.get(url, 0.0):
        return None
    try:
        return _alert_rules(url, moment)
    except UnreachableError:
        _quiet_until[url] = time.monotonic() + QUIET
        return None


def beat(refresh: int) -> float:
    """Return the moment that all queries of one beat share, so that they are asked once for everybody."""
    return time.time() // refresh * refresh


def shown_address(url: str) -> str:
    """Return the address without a user's name and password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


# An exception is not cached, so that the next beat tries again. A query carries its time, so that
# an entry never grows stale; the time to live only bounds the memory.
@st.cache_data(ttl=120, max_entries=400, show_spinner=False)
def _answers(url: str, queries: tuple[Query, ...]) -> tuple[Answer, ...]:
    failed = threading.Event()
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=_AT_ONCE)
    try:
        with requests.Session() as session:
            waiting = [pool.submit(_answer_unless, failed, session, url, query) for query in queries]
            return tuple(future.result() for future in waiting)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _answer_unless(failed: threading.Event, session: requests.Session, url: str, query: Query) -> Answer:
    """Answer, unless a query beside this one has failed already: one time-out is enough."""
    if failed.is_set():
        raise UnreachableError
    try:
        return _answer(session, url, query)
    except UnreachableError:
        failed.set()
        raise


@st.cache_data(ttl=120, max_entries=60, show_spinner=False)
def _values(url: str, label: str, end: float) -> tuple[str, ...]:
    with requests.Session() as session:
        form = {"start": f"{end - _MEMORY:.0f}", "end": f"{end:.0f}"}
        data = _call(session, "GET", f"{url}/api/v1/label/{label}/values", form)
    return tuple(sorted(value for value in data.get("data", ()) if value))


@st.cache_data(ttl=120, max_entries=8, show_spinner=False)
def _alert_rules(url: str, moment: float) -> list[dict[str, Any]]:
    with requests.Session() as session:
        data = _call(session, "GET", f"{url}/api/v1/rules", {"type": "alert"})
    return [rule for group in data.get("data", {}).get("groups", ()) for rule in group["rules"]]


def _answer(session: requests.Session, url: str, query: Query) -> Answer:
    # Prometheus gives up first, so that one slow query is not taken for a Prometheus that is gone.
    form = {"query": query.expr, "timeout": f"{1000 * TIMEOUT - 500:.0f}ms"}
    if query.step:
        form |= {"start": f"{query.start:.3f}", "end": f"{query.end:.3f}", "step": str(query.step)}
        body = _call(session, "POST", f"{url}/api/v1/query_range", form)
    else:
        body = _call(session, "POST", f"{url}/api/v1/query", form | {"time": f"{query.end:.3f}"})
    if body.get("status") != "success":
        return Answer(problem=f"Prometheus refused the query: {body.get('error', 'no reason given')}")
    return Answer(series=_series(body["data"]["result"]))


def _call(session: requests.Session, method: str, address: str, form: Mapping[str, str]) -> dict[str, Any]:
    """Return the JSON body, also that of a refusal. Raises UnreachableError."""
    try:
        if method == "GET":
            body = session.get(address, params=form, timeout=TIMEOUT).json()
        else:
            body = session.post(address, data=form, timeout=TIMEOUT).json()
    except requests.RequestException as error:
        raise UnreachableError from error
    # One that starts says so in plain text; a refusal, of a query that took too long too, is JSON.
    if not isinstance(body, dict) or "status" not in body:
        raise UnreachableError
    return body


def _series(result: list[dict[str, Any]]) -> tuple[Series, ...]:
    """Read a vector or a matrix. NaN and infinity are no number to show and are left out."""
    found = []
    for entry in result:
        samples = entry.get("values") or [entry["value"]]
        points = [(float(at), float(value)) for at, value in samples]
        kept = tuple(point for point in points if math.isfinite(point[1]))
        if kept:
            found.append(Series(labels={k: v for k, v in entry["metric"].items() if k != "__name__"}, points=kept))
    return tuple(found)
