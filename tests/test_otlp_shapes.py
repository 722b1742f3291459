"""A request of any shape takes time by its size and bounded memory, whatever there is a million of."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from otlp_raw import bytes_of, bytes_of_call, deep, field, nested, pair, text_of, text_of_call
from otlp_stage import JSON, PROTOBUF, call, pairs

from exporters.sources.otlp.body import Body
from exporters.sources.otlp.translation import bodies

MIB = 1 << 20
MOST = 20 * MIB - 4096
TOOLS = f"[{','.join(['{}'] * 100)}]"
AGENT = b"gen_ai.agent.name"
DEEP = nested(2_000, b"[", b"", b"]")
# How many bytes it should have -> a request.
Shape = Callable[[int], bytes]


def text(before: bytes, unit: bytes, behind: bytes = b"") -> Shape:
    """A request whose second span of three is filled up with something."""
    front, back = text_of(text_of_call(1), text_of_call(2, b"?"), text_of_call(3)).split(b"?")
    return around(front + before, unit, behind + back)


def around(before: bytes, unit: bytes, behind: bytes = b"") -> Shape:
    return lambda size: before + unit * ((size - len(before) - len(behind)) // len(unit)) + behind


def texts(span: bytes) -> Shape:
    return lambda size: text_of(*[span] * (size // (len(span) + 1) - 1))


def spans(span: bytes) -> Shape:
    return lambda size: bytes_of(*[span] * (size // len(span)))


def second(tag: int, unit: bytes) -> Shape:
    """A request whose second span of three has one long field."""
    return lambda size: bytes_of(
        bytes_of_call(1), bytes_of_call(2, field(tag, unit * (size // len(unit)))), bytes_of_call(3)
    )


# Behind something deep, so that it is not decoded as a whole; and then more than would be decoded at once.
IN_TEXT: dict[str, Shape] = {
    "spans": texts(text_of_call(1)),
    "spans beside a deep one": lambda size: text_of(
        text_of_call(2, b',"else":' + DEEP), *[text_of_call(1)] * (size // 340)
    ),
    "lists in lists": lambda size: text_of(text_of_call(1, b',"a":' + nested(size // 2 - 400, b"[", b"", b"]"))),
    "objects in objects": lambda size: text_of(
        text_of_call(1, b',"a":' + nested(size // 6 - 200, b'{"a":', b"1", b"}"))
    ),
    "lists in a list": text(b',"a":' + DEEP + b',"b":[', b"[[[[[1]]]]],", b"1]"),
    "empty lists": text(b',"a":' + DEEP + b',"b":[', b"[],", b"1]"),
    "empty texts": text(b',"a":' + DEEP + b',"b":[', b'"",', b"1]"),
    "escapes": text(b',"a":' + DEEP + b',"b":"', b"\\\\", b'"'),
    "brackets in a text": text(b',"a":' + DEEP + b',"b":"', b"[", b'"'),
    "blanks": text(b',"a":' + DEEP + b',"b":[', b" ", b"]"),
    "digits": text(b',"a":' + DEEP + b',"b":', b"1"),
    "attributes": text(b',"attributes":[', b'{"key":"","value":{}},', b"{}]"),
    "spans that are full of attributes": texts(text_of_call(1, attributes=b',{"key":"","value":{}}' * 90_000)),
    "events": text(b',"events":[', b"{},", b"{}]"),
    "empty spans": around(b'{"resourceSpans":[{"scopeSpans":[{"spans":[', b"{},", b"{}]}]}]}"),
    "spans that are numbers": around(b'{"resourceSpans":[{"scopeSpans":[{"spans":[', b"0,", b"0]}]}]}"),
    "empty resources": around(b'{"resourceSpans":[', b"{},", b"{}]}"),
    "empty scopes": around(b'{"resourceSpans":[{"scopeSpans":[', b"{},", b"{}]}]}"),
    "the names of protobuf": around(b'{"resource_spans":[{"scope_spans":[{"spans":[{"a":[', b"[],", b"1]}]}]}]}"),
    "usage": text(
        b',"attributes":[{"key":"langfuse.observation.usage_details","value":{"stringValue":"[', b"[],", b'1]"}}]'
    ),
    "tools": texts(
        text_of_call(
            1, attributes=b',{"key":"msgflux.nn.tool.callings","value":{"stringValue":"%s"}}' % TOOLS.encode()
        ).replace(b'"chat"}', b'"execute_tool"}')
    ),
}
IN_BYTES: dict[str, Shape] = {
    "spans": spans(bytes_of_call(1)),
    "empty spans": spans(b"\x12\x00"),
    "broken spans": spans(b"\x12\x01\x0a"),
    "empty resources": around(b"", b"\x0a\x00"),
    "small resources": around(b"", b"\x0a\x02\x12\x00"),
    "empty scopes": lambda size: field(1, b"\x12\x00" * (size // 2)),
    "empty attributes": lambda size: bytes_of(field(2, b"\x4a\x00" * (size // 2))),
    "empty events": lambda size: bytes_of(field(2, b"\x5a\x00" * (size // 2))),
    "events": spans(
        bytes_of_call(
            1,
            field(
                11,
                field(2, b"gen_ai.evaluation.result")
                + field(3, pair(b"gen_ai.evaluation.score.value", b"\x18\x01")),
            )
            * 250,
        )
    ),
    "spans that are full of attributes": spans(bytes_of_call(1, b"\x4a\x00" * 90_000)),
    "spans with as many attributes as are remembered": spans(bytes_of_call(1, b"\x4a\x00" * 60)),
    "groups that do not end": lambda size: bytes_of(
        field(2, b"\xa3\x06") * (size // 16), b"\xaa\x06\x00" * (size // 4)
    ),
    "groups in groups": lambda size: bytes_of(field(2, b"\xa3\x06" * (size // 4) + b"\xa4\x06" * (size // 4))),
    "lists in lists": lambda size: bytes_of(bytes_of_call(1, field(9, pair(AGENT, deep(size // 12, 5))))),
    "maps in maps": lambda size: bytes_of(bytes_of_call(1, field(9, pair(AGENT, deep(size // 18, 6))))),
    "elements": second(9, pair(AGENT, field(5, b"\x0a\x00" * 500))),
    "unknown fields": around(b"", b"\x70\x00"),
    "unknown fields of a resource": lambda size: field(1, field(1, b"\x70\x00" * (size // 2))),
    "unknown fields of a scope": spans(b"\x70\x00"),
    "unknown fields of a span": lambda size: bytes_of(field(2, b"\x70\x00" * (size // 2))),
    "unknown fields of an event": second(11, b"\x70\x00"),
    "unknown fields of a status": second(15, b"\x70\x00"),
    "tools": spans(
        field(2, call(1, attributes=pairs({
            "gen_ai.operation.name": "execute_tool", "msgflux.nn.tool.callings": TOOLS,
        })).SerializeToString())
    ),
}  # fmt: skip
SHAPES = {
    **{f"{name}, JSON": (JSON, shape) for name, shape in IN_TEXT.items()},
    **{f"{name}, protobuf": (PROTOBUF, shape) for name, shape in IN_BYTES.items()},
}


def took(encoding: str, sent: bytes) -> float:
    """The seconds of the processor that reading a request takes, at least."""
    least = 1e9
    for _ in range(3):
        began = time.process_time()
        bodies([Body(encoding, sent)])
        least = min(least, time.process_time() - began)
    return least


@pytest.mark.parametrize("shape", SHAPES)
def test_eight_times_as_much_takes_about_eight_times_as_long_at_most(shape: str) -> None:
    """What is quadratic takes sixty-four times as long."""
    encoding, made = SHAPES[shape]
    little, much = took(encoding, made(MIB // 8)), took(encoding, made(MIB))
    assert much < 24 * max(little, 0.01), (little, much)


# The system counts towards a process what the one that started it took, until it runs a program of its own: so
# it is asked for its memory itself.
READ = """if True:
    import re, sys, time
    from pathlib import Path
    from exporters.sources.otlp.body import Body
    from exporters.sources.otlp.translation import bodies
    sent = Path(sys.argv[2]).read_bytes()
    Path("/proc/self/clear_refs").write_text("5")
    def peak(): return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
    before, began = peak(), time.process_time()
    found = bodies([Body(sys.argv[1], sent)])
    print((peak() - before) // 1024, time.process_time() - began, len(found.spans), sum(found.bad.values()))
"""


@pytest.mark.parametrize("shape", SHAPES)
def test_as_much_as_may_be_sent_takes_bounded_memory(shape: str, tmp_path: Path) -> None:
    encoding, made = SHAPES[shape]
    sent = made(MOST)
    assert MOST * 0.75 < len(sent) < 20 * MIB
    (tmp_path / "sent").write_bytes(sent)
    command = [sys.executable, "-c", READ, encoding, str(tmp_path / "sent")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    print(shape, done.stdout)
    mebibytes = int(done.stdout.split()[0])
    assert mebibytes < 100, done.stdout
