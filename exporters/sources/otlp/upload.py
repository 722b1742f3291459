"""The body of a request as it comes in: decompressed on the way, and bounded before and after that."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO

from starlette.requests import ClientDisconnect, Request

from exporters.sources.otlp.replies import JSON, PROTOBUF

# Of a body, before and after decompression; what the specification recommends.
BODY_BYTES = 20 << 20
# Of all bodies that are coming in or wait for their commit.
HELD_BYTES = 64 << 20
# Until a body has come. Clients give up after 10 s (OTEL_EXPORTER_OTLP_TIMEOUT).
BODY_SECONDS = 15.0
# Decompressed at once: little that unpacks to much is refused before there is much.
_PIECE_BYTES = 1 << 20

ENDING = "the receiver is ending; please send it again"
_TOO_LARGE = f"a body may have {BODY_BYTES >> 20} MiB, before and after decompression; send smaller batches"


class RefusedError(Exception):
    """A request that is not taken: the status of the answer, why, and as what it is counted, if it is not yet."""

    def __init__(self, status: int, why: str, reason: str = "") -> None:
        super().__init__(why)
        self.status = status
        self.reason = reason


class Held:
    """What is held for all requests of a receiver; touched in its loop only, but for `end`."""

    def __init__(self) -> None:
        # Bytes of bodies.
        self.size = 0
        self.ending = False
        # Time limits of bodies that are coming in.
        self.limits: set[asyncio.Timeout] = set()
        self.loop: asyncio.AbstractEventLoop | None = None

    def end(self) -> None:
        """Wait for no body any more; may be called from any thread."""
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self.ending = True
        for limit in self.limits:
            limit.reschedule(0)


class Upload:
    """One request's body. `free` is to be called when it is held no longer."""

    def __init__(self, request: Request, held: Held) -> None:
        self._request = request
        self._all = held
        self._held = 0
        held.loop = asyncio.get_running_loop()
        self._ends = held.loop.time() + BODY_SECONDS
        # Whether all of it has come.
        self.whole = False

    async def read(self) -> bytes:
        """Return the decompressed body. Raises RefusedError or ClientDisconnect."""
        self._look()
        # Gives what was written to it without another copy.
        body = BytesIO()
        try:
            async with self._limited():
                async for part in self._parts():
                    self._held += len(part)
                    self._all.size += len(part)
                    if self._all.size > HELD_BYTES:
                        raise RefusedError(503, "too much is waiting to be stored; please send it again")
                    body.write(part)
        except TimeoutError:
            if self._all.ending:
                raise RefusedError(503, ENDING) from None
            raise RefusedError(408, f"the body did not come within {BODY_SECONDS:g} s", "too_slow") from None
        return body.getvalue()

    def free(self) -> None:
        """Let others have the room."""
        self._all.size -= self._held
        self._held = 0

    @asynccontextmanager
    async def _limited(self) -> AsyncIterator[None]:
        """Raise TimeoutError when it takes too long, or the receiver ends."""
        async with asyncio.timeout_at(0 if self._all.ending else self._ends) as limit:
            self._all.limits.add(limit)
            try:
                yield
            finally:
                self._all.limits.discard(limit)

    def _look(self) -> None:
        """Refuse by its head what cannot be read."""
        if encoding_of(self._request) not in (PROTOBUF, JSON):
            raise RefusedError(415, f"Content-Type should be {PROTOBUF} or {JSON}", "unsupported")
        if self._compression not in ("identity", "gzip", "deflate"):
            raise RefusedError(415, "Content-Encoding should be gzip, deflate or identity", "unsupported")
        size = self._request.headers.get("content-length", "")
        if size.isdecimal() and int(size) > BODY_BYTES:
            raise RefusedError(413, _TOO_LARGE, "too_large")

    @property
    def _compression(self) -> str:
        return self._request.headers.get("content-encoding", "").strip().lower() or "identity"

    async def _chunks(self) -> AsyncIterator[bytes]:
        while not self.whole:
            message = await self._request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            self.whole = not message.get("more_body", False)
            yield message.get("body", b"")

    async def _parts(self) -> AsyncIterator[bytes]:
        """Yield the body piece by piece, decompressed, and never more than BODY_BYTES."""
        received = given = 0
        # 32 + 15: gzip or zlib, whichever its first bytes say.
        inflate = None if self._compression == "identity" else zlib.decompressobj(47)
        async for chunk in self._chunks():
            received += len(chunk)
            if received > BODY_BYTES:
                raise RefusedError(413, _TOO_LARGE, "too_large")
            if inflate is None:
                yield chunk
                continue
            rest, part = chunk, b""
            # A piece that is full may have more behind it, without more to read.
            while rest or len(part) == _PIECE_BYTES:
                if inflate.eof:
                    if not rest:
                        break
                    inflate = zlib.decompressobj(47)  # gzip may have several members
                try:
                    part = inflate.decompress(rest, _PIECE_BYTES)
                except zlib.error:
                    why = f"the body is no {self._compression}, as its head says"
                    raise RefusedError(400, why, "compression") from None
                given += len(part)
                if given > BODY_BYTES:
                    raise RefusedError(413, _TOO_LARGE, "too_large")
                rest = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
                yield part
        if inflate is not None and received and not inflate.eof:
            raise RefusedError(400, f"the body's {self._compression} is cut off", "compression")


def encoding_of(request: Request) -> str:
    """Return the media type of a request, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
