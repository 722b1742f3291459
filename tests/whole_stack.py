"""The whole stack as a user starts it, on free ports and in a home of its own, and the questions that tests ask it."""

import contextlib
import math
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from playwright.sync_api import Browser, Playwright
from prometheus_client.parser import text_string_to_metric_families

from exporters.catalogue.metrics import METRICS
from exporters.stack.debian import program
from exporters.stack.settings import DEMO_PORTS, PORTS

CHECKOUT = Path(__file__).resolve().parents[1]
# Below the ports that the kernel gives out by itself: these stay free while a week of history is written.
_PORTS = range(20_000, 32_000)
_MAKES_OWN = re.compile(
    r"TRACE|AGENTGAUGE|XDG|DEMO|LANGFUSE|PROMETHEUS|GRAFANA|GF_|PORTAL|EXPORTER|STREAMLIT|MAKE|MFLAGS|DOCKER|SLACK|SMTP|ALERTMANAGER"
)


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nothing listens on, and that no client will get by chance."""
    found: list[int] = []
    while len(found) < count:
        number = random.choice(_PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", number)):
            found.append(number)
    return found


def until(ask: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Ask until there is an answer, for what announces nothing; return it, or fail with `what` was waited for."""
    end = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)
    return answer


Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus. Every answer is an error or is used: nothing is passed over."""

    url: str

    def ready(self) -> bool:
        """Whether it answers queries."""
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(f"{self.url}/-/ready", timeout=5).ok
        return False

    def get(self, path: str, **form: Any) -> Any:
        """Return the data of an API call; fail with Prometheus' own words."""
        body = requests.post if path.startswith("query") else requests.get
        sent = {"data": form} if path.startswith("query") else {"params": form}
        answer = body(f"{self.url}/api/v1/{path}", timeout=60, **sent).json()
        assert answer["status"] == "success", f"{form.get('query', path)}: {answer.get('error')}"
        return answer["data"]

    def instant(self, expr: str, at: float) -> dict[Labels, float]:
        """The series of an instant query by their labels."""
        result = self.get("query", query=expr, time=f"{at:.3f}")["result"]
        return {labels_of(one): float(one["value"][1]) for one in result}

    def over(self, expr: str, start: float, end: float, step: int) -> dict[Labels, list[float]]:
        """The series of a range query by their labels."""
        result = self.get("query_range", query=expr, start=f"{start:.3f}", end=f"{end:.3f}", step=step)["result"]
        return {labels_of(one): [float(value) for _, value in one["values"]] for one in result}

    def by(self, label: str, expr: str, at: float) -> dict[str, float]:
        """The values of an instant query by one label."""
        return {dict(labels).get(label, ""): value for labels, value in self.instant(expr, at).items()}

    def raw(self, selector: str, seconds: int, at: float) -> dict[Labels, list[tuple[float, float]]]:
        """The stored samples, (Unix seconds, value), of the `seconds` before a moment."""
        result = self.get("query", query=f"{selector}[{seconds}s]", time=f"{at:.3f}")["result"]
        return {labels_of(one): [(float(t), float(v)) for t, v in one["values"]] for one in result}


def labels_of(series: dict[str, Any]) -> Labels:
    return tuple(sorted(series["metric"].items()))


def has_data(answer: dict[Labels, Any]) -> bool:
    """Whether a query found a number; NaN is none."""
    numbers = (number for value in answer.values() for number in (value if isinstance(value, list) else [value]))
    return any(math.isfinite(number) for number in numbers)


class Stack:
    """A stack under a folder: what `make` says of it, where its parts are, which processes are its."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.home = folder / "home"
        names = [*PORTS, *DEMO_PORTS]
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        kept = {name: value for name, value in os.environ.items() if not _MAKES_OWN.match(name)}
        self.environment = kept | {
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "AGENTGAUGE_HOME": str(self.home),
            "AGENTGAUGE_STACK": "processes",
            **{name: str(number) for name, number in self.ports.items()},
            **settings,
        }
        self.prometheus = Prometheus(self.url("PROMETHEUS_PORT"))

    def url(self, port: str) -> str:
        return f"http://127.0.0.1:{self.ports[port]}"

    def make(self, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `make VERB` in the checkout, with the Python that runs this and without installing anything anew."""
        return subprocess.run(self.command(verb, *words), **self.options, capture_output=True, check=False)

    def command(self, verb: str, *words: str) -> list[str]:
        return ["make", "--no-print-directory", "-o", ".venv/up.stamp", f"PY={sys.executable}", verb, *words]

    @property
    def options(self) -> dict[str, Any]:
        return {"cwd": CHECKOUT, "env": self.environment, "stdin": subprocess.DEVNULL, "text": True}

    def counters(self) -> dict[tuple[str, Labels], float]:
        """Every total of the stores on the exporter's page; empty while it does not answer or has not caught up."""
        try:
            answer = requests.get(f"{self.url('EXPORTER_PORT')}/metrics", timeout=5)
        except requests.ConnectionError:
            return {}
        if answer.status_code != 200:  # it opens its state
            return {}
        # In this process' own totals a restart begins anew; those of the stores carry what the catalogue names.
        own = {metric.name for metric in METRICS if metric.of in ("inference", "tool", "run", "source")}
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(answer.text)
            if family.name in own
            for sample in family.samples
        }

    def pid(self, part: str) -> int:
        """The process id of a part, as supervisor knows it."""
        return int(self.supervisor("pid", part))

    def supervisor(self, *words: str) -> str:
        """What supervisor answers."""
        control = [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(self.home / "supervisord.conf")]
        return subprocess.run([*control, *words], capture_output=True, text=True, check=True).stdout

    def processes(self) -> dict[int, str]:
        """Every process of this stack with its command line: those that were told its home."""
        mark = f"AGENTGAUGE_HOME={self.home}".encode()
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
        return found


@contextlib.contextmanager
def stack(folder: Path, **settings: str) -> Iterator[tuple[Stack, subprocess.CompletedProcess[str]]]:
    """`make up`, and `make down` whatever happens; yield the stack and what `make up` said."""
    started = Stack(folder, **settings)
    try:
        yield started, started.make("up")
    finally:
        started.make("down")
        left = started.processes()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert not left, f"make down left {left}"


@contextlib.contextmanager
def launched(playwright: Playwright) -> Iterator[Browser]:
    """The distribution's Chromium."""
    chromium = playwright.chromium.launch(
        executable_path=program("chromium"),
        # Whatever a page wants from outside of this machine, it does not get, and says so on the console.
        args=["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
    )
    with contextlib.closing(chromium):
        yield chromium
