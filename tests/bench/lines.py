"""Lines for measurements of a running exporter: many agents, open chats, and a stream of them at a rate."""

import itertools
import os
import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from exporters.demo import framework, writer
from exporters.demo.framework import Context, Entry, Usage
from tests.bench import store

_STAMP = re.compile(rb'"timestamp": "[^"]*"')
_ids = itertools.count(1)


def context(agent: str) -> Context:
    """Return the context of a new chat of an agent."""
    return Context(
        trace_id=f"trace-{_new_id()}",
        run_id=f"run-{_new_id()}",
        run_type="chat",
        operation="chat_with_agent",
        agent=agent,
        model="gpt-4o-mini",
        dialect="new",
        new_id=_new_id,
    )


def started(chat: Context) -> Entry:
    return framework.chat_started(time.time(), chat, message="?", history_length=0)


def answered(chat: Context) -> Entry:
    """Return a model call's response in a chat; its request may be missing."""
    call = chat.child("llm", "openai_iteration_1", iteration=1)
    usage = Usage(input=300, output=20, total=320)
    return framework.model_answered(time.time(), call, duration=0.8, text="ok", calls=(), usage=usage)


def returned(chat: Context) -> Entry:
    tool = chat.child("tool", "tool_search", tool_name="search")
    return framework.tool_returned(
        time.time(), tool, tool="search", call_id="call_1", duration=0.2, result="found", ok=True
    )


def ended(chat: Context) -> Entry:
    return framework.chat_ended(time.time(), chat, duration=2.0, response="ok")


def whole(agent: str) -> list[Entry]:
    """Return the lines of a chat with one model call and one tool call."""
    chat = context(agent)
    return [started(chat), answered(chat), returned(chat), ended(chat)]


def append(directory: Path, entries: list[Entry]) -> None:
    """Write lines as the framework does, one write a line."""
    for entry in entries:
        writer.write(directory, time.time(), entry)


def append_at_once(directory: Path, entries: list[Entry]) -> None:
    """Write lines in one write, so that they are read as one batch."""
    lines = b"".join(writer.encode(entry) for entry in entries)
    with (directory / "traces_2026-03-04.jsonl").open("ab", buffering=0) as file:
        file.write(lines)


def stream(week: list[Path], directory: Path, rate: int, stop: threading.Event) -> None:
    """Write the demo's lines into a folder, `rate` a second in slices of 10 ms, until told to stop."""
    slices, begin = 0, time.monotonic()
    lines = _endless(week)
    file = os.open(directory / "traces_2026-03-05.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        while not stop.wait(max(0.0, begin + slices * 0.01 - time.monotonic())):
            stamp = b'"timestamp": "%s"' % datetime.now(UTC).isoformat().encode()
            for line in itertools.islice(lines, rate // 100):
                os.write(file, _STAMP.sub(stamp, line, count=1))
            slices += 1
    finally:
        os.close(file)


def _endless(week: list[Path]) -> Iterator[bytes]:
    for copy in itertools.count():
        for _, text in store.copy_of(week, copy):
            yield from text.splitlines(keepends=True)


def _new_id() -> str:
    return f"{os.getpid():06x}{next(_ids):06x}"
