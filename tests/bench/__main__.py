"""The benchmark: `make bench`, or `python -m tests.bench [--quick] [--only PART] [--write FILE]`.

It makes a folder of 1 GB, one of 2 GB and 90 days of history once, below `.bench/`, and takes some minutes.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench import langfuse, latency, objectives, otlp, pages, queries, scrapes, sql, throughput
from tests.bench.figures import Figure, document, table
from tests.bench.processes import ROOT, cores

PARTS = ("throughput", "page", "latency", "commits", "otlp", "scrapes", "langfuse", "sql", "queries", "objectives")


def main() -> int:
    options = _parser().parse_args()
    if shutil.which("mtail") is None:
        print("bench: mtail is not installed; on Debian: apt-get install mtail", file=sys.stderr)
        return 2
    core, other = cores()
    # What measures keeps off the core of what is measured.
    os.sched_setaffinity(0, {other})
    directory = ROOT / ".bench" / ("quick" if options.quick else "full")
    directory.mkdir(parents=True, exist_ok=True)
    few = options.quick
    parts: dict[str, Callable[[], list[Figure]]] = {
        "throughput": lambda: throughput.figures(directory, core, 50_000_000 if few else 1_000_000_000),
        "page": lambda: [pages.rendering(8 if few else 40)],
        "latency": lambda: latency.figures(directory, core, 30 if few else 200),
        "commits": lambda: pages.commits(directory, core, 20 if few else 100),
        "otlp": lambda: otlp.figures(directory, core, 40 if few else 400),
        "scrapes": lambda: scrapes.figures(directory, core, 5_000 if few else 50_000),
        "langfuse": lambda: langfuse.figures(core, 2_000 if few else 20_000),
        "sql": lambda: sql.figures(directory, core, 100_000 if few else 1_000_000),
        "queries": lambda: queries.figures(directory, core, 14 if few else 90),
        "objectives": lambda: objectives.figures(directory, core, 20 if few else 100),
    }
    figures = []
    for name in options.only or PARTS:
        print(f"bench: {name} ...", file=sys.stderr)
        figures += parts[name]()
    print(table(figures))
    if options.write:
        options.write.write_text(document(figures, "python -m tests.bench --quick" if few else "make bench"))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="50 MB and few rounds, to see that it works")
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART", help=f"one of {', '.join(PARTS)}")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="write the table to a file, such as docs/benchmarks.md"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
