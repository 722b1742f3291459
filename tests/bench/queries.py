"""How long dashboards take to open: what they ask of a Prometheus that holds 90 days of the demo, backfilled."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from exporters.catalogue.metrics import labels_by_series
from exporters.catalogue.model import Signal, fill
from exporters.catalogue.signals import SIGNALS
from tests.bench.figures import Figure
from tests.bench.processes import AGENTGAUGE, ROOT, Page, free_port

_BOARDS = ROOT / "grafana" / "provisioning" / "dashboards" / "json"
_RULES = ROOT / "prometheus" / "rules" / "agentgauge.recording.yml"
_DAY = 86400
_SECONDS = {"m": 60, "h": 3600, "d": _DAY}
# What a data source that is scraped every 15 s asks for at the least, and how many points a full-width panel has.
_SCRAPE, _POINTS = 15, 1000
_SECOND = 1.0
_LOOKED = re.compile(rb"^prometheus_tsdb_compactions_triggered_total (\d+)", re.M)
# A query is asked so often in a row; a recorded name is held against its expression over so many seconds.
_QUERIES, _RECORDED = 3, _DAY


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a panel asks for when its dashboard is opened: a path of the API and its form."""

    panel: str
    path: str
    form: Mapping[str, str]


def figures(directory: Path, core: int, days: int) -> list[Figure]:
    """Measure dashboards at their own range and over the whole history, then recorded names beside what they record."""
    history = directory / "history"
    _make(history, core, days)
    end = float((history / "whole").read_text())
    with prometheus(history / "data", core) as server:
        found = [_opened(server, path, end, days) for path in sorted(_BOARDS.glob("*.json"))]
        if not (history / "recorded").exists():
            _record(server, history, end)
    # Blocks that were put there are found by one that starts.
    with prometheus(history / "data", core) as server:
        return [*found, *(_recorded(server, signal, end) for signal in SIGNALS.values() if signal.record)]


def _make(history: Path, core: int, days: int) -> None:
    """Write the demo's past and load it as blocks; done once, a marker says that it is whole, and when it ends.

    Prometheus puts blocks together in the first two minutes that it has them. That is waited for: until then its
    work is in the way, and queries take half as much again.
    """
    whole = history / "whole"
    if whole.exists():
        return
    shutil.rmtree(history, ignore_errors=True)
    traces = history / "traces"
    _run(*AGENTGAUGE, "demo", str(traces), "--history", f"{days}d", "--once")
    end = time.time()
    labels = ("--label", "job=agentgauge", "--label", "instance=127.0.0.1:9464")
    _run(*AGENTGAUGE, "backfill", "--into", str(history / "data"), *labels, f"createagents://{traces}")
    shutil.rmtree(traces)
    with prometheus(history / "data", core) as server:
        server.settle()
    whole.write_text(repr(end))


def _run(*command: str) -> None:
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@dataclass(frozen=True, kw_only=True)
class Server:
    """A Prometheus: the port where it is asked, and which process it is."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, query: Asked) -> Any:
        """Return the result of a query. Raises RuntimeError with Prometheus' words when it has none."""
        answer = requests.post(f"{self.url}/api/v1/{query.path}", data=query.form, timeout=300).json()
        if answer["status"] != "success":
            raise RuntimeError(f"{query.panel}: {answer['error']}")
        return answer["data"]["result"]

    def taken(self, query: Asked) -> float:
        """Return the seconds of CPU that a query takes, once its blocks are in memory."""
        self.ask(query)
        before = self._cpu()
        for _ in range(_QUERIES):
            self.ask(query)
        return (self._cpu() - before) / _QUERIES

    def settle(self) -> None:
        """Wait until blocks have been put together: the second time that it looks for some begins after that."""
        page = Page(self.port)
        while int(_LOOKED.findall(page.read())[0]) < 2:
            time.sleep(1)  # it announces nothing: it can only be asked

    def _cpu(self) -> float:
        # After the name, which may hold spaces, the 12th and 13th are user and system time (man proc).
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def prometheus(data: Path, core: int) -> Iterator[Server]:
    """Run a Prometheus on a history, on one core; it scrapes nothing."""
    config, port = data.parent / "prometheus.yml", free_port()
    config.write_text("{}\n")
    command = ["taskset", "--cpu-list", str(core), "prometheus", f"--config.file={config}", "--log.level=error"]
    command += [f"--storage.tsdb.path={data}", f"--web.listen-address=127.0.0.1:{port}"]
    command += ["--storage.tsdb.retention.time=10y"]
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            Page(port).wait("/-/ready", 120)
            yield Server(port=port, pid=process.pid)
        finally:
            process.terminate()


def asked(board: Mapping[str, Any], seconds: int, end: float) -> Iterator[Asked]:
    """Yield what a dashboard asks for a time range that ends at a moment, all its pickers at All."""
    variables = {one["name"]: one["allValue"] for one in board["templating"]["list"] if one["type"] == "query"}
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            least = int(target["interval"][:-1]) * _SECONDS[target["interval"][-1]] if "interval" in target else _SCRAPE
            step = max(least, -(-seconds // (panel.get("maxDataPoints") or _POINTS)))
            rate = max(step + least, 4 * least)
            blanks = variables | {"__range": f"{seconds}s", "__rate_interval": f"{rate}s", "__interval": f"{step}s"}
            expr = re.sub(r"\$(\w+)", lambda blank, own=blanks: own[blank[1]], target["expr"])
            if target["instant"]:
                yield Asked(panel=panel["title"], path="query", form={"query": expr, "time": f"{end:.3f}"})
            else:
                times = {"start": f"{end - seconds:.3f}", "end": f"{end:.3f}", "step": str(step)}
                yield Asked(panel=panel["title"], path="query_range", form={"query": expr, **times})


def seconds_of(since: str) -> int:
    """Return the length of a dashboard's own range, such as now-30d/d."""
    match = re.fullmatch(r"now-(\d+)([mhd])(/d)?", since)
    if not match:
        raise ValueError(f"{since} is not how a dashboard's range begins")
    return int(match[1]) * _SECONDS[match[2]]


def _opened(server: Server, path: Path, end: float, days: int) -> Figure:
    board = json.loads(path.read_text())
    said, worst = [], 0.0
    for seconds in (seconds_of(board["time"]["from"]), days * _DAY):
        taken = [(server.taken(query), query.panel) for query in asked(board, seconds, end)]
        slowest, panel = max(taken)
        said.append(f"{slowest:.2f} s ({panel}), {sum(each for each, _ in taken):.2f} s")
        worst = max(worst, slowest)
    return Figure(
        what=f"{path.stem}: its slowest query and all of them; its own range, beside {days} days",
        ours=said[0],
        other=said[1],
        wanted="no query above 1 s",
        reached=worst <= _SECOND,
    )


def _record(server: Server, history: Path, end: float) -> None:
    """Compute the recorded names of signals for the last of the history, as if Prometheus had run then."""
    command = ["promtool", "tsdb", "create-blocks-from", "rules", f"--url={server.url}"]
    command += [f"--start={end - _RECORDED:.0f}", f"--end={end:.0f}", "--eval-interval=1m"]
    _run(*command, f"--output-dir={history / 'data'}", str(_RULES))
    (history / "recorded").touch()


def _recorded(server: Server, signal: Signal, end: float) -> Figure:
    """Time a recorded name beside the expression that it records, at the points of a panel."""
    raw = fill(signal.judged, {}, "5m", labels_by_series())
    times = {"start": f"{end - _RECORDED:.3f}", "end": f"{end:.3f}", "step": str(_RECORDED // _POINTS)}
    ours, other = (
        server.taken(Asked(panel=signal.title, path="query_range", form={"query": query, **times}))
        for query in (signal.record, raw)
    )
    return Figure(
        what=f"{signal.record} over a day, beside what it records",
        ours=f"{1000 * ours:.0f} ms",
        other=f"{1000 * other:.0f} ms",
        # The clock of a process' time ticks a hundred times a second.
        ratio=other / max(ours, 0.01 / _QUERIES),
    )
