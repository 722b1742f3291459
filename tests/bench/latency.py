"""From a line's write to its showing on /metrics: `agentgauge serve` and mtail, idle and under load."""

import random
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from tests.bench import lines, store
from tests.bench.figures import Figure
from tests.bench.processes import Page, agentgauge, mtail

_RATE = 1000
_SHOWN = re.compile(rb'^(?:agentgauge_)?inference_calls_total\{[^}]*="probe"[^}]*outcome="ok"[^}]*\} (\d+)', re.M)

Serve = Callable[[Path], AbstractContextManager[Page]]


def figures(directory: Path, core: int, probes: int) -> list[Figure]:
    """Measure with `probes` lines each; the demo's week is taken from the folder."""
    week = store.week(directory)
    found = []
    for load, said in ((0, "on an idle machine"), (_RATE, f"with {_RATE:,} lines/s coming in")):
        ours = _measure(lambda folder: agentgauge(folder, folder / "state", core), week, load, probes)
        other = _measure(lambda folder: mtail(folder, core), week, load, probes)
        found.append(
            Figure(
                what=f"line to page, p50 / p95 / max, {said}, beside mtail",
                ours=_quantiles(ours),
                other=_quantiles(other),
                ratio=_p95(other) / _p95(ours),
                wanted="p95 at most 100 ms",
                reached=_p95(ours) <= 0.1,
            )
        )
    return found


def _measure(serve: Serve, week: list[Path], load: int, probes: int) -> list[float]:
    """Return the sorted seconds from a probe's write to its showing."""
    with tempfile.TemporaryDirectory(prefix="agentgauge-bench-") as name:
        folder = Path(name)
        # A line of each file is there when the server starts: mtail follows no file that appears later.
        shutil.copy(week[0], folder / "traces_2026-03-05.jsonl")
        lines.append_at_once(folder, [lines.answered(lines.context("probe"))])
        stop = threading.Event()
        writing = threading.Thread(target=lines.stream, args=(week, folder, load, stop))
        with serve(folder) as page:
            if load:
                writing.start()
            try:
                return sorted(_probes(folder, page, probes))
            finally:
                stop.set()
                if load:
                    writing.join()


def _probes(folder: Path, page: Page, probes: int) -> list[float]:
    # The first one makes the series where there is none yet.
    _probe(folder, page)
    chance = random.Random(7)
    taken = []
    for _ in range(probes):
        time.sleep(chance.uniform(0.05, 0.25))
        taken.append(_probe(folder, page))
    return taken


def _probe(folder: Path, page: Page) -> float:
    """Write a line, and return how long it took until one more is shown."""
    before = _shown(page)
    lines.append_at_once(folder, [lines.answered(lines.context("probe"))])
    begin = time.perf_counter()
    while _shown(page) <= before:
        if time.perf_counter() - begin > 30:
            raise TimeoutError("a line was not shown within 30 s")
        time.sleep(0.002)
    return time.perf_counter() - begin


def _shown(page: Page) -> int:
    match = _SHOWN.search(page.read())
    return int(match[1]) if match else 0


def _p95(taken: list[float]) -> float:
    return taken[int(0.95 * (len(taken) - 1))]


def _quantiles(taken: list[float]) -> str:
    p50 = taken[len(taken) // 2]
    return " / ".join(f"{1000 * value:.0f}" for value in (p50, _p95(taken), taken[-1])) + " ms"
