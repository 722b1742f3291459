"""The demo's week: its traces are written first, then laid into Prometheus as history, once."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from exporters.stack.parts import INSTANCE, demo_stores
from exporters.stack.settings import Settings, StackError, database_urls, folder_url


def write(settings: Settings, env: Mapping[str, str]) -> None:
    """Write the demo's past, and its counters at their own times into Prometheus' empty data directory.

    Counters that come out of a backlog show their totals from the first scrape on, so without this
    `rate()` over the week would be empty. Prometheus must not run yet. Each step is made under
    another name and renamed when complete, so an interrupted one is made anew. Real stores are
    left alone: their past is loaded on request only. Raises StackError when a step fails.
    """
    if settings.demo is None:
        return
    agentgauge = (sys.executable, "-m", "exporters")
    if not settings.demo.exists():
        print(f"Writing the demo's past ({settings.history}) ...", flush=True)
        draft = _fresh(settings.home / "demo.draft")
        _run(
            settings,
            env,
            [*agentgauge, "demo", str(draft), "--history", settings.history, "--once", *demo_stores(settings)],
        )
        draft.rename(settings.demo)
    data = settings.home / "prometheus" / "data"
    if not data.exists():
        print("Loading it into Prometheus ...", flush=True)
        draft = _fresh(data.with_name("data.draft"))
        labels = ("--label", "job=agentgauge", "--label", f"instance={INSTANCE}")
        # A receiver has no past, and the demo's Langfuse keeps none.
        past = (folder_url(settings.demo), *(database_urls(settings.demo) if settings.stores else ()))
        _run(settings, env, [*agentgauge, "backfill", "--into", str(draft), *labels, *past])
        draft.rename(data)


def _fresh(path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    return path


def _run(settings: Settings, env: Mapping[str, str], command: list[str]) -> None:
    """Run a step; what it says goes to the terminal."""
    ended = subprocess.run(command, env=dict(env), cwd=settings.home, stdin=subprocess.DEVNULL, check=False)
    if ended.returncode:
        raise StackError(f"agentgauge {command[3]} ended with code {ended.returncode}; its words stand above.")
