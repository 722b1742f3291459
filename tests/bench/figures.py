"""The table: one figure a row, with what it is held against."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measurement: ours, what it is held against, their ratio, and what was to be reached."""

    what: str
    ours: str
    other: str = ""
    ratio: float | None = None
    wanted: str = ""
    reached: bool | None = None


@dataclass(slots=True)
class Rounds:
    """Seconds of CPU of something and of what it is held against, which ran right before and right after it.

    The ratio is the median of the rounds': the best of each would compare the quietest seconds of what is short with
    the quietest of what takes several times as long.
    """

    ours: list[float] = field(default_factory=list)
    floors: list[float] = field(default_factory=list)

    def add(self, before: float, own: float, after: float) -> None:
        self.ours.append(own)
        self.floors.append((before + after) / 2)

    @property
    def ratio(self) -> float:
        return median(floor / own for own, floor in zip(self.ours, self.floors, strict=True))

    def figure(self, what: str, count: int, unit: str, least: float) -> Figure:
        """Return the figure of so many things done in each round."""
        return Figure(
            what=what,
            ours=f"{count / median(self.ours):,.0f} {unit}/s",
            other=f"{count / median(self.floors):,.0f} {unit}/s",
            ratio=self.ratio,
            wanted=f"at least {least}",
            reached=self.ratio >= least,
        )


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
