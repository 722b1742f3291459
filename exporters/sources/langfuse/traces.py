"""What an older server says of traces and not of their observations: read for each slice before its rows."""

from collections import OrderedDict

import msgspec

from exporters.sources.langfuse.client import Client, RefusedError
from exporters.sources.langfuse.decoding import BadRowError, decoded_row
from exporters.sources.langfuse.rows import TraceFacts
from exporters.sources.langfuse.surfaces import Surface, parse

MOST_TRACES = 50_000
# Replies in a row that were too large for one trace: then it is the server that does it, and not a trace.
_MOST_PASSED = 10
# With nothing known yet, how long before a slice its traces may have begun.
_LEAD = 3600.0
_LONG = 1024


class _Trace(msgspec.Struct):
    id: str
    name: str | None = None
    release: str | None = None
    environment: str | None = None


_trace = msgspec.json.Decoder(_Trace)


class Traces:
    """The latest traces by id, the oldest forgotten; a row of a trace that is not among them goes without."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._found: OrderedDict[str, TraceFacts] = OrderedDict()
        self._slice: tuple[float, float] | None = None
        self._since = 0.0
        # How many of the slice's traces are behind us, None when all are; and how many a page has.
        self._offset: int | None = 0
        self._limit = 0
        self._passed = 0

    def of(self, trace_id: str | None) -> TraceFacts | None:
        """Return what is known of a trace."""
        return self._found.get(trace_id or "")

    def read(self, surface: Surface, since: float, until: float) -> bool:
        """Read a page of the traces that began in a slice; return False when all were. Raises RefusedError."""
        if self._slice != (since, until):
            self._since = since if self._slice is not None else since - _LEAD
            self._slice, self._offset, self._limit = (since, until), 0, surface.most("traces")
        if self._offset is None:
            return False
        number = str(self._offset // self._limit + 1)
        asked = surface.ask("traces", self._since, until, page=number, limit=self._limit, age=0)
        try:
            page = parse(self._client.get(*asked), number)
        except RefusedError as refusal:
            if refusal.kind not in ("too_much", "too_large"):
                raise
            self._ask_for_less(refusal)
            return True
        for body in page.rows:
            self._keep(bytes(body))
        self._passed, self._offset = 0, self._offset + self._limit if page.next else None
        if self._offset is not None:
            self._limit = _size(self._offset, min(2 * self._limit, surface.most("traces")))
        return True

    def _ask_for_less(self, refusal: RefusedError) -> None:
        """Ask for fewer traces, then pass one that is too large alone: rows are rather counted without their trace's
        name than not at all."""
        assert self._offset is not None  # noqa: S101 -- it was asked for
        if self._limit > 1:
            self._limit = _size(self._offset, self._limit // 2)
            return
        self._passed += 1
        given_up = refusal.kind == "too_much" or self._passed > _MOST_PASSED
        self._offset = None if given_up else self._offset + 1

    def _keep(self, body: bytes) -> None:
        try:
            row = decoded_row(body, _trace, _Trace)
        except BadRowError:
            return  # its rows are counted without it
        name, release, environment = ((text or "")[:_LONG] for text in (row.name, row.release, row.environment))
        self._found[row.id] = TraceFacts(name, release, environment)
        while len(self._found) > MOST_TRACES:
            self._found.popitem(last=False)


def _size(offset: int, most: int) -> int:
    """Return the size of the largest page that begins at an offset: pages are numbered, so it divides that."""
    return most if offset % most == 0 else min(offset & -offset, 1 << (most.bit_length() - 1))
