"""How spans that wait are written into the state: by the places of their fields, not by their names.

The spans of a trace then fit into a page of SQLite's with those of other traces. What is longer takes a page of
its own, and to write those was a third of a commit.
"""

from collections.abc import Sequence

import msgspec
from msgspec.structs import astuple, fields

from exporters.span import Span
from exporters.waiting import Arrived

# A span by places. A new field of it goes behind the others, with a default: rows that are older lack it.
_Places = msgspec.defstruct(
    "_Places",
    [(of.name, of.type) if of.required else (of.name, of.type, of.default) for of in fields(Span)],
    array_like=True,
    gc=False,
)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[float, _Places]]).decode  # type: ignore[valid-type] # made above
# Rows of format 3 of the state.
_decode_named = msgspec.msgpack.Decoder(list[Arrived]).decode


def encode_row(spans: Sequence[Arrived]) -> bytes:
    """Return what is written of spans of one trace or several."""
    return _encode([(arrived.at, astuple(arrived.span)) for arrived in spans])


def decode_row(row: bytes) -> list[Arrived]:
    """Return the spans of a row. Raises msgspec.MsgspecError."""
    try:
        return [Arrived(at, Span(*astuple(places))) for at, places in _decode(row)]
    except msgspec.ValidationError:
        return _decode_named(row)
