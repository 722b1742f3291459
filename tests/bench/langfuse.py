"""Langfuse: how much of the time of reading a project is ours, against a local server without limits."""

import os
import sys
from pathlib import Path

from tests.bench.figures import Figure
from tests.bench.processes import AGENTGAUGE, take

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' server is a module of theirs

from langfuse_server import PUBLIC, SECRET, Langfuse, served

_START = 1_770_000_000.0


def figures(core: int, traces: int) -> list[Figure]:
    """Read a project of so many traces, a run and a call each, from the newer surface, with `once`."""
    project = Langfuse(validate=False)
    project.clock = lambda: _START + 20.0 * traces
    for number in range(traces):
        start, of_trace = _START + 10 * number, {"traceId": f"trace-{number}", "traceName": "support"}
        root = project.add(**of_trace, id=f"root-{number}", type="SPAN", start=start, end=start + 5)
        project.add(
            **of_trace,
            id=f"call-{number}",
            parentObservationId=root["id"],
            start=start + 1,
            model="gpt-4o",
            usageDetails={"input": 100, "output": 10, "total": 110},
            costDetails={"total": 0.25},
        )
    os.environ |= {"LANGFUSE_PUBLIC_KEY": PUBLIC, "LANGFUSE_SECRET_KEY": SECRET}
    with served(project) as url:
        nothing = take([*AGENTGAUGE, "once", f"langfuse+{url}?since=1s"], core)
        before = project.served
        taken = take([*AGENTGAUGE, "once", f"langfuse+{url}"], core)
    ours = taken.cpu - nothing.cpu
    wall = taken.wall - nothing.wall
    pages = project.served - before
    return [
        Figure(
            what=f"share of the time that is ours while {2 * traces:,} rows of Langfuse are read",
            ours=f"{ours / wall:.0%}, {1e6 * ours / traces / 2:.0f} us a row",
            other=f"{1e3 * (wall - ours) / pages:.0f} ms a request of the tests' server",
            ratio=ours / wall,
            wanted="less than 0.20",
            reached=ours / wall < 0.2,
        )
    ]
