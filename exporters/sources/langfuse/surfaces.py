"""The read surfaces of Langfuse's API, older and newer, as lists that are asked for by time."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

from exporters.sources.langfuse.client import Client, RefusedError
from exporters.sources.langfuse.decoding import BadRowError, cut_down, decoded
from exporters.sources.langfuse.scanner import MalformedError, TooManyError, elements, members

# Everything but the prompts and answers (`io`) and the metadata; and what every row has, of known lengths mostly.
FIELDS = "core,basic,time,model,usage,prompt,metrics,trace_context"
CORE = "core"

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
    # It becomes a part of an address, and of the state.
    cursor: Annotated[str, msgspec.Meta(max_length=8192)] | None = None
    page: int | None = None
    total_items: int | None = None
    total_pages: int | None = None


class _Reply(msgspec.Struct):
    data: list[msgspec.Raw]
    meta: _Meta


class _Health(msgspec.Struct):
    version: str


# A page with more commas may be millions of rows of nothing, which take thirty times its size once they are apart.
_MOST_COMMAS = 1 << 20
_MOST_ROWS = 10_000
_MOST_MEMBERS = 100

# From here on the contracts have the newer surface, which need not be switched on, and the parameter `filter`.
_NEWER_SINCE = (3, 150, 0)
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)
_NUMBERS = re.compile(r"(\d{1,9})(?:\.(\d{1,9}))?(?:\.(\d{1,9}))?(?:-|$)", re.ASCII)

_reply = msgspec.json.Decoder(_Reply)
_meta = msgspec.json.Decoder(_Meta)
_health = msgspec.json.Decoder(_Health)


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

    def numbered(self, name: List) -> bool:
        """Whether the pages of a list have numbers; those of the others are found by a cursor."""
        if name == "scores":
            return self.scores != "/v3/scores"
        return name == "traces" or self.paged

    def ask(
        self, name: List, since: float, until: float, *, page: str, limit: int, age: float, fields: str = FIELDS
    ) -> Asked:
        """Return path and parameters of a page of a list in `[since, until)`, with some fields where a server lets
        choose.

        Observations are by the end, and those without one by the start; `age` bounds how long before its end a span
        may have begun, which the server needs so that it does not search all of its history.
        """
        params = [("limit", str(limit))]
        if self.numbered(name):
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
        return ("/observations", params) if self.paged else ("/v2/observations", [*params, ("fields", fields)])

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
        return "/v2/observations", [*params, ("fields", CORE), *([("cursor", page)] if page else [])]


def parse(body: bytes, page: str = "") -> Page:
    """Take a reply apart, without its rows. `page` is the number that was asked for. Raises RefusedError.

    With a cursor, a page may be short or even empty and not be the last: only a missing cursor says so.
    """
    few = len(body) <= 2 * _MOST_COMMAS or body.count(b",") <= _MOST_COMMAS
    reply = (decoded(body, _reply) if few else None) or _taken_apart(body)
    if reply is None:
        what = "a page of HTML, as a proxy shows" if b"<" in body[:64] else "no list in JSON, or half of one"
        raise RefusedError(f"the reply is {what}")
    meta = reply.meta
    if meta.total_pages is not None and meta.cursor is None and _NUMBER.fullmatch(page or "1"):
        number = int(page or 1)
        return Page(reply.data, str(number + 1) if number < meta.total_pages else "", meta.total_items)
    return Page(reply.data, meta.cursor or "")


def _taken_apart(body: bytes) -> _Reply | None:
    """Find the rows of a page of which one cannot be decoded, such as one with a NaN or one that is nested too deeply:
    it is for the row to be refused."""
    try:
        places = members(body, (b"data", b"meta"), most=_MOST_MEMBERS)
        rows = elements(body, places[b"data"], most=_MOST_ROWS)
        meta = decoded(cut_down(body[slice(*places[b"meta"])], _Meta.__struct_encode_fields__), _meta)
    except (MalformedError, TooManyError, BadRowError, KeyError):
        return None
    whole = memoryview(body)
    return None if meta is None else _Reply([msgspec.Raw(whole[start:end]) for start, end in rows], meta)


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
        newer = _has(client, "/v2/observations", ("fields", CORE))
        if not newer and version >= (4, 0, 0):
            raise RefusedError(
                f"{client.origin}: says it is Langfuse {version[0]} and has no /v2/observations; "
                "check that the URL is that of Langfuse itself",
                "wrong",
            )
    return Surface(version=version, paged=not newer, scores=_scores(client, version, newer))


def _version(client: Client) -> tuple[int, int, int]:
    """Ask for the version of a server; (0, 0, 0) where it does not say."""
    try:
        health = decoded(client.get("/health", keyed=False), _health)
    except RefusedError as refusal:
        if refusal.kind != "absent":
            raise
        health = None
    match = _NUMBERS.match(health.version) if health is not None else None
    return (int(match[1]), int(match[2] or 0), int(match[3] or 0)) if match else (0, 0, 0)


def _scores(client: Client, version: tuple[int, int, int], newer: bool) -> Scores:
    """Return the path of the scores: the newest from 3.179 on, and the one before it where that is there."""
    if newer or version >= (3, 179, 0):
        return "/v3/scores"
    if (0, 0, 0) < version <= (3, 50, 0):
        return "/scores"
    return "/v2/scores" if _has(client, "/v2/scores") else "/scores"


def _has(client: Client, path: str, *params: tuple[str, str]) -> bool:
    """Return whether a server has a list. One with a row that is too large is there. Raises RefusedError."""
    try:
        client.get(path, [("limit", "1"), *params])
    except RefusedError as refusal:
        if refusal.kind not in ("absent", "too_large"):
            raise
        return refusal.kind == "too_large"
    return True


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
