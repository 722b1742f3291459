"""What is kept of closed traces, whether it lasts or passes: their spans' ids, and bits that spare a search."""

from collections.abc import Iterable, Mapping

import msgspec

# The ids of counted spans, as JSON strings with a comma after each, so that more can be put behind without reading;
# and whether they are all of the trace.
Spans = tuple[bytes, bool]
NOTHING: Spans = (b"", False)

# 2 MB.
_BITS = 1 << 24

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[str]).decode
_encode_row = msgspec.msgpack.Encoder().encode
_decode_row = msgspec.msgpack.Decoder(dict[str, Spans]).decode


def encode_ids(ids: Iterable[str]) -> bytes:
    """Return span ids as they are kept; nothing for none."""
    found = _encode(list(ids))[1:-1]
    return found + b"," if found else b""


def decode_ids(kept: bytes) -> list[str] | None:
    """Return the ids again; None for none. Raises msgspec.MsgspecError."""
    return _decode(b"[" + kept[:-1] + b"]") if kept else None


def encode_row(traces: Mapping[str, Spans]) -> bytes:
    """Return what is written of several traces."""
    return _encode_row(traces)


def decode_row(row: bytes) -> dict[str, Spans]:
    """Return the traces again. Raises msgspec.MsgspecError."""
    return _decode_row(row)


def joined(old: Spans, new: Spans) -> Spans:
    """Return what is known of a trace by what was known and what came since."""
    return new if new[1] else (old[0] + new[0], old[1])


class Bits:
    """Says of most traces that were not marked that they were not."""

    def __init__(self) -> None:
        self._bits = bytearray(_BITS // 8)

    def mark(self, traces: Iterable[str]) -> None:
        """Mark some."""
        bits = self._bits
        for trace in traces:
            place = hash(trace) % _BITS
            bits[place >> 3] |= 1 << (place & 7)

    def mark_all(self) -> None:
        """Mark whatever there is."""
        self._bits = bytearray(b"\xff") * (_BITS // 8)

    def may_have(self, trace: str) -> bool:
        """Say whether a trace may have been marked."""
        place = hash(trace) % _BITS
        return bool(self._bits[place >> 3] >> (place & 7) & 1)
