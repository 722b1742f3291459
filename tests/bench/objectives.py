"""How long Prometheus takes to judge objectives: a hundred agents, and 30 days of what is recorded of their runs."""

import random
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from exporters.catalogue.metrics import AGENT_SECONDS
from exporters.catalogue.model import seconds
from exporters.catalogue.records.burn_rates import BURN_RATES
from tests.bench.figures import Figure
from tests.bench.queries import Asked, Server, prometheus

_DAYS, _DAY = 30, 86400
# Seconds between two samples of what is recorded, and of what is scraped.
_RECORDED, _SCRAPED = 300, 15
# What is asked of counters goes back an hour.
_COUNTED = 3900
# Of the interval: rules that take longer than it are skipped.
_SHARE = 0.2
_BOUNDS = (*map(str, AGENT_SECONDS), "+Inf")


def figures(directory: Path, core: int, agents: int) -> list[Figure]:
    """Time what is recorded of objectives, by how often it is; each agent has two of them."""
    past = directory / f"objectives-{agents}"
    _make(past, core, agents)
    at = (past / "whole").read_text()
    with prometheus(past / "data", core) as server:
        return [_judged(server, every, agents, at) for every in ("1m", "2m")]


def _judged(server: Server, every: str, agents: int, at: str) -> Figure:
    """Time the rules of one interval, whose sum has to be far below it."""
    taken = {
        record.name: server.taken(Asked(panel=record.name, path="query", form={"query": record.expr, "time": at}))
        for record in BURN_RATES
        if record.every == every
    }
    whole, slowest = sum(taken.values()), max(taken, key=taken.__getitem__)
    share = whole / seconds(every)
    return Figure(
        what=f"what is recorded of the objectives of {agents} agents every {seconds(every)} s, and its slowest rule",
        ours=f"{whole:.2f} s",
        other=f"{taken[slowest]:.2f} s ({slowest.rpartition(':')[2]})",
        ratio=share,
        wanted="at most 0.2 of that time",
        reached=share <= _SHARE,
    )


def _make(past: Path, core: int, agents: int) -> None:
    """Write what is recorded of runs for 30 days, and the counters and objectives of the last hour; done once."""
    whole = past / "whole"
    if whole.exists():
        return
    shutil.rmtree(past, ignore_errors=True)
    (past / "data").mkdir(parents=True)
    end = int(time.time())
    names = [f'gen_ai_agent_name="agent-{number}"' for number in range(agents)]
    numbers = random.Random(0)
    for first in range(end - _DAYS * _DAY, end, _DAY):
        # Each rate is unlike the one before, as real ones are, which makes them dear to read.
        values = ((at, numbers.randrange(10_000) / 10_000) for at in range(first, first + _DAY, _RECORDED))
        _load(past, list(_recorded(names)), values)
    _load(past, list(_counted(names)), ((at, at - end + _COUNTED) for at in range(end - _COUNTED, end, _SCRAPED)))
    with prometheus(past / "data", core) as server:
        server.settle()
    whole.write_text(str(end - _SCRAPED))


def _recorded(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        for outcome in ("ok", "error"):
            yield f'agent_outcome:agentgauge_runs:rate15m{{{name},outcome="{outcome}"}} @value'
        for bound in _BOUNDS:
            yield f'agent_le:gen_ai_invoke_agent_duration_seconds_bucket:rate15m{{{name},le="{bound}"}} @value'


def _counted(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        for of, ratio in (('objective="success"', 0.99), ('objective="latency",le="25.6"', 0.95)):
            yield f"agentgauge_objective_ratio{{{name},{of}}} {ratio}"
            yield f"agentgauge_objective_window_seconds{{{name},{of}}} {_DAYS * _DAY}"
        for objective, ratio in (("success", 0.99), ("latency", 0.95)):
            yield f'agent_objective:agentgauge_objective:ratio{{{name},objective="{objective}"}} {ratio}'
        for outcome in ("ok", "error"):
            yield f'agentgauge_runs_total{{{name},outcome="{outcome}"}} @value'
        for bound in _BOUNDS:
            for error in ("", 'error_type="timeout",'):
                yield f'gen_ai_invoke_agent_duration_seconds_bucket{{{name},{error}le="{bound}"}} @value'


def _load(past: Path, series: Sequence[str], values: Iterator[tuple[int, float]]) -> None:
    """Make blocks of series which all have the same value at a time."""
    page, template = past / "page.om", "".join(f"{one} @time\n" for one in series)
    with page.open("w") as written:
        for at, value in values:
            written.write(template.replace("@value", repr(value)).replace("@time", str(at)))
        written.write("# EOF\n")
    command = ["promtool", "tsdb", "create-blocks-from", "--max-block-duration=18h", "openmetrics"]
    subprocess.run([*command, str(page), str(past / "data")], check=True, stdout=subprocess.DEVNULL)
    page.unlink()
