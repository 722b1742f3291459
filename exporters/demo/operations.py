"""What the demo's lines tell, as other stores keep it: one finished operation each, under the run it belongs to."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from exporters.demo.framework import Entry

_KINDS: dict[str, Literal["run", "call", "tool"]] = {"trace": "run", "llm": "call", "tool": "tool"}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A run, a model call or a tool call. Times are Unix seconds; ids are hexadecimal, 32 and 16 digits as in
    OpenTelemetry; tokens that the provider did not report are None, and so is the error of what went well."""

    kind: Literal["run", "call", "tool"]
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    agent: str
    model: str
    provider: str
    start: float
    end: float
    input_tokens: int | None
    output_tokens: int | None
    error: str | None


def operations(lines: Iterable[tuple[float, Entry]]) -> Iterator[tuple[float, Operation | None]]:
    """Yield for each line its time, and the operation that ended with it, if one did.

    What never ends is never told, as instrumentation sends a span when it has ended.
    """
    begun: dict[object, tuple[float, Entry]] = {}
    runs: dict[object, object] = {}
    for at, entry in lines:
        group, _, event = str(entry["event"]).partition(".")
        run_id, trace_id = entry["run_id"], entry["trace_id"]
        if event in ("start", "request", "call"):
            begun[run_id] = (at, entry)
            if group == "trace":
                runs[trace_id] = run_id
        elif run_id in begun:
            started, first = begun.pop(run_id)
            parent = "" if group == "trace" else runs.get(trace_id, "")
            yield at, _operation(_KINDS[group], (started, first), (at, entry), str(parent))
            continue
        yield at, None


def _operation(
    kind: Literal["run", "call", "tool"], first: tuple[float, Entry], last: tuple[float, Entry], parent: str
) -> Operation:
    start, begun = first
    end, ended = last
    data: Any = ended.get("data") or {}
    failed = ended.get("status") == "error"
    outputs: Any = ended.get("outputs") or {}
    said = ended.get("error_message") or outputs.get("error") or outputs.get("result") or "failed"
    agent = str(ended.get("agent_name") or begun.get("agent_name") or "")
    model = str(ended.get("model") or data.get("model") or "")
    return Operation(
        kind=kind,
        trace_id=_hexadecimal(ended["trace_id"], 32),
        span_id=_hexadecimal(ended["run_id"], 16),
        parent_id=_hexadecimal(parent, 16) if parent else "",
        name={"run": agent, "call": model, "tool": str(data.get("tool_name") or "")}[kind],
        agent=agent,
        model=model,
        provider=str(ended.get("operation", "")).partition("_")[0] if kind == "call" else "",
        start=start,
        end=end,
        input_tokens=_count(ended.get("input_tokens")),
        output_tokens=_count(ended.get("output_tokens")),
        error=f"{ended.get('error_type') or 'Error'}: {said}" if failed else None,
    )


def _hexadecimal(id_: object, digits: int) -> str:
    return str(id_).rpartition("-")[2].rjust(digits, "0")


def _count(tokens: object) -> int | None:
    return tokens if isinstance(tokens, int) else None
