"""The demo's week: its traces are written first, then laid into Prometheus as history, once."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from exporters.sources import seconds_of
from exporters.stack import health
from exporters.stack.parts import INSTANCE, PROMETHEUS_FLAGS, demo_stores, prometheus
from exporters.stack.settings import CHECKOUT, Settings, StackError, database_urls, folder_url


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
    if not settings.demo_budgets.exists():
        budgets = ("--budgets", str(settings.demo_budgets))
        _run(settings, env, [*agentgauge, "demo", str(settings.demo), "--history", "0s", "--once", *budgets])
    data = settings.samples
    if not data.exists():
        print("Loading it into Prometheus ...", flush=True)
        draft = _fresh(data.with_name(f"{data.name}.draft"))
        labels = ("--label", "job=agentgauge", "--label", f"instance={INSTANCE}")
        # A receiver has no past, and the demo's Langfuse keeps none.
        past = (folder_url(settings.demo), *(database_urls(settings.demo) if settings.stores else ()))
        _run(settings, env, [*agentgauge, "backfill", "--into", str(draft), *labels, *past])
        record(draft, url=settings.url("PROMETHEUS_BACKEND_PORT"), seconds=seconds_of(settings.history))
        draft.rename(data)


def record(data: Path, *, url: str, seconds: float) -> None:
    """Have Prometheus compute for the past what it records every five minutes, on which the sums over days stand.

    promtool asks a Prometheus that runs on the data, here for the moment and at `url`, and writes blocks beside
    its own, of the last `seconds`. Raises StackError when that fails.
    """
    log = data.with_name(f"{data.name}.log")
    command = [
        prometheus("prometheus"),
        f"--config.file={os.devnull}",
        f"--storage.tsdb.path={data}",
        # Without a password, which promtool could only be told in its command line: what is in there was made up.
        f"--web.listen-address={url.removeprefix('http://')}",
        *PROMETHEUS_FLAGS,
    ]
    now = time.time()
    ask = [
        *(prometheus("promtool"), "tsdb", "create-blocks-from", "--max-block-duration=18h", "rules", "--url", url),
        *("--start", f"{now - seconds:.0f}", "--end", f"{now:.0f}", "--output-dir", str(data)),
        str(CHECKOUT / "prometheus" / "rules" / "agentgauge.derived.5m.yml"),
    ]
    with log.open("w", encoding="utf-8") as output, subprocess.Popen(command, stdout=output, stderr=output) as server:
        try:
            health.wait(
                {"Prometheus": f"{url}/-/ready"},
                patience=60,
                dead=lambda: None if server.poll() is None else "Prometheus",
            )
            ended = subprocess.run(ask, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
        finally:
            server.terminate()
    if ended.returncode:
        raise StackError(f"Prometheus did not compute what it records of the past; see {log}.")
    log.unlink()


def _fresh(path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    return path


def _run(settings: Settings, env: Mapping[str, str], command: list[str]) -> None:
    """Run a step; what it says goes to the terminal."""
    ended = subprocess.run(command, env=dict(env), cwd=settings.home, stdin=subprocess.DEVNULL, check=False)
    if ended.returncode:
        raise StackError(f"agentgauge {command[3]} ended with code {ended.returncode}; its words stand above.")
