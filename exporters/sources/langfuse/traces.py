"""What an older server says of traces and not of their observations: read for each slice before its rows."""

from collections import OrderedDict

import msgspec

from exporters.sources.langfuse.client import Client, RefusedError
from exporters.sources.langfuse.rows import TraceFacts
from exporters.sources.langfuse.surfaces import Surface, parse

MOST_TRACES = 50_000
# With nothing known yet, how long before a slice its traces may have begun.
_LEAD = 3600.0
_LONG = 1024

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Traces:
    """The latest traces by id, the oldest forgotten; a row of a trace that is not among them goes without."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._found: OrderedDict[str, TraceFacts] = OrderedDict()
        self._slice: tuple[float, float] | None = None
        self._since = 0.0
        # The next page of the slice's traces; None when all are read.
        self._page: str | None = ""
        self._limit = 0

    def of(self, trace_id: str | None) -> TraceFacts | None:
        """Return what is known of a trace."""
        return self._found.get(trace_id or "")

    def read(self, surface: Surface, since: float, until: float) -> bool:
        """Read a page of the traces that began in a slice; return False when all were. Raises RefusedError."""
        if self._slice != (since, until):
            self._since = since if self._slice is not None else since - _LEAD
            self._slice, self._page = (since, until), ""
        if self._page is None:
            return False
        limit = self._limit or surface.most("traces")
        asked = surface.ask("traces", self._since, until, page=self._page, limit=limit, age=0)
        try:
            page = parse(self._client.get(*asked), self._page)
        except RefusedError as refusal:
            if refusal.kind not in ("too_much", "too_large"):
                raise
            # Past the smallest page, rows are rather counted without their trace's name than not at all.
            self._limit, self._page = max(1, limit // 2), "" if limit > 1 else None
            return True
        for body in page.rows:
            self._keep(bytes(body))
        self._page = page.next or None
        return True

    def _keep(self, body: bytes) -> None:
        try:
            found = _decode(body)
            name, release, environment = (
                str(msgspec.json.decode(found[part]) or "")[:_LONG] if part in found else ""
                for part in ("name", "release", "environment")
            )
            self._found[str(msgspec.json.decode(found["id"]))] = TraceFacts(name, release, environment)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, LookupError):
            return  # its rows are counted without it
        while len(self._found) > MOST_TRACES:
            self._found.popitem(last=False)
