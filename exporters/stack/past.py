"""The demo's week: its traces are written first, then laid into Prometheus as history, once."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from exporters.stack.parts import INSTANCE, prometheus
from exporters.stack.settings import Settings, StackError

HISTORY = "7d"
STEP = "5m"


def write(settings: Settings, env: Mapping[str, str]) -> None:
    """Write the demo's past, and its counters at their own times into Prometheus' empty data directory.

    Counters that come out of a backlog show their totals from the first scrape on, so without this
    `rate()` over the week would be empty. Prometheus must not run yet. Each step is made under
    another name and renamed when complete, so an interrupted one is made anew. Real stores are
    left alone: their past is loaded on request only. Raises StackError when a step fails.
    """
    if settings.demo is None:
        return
    if not settings.demo.exists():
        print(f"Writing the demo's past ({HISTORY}) ...", flush=True)
        draft = _fresh(settings.home / "demo.draft")
        _run(settings, env, [sys.executable, "-m", "exporters", "demo", str(draft), "--history", HISTORY, "--once"])
        draft.rename(settings.demo)
    data = settings.home / "prometheus" / "data"
    if not data.exists():
        print("Loading it into Prometheus ...", flush=True)
        draft = _fresh(data.with_name("data.draft"))
        draft.mkdir(parents=True)
        page = settings.home / "history.om"
        with page.open("w", encoding="utf-8") as out:
            command = [sys.executable, "-m", "exporters", "history", *settings.sources, "--step", STEP]
            _run(settings, env, [*command, "--instance", INSTANCE], stdout=out)
        promtool = [prometheus("promtool"), "tsdb", "create-blocks-from", "openmetrics", "--quiet"]
        _run(settings, env, [*promtool, str(page), str(draft)])
        draft.rename(data)
        page.unlink()


def _fresh(path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    return path


def _run(settings: Settings, env: Mapping[str, str], command: list[str], stdout: IO[str] | None = None) -> None:
    """Run a step; its complaints go to the terminal."""
    ended = subprocess.run(
        command, env=dict(env), cwd=settings.home, stdin=subprocess.DEVNULL, stdout=stdout, check=False
    )
    if ended.returncode:
        raise StackError(f"{' '.join(command[:4])} ... ended with code {ended.returncode}; its words stand above.")
