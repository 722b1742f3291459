"""A page is answered in time: between two slices of a large batch, and while a state is opened."""

import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from traceback import walk_stack

from settling_stage import SETTLES, START, part, run
from settling_stage import call as model_call

from exporters.aggregate import Aggregate
from exporters.database import DATABASE, connect
from exporters.runner import Runner
from exporters.settling import AT_ONCE, Settling
from exporters.slices import SLICE, FairLock, slices
from exporters.sources import Batch, Source, Translated
from exporters.span import Span

MANY = 10 * SLICE


class Pushed:
    """A reader that is pushed one batch of spans, and then nothing."""

    unit = "records"

    def __init__(self, spans: list[Span]) -> None:
        self._batches = [spans]
        self._closed = threading.Event()
        self.committed = threading.Event()

    def seek(self, cursor: Mapping[str, bytes]) -> None:
        pass

    def poll(self) -> Batch:
        if self._batches:
            return Batch(list(self._batches.pop()), {})
        self.committed.set()
        return Batch([], {})

    def backlog(self) -> int:
        return 0

    def wait(self, seconds: float) -> None:
        if self.committed.is_set():
            self._closed.wait(seconds)

    def close(self) -> None:
        self._closed.set()


def translated(spans: Sequence[Span]) -> Translated:
    return Translated(list(spans), len(spans), {})


def tool(number: int) -> Span:
    return Span("tool", True, f"trace-{number}", f"span-{number}", time=START, tool="search", duration=0.1)


def counted_on(page: bytes) -> int:
    found = [line for line in page.decode().splitlines() if line.startswith("agentgauge_tool_calls_total{")]
    return sum(int(line.rpartition(" ")[2]) for line in found)


def test_a_page_waits_for_a_slice_or_two_of_a_large_batch_and_not_for_all_of_it(tmp_path: Path):
    pages: list[bytes] = []
    asking = threading.Thread(target=lambda: pages.append(runner.page("test", openmetrics=False)))

    def counting(_: str, spans: Sequence[Span]) -> None:
        """Ask for the page while the first spans are being counted, and go on once it waits for that."""
        if spans and not asking.ident:
            asking.start()
            until(lambda: waits(asking), "the page waits for what is being counted")

    reader = Pushed([tool(number) for number in range(MANY)])
    runner = Runner(
        [Source("tools", reader, translated)], tmp_path / "state", Aggregate(time.time), idle=3600, counted=counting
    )
    # A scraper that has been here sees what is new at its value.
    runner.page("test", openmetrics=False)
    runner.start()
    try:
        assert reader.committed.wait(60)
        asking.join(60)
        assert counted_on(runner.page("test", openmetrics=False)) == MANY
        assert counted_on(pages[0]) <= 2 * SLICE
    finally:
        runner.stop()


def test_a_page_is_answered_while_the_state_is_opened_anew(tmp_path: Path):
    reader = Pushed([tool(number) for number in range(3)])
    sources = [Source("tools", reader, translated)]
    first = Runner(sources, tmp_path / "state", Aggregate(time.time), idle=3600)
    first.stop()
    with closing(sqlite3.connect(tmp_path / "state" / DATABASE, isolation_level=None)) as other:
        # Whoever opens it now waits for SQLite's five seconds, and is then told that it is locked.
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        runner = Runner(sources, tmp_path / "state", Aggregate(time.time), idle=3600)
        assert "locked" in runner.problem
        runner.start()
        try:
            until(opens, "the state is being opened again")
            page = runner.page("test", openmetrics=False)
            assert opens(), "the page was answered only when the state had been tried"
            assert b"agentgauge_state_up 0.0\n" in page
            other.execute("ROLLBACK")
            other.close()
            assert reader.committed.wait(60)
            assert counted_on(runner.page("test", openmetrics=False)) == 3
        finally:
            runner.stop()


def opens() -> bool:
    """Whether a thread is opening the state."""
    return any(
        inner.f_code is connect.__code__ for frame in sys._current_frames().values() for inner, _ in walk_stack(frame)
    )


def waits(thread: threading.Thread) -> bool:
    """Whether a thread is where it can only be waiting for the lock of what is counted."""
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and frame.f_code.co_name in ("page", "__enter__")


def until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, what


def test_slices_bring_every_span_once_and_what_else_a_batch_brings_with_the_last():
    spans = [tool(number) for number in range(2 * SLICE + 1)]
    batch = Batch([], {}, size=7, bad={"json": 3}, more=False)
    parts = list(slices(batch, Translated(spans, 9, {"too_deep": 2})))
    assert [len(found.spans) for _, found in parts] == [SLICE, SLICE, 1]
    assert [span for _, found in parts for span in found.spans] == spans
    assert [(part.bad, part.more, found.records, found.bad) for part, found in parts] == [
        ({}, True, 0, {}),
        ({}, True, 0, {}),
        ({"json": 3}, False, 9, {"too_deep": 2}),
    ]
    assert len(list(slices(batch, Translated(spans[: 2 * SLICE], 9, {})))) == 2


def test_a_batch_with_a_cursor_is_one_commit():
    found = Translated([tool(number) for number in range(3 * SLICE)], 3 * SLICE, {})
    batch = Batch([], {"place": b"7"})
    assert list(slices(batch, found)) == [(batch, found)]


def test_a_lock_is_handed_to_who_waits_and_not_taken_again():
    lock, order = FairLock(), list[str]()

    def wait() -> None:
        with lock:
            order.append("who waited")

    waiting = threading.Thread(target=wait)
    with lock:
        waiting.start()
        until(lambda: waits(waiting), "it waits for the lock")
        until(lock._turn.locked, "it has the turn")
    with lock:
        order.append("who had it")
    waiting.join(30)
    assert order == ["who waited", "who had it"]


class Backlog(Pushed):
    """A reader of a backlog of two batches, the first of which is more than is settled at once."""

    def __init__(self) -> None:
        whole = [run("r", trace_id=f"t{number}") for number in range(AT_ONCE + 500)]
        super().__init__([])
        self._batches = [[], [run("r", trace_id="last")], [run("r", trace_id="second")], whole]
        # Whether the source was caught up, by poll.
        self.caught_up: list[bool] = []
        self.aggregate = Aggregate(time.time)

    def poll(self) -> Batch:
        if not self.committed.is_set():
            self.caught_up.append("spans" in self.aggregate.caught_up)
        batch = super().poll()
        return Batch(batch.records, {"place": b"x"} if batch.records else {}, more=len(self._batches) > 1)


def test_a_backlog_of_which_much_is_settled_is_not_caught_up_before_its_end(tmp_path: Path):
    reader = Backlog()
    # Of a slow machine: more than a span waits for passes between two looks at it.
    clock = count(START, 2 * SETTLES)
    source = Source("spans", reader, translated, SETTLES)
    runner = Runner([source], tmp_path / "state", reader.aggregate, idle=3600, now=lambda: next(clock))
    runner.start()
    try:
        assert reader.committed.wait(60)
    finally:
        runner.stop()
    assert reader.caught_up[:3] == [False, False, False]
    assert "spans" in reader.aggregate.caught_up


def test_what_is_due_is_settled_some_at_once_and_all_in_the_end():
    settling = Settling(SETTLES, lambda _: ())
    spans = [part(f"s{number}", "nobody", trace_id=f"t{number}") for number in range(3 * AT_ONCE)]
    assert settling.add(spans, START, live=True) == []
    settled = []
    for _ in range(3):
        groups = settling.add([], START + SETTLES + 1, live=True)
        assert len(groups) == AT_ONCE
        settled += groups
        assert settling.more
    assert settling.add([], START + SETTLES + 1, live=True) == []
    assert not settling.more
    assert {group.trace_id for group in settled} == {f"t{number}" for number in range(3 * AT_ONCE)}
    assert settling.spans == 0


def test_traces_that_are_whole_are_settled_some_at_once_too_and_a_trace_never_in_part():
    settling = Settling(SETTLES, lambda _: ())
    of_trace = 3
    spans = [
        span
        for number in range(AT_ONCE)
        for span in (
            model_call("a", "r", trace_id=f"t{number}"),
            model_call("b", "r", trace_id=f"t{number}"),
            run("r", trace_id=f"t{number}"),
        )
    ]
    settling.add(spans, START, live=True)
    settled = []
    while groups := settling.add([], START + 0.2 * SETTLES, live=True):
        assert sum(len(group.runs) + len(group.others) for group in groups) <= AT_ONCE + of_trace
        settled += groups
    assert len(settled) == AT_ONCE
    assert all(len(group.runs) + len(group.others) == of_trace for group in settled)
