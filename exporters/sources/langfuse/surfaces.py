"""The read surfaces of Langfuse's API, older and newer, as lists that are asked for by time."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import msgspec

from exporters.sources.langfuse.client import Client, RefusedError

# Everything but the prompts and answers (`io`) and the metadata.
FIELDS = "core,basic,time,model,usage,prompt,metrics,trace_context"

List = Literal["observations", "unended", "scores", "traces"]
Asked = tuple[str, list[tuple[str, str]]]
Scores = Literal["/scores", "/v2/scores", "/v3/scores"]


class Page(msgspec.Struct):
    """One page: its rows undecoded, and where the next begins (empty: this was the last)."""

    rows: list[msgspec.Raw]
    next: str = ""
    # How many rows all pages have, where the server says so.
    total: int | None = None


class _Meta(msgspec.Struct, rename="camel"):
    cursor: str | None = None
    page: int | None = None
    total_items: int | None = None
    total_pages: int | None = None


class _Reply(msgspec.Struct):
    data: list[msgspec.Raw]
    meta: _Meta


# From here on the contracts have the newer surface, which need not be switched on, and the parameter `filter`.
_NEWER_SINCE = (3, 150, 0)

_decode = msgspec.json.Decoder(_Reply).decode


@dataclass(frozen=True, kw_only=True)
class Surface:
    """What a server can be asked. `paged` lists have page numbers, the others a cursor."""

    version: tuple[int, int, int]
    paged: bool
    scores: Scores

    @property
    def by_end(self) -> bool:
        """Whether observations can be asked for by their end, which needs the parameter `filter`."""
        return not self.paged or self.version >= _NEWER_SINCE

    def most(self, name: List) -> int:
        """The largest page that the server gives; it answers 400 above."""
        return 1000 if name in ("observations", "unended") and not self.paged else 100

    def ask(self, name: List, since: float, until: float, *, page: str, limit: int, age: float) -> Asked:
        """Return path and parameters of a page of a list in `[since, until)`.

        Observations are by the end, and those without one by the start; `age` bounds how long before its end a span
        may have begun, which the server needs so that it does not search all of its history.
        """
        cursor = not self.paged if name in ("observations", "unended") else self.scores == "/v3/scores"
        params = [("limit", str(limit))]
        if name == "traces" or not cursor:
            params.append(("page", page or "1"))
        elif page:
            params.append(("cursor", page))
        if name == "scores":
            params += [("fromTimestamp", iso(since)), ("toTimestamp", iso(until))]
            return self.scores, params + ([("fields", "subject")] if self.scores == "/v3/scores" else [])
        if name == "traces":
            params += [("fromTimestamp", iso(since)), ("toTimestamp", iso(until)), ("orderBy", "timestamp.asc")]
            return "/traces", params + ([("fields", "core")] if self.by_end else [])
        if not self.by_end:
            return "/observations", [*params, ("fromStartTime", iso(since)), ("toStartTime", iso(until))]
        params.append(("filter", json.dumps(_conditions(name, since, until, age), separators=(",", ":"))))
        return ("/observations", params) if self.paged else ("/v2/observations", [*params, ("fields", FIELDS)])

    def lasting_over(self, border: float, *, page: str, age: float) -> Asked:
        """Return path and parameters of a page of the observations that began before a time and ended at it or
        later; only for a server that can be asked by the end."""
        conditions = [*_conditions("observations", border, border + age, age), _time("startTime", "<", border)]
        params = [("limit", str(self.most("observations"))), ("filter", json.dumps(conditions, separators=(",", ":")))]
        if self.paged:
            return "/observations", [*params, ("page", page or "1")]
        return "/v2/observations", [*params, ("fields", FIELDS), *([("cursor", page)] if page else [])]

    def any_before(self, until: float, *, page: str = "") -> Asked:
        """Return path and parameters of one row that began before a time."""
        params = [("limit", "1"), ("toStartTime", iso(until))]
        if self.paged:
            return "/observations", [*params, ("page", page or "1")]
        return "/v2/observations", [*params, ("fields", "core"), *([("cursor", page)] if page else [])]


def parse(body: bytes, page: str = "") -> Page:
    """Take a reply apart, without its rows. `page` is the number that was asked for. Raises RefusedError.

    With a cursor, a page may be short or even empty and not be the last: only a missing cursor says so.
    """
    try:
        reply = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        reply = None
    reply = reply or _loosely(body)
    if reply is None:
        what = "a page of HTML, as a proxy shows" if b"<" in body[:64] else "no list in JSON, or half of one"
        raise RefusedError(f"the reply is {what}")
    meta = reply.meta
    if meta.total_pages is not None:
        number = int(page or 1)
        return Page(reply.data, str(number + 1) if number < meta.total_pages else "", meta.total_items)
    return Page(reply.data, meta.cursor or "")


def _loosely(body: bytes) -> _Reply | None:
    """Decode a reply with a row that is not strict JSON, such as one with a NaN: it is for the row to be refused."""
    try:
        found = json.loads(body.decode("utf-8", "replace"))
        rows = [msgspec.Raw(json.dumps(row).encode()) for row in found["data"]]
        return _Reply(rows, msgspec.convert(found["meta"], _Meta))
    except (msgspec.MsgspecError, ValueError, LookupError, TypeError, RecursionError):
        return None


def detect(client: Client, wanted: Literal["auto", "v1", "v2"]) -> Surface:
    """Find out which surface a server has: by its version, and by asking the newer one. Raises RefusedError.

    That the older one answers says nothing: a server of version 4 may answer it with lists that are empty.
    """
    version = _version(client)
    if wanted == "v1" and version >= (4, 0, 0):
        raise RefusedError(
            f"{client.origin}: Langfuse {version[0]} leaves the lists of api=v1 empty; leave the option out",
            "wrong",
        )
    newer = wanted == "v2"
    if wanted == "auto" and not (0, 0, 0) < version < _NEWER_SINCE:
        try:
            client.get("/v2/observations", [("limit", "1"), ("fields", "core")])
            newer = True
        except RefusedError as refusal:
            if refusal.kind != "absent":
                raise
            if version >= (4, 0, 0):
                raise RefusedError(
                    f"{client.origin}: says it is Langfuse {version[0]} and has no /v2/observations; "
                    "check that the URL is that of Langfuse itself",
                    "wrong",
                ) from None
    return Surface(version=version, paged=not newer, scores=_scores(client, version, newer))


def _version(client: Client) -> tuple[int, int, int]:
    """Ask for the version of a server; (0, 0, 0) where it does not say."""
    try:
        found = msgspec.json.decode(client.get("/health", keyed=False))
        numbers = [int(part) for part in found["version"].split("-")[0].split(".")[:3]]
    except RefusedError as refusal:
        if refusal.kind != "absent":
            raise
        return (0, 0, 0)
    except (msgspec.MsgspecError, LookupError, TypeError, ValueError, AttributeError):
        return (0, 0, 0)
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    return major, minor, patch


def _scores(client: Client, version: tuple[int, int, int], newer: bool) -> Scores:
    """Return the path of the scores: the newest from 3.179 on, and the one before it where that is there."""
    if newer or version >= (3, 179, 0):
        return "/v3/scores"
    if (0, 0, 0) < version <= (3, 50, 0):
        return "/scores"
    try:
        client.get("/v2/scores", [("limit", "1")])
    except RefusedError as refusal:
        if refusal.kind != "absent":
            raise
        return "/scores"
    return "/v2/scores"


def _conditions(name: List, since: float, until: float, age: float) -> list[dict[str, str]]:
    if name == "unended":
        return [
            {"type": "null", "column": "endTime", "operator": "is null", "value": ""},
            _time("startTime", ">=", since),
            _time("startTime", "<", until),
        ]
    return [_time("endTime", ">=", since), _time("endTime", "<", until), _time("startTime", ">=", since - age)]


def _time(column: str, operator: str, at: float) -> dict[str, str]:
    return {"type": "datetime", "column": column, "operator": operator, "value": iso(at)}


def iso(at: float) -> str:
    """Return Unix seconds as Langfuse writes times, in milliseconds."""
    return datetime.fromtimestamp(max(at, 0.0), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
