"""Fifty kills at random moments, while Langfuse limits, fails, repeats itself and shows rows late: exact totals."""

import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from crash_exporter import Exporter, Ledger, until
from crash_recount import Samples, series
from langfuse_server import PUBLIC, SECRET, Fault, Langfuse, Request, Row, score, served, trace

KILLS = 50
MODELS = ("model-a", "model-b")
AGENTS = ("planner", "writer")
# What does not depend on how often something was read, nor on how much of a trace had been read when it settled.
EXACT = (
    "agentgauge_inference_calls_total",
    "agentgauge_tool_calls_total",
    "agentgauge_runs_total",
    "agentgauge_cost_usd_total",
    "gen_ai_client_inference_usage_input_tokens_total",
    "gen_ai_client_inference_usage_output_tokens_total",
    "gen_ai_client_inference_duration_seconds_sum",
    "gen_ai_invoke_agent_duration_seconds_sum",
    "agentgauge_evaluation_score_count",
    "agentgauge_evaluation_score_sum",
)


class Traffic:
    """Traces that come to a project, late and some rows twice, until `stop`; and what they add up to.

    Numbers are multiples of powers of two, so that sums are the same in whatever order they are made.
    """

    def __init__(self, project: Langfuse, seed: int) -> None:
        self.project = project
        self.totals: Counter[str] = Counter()
        self._random = Random(seed)
        self._number = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        now = time.time()
        for _ in range(800):
            self._trace(now - self._random.randint(200, 5 * 86_400), late=0)
        self._thread.start()

    def stop(self) -> None:
        """No more; what was to come late is there."""
        self._stop.set()
        self._thread.join()
        with self.project.lock:
            for row in (*self.project.observations, *self.project.traces, *self.project.scores):
                row["_at"] = 0.0

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            self._trace(time.time(), late=self._random.choice([0, 0, 0.5, 2, 60]))

    def _trace(self, seen: float, *, late: float) -> None:
        """A run that ended up to so long before it is seen, with its calls: all its rows are there at once."""
        random, self._number = self._random, self._number + 1
        agent, end, trace_id = random.choice(AGENTS), int(seen - late) - 1, f"trace-{self._number}"
        base = {"traceId": trace_id, "traceName": agent, "_at": seen}
        root = {**base, "id": f"root-{self._number}", "type": "SPAN", "name": agent}
        calls = random.randint(0, 3)
        rows = [({**root, "parentObservationId": None}, 8.0)]
        rows += [(self._call(base, root["id"], call), random.randint(1, 40) / 8) for call in range(calls)]
        if random.random() < 0.5:
            tool = {**base, "id": f"tool-{self._number}", "type": "TOOL", "name": "search"}
            rows.append(({**tool, "parentObservationId": root["id"]}, 0.5))
            self._add("agentgauge_tool_calls_total", gen_ai_tool_name="search", outcome="ok")
        self._add("agentgauge_runs_total", gen_ai_agent_name=agent, outcome="ok")
        self._add("gen_ai_invoke_agent_duration_seconds_sum", 8.0, gen_ai_agent_name=agent)
        with self.project.lock:
            self.project.traces.append({**trace(id=trace_id, start=end - 8, name=agent), "_at": seen})
            for row, took in rows:
                self._put(row, end, took)
            if random.random() < 0.3:
                value = random.randint(0, 8) / 8
                self.project.scores.append(
                    {**score(id=f"score-{self._number}", traceId=trace_id, start=end, value=value), "_at": seen}
                )
                self._add("agentgauge_evaluation_score_count", gen_ai_evaluation_name="helpfulness")
                self._add("agentgauge_evaluation_score_sum", value, gen_ai_evaluation_name="helpfulness")

    def _call(self, base: Row, parent: str, call: int) -> Row:
        random = self._random
        model, failed = random.choice(MODELS), random.random() < 0.1
        given, taken, cost = random.randint(1, 4000), random.randint(1, 500), random.randint(1, 64) / 1024
        labels = {"gen_ai_operation_name": "chat", "gen_ai_request_model": model}
        self._add("agentgauge_inference_calls_total", outcome="error" if failed else "ok", **labels)
        self._add("gen_ai_client_inference_usage_input_tokens_total", given, **labels)
        self._add("gen_ai_client_inference_usage_output_tokens_total", taken, **labels)
        self._add("agentgauge_cost_usd_total", cost, cost_source="reported", **labels)
        return {
            **base,
            "id": f"call-{self._number}-{call}",
            "parentObservationId": parent,
            "model": model,
            "level": "ERROR" if failed else "DEFAULT",
            "statusMessage": "429" if failed else None,
            "usageDetails": {"input": given, "output": taken, "total": given + taken},
            "costDetails": {"total": cost},
        }

    def _put(self, row: Row, end: float, took: float) -> None:
        """Put in a row, now and then twice."""
        put = self.project.add(start=end - took, end=end, **row)
        if row.get("model"):
            labels = {"gen_ai_operation_name": "chat", "gen_ai_request_model": row["model"]}
            error = "rate_limited" if row["level"] == "ERROR" else ""
            self._add("gen_ai_client_inference_duration_seconds_sum", took, error_type=error, **labels)
        if self._random.random() < 0.1:
            self.project.observations.append(put)

    def _add(self, name: str, by: float = 1, **labels: str) -> None:
        full = series(name, source="langfuse", deployment_environment_name="default", **labels)
        self.totals[full] += by  # type: ignore[assignment]


class Faults:
    """What goes wrong at random: limits, failures, replies cut short."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self.done: Counter[str] = Counter()

    def __call__(self, request: Request) -> Fault | None:
        chance = self._random.random()
        for name, share, fault in (
            ("limited", 0.04, Fault(429, b"429 - rate limit exceeded", {"Retry-After": "1"})),
            ("failed", 0.12, Fault(500)),
            ("page", 0.15, Fault(502, b"<html>Bad Gateway</html>")),
            ("cut", 0.20, Fault(cut=True)),
        ):
            if chance < share:
                self.done[name] += 1
                return fault
        return None


@pytest.fixture
def project() -> Iterator[Langfuse]:
    found = Langfuse(validate=False)
    yield found
    assert found.breaches == []


def exact(page: Samples) -> dict[str, float]:
    """What has to be the truth. Whether what came after its trace had settled still knows its agent does not: that
    is remembered in memory only."""
    found: Counter[str] = Counter()
    for name, value in page.items():
        if value and name.split("{")[0] in EXACT:
            of_run = name.startswith(("agentgauge_runs", "gen_ai_invoke_agent"))
            found[name if of_run else _AGENT.sub("", name)] += value  # type: ignore[assignment]
    return dict(found)


_AGENT = re.compile(r'gen_ai_agent_name="\w*",?')


def test_after_fifty_kills_and_every_kind_of_fault_the_totals_are_the_truth(tmp_path: Path, project: Langfuse) -> None:
    random, ledger, traffic, faults = Random(2), Ledger(), Traffic(project, seed=20261121), Faults(3)
    traffic.start()
    project.fault = faults
    with served(project) as url:
        exporter = Exporter(
            tmp_path,
            url=f"langfuse+{url}?wait=1s&settle=15s",
            LANGFUSE_PUBLIC_KEY=PUBLIC,
            LANGFUSE_SECRET_KEY=SECRET,
        )
        answered = 0
        try:
            # It is caught up, and so has totals on its page, when all that waits at first has settled.
            exporter.start()
            until(lambda: any(exact(exporter.scrape() or {})), 120, exporter.log.read_text)
            exporter.kill()
            for _ in range(KILLS):
                exporter.start()
                page = until(exporter.scrape, 60, exporter.log.read_text)
                # Between the first page and what is a commit or three later.
                time.sleep(random.random() * 0.3)
                page = exporter.scrape() or page
                answered += any(exact(page))
                ledger.note(page)
                exporter.kill()
            traffic.stop()
            truth = {name: value for name, value in traffic.totals.items() if value}
            exporter.start()

            def arrived() -> bool:
                page = exporter.scrape()
                if page is not None:
                    ledger.note(page)
                return page is not None and exact(page) == truth

            def differences() -> str:
                found = exact(exporter.awaited())
                wrong = {name for name in truth.keys() | found.keys() if truth.get(name) != found.get(name)}
                return "\n".join(f"{name}: {found.get(name)} should be {truth.get(name)}" for name in sorted(wrong))

            until(arrived, 120, differences)
        finally:
            exporter.kill()
    assert ledger.falls == []
    # That much did happen.
    assert answered > KILLS / 4
    assert min(faults.done.values()) >= 3, faults.done
    assert len(truth) > 20
    log = exporter.log.read_text()
    assert "Traceback" not in log
    assert SECRET not in log
    assert PUBLIC not in log
