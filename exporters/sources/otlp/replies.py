"""What an OTLP/HTTP receiver answers, in the encoding of the request.

Statuses, bodies and what a client may try again are those of opentelemetry-proto's
docs/specification.md, section OTLP/HTTP; errors are a google.rpc.Status.
"""

import json
from dataclasses import dataclass

PROTOBUF = "application/x-protobuf"
JSON = "application/json"

# Clients that batch try again after a few seconds of their own anyway.
RETRY_SECONDS = 2

# HTTP status -> google.rpc.Code, https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
_CODES = {400: 3, 401: 16, 404: 5, 405: 12, 408: 4, 413: 8, 415: 3, 503: 14}


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A status, its headers and its body."""

    status: int
    body: bytes = b""
    headers: dict[str, str]


def accepted(encoding: str, rejected: int = 0, message: str = "") -> Reply:
    """Say that spans are counted, for ever; `rejected` of them could not be, as the message tells."""
    if encoding == JSON:
        partial = {"partialSuccess": {"rejectedSpans": str(rejected), "errorMessage": message}}
        body = json.dumps(partial if rejected else {}).encode()
    else:
        body = _field(1, _number(1, rejected) + _field(2, message.encode())) if rejected else b""
    return Reply(status=200, body=body, headers={"Content-Type": encoding})


def queued(encoding: str, rejected: int = 0, message: str = "") -> Reply:
    """Say the same as msgtrace's server does, to clients that send to its path."""
    if encoding != JSON:
        return Reply(status=202, body=accepted(encoding, rejected, message).body, headers={"Content-Type": encoding})
    said = f"{rejected} spans rejected: {message}" if rejected else "Trace data queued for processing"
    body = json.dumps({"status": "accepted", "message": said}).encode()
    return Reply(status=202, body=body, headers={"Content-Type": JSON})


def refused(encoding: str, status: int, message: str) -> Reply:
    """Say that a request is not taken, and why; 503 says when to try again."""
    code = _CODES[status]
    if encoding == PROTOBUF:
        body = _number(1, code) + _field(2, message.encode())
    else:
        body = json.dumps({"code": code, "message": message}).encode()
    headers = {"Content-Type": PROTOBUF if encoding == PROTOBUF else JSON}
    if status == 503:
        headers["Retry-After"] = str(RETRY_SECONDS)
    elif status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    elif status == 405:
        headers["Allow"] = "POST"
    return Reply(status=status, body=body, headers=headers)


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content
