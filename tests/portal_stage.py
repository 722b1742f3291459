"""What the portal's browser tests stand on: a Prometheus with known numbers, a stand-in for Grafana, the portal."""

import contextlib
import http.server
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import requests

from exporters.catalogue.metrics import AGENT_SECONDS, SCORES, SECONDS, TOKENS, USD

# Two days and a bit before the test, half an hour after it: whatever the moment of a query, a
# window of 24 hours is full of samples, so that `increase()` needs no guess at its edges.
STEP = 150
BEFORE = 49 * 3600 // STEP
AFTER = 1800 // STEP
# Label values are written by strangers. None of this may act in HTML, Markdown, PromQL or a URL.
HOSTILE = '<img src=x onerror="document.title=1">**b** $x$ :red[r] [l](javascript:1) "}or vector(1) \\ {{a}} $window'

Labels = tuple[tuple[str, str], ...]
# A series and what it gains in each step, before and since `now - 24 h`.
Gains = dict[tuple[str, Labels], tuple[float, float]]
_OWN = (("source", "demo"), ("deployment_environment_name", "test"))


def gains() -> Gains:
    """The numbers of the tests. 576 steps are a day: 5 runs a step are 2,880 a day."""
    found: Gains = {}

    def add(name: str, before: float, since: float, **labels: str) -> None:
        key = (name, (*_OWN, *labels.items()))
        already = found.get(key, (0.0, 0.0))
        found[key] = (already[0] + before, already[1] + since)

    def histogram(name: str, bounds: tuple[float, ...], at: float, before: float, since: float, **labels: str) -> None:
        for bound in (*bounds, float("inf")):
            full = float(at <= bound)
            words = "+Inf" if bound == float("inf") else str(bound)
            add(f"{name}_bucket", before * full, since * full, **labels, le=words)
        add(f"{name}_sum", before * at, since * at, **labels)
        add(f"{name}_count", before, since, **labels)

    for agent, outcome, before, since in (
        ("planner", "ok", 2, 3),
        ("planner", "error", 0, 1),
        (HOSTILE, "ok", 0, 1),
        (HOSTILE, "error", 0, 0),
    ):
        name = {"gen_ai_agent_name": agent}
        add("agentgauge_runs_total", before, since, **name, outcome=outcome)
        took, error = (5.0, {}) if outcome == "ok" else (60.0, {"error_type": "timeout"})
        histogram("gen_ai_invoke_agent_duration_seconds", AGENT_SECONDS, took, before, since, **name, **error)
        histogram("gen_ai_invoke_agent_inference_calls", (1.0, 2.0, 4.0), 2.0, before, since, **name)
        histogram("agentgauge_run_cost_usd", USD, 0.01, before, since, **name, outcome=outcome)
    judged = {"gen_ai_evaluation_name": "helpful", "gen_ai_agent_name": "planner"}
    histogram("agentgauge_evaluation_score", SCORES, 0.75, 1, 2, **judged)
    add("agentgauge_run_errors_total", 0, 1, gen_ai_agent_name="planner", error_type="timeout")
    for model, outcome, since in (
        ("gpt-5", "ok", 6),
        ("gpt-5", "error", 0),
        ("claude-5", "ok", 3),
        ("claude-5", "error", 1),
    ):
        name = {"gen_ai_request_model": model, "gen_ai_agent_name": "planner"}
        add("agentgauge_inference_calls_total", 4, since, **name, outcome=outcome)
        error = {} if outcome == "ok" else {"error_type": "rate_limited"}
        histogram("gen_ai_client_inference_duration_seconds", SECONDS, 2.0, 4, since, **name, **error)
        histogram("gen_ai_client_inference_operation_input_tokens", TOKENS, 1000.0, 4, since, **name)
    name = {"gen_ai_request_model": "claude-5", "gen_ai_agent_name": "planner"}
    add("agentgauge_inference_errors_total", 0, 1, **name, error_type="rate_limited")
    add("agentgauge_inference_unpriced_total", 0, 1, **name, reason="model_unknown")
    add("gen_ai_client_inference_usage_input_tokens_total", 4000, 10_000, **name)
    add("gen_ai_client_inference_usage_output_tokens_total", 500, 1_000, **name)
    add("gen_ai_client_inference_usage_cache_read_input_tokens_total", 0, 2_500, **name)
    add("agentgauge_cost_usd_total", 0.01, 0.02, **name, cost_source="computed")
    add("agentgauge_cache_savings_usd_total", 0.001, 0.002, **name)
    add("agentgauge_cost_usd_total", 0.04, 0.03, **name | {"gen_ai_request_model": "gpt-5"}, cost_source="reported")
    for tool, outcome, since in (
        ("search", "ok", 4),
        ("search", "error", 1),
        ("shell", "ok", 5),
        ("shell", "error", 0),
    ):
        name = {"gen_ai_tool_name": tool, "gen_ai_agent_name": "planner"}
        add("agentgauge_tool_calls_total", 1, since, **name, outcome=outcome)
        error = {} if outcome == "ok" else {"error_type": "connection"}
        histogram("gen_ai_execute_tool_duration_seconds", SECONDS, 0.5, 1, since, **name, **error)
    add(
        "agentgauge_tool_errors_total",
        0,
        1,
        gen_ai_tool_name="search",
        gen_ai_agent_name="planner",
        error_type="connection",
    )
    found["agentgauge_records_total", (("source", "demo"),)] = (20, 40)
    return found


# Levels that never change.
GAUGES: dict[str, dict[Labels, float]] = {
    "agentgauge_source_up": {(("source", "demo"),): 1.0},
    "agentgauge_source_lag_seconds": {(("source", "demo"),): 0.0},
    "agentgauge_series": {(): 120.0},
    "agentgauge_series_limit": {(): 10_000.0},
    # An exporter that has looked for budgets and has none.
    "agentgauge_budgets_judged_timestamp_seconds": {(): 1.0},
    "agentgauge_spend_usd": {
        (("period", "today"), *_OWN, ("gen_ai_agent_name", "planner"), ("gen_ai_request_model", "gpt-5")): 12.5,
        (("period", "month"), *_OWN, ("gen_ai_agent_name", "planner"), ("gen_ai_request_model", "gpt-5")): 250.0,
    },
}


def write_page(path: Path, now: float, found: Gains) -> None:
    """Write the OpenMetrics page that promtool makes blocks of, families in turn, each series in order of time."""
    base = int(now) // STEP * STEP
    with path.open("w") as page:
        for (name, labels), (before, since) in sorted(found.items()):
            page.write(f"# TYPE {name.removesuffix('_total')} {'counter' if name.endswith('_total') else 'unknown'}\n")
            inside = ",".join(f'{label}="{_escaped(value)}"' for label, value in labels)
            value = 0.0
            for step in range(-BEFORE, AFTER + 1):
                value += since if step * STEP > -86_400 else before
                page.write(f"{name}{{{inside}}} {value:.10g} {base + step * STEP}\n")
        for name, levels in GAUGES.items():
            page.write(f"# TYPE {name} gauge\n")
            for labels, level in levels.items():
                inside = ",".join(f'{label}="{value}"' for label, value in labels)
                for step in range(-BEFORE, AFTER + 1):
                    page.write(f"{name}{{{inside}}} {level} {base + step * STEP}\n")
        page.write("# EOF\n")


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(happened: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Wait for a condition outside the browser; fail with its name."""
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)


def answers(address: str) -> bool:
    """Whether a GET of the address succeeds."""
    with contextlib.suppress(requests.RequestException):
        return requests.get(address, timeout=1).ok
    return False


class Prometheus:
    """A Prometheus on prepared blocks that can be stopped and started again on its port."""

    def __init__(self, folder: Path, now: float, found: Gains | None = None) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        write_page(folder / "page.om", now, found or gains())
        subprocess.run(
            [
                "promtool",
                "tsdb",
                "create-blocks-from",
                "openmetrics",
                folder / "page.om",
                folder / "data",
                "--max-block-duration=24h",
            ],
            check=True,
            capture_output=True,
        )
        (folder / "prometheus.yml").write_text("{}")

    def start(self) -> None:
        """Start, and return when it answers queries."""
        flags = [f"--web.listen-address=127.0.0.1:{self.port}", f"--storage.tsdb.path={self.folder / 'data'}"]
        flags += [f"--config.file={self.folder / 'prometheus.yml'}", "--storage.tsdb.retention.time=90d"]
        with (self.folder / "prometheus.log").open("ab") as log:
            self.process = subprocess.Popen(["prometheus", *flags], stdout=log, stderr=log)
        until(lambda: answers(f"{self.url}/-/ready"), "Prometheus is ready")

    def stop(self) -> None:
        """Stop, and return when it is gone."""
        if self.process:
            self.process.terminate()
            self.process.wait(20)
            self.process = None

    def value(self, expr: str, at: float) -> float | None:
        """The one number of an instant query; None where there is none."""
        body = requests.get(f"{self.url}/api/v1/query", params={"query": expr, "time": f"{at}"}, timeout=5).json()
        found = [float(result["value"][1]) for result in body["data"]["result"]]
        assert len(found) < 2, found
        return found[0] if found else None


class Grafana:
    """A stand-in that is healthy or not, answers every page alike and remembers what was asked."""

    def __init__(self) -> None:
        stand_in = self
        self.healthy = True
        self.asked: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path != "/api/health":
                    stand_in.asked.append(self.path)
                body = b'<!doctype html><html lang="en"><title>panel</title><body>panel of Grafana'
                self.send_response(200 if stand_in.healthy else 503)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Close the port."""
        self.server.shutdown()
        self.server.server_close()


@contextlib.contextmanager
def portal(folder: Path, settings: Mapping[str, str], *options: str) -> Iterator[str]:
    """Run `python -m streamlit_portal` with these settings and options, and yield its address."""
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("STREAMLIT_", "GRAFANA_", "PROMETHEUS_"))}
    with (folder / f"portal-{port}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamlit_portal", "--port", str(port), *options],
            env={**environment, "HOME": str(folder), **settings},
            stdout=log,
            stderr=log,
        )
        try:
            under = f"/{options[1]}" if "--base-path" in options else ""
            until(lambda: answers(f"http://127.0.0.1:{port}{under}/_stcore/health"), "the portal is healthy")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)
