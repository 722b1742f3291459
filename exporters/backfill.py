"""History: the counters at the spans' own times, as pages that promtool makes Prometheus' blocks of.

A counter that is read from a backlog appears at its total, and `rate()` of the past is empty. Here
the same spans are counted again in the order of their times, and the totals are written down step by
step, ending at the value that the live counter starts from: one curve.
"""

import math
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import msgspec
from tqdm import tqdm

from exporters import blocks
from exporters.aggregate import Aggregate
from exporters.blocks import Page, Stretch
from exporters.curve import Curve
from exporters.once import read
from exporters.sources import Source
from exporters.span import Span

# Prometheus looks 5 minutes back for a sample. Towards the end steps are finer, because the shorter a
# board's time range, the shorter its windows, and `rate()` wants two samples: a board of a day asks in steps
# of two minutes, one of half a day in steps of one, one of an hour for the last minute.
STEP = 300.0
DAY = 86400.0
FINER = ((3600.0, 15.0), (DAY / 2, 60.0), (DAY, 120.0))

# Unix seconds -> the sources whose samples of that time are to be written.
Wanted = Callable[[float], tuple[str, ...]]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Span).decode


@dataclass(frozen=True, kw_only=True)
class History:
    """What to write: which part of the past (Unix seconds), at which steps, with which labels besides."""

    labels: Mapping[str, str]
    since: float = 0.0
    until: float = math.inf
    step: float | None = None


def into_tsdb(
    sources: Sequence[Source], aggregate: Aggregate, history: History, directory: Path, *, idle: float
) -> int:
    """Write blocks into Prometheus' data directory; return how many. What is there already is not written again.

    A Prometheus that runs finds them within a minute. Raises SourceError when promtool is missing
    or fails, OSError and StateError as reading does.
    """
    program = blocks.promtool()
    workers = os.cpu_count() or 1
    with blocks.drafts(directory) as drafts, ThreadPoolExecutor(workers) as pool:
        running: deque[Future[int]] = deque()
        made = 0
        done = blocks.written(directory, history.labels)
        for page in pages(sources, aggregate, history, drafts, idle=idle, written=done):
            running.append(pool.submit(blocks.load, program, page, directory))
            # Files are large, so no more of them wait than there are processors.
            if len(running) > workers:
                made += running.popleft().result()
        return made + sum(page.result() for page in running)


def pages(
    sources: Sequence[Source],
    aggregate: Aggregate,
    history: History,
    directory: Path,
    *,
    idle: float,
    written: Sequence[Stretch] = (),
) -> Iterator[Page]:
    """Write the past as OpenMetrics files, one a block, oldest first; yield each when it is whole.

    Every sample has its time in seconds, and the samples of a series are in the order of time, as
    `promtool tsdb create-blocks-from openmetrics` wants them: it drops disorder without a word. What is `written`
    already is left out.
    """
    with closing(sqlite3.connect(directory / "spans.db", isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("CREATE TABLE spans (time REAL, source TEXT, span BLOB)")
        db.execute("BEGIN")

        def counted(source: str, spans: Sequence[Span]) -> None:
            db.executemany("INSERT INTO spans VALUES (?, ?, ?)", [(s.time, source, _encode(s)) for s in spans])

        with read(sources, Aggregate(time.time), idle=idle, counted=counted) as _:
            pass
        db.execute("CREATE INDEX by_time ON spans (time)")
        db.execute("COMMIT")
        (first, last) = db.execute("SELECT min(time), max(time) FROM spans").fetchone()
        if first is not None:

            def wanted(at: float) -> tuple[str, ...]:
                if at < history.since:
                    return ()
                return tuple(source.name for source in sources if not blocks.covered(written, source.name, at))

            curve = Curve(aggregate, history.labels)
            steps = _steps(db, curve, aggregate, moments(first, last, history), wanted)
            yield from _files(steps, directory, history.labels, last)
    (directory / "spans.db").unlink()


@dataclass(slots=True)
class _Step:
    """The samples of a time: whose they are, how many, and their text."""

    at: float
    sources: tuple[str, ...]
    samples: int
    text: str

    def add(self, lines: list[str]) -> None:
        """Add samples."""
        if lines:
            ending = f" {self.at:.3f}\n"
            self.samples += len(lines)
            self.text += ending.join(lines) + ending


def _steps(
    db: sqlite3.Connection, curve: Curve, aggregate: Aggregate, times: Sequence[float], wanted: Wanted
) -> Iterator[_Step]:
    """Yield the samples of each step. A series begins with 0 at the step before its first value, so each step
    is held until what the next one brings is known."""
    rows = db.execute("SELECT time, source, span FROM spans ORDER BY time, rowid")
    row = rows.fetchone()
    step = None
    for at in tqdm(times, desc="writing", unit="step", disable=None):
        spans: dict[str, list[Span]] = {}
        while row is not None and row[0] <= at:
            spans.setdefault(row[1], []).append(_decode(row[2]))
            row = rows.fetchone()
        for source, ended in spans.items():
            aggregate.add(source, ended)
        born, sources = curve.go_on(), wanted(at)
        if step is not None:
            for source in sources:
                step.add(born.get(source, []))
            yield step
        step = _Step(at, sources, 0, "")
        for source in sources:
            step.add(curve.lines.get(source, []))
    if step is not None:
        yield step


def _files(steps: Iterator[_Step], directory: Path, labels: Mapping[str, str], last: float) -> Iterator[Page]:
    """Put the samples of steps into files, each of one block and of the same sources."""
    number = 0
    for (block, sources), held in groupby(steps, key=lambda step: (_block(step.at, last), step.sources)):
        path = directory / f"{block:012d}-{number:06d}.om"
        moments, samples = [], 0
        with path.open("w", encoding="utf-8") as file:
            for step in held:
                moments.append(step.at)
                samples += step.samples
                file.write(step.text)
            file.write("# EOF\n")
        if samples:
            number += 1
            stretch = Stretch(moments[0], moments[-1], list(sources), dict(labels))
            yield Page(path=path, samples=samples, stretch=stretch)
        else:
            path.unlink()


def _block(at: float, last: float) -> int:
    length = blocks.SMALL_BLOCK if at >= last - DAY else blocks.BLOCK
    return int(at // length * length)


def moments(first: float, last: float, history: History) -> list[float]:
    """A whole step before the first span, where nothing is counted yet, then the times of the samples: whole
    steps, finer towards the end unless a step is given, and the end itself."""
    until = min(last, history.until)
    width = history.step or STEP
    at = (math.ceil(first / width) - 1) * width
    times = [at]
    while at < until:
        width = history.step or next((finer for ago, finer in FINER if at >= last - ago), STEP)
        # Whole steps also where they become finer: boards ask at these, and days begin at them.
        at = min((at // width + 1) * width, until)
        times.append(at)
    return times
