"""The committed configuration and rules in a real Prometheus, which scrapes a page and answers."""

import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from whole_stack import Prometheus, until

from exporters.catalogue.model import seconds
from exporters.catalogue.records import RECORDS
from exporters.catalogue.signals import SIGNALS

HERE = Path(__file__).parents[1] / "prometheus"


class Page:
    """An exporter's page, served: a run fails for every three that succeed, one more of each a scrape."""

    def __init__(self, label: str = "bot") -> None:
        self.label = label
        self.scrapes = 0
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page.scrapes += 1
                body = page.text().encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def text(self) -> str:
        agent = f'gen_ai_agent_name="{self.label}"'
        n = self.scrapes
        return f"""# TYPE agentgauge_runs counter
agentgauge_runs_total{{{agent},outcome="error"}} {n}
agentgauge_runs_total{{{agent},outcome="ok"}} {3 * n}
# TYPE gen_ai_invoke_agent_duration_seconds histogram
gen_ai_invoke_agent_duration_seconds_bucket{{{agent},le="1.6"}} {n} # {{trace_id="4bf92f3577b34da6"}} 1.5 {time.time()}
gen_ai_invoke_agent_duration_seconds_bucket{{{agent},le="+Inf"}} {n}
gen_ai_invoke_agent_duration_seconds_sum{{{agent}}} {1.5 * n}
gen_ai_invoke_agent_duration_seconds_count{{{agent}}} {n}
# EOF
"""

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def pages() -> Iterator[list[Page]]:
    # The second page has a label value past what the configuration takes.
    found = [Page(), Page("x" * 513)]
    yield found
    for page in found:
        page.stop()


@pytest.fixture
def server(pages: list[Page], tmp_path: Path) -> Iterator[Prometheus]:
    """A Prometheus that is started as the parts are without Docker: with links to the committed files."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (tmp_path / "prometheus.yml").symlink_to(HERE / "prometheus.yml")
    (tmp_path / "rules").symlink_to(HERE / "rules")
    (tmp_path / "targets").mkdir()
    for name, targets in (("agentgauge", [page.address for page in pages]), ("prometheus", [address])):
        (tmp_path / "targets" / f"{name}.yml").write_text(yaml.safe_dump([{"targets": targets}]))
    log = tmp_path / "log"
    command = [
        "prometheus",
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address={address}",
        "--enable-feature=exemplar-storage",
    ]
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            found = Prometheus(f"http://{address}")
            until(lambda: process.poll() is not None or found.ready(), "Prometheus is ready")
            assert process.poll() is None, log.read_text()
            yield found
        finally:
            process.terminate()
            process.wait(30)


def test_a_real_prometheus_scrapes_records_keeps_exemplars_and_refuses_a_page_gone_wild(server, pages):
    good, wild = pages

    def recorded() -> dict[str, float]:
        return server.by("gen_ai_agent_name", "agent:agentgauge_runs:error_ratio_rate5m", time.time())

    # One run in four failed; the wild page's agent is in nothing.
    assert until(recorded, "a rule has recorded") == {"bot": pytest.approx(0.25)}
    assert server.by("", "sum(agentgauge_runs_total)", time.time())[""] % 4 == 0

    exemplars = server.get(
        "query_exemplars", query="gen_ai_invoke_agent_duration_seconds_bucket", start="0", end=str(time.time())
    )
    assert exemplars[0]["exemplars"][0]["labels"] == {"trace_id": "4bf92f3577b34da6"}

    targets = {
        target["labels"]["instance"]: target for target in server.get("targets", state="active")["activeTargets"]
    }
    assert (targets[good.address]["health"], targets[good.address]["lastError"]) == ("up", "")
    assert targets[good.address]["scrapeInterval"] == "15s"
    assert targets[wild.address]["health"] == "down"
    assert targets[wild.address]["lastError"].startswith("label_value_length_limit exceeded")

    groups = {group["name"]: group for group in server.get("rules")["groups"]}
    recorded_ones = sum(bool(signal.record) for signal in SIGNALS.values())
    alerts = sum(len(signal.limits) for signal in SIGNALS.values())
    derived = Counter(record.every for record in RECORDS)
    assert {name: (group["interval"], len(group["rules"])) for name, group in groups.items()} == {
        **{f"agentgauge.derived.{name}": (seconds(name), count) for name, count in derived.items()},
        "agentgauge.recording": (15, recorded_ones),
        "agentgauge.alerts": (60, alerts),
    }
    assert {rule.get("lastError", "") for group in groups.values() for rule in group["rules"]} == {""}
