"""Lines per second of `agentgauge once`, against decoding alone and against mtail; its memory."""

import sys
from pathlib import Path

from tests.bench import store
from tests.bench.figures import Figure
from tests.bench.processes import AGENTGAUGE, PROGRAM, Taken, take

_ROUNDS = 3


def figures(directory: Path, core: int, size: int) -> list[Figure]:
    """Measure on a folder of `size` bytes and one of twice that; both are made when they are not there."""
    single, double = directory / "once", directory / "twice"
    store.make(single, size)
    store.make(double, 2 * size)
    lines, _ = store.count(single)
    ours, decoding = [], []
    for _ in range(_ROUNDS):
        decoding.append(take([sys.executable, "-m", "tests.bench.decoding", str(single)], core))
        ours.append(take([*AGENTGAUGE, "once", f"createagents://{single}"], core))
    logs = f"{single}/*.jsonl"
    mtail = take(["mtail", "-one_shot", "-progs", str(PROGRAM), "-logs", logs, "-logtostderr"], core)
    twice = take([*AGENTGAUGE, "once", f"createagents://{double}"], core)
    once = min(ours, key=_cpu)
    return [
        _rate("`once` against decoding the same lines", lines, once, min(decoding, key=_cpu), "at least 0.4", 0.4),
        _rate("`once` against mtail with the same counters", lines, once, mtail, "at least 8", 8.0),
        Figure(
            what="peak memory of `once`: one folder, and one of twice the size",
            ours=f"{twice.memory / 1e6:.0f} MB",
            other=f"{once.memory / 1e6:.0f} MB",
            ratio=twice.memory / once.memory,
            wanted="at most 150 MB, and the same",
            reached=max(once.memory, twice.memory) <= 150e6 and twice.memory <= 1.1 * once.memory,
        ),
    ]


def _cpu(taken: Taken) -> float:
    return taken.cpu


def _rate(what: str, lines: int, ours: Taken, other: Taken, wanted: str, least: float) -> Figure:
    ratio = other.cpu / ours.cpu
    return Figure(
        what=what,
        ours=f"{lines / ours.cpu:,.0f} lines/s",
        other=f"{lines / other.cpu:,.0f} lines/s",
        ratio=ratio,
        wanted=wanted,
        reached=ratio >= least,
    )
