"""History: the counters at the spans' own times, as blocks that Prometheus can load.

A counter that is read from a backlog appears at its total, and `rate()` of the past is empty. Here
the same spans are counted again in the order of their times, and the totals are written down step by
step, ending at the value that the live counter starts from: one curve.
"""

import math
import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import msgspec
from tqdm import tqdm

from exporters.aggregate import Aggregate, Cell
from exporters.exposition import sample
from exporters.feed import PLANS
from exporters.once import read
from exporters.sources import Source, SourceError
from exporters.span import Span

# Prometheus looks 5 minutes back for a sample. Towards the end steps are finer, because the shorter a
# board's time range, the shorter its windows: a minute for the last hour, and `rate()` wants two samples.
STEP = 300.0
FINER = ((3600.0, 15.0), (86400.0, 60.0))
# Sums of floats depend on their order in the last digits. One that were lower in the live counter than in
# its past would be a reset, which counts the whole total twice; so the past stays below by this part.
_BELOW = 1e-9
# promtool reads a file once for each block that it spans, so each file is one block: 18 h is one of
# the sizes that Prometheus itself compacts to.
BLOCK = 64800

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Span).decode


@dataclass(frozen=True, kw_only=True)
class History:
    """What to write: which part of the past (Unix seconds), at which steps, with which labels besides."""

    labels: Mapping[str, str]
    since: float = 0.0
    until: float | None = None
    step: float | None = None


def into_tsdb(sources: Sequence[Source], aggregate: Aggregate, history: History, directory: Path, idle: float) -> int:
    """Write blocks into Prometheus' data directory; return how many.

    A Prometheus that runs finds them within a minute. Raises SourceError when promtool is missing
    or fails, OSError and StateError as reading does.
    """
    promtool = shutil.which("promtool")
    if promtool is None:
        raise SourceError("promtool is not on the PATH; install Prometheus, or write files with --openmetrics")
    directory.mkdir(parents=True, exist_ok=True)
    workers = os.cpu_count() or 1
    # Beside the target: blocks are renamed into it, whole, which needs one file system.
    with (
        tempfile.TemporaryDirectory(prefix=".backfill-", dir=directory.parent) as drafts,
        ThreadPoolExecutor(workers) as pool,
    ):
        running: deque[Future[int]] = deque()
        blocks = 0
        for page in pages(sources, aggregate, history, Path(drafts), idle):
            running.append(pool.submit(_load, promtool, page, directory))
            # Files are large, so no more of them wait than there are processors.
            if len(running) > workers:
                blocks += running.popleft().result()
        return blocks + sum(done.result() for done in running)


def _load(promtool: str, page: Path, directory: Path) -> int:
    """Make blocks of a file, which goes, and put them into the data directory; return how many."""
    made = page.with_suffix(".blocks")
    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", f"--max-block-duration={BLOCK}s"]
    done = subprocess.run([*command, str(page), str(made)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SourceError(f"promtool: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
    page.unlink()
    blocks = [block for block in made.iterdir() if (block / "meta.json").exists()]
    for block in blocks:
        block.rename(directory / block.name)
    return len(blocks)


def pages(
    sources: Sequence[Source], aggregate: Aggregate, history: History, directory: Path, idle: float
) -> Iterator[Path]:
    """Write the past as OpenMetrics files, one a block, oldest first; yield each when it is whole.

    Every sample has its time in seconds, and the samples of a series are in the order of time, as
    `promtool tsdb create-blocks-from openmetrics` wants them: it drops disorder without a word.
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
            until = min(last, history.until or last)
            for block, texts in groupby(_steps(db, aggregate, history, (first, until)), key=lambda step: step[0]):
                path = directory / f"{block:012d}.om"
                with path.open("w", encoding="utf-8") as file:
                    file.writelines(text for _, text in texts)
                    file.write("# EOF\n")
                yield path
    (directory / "spans.db").unlink()


def _steps(
    db: sqlite3.Connection, aggregate: Aggregate, history: History, span: tuple[float, float]
) -> Iterator[tuple[int, str]]:
    """Yield for each step the number of its block and the samples of all series."""
    rows = db.execute("SELECT time, source, span FROM spans ORDER BY time, rowid")
    row = rows.fetchone()
    writer = _Writer(aggregate, history.labels)
    before, *times = _times(*span, history.step)
    for at in tqdm(times, desc="writing", unit="step", disable=None):
        spans: dict[str, list[Span]] = {}
        while row is not None and row[0] <= at:
            spans.setdefault(row[1], []).append(_decode(row[2]))
            row = rows.fetchone()
        for source, ended in spans.items():
            aggregate.add(source, ended)
        text = writer.step(at, before)
        before = at
        if at >= history.since:
            yield int(at // BLOCK), text


def _times(first: float, last: float, step: float | None) -> list[float]:
    """A whole step before the first span, where nothing is counted yet, then the times of the samples: whole
    steps, finer towards the end unless a step is given, and the end itself."""
    at = (math.ceil(first / STEP) - 1) * STEP
    times = [at]
    while at < last:
        at += step or next((finer for ago, finer in FINER if at >= last - ago), STEP)
        times.append(min(at, last))
    return times


class _Writer:
    """Renders totals as samples with a time; a child that did not change is not rendered again."""

    def __init__(self, aggregate: Aggregate, labels: Mapping[str, str]) -> None:
        self._aggregate = aggregate
        self._labels = "".join(f',{name}="{value}"' for name, value in labels.items())
        self._lines: dict[tuple[Cell, int, str], list[str]] = {}

    def step(self, at: float, before: float) -> str:
        """Return the samples of every series at a time; a new one begins with 0 at the step before."""
        lines: list[str] = []
        for cell in self._aggregate.changed:
            for place, metric in enumerate(PLANS[cell.key[0]].metrics):
                for own in cell.children[place]:
                    key = (cell, place, own)
                    if key not in self._lines:
                        zero = sample(metric, cell, (place, own), False, openmetrics=False)
                        lines += self._at(before, map(self._labelled, zero))
                    now = sample(metric, cell, (place, own), True, openmetrics=False)
                    self._lines[key] = [self._labelled(line) for line in now]
        self._aggregate.changed.clear()
        for rendered in self._lines.values():
            lines += self._at(at, rendered)
        return "".join(lines)

    def _labelled(self, line: str) -> str:
        series, value = line.rsplit("} ", 1)
        if "." in value or "e" in value:
            value = repr(float(value) * (1 - _BELOW))
        return f"{series}{self._labels}}} {value}"

    @staticmethod
    def _at(seconds: float, lines: Iterable[str]) -> list[str]:
        ending = f" {seconds:.3f}\n"
        return [line + ending for line in lines]
