"""The demo's OTLP client: sends spans as JSON over HTTP, again until they are accepted."""

import json
import threading
import urllib.error
import urllib.request
from collections import deque

from exporters.demo.operations import Operation

_SECONDS = 2.0
# What waits for a receiver that does not answer; past it the oldest are dropped, as an SDK does.
_WAITING = 10_000
_OPERATIONS = {"run": "invoke_agent", "call": "chat", "tool": "execute_tool"}


class Sender:
    """Sends what waits every two seconds, in a thread of its own."""

    has_past = False

    def __init__(self, url: str) -> None:
        """Send to the receiver at an address such as `http://127.0.0.1:4318`."""
        self._url = f"{url}/v1/traces"
        self._waiting: deque[Operation] = deque(maxlen=_WAITING)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send_on, daemon=True)
        self._thread.start()

    def take(self, operation: Operation) -> None:
        """Have an operation sent."""
        self._waiting.append(operation)

    def close(self) -> None:
        """Stop sending."""
        self._stop.set()
        self._thread.join()

    def _send_on(self) -> None:
        while not self._stop.wait(_SECONDS):
            sent = list(self._waiting)
            if sent and self._send(sent):
                for _ in sent:
                    self._waiting.popleft()

    def _send(self, operations: list[Operation]) -> bool:
        request = urllib.request.Request(  # noqa: S310 -- an address that the user gave
            self._url, json.dumps(_export(operations)).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            # What is refused for good is dropped; what may come again is sent with the next.
            return error.code == 400
        except OSError:
            return False


def _export(operations: list[Operation]) -> dict[str, object]:
    resource = _attributes({"service.name": "helpdesk", "deployment.environment.name": "production"})
    spans = [_span(operation) for operation in operations]
    scope = {"name": "agentgauge.demo"}
    return {"resourceSpans": [{"resource": {"attributes": resource}, "scopeSpans": [{"scope": scope, "spans": spans}]}]}


def _span(operation: Operation) -> dict[str, object]:
    said: dict[str, str | int | None] = {"gen_ai.operation.name": _OPERATIONS[operation.kind]}
    if operation.kind == "run":
        said["gen_ai.agent.name"] = operation.agent
    elif operation.kind == "tool":
        said["gen_ai.tool.name"] = operation.name
    else:
        said |= {
            "gen_ai.provider.name": operation.provider,
            "gen_ai.request.model": operation.model,
            "gen_ai.usage.input_tokens": operation.input_tokens,
            "gen_ai.usage.output_tokens": operation.output_tokens,
        }
    if operation.error:
        said["error.type"] = operation.error.partition(":")[0]
    return {
        "traceId": operation.trace_id,
        "spanId": operation.span_id,
        "parentSpanId": operation.parent_id,
        "name": f"{_OPERATIONS[operation.kind]} {operation.name}",
        "kind": 3 if operation.kind == "call" else 1,
        "startTimeUnixNano": str(round(operation.start * 1e9)),
        "endTimeUnixNano": str(round(operation.end * 1e9)),
        "attributes": _attributes(said),
        "status": {"code": 2, "message": operation.error} if operation.error else {},
    }


def _attributes(said: "dict[str, str] | dict[str, str | int | None]") -> list[dict[str, object]]:
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in said.items()
        if value is not None
    ]
