"""A real `agentgauge serve`, started, scraped, killed and started again; and what may not fall between two scrapes."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import TypeVar

from crash_recount import Samples, samples

from exporters.catalogue.metrics import METRICS

ROOT = Path(__file__).parents[1]
PROMETHEUS = "Prometheus/2.42.0"
Answer = TypeVar("Answer")

# What is counted of a store, as opposed to what this process has done.
OF_STORES = frozenset(series for metric in METRICS if metric.of != "exporter" for series in metric.series)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def until(ask: Callable[[], Answer | None], seconds: float, what: object = "what was awaited") -> Answer:
    """Ask until there is an answer, for so long at most."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what() if callable(what) else what}"
        time.sleep(0.05)  # over HTTP nothing is announced: it can only be asked
    return answer


class Exporter:
    """The exporter of one folder, or of other sources by their URLs, on one port; `prefix` is a command that runs it,
    such as strace."""

    def __init__(
        self,
        directory: Path,
        *,
        folder: Path | None = None,
        state: Path | None = None,
        url: str = "",
        options: Sequence[str] = (),
        **environment: str,
    ) -> None:
        self.folder = folder or directory / "traces"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.url = url or f"createagents://{self.folder}"
        self.options = options
        self.environment = environment
        self.state = state or directory / "state"
        self.log = directory / "log"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, prefix: Sequence[str] = ()) -> "Exporter":
        serve = [sys.executable, "-m", "exporters", "serve", *self.url.split()]
        options = ["--listen", f"127.0.0.1:{self.port}", "--state", str(self.state), *self.options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*prefix, *serve, *options], cwd=ROOT, stdout=log, stderr=log, env={**os.environ, **self.environment}
            )
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def kill(self) -> None:
        """SIGKILL, and nothing left of the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def terminate(self, seconds: float = 10) -> int:
        """SIGTERM; return the exit code."""
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(seconds)
        self.process = None
        return code

    def get(self, path: str, agent: str = PROMETHEUS) -> tuple[int, str] | None:
        """The status and text of a page; None when nobody answers."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"User-Agent": agent})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except (OSError, EOFError, ValueError):
            return None  # not there yet, or killed in the middle of an answer

    def scrape(self, agent: str = PROMETHEUS) -> Samples | None:
        found = self.get("/metrics", agent)
        try:
            return samples(found[1]) if found else None
        except AssertionError:
            return None  # a page of which a part is missing

    def awaited(self, seconds: float = 30) -> Samples:
        """The first page; fails if the process ends."""

        def ask() -> Samples | None:
            assert not self.ended(), self.log.read_text()
            return self.scrape()

        return until(ask, seconds, self.log.read_text)

    def lines(self) -> list[str]:
        """What the exporter has logged so far."""
        return self.log.read_text().splitlines()


def of_stores(page: Samples) -> Samples:
    return {name: value for name, value in page.items() if name.split("{")[0] in OF_STORES}


class Ledger:
    """The highest value at which each scraper has seen each series, and every fall below it."""

    def __init__(self) -> None:
        self.pages = 0
        self.falls: list[str] = []
        self._highest: dict[str, Samples] = {}

    def note(self, page: Samples, agent: str = PROMETHEUS) -> None:
        self.pages += 1
        highest = self._highest.setdefault(agent, {})
        now = of_stores(page)
        self.falls += [
            f"{agent}: {name} fell from {before} to {now.get(name)}"
            for name, before in highest.items()
            if now.get(name, -1) < before
        ]
        highest |= now


def scrape_for(exporter: Exporter, seconds: float, random: Random, ledger: Ledger) -> float | None:
    """Scrape at random intervals for so long; return after how many seconds there was an answer."""
    began = time.monotonic()
    end = began + seconds
    answered = None
    while time.monotonic() < end:
        page = exporter.scrape()
        if page is not None:
            answered = answered or time.monotonic() - began
            ledger.note(page)
        time.sleep(min(random.random() * 0.15, max(0.0, end - time.monotonic())))
    return answered


def live_and_die(exporter: Exporter, start_up: float, random: Random, ledger: Ledger) -> tuple[float, bool]:
    """Start, scrape, and kill at a random moment within some two start-ups of so many seconds.

    Returns how long a start-up takes now, because on a machine that has become busy there would else
    be no answer before any kill, and whether there was one.
    """
    seconds = random.random() * start_up * 2.2
    exporter.start()
    took = scrape_for(exporter, seconds, random, ledger)
    exporter.kill()
    return took or max(start_up, seconds), took is not None
