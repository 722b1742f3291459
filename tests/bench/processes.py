"""Processes that are measured: what they took, on which core."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
AGENTGAUGE = (sys.executable, "-m", "exporters")


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a process took: seconds by the clock, seconds of CPU (user and system), bytes of memory at its peak."""

    wall: float
    cpu: float
    memory: int


def cores() -> tuple[int, int]:
    """Return the core for what is measured and another for what measures, the same if there is one only."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[-1], allowed[0]


def take(command: Sequence[str], core: int, *, output: Path | None = None) -> Taken:
    """Run a command on one core to its end; raise CalledProcessError when it fails."""
    begin = time.perf_counter()
    with (output or Path(os.devnull)).open("wb") as out:
        process = subprocess.Popen(_on(core, command), cwd=ROOT, stdout=out, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Taken(wall=wall, cpu=used.ru_utime + used.ru_stime, memory=used.ru_maxrss * 1024)


class Page:
    """A server's /metrics, over one connection that stays open."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def read(self, path: str = "/metrics") -> bytes:
        """Return the page. Raises OSError when the server cannot be reached or has no page."""
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != http.client.OK:
            raise OSError(f"{path}: {answer.status}")
        return body

    def wait(self, path: str, seconds: float) -> None:
        """Wait until the server answers well."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.read(path)
            except (OSError, http.client.HTTPException):
                self._connection.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return


@contextmanager
def serving(command: Sequence[str], core: int, port: int, ready: str) -> Iterator[Page]:
    """Run a server on one core while the block runs, from when it is ready."""
    process = subprocess.Popen(_on(core, command), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        page = Page(port)
        page.wait(ready, 120)
        yield page
    finally:
        process.terminate()
        process.wait()


@contextmanager
def agentgauge(directory: Path, state: Path, core: int) -> Iterator[Page]:
    """Run `agentgauge serve` on a folder, from when it has read what there is."""
    port = free_port()
    url = f"createagents://{directory}"
    command = [*AGENTGAUGE, "serve", url, "--listen", f"127.0.0.1:{port}", "--state", str(state)]
    with serving(command, core, port, "/-/ready") as page:
        yield page


@contextmanager
def mtail(directory: Path, core: int) -> Iterator[Page]:
    """Run mtail with our program on a folder, with its own settings otherwise."""
    port = free_port()
    command = ["mtail", "-progs", str(PROGRAM), "-logs", f"{directory}/*.jsonl", "-logtostderr"]
    with serving([*command, "-address", "127.0.0.1", "-port", str(port)], core, port, "/metrics") as page:
        yield page


PROGRAM = Path(__file__).with_name("counters.mtail")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
    return port


def _on(core: int, command: Sequence[str]) -> list[str]:
    return ["taskset", "--cpu-list", str(core), *command]
