"""A reply's body, decompressed piece by piece and never past a bound: some kilobytes may become gigabytes."""

import zlib
from collections.abc import Iterable, Iterator

# What is asked for, and all that is read: each layer of compression could multiply what the one below it does.
ACCEPTED = "gzip"
_PIECE_BYTES = 1 << 16


class BodyError(Exception):
    """A body that cannot be read; its text says of the reply what is wrong."""


class TooLargeError(Exception):
    """A body of more bytes than it may have."""


def read_body(chunks: Iterable[bytes], encoding: str, most: int) -> bytes:
    """Return a body from its chunks as they came; `encoding` is its Content-Encoding.

    Raises BodyError, and TooLargeError past `most` bytes, before decompression or after it.
    """
    encoding = encoding.strip().lower()
    if encoding not in ("", "identity", ACCEPTED, "x-gzip"):
        raise BodyError("is compressed in a way that was not asked for; look at the proxies in between")
    body, received = bytearray(), 0
    inflate = zlib.decompressobj(31) if encoding.endswith("gzip") else None
    for chunk in chunks:
        received += len(chunk)
        for piece in (chunk,) if inflate is None else _inflated(inflate, chunk):
            body += piece
            if max(received, len(body)) > most:
                raise TooLargeError
    if inflate is not None and received and not inflate.eof:
        raise BodyError("was cut short")
    return bytes(body)


def _inflated(inflate: "zlib._Decompress", chunk: bytes) -> Iterator[bytes]:
    """Yield in pieces what a chunk is decompressed. Raises BodyError."""
    rest, piece = chunk, b""
    # A piece that is full may have more behind it, without more to read.
    while not inflate.eof and (rest or len(piece) == _PIECE_BYTES):
        try:
            piece = inflate.decompress(rest, _PIECE_BYTES)
        except zlib.error:
            raise BodyError("cannot be decompressed") from None
        rest = inflate.unconsumed_tail
        yield piece
    if inflate.unused_data or rest:
        raise BodyError("goes on behind the end of what was compressed")
