"""The lines that createagents writes for one chat, in both dialects: keys, their order, what is left out.

The newer dialect (since 2025-12-05) has top-level token and error fields; the older one has a
token total inside `data`, on text responses only, and errors inside `outputs`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

Entry = dict[str, object]
Dialect = Literal["old", "new"]

_FALSY_STAYS = frozenset(("duration_ms", "input_tokens", "output_tokens", "total_tokens", "cost_usd"))


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens that the provider reported for one model call; `total` is absent where it reports parts only."""

    input: int | None = None
    output: int | None = None
    total: int | None = None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a chat ended badly: the exception's class name, its text and its traceback."""

    type: str
    message: str
    stack: str


@dataclass(frozen=True, kw_only=True)
class Context:
    """Where in a trace a line belongs: one chat, or one model or tool call under it."""

    trace_id: str
    run_id: str
    run_type: Literal["chat", "llm", "tool"]
    operation: str
    agent: str
    model: str
    dialect: Dialect
    new_id: Callable[[], str] = field(repr=False)
    parent_run_id: str = ""
    session_id: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict)

    def child(self, run_type: Literal["llm", "tool"], operation: str, **metadata: object) -> "Context":
        """Return the context of a call below this one; its metadata are these and the given ones."""
        return Context(
            trace_id=self.trace_id,
            run_id=f"run-{self.new_id()}",
            run_type=run_type,
            operation=operation,
            agent=self.agent,
            model=self.model,
            dialect=self.dialect,
            new_id=self.new_id,
            parent_run_id=self.run_id,
            session_id=self.session_id,
            metadata={**self.metadata, **metadata},
        )


def chat_started(at: float, context: Context, *, message: str, history_length: int) -> Entry:
    """Return the `trace.start` line."""
    inputs = {"user_message": message, "tool_choice": None, "history_length": history_length}
    return _entry(at, context, "trace.start", status="started", inputs=inputs)


def chat_ended(at: float, context: Context, *, duration: float, response: str) -> Entry:
    """Return the `trace.end` line of a chat that answered; `duration` in seconds."""
    outputs = {"response": response, "response_length": len(response)}
    return _entry(at, context, "trace.end", status="success", outputs=outputs, duration_ms=duration * 1000.0)


def chat_failed(at: float, context: Context, *, duration: float, failure: Failure) -> Entry:
    """Return the `trace.end` line of a chat that raised; `duration` in seconds."""
    if context.dialect == "old":
        # The framework's own exceptions name no type there.
        said: dict[str, object] = {"error": failure.type}
        if failure.type != "ChatException":
            said = {"error": failure.message, "error_type": failure.type}
        return _entry(at, context, "trace.end", status="error", outputs=said, duration_ms=duration * 1000.0)
    return _entry(
        at,
        context,
        "trace.end",
        status="error",
        duration_ms=duration * 1000.0,
        error_message=failure.message,
        error_type=failure.type,
        error_stack=failure.stack,
    )


def chat_was_empty(at: float, context: Context, *, duration: float) -> Entry:
    """Return the first of the two `trace.end` lines that an empty response leaves; `duration` in seconds."""
    said = "Empty stream response" if context.metadata.get("streaming") else "Empty response"
    return _entry(at, context, "trace.end", status="error", outputs={"error": said}, duration_ms=duration * 1000.0)


def model_asked(at: float, context: Context, *, messages: int, tools: int) -> Entry:
    """Return the `llm.request` line."""
    inputs = {"messages_count": messages, "tools_available": tools or None}
    return _entry(at, context, "llm.request", inputs=inputs, data={"model": context.model})


def model_answered(
    at: float, context: Context, *, duration: float, text: str, calls: tuple[str, ...], usage: Usage
) -> Entry:
    """Return the `llm.response` line: of an answer, or of the wish to call tools; `duration` in seconds."""
    preview = f"Tool calls: {list(calls)}" if calls else text
    outputs = {"response_preview": preview, "has_tool_calls": bool(calls), "tool_calls_count": len(calls)}
    if context.dialect == "old":
        data = {"model": context.model, "tokens_used": None if calls else usage.total}
        return _entry(at, context, "llm.response", outputs=outputs, data=data, duration_ms=duration * 1000.0)
    return _entry(
        at,
        context,
        "llm.response",
        outputs=outputs,
        data={"model": context.model},
        duration_ms=duration * 1000.0,
        input_tokens=usage.input,
        output_tokens=usage.output,
        total_tokens=usage.total,
    )


def tool_called(at: float, context: Context, *, tool: str, call_id: str, arguments: Mapping[str, object]) -> Entry:
    """Return the `tool.call` line."""
    data = {"tool_name": tool, "tool_call_id": call_id}
    return _entry(at, context, "tool.call", inputs=dict(arguments), data=data)


def tool_returned(
    at: float, context: Context, *, tool: str, call_id: str, duration: float, result: str, ok: bool
) -> Entry:
    """Return the `tool.result` line; `duration` in seconds, an error's text is the result."""
    data = {"tool_name": tool, "tool_call_id": call_id}
    status = "success" if ok else "error"
    outputs = {"result": result}
    return _entry(at, context, "tool.result", status=status, outputs=outputs, data=data, duration_ms=duration * 1000.0)


def tool_logged(at: float, chat: Context, *, tool: str, level: str, message: str, orphan: bool = False) -> Entry:
    """Return a `tool.log` line, which has a shape of its own and a run id that no other line has.

    `chat` is the context of the chat: the executor makes its child, not the tool call's.
    """
    return {
        "event": "tool.log",
        "trace_id": chat.trace_id,
        "run_id": f"run-{chat.new_id()}",
        "parent_run_id": None if orphan else chat.run_id,
        "level": level,
        "message": message,
        "logger_name": f"tools.{tool}",
        "timestamp": _timestamp(at),
        "operation": f"tool.{tool}",
        "run_type": "tool",
    }


def _timestamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def _entry(at: float, context: Context, event: str, **fields: object) -> Entry:
    entry: Entry = {
        "timestamp": _timestamp(at),
        "trace_id": context.trace_id,
        "run_id": context.run_id,
        "run_type": context.run_type,
        "operation": context.operation,
        "event": event,
        "parent_run_id": context.parent_run_id,
        "session_id": context.session_id,
        "agent_name": context.agent,
        "model": context.model,
        **dict.fromkeys(("status", "inputs", "outputs", "data")),
        **fields,
        "metadata": context.metadata,
    }
    return {key: value for key, value in entry.items() if value or (key in _FALSY_STAYS and value is not None)}
