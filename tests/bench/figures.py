"""The table: one figure a row, with what it is held against."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measurement: ours, what it is held against, their ratio, and what was to be reached."""

    what: str
    ours: str
    other: str = ""
    ratio: float | None = None
    wanted: str = ""
    reached: bool | None = None


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a Markdown table."""
    rows = [("What", "Ours", "Beside it", "Ratio", "To reach", "Reached")]
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        reached = "" if figure.reached is None else ("yes" if figure.reached else "no")
        rows.append((figure.what, figure.ours, figure.other, ratio, figure.wanted, reached))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def machine() -> str:
    """Say in one line what this ran on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"Linux {platform.release()}, Python {platform.python_version()}"
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {system}"


def document(figures: Sequence[Figure], command: str) -> str:
    """Return docs/benchmarks.md."""
    return f"""# Benchmarks

`{command}` on {date.today().isoformat()}: {machine()}.

{table(figures)}

Ratios are what counts: both sides of a row ran in the same minutes on the same core. Lines per second are per second
of CPU time (user and system), start of the process included, best of three runs (mtail: one). The lines are those of
`agentgauge demo`: a week of it, copied with fresh ids and times until there are enough; the files are in the page
cache. mtail is Debian's, with the program `tests/bench/counters.mtail`. A latency is from the end of the `write` of a
line to the end of the first answer of `/metrics` that counts it, asked every two milliseconds, on a core of its own.
A commit's time is what `agentgauge_commit_duration_seconds` says, `fdatasync` included.
"""
