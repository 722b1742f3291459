"""What a folder of createagents traces tells of model calls, read without any of the exporter's code."""

import json
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple


class Call(NamedTuple):
    """A model call: when it ended (Unix seconds), and the tokens that the store splits."""

    time: float
    model: str
    outcome: str
    input: int
    output: int


def calls_of(folder: Path, now: float) -> list[Call]:
    """Return every call: answered, or asked and never answered when its chat had ended or was silent for an hour."""
    found = []
    asked: dict[str, dict[str, str]] = {}
    heard: dict[str, float] = {}
    for path in sorted(folder.glob("traces_*.jsonl")):
        # A line is whole once its newline is there.
        for line in path.read_bytes().rpartition(b"\n")[0].split(b"\n"):
            entry = json.loads(line)
            at, trace = datetime.fromisoformat(entry["timestamp"]).timestamp(), entry["trace_id"]
            if entry["event"] != "tool.log":
                heard[trace] = at
            if entry["event"] == "llm.request":
                asked.setdefault(trace, {})[entry["run_id"]] = entry["model"]
            elif entry["event"] == "llm.response":
                asked.get(trace, {}).pop(entry["run_id"], "")
                tokens = entry.get("input_tokens", 0), entry.get("output_tokens", 0)
                found.append(Call(at, entry["model"], "ok", *tokens))
            elif entry["event"] == "trace.end":
                found += [Call(at, model, "error", 0, 0) for model in asked.pop(trace, {}).values()]
    silent = {trace: at for trace, at in heard.items() if at + 3600 < now}
    return found + [
        Call(at, model, "error", 0, 0) for trace, at in silent.items() for model in asked.get(trace, {}).values()
    ]


def totals(calls: list[Call], until: float) -> dict[str, dict[Any, int]]:
    """Return calls by (model, outcome) and tokens by model, of the calls that had ended at a time."""
    ended = [call for call in calls if call.time <= until]
    counted = Counter((call.model, call.outcome) for call in ended)
    tokens: dict[str, Counter[str]] = {"input": Counter(), "output": Counter()}
    for call in ended:
        tokens["input"][call.model] += call.input
        tokens["output"][call.model] += call.output
    # Both outcomes are counters from the first call on.
    calls_by = {(model, outcome): counted[model, outcome] for model, _ in counted for outcome in ("ok", "error")}
    return {"calls": calls_by, **{kind: dict(+counter) for kind, counter in tokens.items()}}
