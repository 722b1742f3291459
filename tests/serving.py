"""`agentgauge serve` as a process of its own, on a free port, and what it answers."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPMessage
from pathlib import Path
from urllib.parse import quote

from prometheus_client.openmetrics.parser import text_string_to_metric_families

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
PATIENCE = 30.0


def until(holds: Callable[[], bool], what: object, seconds: float = PATIENCE) -> None:
    """Ask until something holds that nobody announces; fail after so long."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what() if callable(what) else what}: not within {seconds:g} s"
        time.sleep(0.05)


class Serving:
    """A running exporter."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log
        self.url = ""

    def said(self) -> str:
        """What it wrote to standard error until now."""
        return self.log.read_text(errors="replace")

    def await_address(self) -> None:
        def told() -> bool:
            found = re.search(r"listening on (http://\S+)/", self.said())
            self.url = found[1] if found else ""
            assert self.url or self.process.poll() is None, self.said()
            return bool(self.url)

        until(told, "the exporter says where it listens")

    @property
    def address(self) -> str:
        return self.url.removeprefix("http://")

    def connect(self) -> socket.socket:
        host, _, port = self.address.rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE)

    def get(self, path: str, timeout: float = PATIENCE, **headers: str) -> tuple[int, HTTPMessage, bytes]:
        """Return status, headers and body of a GET; underscores in header names stand for hyphens."""
        asked = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            with urllib.request.urlopen(
                urllib.request.Request(self.url + path, headers=asked), timeout=timeout
            ) as found:
                return found.status, found.headers, found.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def page(self) -> str:
        """The OpenMetrics page, as a scraper that has been here before."""
        return self.get("/metrics", Accept=OPENMETRICS)[2].decode()

    def value(self, name: str, **labels: str) -> float | None:
        """The sum of the samples that carry these labels; None when there is none."""
        found = [
            sample.value
            for family in text_string_to_metric_families(self.page())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None

    def await_ready(self) -> None:
        until(lambda: self.get("/-/ready")[0] == 200, "the backlog is read")

    def stop(self, by: int = signal.SIGTERM) -> int:
        """Stop the exporter; return its exit code."""
        self.process.send_signal(by)
        return self.process.wait(PATIENCE)


def url_of(folder: Path, options: str = "") -> str:
    return f"createagents://{quote(str(folder))}{options}"


@contextmanager
def serving(
    state: Path, *arguments: str, command: tuple[str, ...] = ("-m", "exporters", "serve"), **environment: str
) -> Iterator[Serving]:
    """Start an exporter on a free port of this machine; it is gone when the block is left."""
    log = state.parent / f"{state.name}.log"
    whole = [sys.executable, *command, "--listen", "127.0.0.1:0", "--state", str(state), *arguments]
    with log.open("wb") as output, subprocess.Popen(whole, stderr=output, env={**os.environ, **environment}) as process:
        exporter = Serving(process, log)
        try:
            exporter.await_address()
            yield exporter
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(PATIENCE)
