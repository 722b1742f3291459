"""Requests of OTLP written out by hand, byte for byte: what no library writes, and anybody may send."""

from otlp_stage import START, TRACE, call


def span_id(number: int) -> str:
    return f"{number:016x}"


def text_of_call(number: int, fields: bytes = b"", attributes: bytes = b"") -> bytes:
    """A model call as OTLP's JSON has it; what is added to it may be anything."""
    return (
        b'{"traceId":"%s","spanId":"%s","name":"chat","startTimeUnixNano":"%d","endTimeUnixNano":"%d","attributes":['
        b'{"key":"gen_ai.operation.name","value":{"stringValue":"chat"}},'
        b'{"key":"gen_ai.request.model","value":{"stringValue":"gpt-4o-mini"}}%s]%s}'
        % (TRACE.hex().encode(), span_id(number).encode(), START, START + 1_500_000_000, attributes, fields)
    )


def text_of(*spans: bytes, resource: bytes = b"{}", scope: bytes = b"", top: bytes = b"") -> bytes:
    return (
        b'{"resourceSpans":[{"resource":%s,"scopeSpans":[{"spans":[' % resource
        + b",".join(spans)
        + b"]%s}]}]%s}" % (scope, top)
    )


def attribute(value: bytes) -> bytes:
    return b',{"key":"x","value":' + value + b"}"


def nested(levels: int, opens: bytes, inside: bytes, closes: bytes) -> bytes:
    return opens * levels + inside + closes * levels


def lists(levels: int) -> bytes:
    return nested(levels, b'{"arrayValue":{"values":[', b"{}", b"]}}")


def maps(levels: int) -> bytes:
    return nested(levels, b'{"kvlistValue":{"values":[{"key":"k","value":', b"{}", b"}]}}")


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(found) + bytes([number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def pair(name: bytes, value: bytes) -> bytes:
    return field(1, name) + field(2, value)


def deep(levels: int, number: int) -> bytes:
    """An AnyValue that holds another so often, in lists (5) or maps (6)."""
    heads, size = [], 2
    for _ in range(levels):
        inner = b"\x0a" + varint(size) if number == 5 else b"\x0a" + varint(size + 1 + len(varint(size)))
        inner += b"" if number == 5 else b"\x12" + varint(size)
        size += len(inner)
        heads.append(bytes([number << 3 | 2]) + varint(size) + inner)
        size += 1 + len(varint(size))
    return b"".join(reversed(heads)) + b"\x0a\x00"


def bytes_of_call(number: int, more: bytes = b"") -> bytes:
    return field(2, call(number).SerializeToString() + more)


def bytes_of(*spans: bytes) -> bytes:
    return field(1, field(2, b"".join(spans)))
