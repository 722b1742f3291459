"""Totals worked out from createagents lines alone, by the plainest means, to hold the exporter against.

It knows the lines that tests/crash_chats.py writes: one run a trace, both ends of a call in order.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Samples = dict[str, float]

EVENTS = {"trace.start", "trace.end", "llm.request", "llm.response", "tool.call", "tool.result", "tool.log"}
ENDS = {"trace.end", "llm.response", "tool.result"}
# Names of exceptions, and the values of the label that they become.
ERRORS = {"": "", "RateLimitError": "rate_limited", "ChatException": "_OTHER"}
_SAMPLE = re.compile(r"([a-z_:]+)(?:\{(.*)\})? ([^ ]+)")
_PAIR = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def series(name: str, **labels: str) -> str:
    """The name of a series, labels in alphabetical order; an empty value is no label."""
    pairs = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()) if value)
    return f"{name}{{{pairs}}}"


def samples(page: str) -> Samples:
    """The samples of a page in the text format by the name of their series."""
    found = {}
    for line in page.splitlines():
        if line and not line.startswith("#"):
            sample = _SAMPLE.fullmatch(line)
            assert sample, line
            found[series(sample[1], **dict(_PAIR.findall(sample[2] or "")))] = float(sample[3])
    return found


@dataclass
class Trace:
    """What the lines say of a trace so far."""

    agent: str = ""
    asked: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: int = 0
    tool_calls: int = 0
    tokens: int = 0
    # An end without an error's name: the framework may say it again, with one.
    held: bool = False


@dataclass
class Recount:
    """What lines add up to."""

    source: str = "createagents"
    totals: Counter[str] = field(default_factory=Counter)
    open: dict[str, Trace] = field(default_factory=dict)
    ended: set[tuple[str, str]] = field(default_factory=set)

    def add(self, name: str, by: float = 1, **labels: str) -> None:
        self.totals[series(name, source=self.source, **labels)] += by  # type: ignore[assignment]

    def observe(self, name: str, value: float, **labels: str) -> None:
        self.add(f"{name}_count", **labels)
        self.add(f"{name}_sum", value, **labels)

    def take(self, record: bytes) -> None:
        """Count one line."""
        self.add("agentgauge_records_total")
        try:
            line = json.loads(record)
        except ValueError:
            self.add("agentgauge_bad_records_total", reason="json")
            return
        try:
            datetime.fromisoformat(line["timestamp"])
        except ValueError:
            self.add("agentgauge_bad_records_total", reason="timestamp")
            return
        if line["event"] not in EVENTS:
            self.add("agentgauge_bad_records_total", reason="unknown_event")
            return
        identity = (line["trace_id"], line["run_id"])
        if identity in self.ended:
            self.add(
                "agentgauge_repeated_spans_total", by=line["event"] in ("llm.response", "tool.result", "trace.end")
            )
        else:
            getattr(self, f"_{line['event'].replace('.', '_')}")(line, self.open.setdefault(identity[0], Trace()))

    def _trace_start(self, line: dict[str, Any], trace: Trace) -> None:
        trace.agent = line["agent_name"]

    def _llm_request(self, line: dict[str, Any], trace: Trace) -> None:
        trace.asked[line["run_id"]] = line

    def _llm_response(self, line: dict[str, Any], trace: Trace) -> None:
        del trace.asked[line["run_id"]]
        labels = _labels_of_call(line)
        trace.calls += 1
        trace.tokens += line["total_tokens"]
        self.ended.add((line["trace_id"], line["run_id"]))
        self.add("agentgauge_spans_total", kind="inference")
        self.add("agentgauge_inference_calls_total", outcome="ok", **labels)
        self.add("gen_ai_client_inference_usage_input_tokens_total", line["input_tokens"], **labels)
        self.add("gen_ai_client_inference_usage_output_tokens_total", line["output_tokens"], **labels)
        self.observe("gen_ai_client_inference_duration_seconds", line["duration_ms"] / 1000, **labels)
        self.add("agentgauge_cost_usd_total", line["cost_usd"], cost_source="reported", **labels)

    def _tool_call(self, line: dict[str, Any], trace: Trace) -> None:
        pass

    def _tool_log(self, line: dict[str, Any], trace: Trace) -> None:
        pass

    def _tool_result(self, line: dict[str, Any], trace: Trace) -> None:
        labels = {"gen_ai_tool_name": line["data"]["tool_name"], "gen_ai_agent_name": line["agent_name"]}
        error = "timeout" if line["status"] == "error" else ""
        trace.tool_calls += 1
        self.ended.add((line["trace_id"], line["run_id"]))
        self.add("agentgauge_spans_total", kind="tool")
        self.add("agentgauge_tool_calls_total", outcome="error" if error else "ok", **labels)
        if error:
            self.add("agentgauge_tool_errors_total", error_type=error, **labels)
        self.observe("gen_ai_execute_tool_duration_seconds", line["duration_ms"] / 1000, error_type=error, **labels)

    def _trace_end(self, line: dict[str, Any], trace: Trace) -> None:
        if line["status"] == "error" and "error_type" not in line:
            trace.held = True
            return
        for asked in trace.asked.values():
            trace.calls += 1
            labels = _labels_of_call(asked)
            self.ended.add((asked["trace_id"], asked["run_id"]))
            self.add("agentgauge_spans_total", kind="inference")
            self.add("agentgauge_inference_calls_total", outcome="error", **labels)
            self.add("agentgauge_inference_errors_total", error_type="no_response", **labels)
        error = ERRORS[line.get("error_type", "")]
        agent = line["agent_name"]
        self.ended.add((line["trace_id"], line["run_id"]))
        del self.open[line["trace_id"]]
        if trace.held:
            self.add("agentgauge_repeated_spans_total")
        self.add("agentgauge_spans_total", kind="run")
        self.add("agentgauge_runs_total", outcome="error" if error else "ok", gen_ai_agent_name=agent)
        if error:
            self.add("agentgauge_run_errors_total", error_type=error, gen_ai_agent_name=agent)
        self.observe(
            "gen_ai_invoke_agent_duration_seconds",
            line["duration_ms"] / 1000,
            error_type=error,
            gen_ai_agent_name=agent,
        )
        self.observe("gen_ai_invoke_agent_inference_calls", trace.calls, gen_ai_agent_name=agent)
        self.observe("gen_ai_invoke_agent_tool_calls", trace.tool_calls, gen_ai_agent_name=agent)


def _labels_of_call(line: dict[str, Any]) -> dict[str, str]:
    return {
        "gen_ai_operation_name": "chat",
        "gen_ai_provider_name": line["operation"].split("_")[0],
        "gen_ai_request_model": line["model"],
        "gen_ai_agent_name": line["agent_name"],
    }


def recount(lines: Iterable[bytes]) -> Recount:
    found = Recount()
    for line in lines:
        found.take(line)
    return found


COUNTED = (
    "agentgauge_records_total",
    "agentgauge_repeated_spans_total",
    "agentgauge_bad_records_total",
    "agentgauge_spans_total",
    "agentgauge_inference_calls_total",
    "agentgauge_inference_errors_total",
    "gen_ai_client_inference_usage_input_tokens_total",
    "gen_ai_client_inference_usage_output_tokens_total",
    "agentgauge_cost_usd_total",
    "gen_ai_client_inference_duration_seconds_count",
    "gen_ai_client_inference_duration_seconds_sum",
    "agentgauge_tool_calls_total",
    "agentgauge_tool_errors_total",
    "gen_ai_execute_tool_duration_seconds_count",
    "gen_ai_execute_tool_duration_seconds_sum",
    "agentgauge_runs_total",
    "agentgauge_run_errors_total",
    "gen_ai_invoke_agent_duration_seconds_count",
    "gen_ai_invoke_agent_duration_seconds_sum",
    "gen_ai_invoke_agent_inference_calls_count",
    "gen_ai_invoke_agent_inference_calls_sum",
    "gen_ai_invoke_agent_tool_calls_count",
    "gen_ai_invoke_agent_tool_calls_sum",
)
# What depends on how often a line was read: once where a file is read on, more often where it was rewritten.
OF_READING = ("agentgauge_records_total", "agentgauge_repeated_spans_total")


def totals(page: Samples, *, but: tuple[str, ...] = ()) -> Samples:
    """The samples of a page that a recount speaks of, zeros left out."""
    return {
        name: value
        for name, value in page.items()
        if value and name.split("{")[0] in COUNTED and not name.startswith(but)
    }


def expected(lines: Iterable[bytes], *, but: tuple[str, ...] = ()) -> Samples:
    """What `totals` of the page is when exactly these lines have been counted, each once."""
    return totals(dict(recount(lines).totals), but=but)
