"""Slack's side of a webhook, and a real Alertmanager that sends there: what tests of messages share."""

import contextlib
import json
import queue
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
import yaml
from whole_stack import free_ports, until

from exporters.stack import alerting
from exporters.stack.settings import load


class Slack:
    """Takes what is posted to it, in the order in which it comes."""

    def __init__(self) -> None:
        self.posted: queue.Queue[dict[str, Any]] = queue.Queue()
        posted = self.posted

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                posted.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/services/T0/B0/secret"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def message(self, seconds: float = 60.0) -> dict[str, Any]:
        """The next message; queue.Empty if none comes in time."""
        return self.posted.get(timeout=seconds)

    def title(self) -> str:
        """The title of the next message."""
        (attachment,) = self.message()["attachments"]
        return str(attachment["title"])

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Alertmanager:
    """The distribution's Alertmanager, on a configuration file and a data directory that outlive it."""

    def __init__(self, configuration: Path, data: Path) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self.command = [
            "prometheus-alertmanager",
            f"--config.file={configuration}",
            f"--storage.path={data}",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--web.external-url={self.url}",
            *alerting.FLAGS,
        ]
        self.log = data.with_suffix(".log")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        until(self._is_ready, "Alertmanager is ready")

    def _is_ready(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(f"{self.url}/-/ready", timeout=5).ok
        return False

    def post(self, alerts: Sequence[Mapping[str, Any]]) -> None:
        requests.post(f"{self.url}/api/v2/alerts", json=alerts, timeout=10).raise_for_status()

    def get(self, what: str, **parameters: str) -> Any:
        answer = requests.get(f"{self.url}/api/v2/{what}", params=parameters, timeout=10)
        answer.raise_for_status()
        return answer.json()

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None


def configured(
    home: Path, slack: Slack, portal: str = "https://agents.example", mention: str = "", **timings: str
) -> Path:
    """What `make up` writes for an Alertmanager that tells Slack, with other timings; return its path."""
    told = {"AGENTGAUGE_HOME": str(home), "TRACE_SOURCES": "createagents:///nowhere"}
    told |= {"SLACK_WEBHOOK_URL": slack.url, "SLACK_MENTION": mention, "AGENTGAUGE_ROOT_URL": portal}
    settings = load(told)
    path = alerting.write_configuration(settings)
    configuration = yaml.safe_load(path.read_text())
    configuration["route"] |= timings
    path.write_text(yaml.safe_dump(configuration))
    return path


@contextlib.contextmanager
def slack() -> Iterator[Slack]:
    found = Slack()
    try:
        yield found
    finally:
        found.stop()


@contextlib.contextmanager
def alertmanager(configuration: Path, data: Path) -> Iterator[Alertmanager]:
    found = Alertmanager(configuration, data)
    try:
        found.start()
        yield found
    finally:
        found.kill()
