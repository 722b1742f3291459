"""Reading a Langfuse project on: its lists in turn, a page a poll, what comes late and what changes."""

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from exporters.sources import Batch, SourceError
from exporters.sources.langfuse import surfaces, walks
from exporters.sources.langfuse.client import Client, RefusedError
from exporters.sources.langfuse.history import begin_of
from exporters.sources.langfuse.memory import Memory, mark_of
from exporters.sources.langfuse.patience import Patience
from exporters.sources.langfuse.rows import Row, observation_of, score_of
from exporters.sources.langfuse.surfaces import CORE, List, Page, Surface, iso
from exporters.sources.langfuse.traces import Traces
from exporters.sources.langfuse.walks import TIERS, Stream, Tier, Walk

_DRIFTS = 3
# Replies in a row that were too large for one row: past it, it may be the server that does it, and is shown.
_MOST_PASSED = 10

_encode_stream = msgspec.json.Encoder().encode
_decode_stream = msgspec.json.Decoder(Stream).decode


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a project is read, in seconds."""

    api: Literal["auto", "v1", "v2"] = "auto"
    since: float | None = None
    # Between two looks at what is new.
    wait: float = 30.0
    # How long a span may last: one without an end is given up after it.
    age: float = 86_400.0
    # Whether it is read on and on: who reads to the end only does not wait for hours.
    follows: bool = True


class Project:
    """The lists of one project, as a reader. A poll makes at most a few requests, and reads one page."""

    unit = "records"

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._closed = threading.Event()
        self._surface: Surface | None = None
        self._streams: dict[List, Stream] = {}
        self._deep: set[List] = set()
        self._memory = Memory()
        self._mismatch = ""
        self._traces = Traces(client)
        self._total: int | None = None
        self._drifts = 0
        self._limits: dict[List, int] = {}
        self._passed = 0
        self._due = 0.0
        self._patience = Patience()

    def seek(self, cursor: Mapping[str, bytes]) -> None:
        """Go to a committed cursor. One of another host makes every poll fail: the keys are not for this one."""
        read_from = cursor.get("origin", self._client.origin.encode()).decode()
        self._mismatch = ""
        if read_from != self._client.origin:
            self._mismatch = (
                f"{self._client.origin}: what was counted under this name was read from {read_from}; "
                "give the new host a ?name= of its own, or take the old one back"
            )
        self._streams = {
            name: _decode_stream(cursor[name]) for name in ("observations", "unended", "scores") if name in cursor
        }
        for stream in self._streams.values():
            walks.resume(stream, TIERS)
            # A numbered page is another one by now.
            if stream.walk is not None and stream.walk.page.isdecimal():
                walks.again(stream)
        self._deep = {name for name, stream in self._streams.items() if stream.walk is None}
        self._memory.restore(cursor)
        self._traces = Traces(self._client)
        self._due = 0.0

    def poll(self) -> Batch:
        """Read a page. A pause that the server asks for is kept without asking it again. Raises SourceError."""
        if self._mismatch:
            raise SourceError(self._mismatch)
        pause, problem = self._patience.left, self._patience.problem
        if pause and problem and not self._settings.follows:
            raise SourceError(problem)
        if pause or self._closed.is_set():
            self._closed.wait(min(pause, 1.0))
            return Batch([], {}, more=True, problem=problem)
        try:
            batch = self._read()
        except RefusedError as refusal:
            if refusal.kind == "absent":
                self._surface = None  # another version by now: look again what it has
            problem = self._patience.refused(refusal)
            return Batch([], {}, more=True, problem=problem, retries=1)
        if batch.problem:
            self._patience.slow_down(batch.problem)
        else:
            self._patience.answered()
        return batch

    def backlog(self) -> int:
        """Return about how many rows the walks still have to read, as of the last poll, by those read so far."""
        rows = 0.0
        for stream in self._streams.values():
            density = stream.rows / stream.seconds if stream.seconds else 0.0
            left = walks.left(stream)
            rows += max(left * density, math.ceil(left / stream.width))
        return round(rows)

    def wait(self, seconds: float) -> None:
        """Return after `seconds`, or as soon as this is closed: nobody tells what is new."""
        self._closed.wait(seconds)

    def close(self) -> None:
        """End a request under way."""
        self._closed.set()
        self._client.close()

    def gauges(self) -> dict[str, float]:
        """Return what the server has told of itself: its rate limit, and how far its clock is ahead."""
        found = {"agentgauge_source_clock_skew_seconds": self._client.skew}
        if self._client.remaining is not None:
            found["agentgauge_source_rate_limit_remaining"] = self._client.remaining
        if self._client.limit is not None:
            found["agentgauge_source_rate_limit"] = self._client.limit
        return found

    def _read(self) -> Batch:
        """Read a page of the list whose turn it is. Raises RefusedError."""
        if self._surface is None:
            self._surface = surfaces.detect(self._client, self._settings.api)
        if "observations" not in self._streams:
            return self._begin(self._surface)
        if self._surface.by_end and "unended" not in self._streams:  # the server was of an older version
            self._streams["unended"] = walks.fresh(self._client.now() - self._settings.age, TIERS)
        name = self._next(self._surface)
        if name is None:
            return Batch([], {})
        walk = self._streams[name].walk
        assert walk is not None  # noqa: S101 -- `_next` returns lists with a walk only
        if self._surface.paged and name == "observations" and self._traces.read(self._surface, walk.at, walk.end):
            return Batch([], {}, more=True)
        return self._read_rows(self._surface, name, walk)

    def _begin(self, surface: Surface) -> Batch:
        """Find out where the project's history begins, and begin there."""
        now = self._client.now()
        since = self._settings.since
        begin = now - since if since is not None else begin_of(self._client, surface, now)
        self._streams = {"observations": walks.fresh(begin, self._tiers("observations"))}
        if surface.by_end:
            self._streams["unended"] = walks.fresh(begin, TIERS)
        self._streams["scores"] = walks.fresh(begin, TIERS)
        return Batch([], {"origin": self._client.origin.encode(), **self._parts()}, more=True)

    def _next(self, surface: Surface) -> List | None:
        """Return the list to read on, and begin a new walk where one is due."""
        for name, stream in self._streams.items():
            if stream.walk is not None:
                return name
        if time.monotonic() < self._due:
            return None
        self._due = time.monotonic() + self._settings.wait
        now = self._client.now()
        for name, stream in self._streams.items():
            until = now - self._settings.age if name == "unended" else now
            walks.start(stream, self._tiers(name), until, deep=name in self._deep)
        self._deep = set()
        return next((name for name, stream in self._streams.items() if stream.walk is not None), None)

    def _tiers(self, name: List) -> tuple[Tier, ...]:
        """A server that cannot be asked by the end shows a span at its start, as late as it lasted."""
        if name == "observations" and self._surface is not None and not self._surface.by_end:
            return (*TIERS, Tier(self._settings.age, 3600.0))
        return TIERS

    def _read_rows(self, surface: Surface, name: List, walk: Walk) -> Batch:
        stream = self._streams[name]
        limit = self._limits.get(name, surface.most(name))
        asked = surface.ask(name, walk.at, walk.end, page=walk.page, limit=limit, age=self._settings.age)
        try:
            page = self._ask(asked, walk.page)
        except RefusedError as refusal:
            return self._otherwise(refusal, surface, name, walk)
        self._passed = 0
        batch = Batch([], {}, size=len(page.rows))
        for body in page.rows:
            self._take(name, bytes(body), walk, batch)
        if self._drifted(walk.page, page):
            walks.again(stream)
        else:
            walks.turn(stream, page.next, len(page.rows))
            if not page.next:
                self._limits[name] = min(2 * limit, surface.most(name))
        return self._finish(batch, name)

    def _finish(self, batch: Batch, name: List) -> Batch:
        """Say in a batch how far a list is read, and whether there is more."""
        batch.cursor = {
            name: _encode_stream(self._streams[name]),
            **self._memory.moved(self._client.now() - 2 * self._reach("observations")),
        }
        batch.more = any(stream.walk is not None for stream in self._streams.values())
        return batch

    def _take(self, name: List, body: bytes, walk: Walk, batch: Batch) -> None:
        """Put a row into the batch if it is new, or if it cannot be told and the translation shall say why."""
        row = Row(body, is_score=name == "scores")
        try:
            if name == "scores":
                score = score_of(body)
                identity, at, mark = score.id, score.timestamp, f"{score.value}"
            else:
                found = row.observation = observation_of(body)
                at = found.end_time if self._by_end and found.end_time is not None else found.start_time
                if found.end_time is None and found.type != "EVENT":
                    row.given_up = name == "unended" or found.start_time.timestamp() < walk.to - self._settings.age
                    if not row.given_up:
                        return
                row.trace = self._traces.of(found.trace_id)
                identity, mark = f"{found.trace_id}/{found.id}", mark_of(found, given_up=row.given_up)
            time_ = at.timestamp()
        except (ValueError, OverflowError):
            identity, mark, time_ = body.decode("utf-8", "replace"), "", walk.at
        # What no later walk reads need not be remembered: a year of history, when it is first read.
        note = time_ >= walk.to - self._reach(name)
        seen = self._memory.look(f"{row.is_score}/{identity}", mark, self._client.now(), note=note)
        if seen == "changed":
            batch.late += 1
        elif seen == "new":
            batch.records.append(row)

    def _reach(self, name: List) -> float:
        """How long after its time a row may be read again: one walk's reach after the last that was not due."""
        deepest = self._tiers(name)[-1]
        return deepest.reach + deepest.every

    @property
    def _by_end(self) -> bool:
        return self._surface is not None and self._surface.by_end

    def _otherwise(self, refusal: RefusedError, surface: Surface, name: List, walk: Walk) -> Batch:
        """Ask in another way from now on: for a shorter stretch, then for fewer rows, then past the one row that is
        too large. Raises the refusal again."""
        stream, page, limit = self._streams[name], walk.page, self._limits.get(name, surface.most(name))
        if refusal.kind == "wrong" and page:
            walks.again(stream)  # the server takes its cursor no longer
        elif refusal.kind not in ("too_much", "too_large"):
            raise refusal
        elif walks.again(stream, narrower=True):
            pass
        elif limit > 1:
            self._limits[name] = limit // 2
        elif refusal.kind == "too_much":
            raise refusal
        elif not walks.again(stream, narrower=True, least=walks.NARROWEST):
            return self._pass(refusal, surface, name, walk, page)
        return Batch([], {name: _encode_stream(stream)}, more=True, retries=1)

    def _pass(self, refusal: RefusedError, surface: Surface, name: List, walk: Walk, page: str) -> Batch:
        """Leave out the row that a page of one should have had, or nothing after it would ever be read."""
        stream, batch, core = self._streams[name], Batch([], {}, retries=1), self._core(surface, name, walk, page)
        if core is not None:
            for body in core.rows:
                self._take(name, bytes(body), walk, batch)
            bad, batch.records = len(batch.records), []
            self._passed = 0 if core.rows else self._passed + 1
            walks.turn(stream, core.next, len(core.rows))
        else:
            # Nothing is known of it but its millisecond.
            identity = f"too_large/{name}/{iso(walk.at)}/{page if surface.numbered(name) else ''}"
            note = walk.at >= walk.to - self._reach(name)
            bad = int(self._memory.look(identity, "", self._client.now(), note=note) == "new")
            walks.turn(stream, str(int(page or 1) + 1) if surface.numbered(name) else "", 1)
            self._passed, self._total = self._passed + 1, None
        batch.bad = {"too_large": bad} if bad else {}
        batch.problem = str(refusal) if self._passed > _MOST_PASSED else ""
        return self._finish(batch, name)

    def _core(self, surface: Surface, name: List, walk: Walk, page: str) -> Page | None:
        """Ask for a row by what every row has only; None where that cannot be, or is too large as well."""
        if name == "scores" or surface.paged:
            return None
        age = self._settings.age
        try:
            return self._ask(surface.ask(name, walk.at, walk.end, page=page, limit=1, age=age, fields=CORE), page)
        except RefusedError as refusal:
            if refusal.kind != "too_large":
                raise
            return None

    def _drifted(self, asked: str, page: Page) -> bool:
        """Whether rows came or went while numbered pages of a slice were read, so that some moved past us."""
        if page.total is None:
            return False
        if asked in ("", "1"):
            self._total = page.total
        if page.next or self._total in (None, page.total) or self._drifts >= _DRIFTS:
            if not page.next:
                self._drifts = 0
            return False
        self._drifts += 1
        return True

    def _ask(self, asked: surfaces.Asked, page: str) -> Page:
        return surfaces.parse(self._client.get(*asked), page)

    def _parts(self) -> dict[str, bytes]:
        return {name: _encode_stream(stream) for name, stream in self._streams.items()}
