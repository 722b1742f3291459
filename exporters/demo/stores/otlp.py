"""The demo's OTLP client: sends spans as JSON over HTTP, again until they are accepted."""

import json
import threading
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Mapping

from exporters.demo.operations import Operation

_SECONDS = 2.0
# What waits for a receiver that does not answer; past it the oldest are dropped, as an SDK does.
_WAITING = 10_000
# Tokens of a prompt from which on providers keep its beginning.
_LEAST_CACHED = 1024
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
    said: dict[str, str | int | float | None] = {"gen_ai.operation.name": _OPERATIONS[operation.kind]}
    if operation.kind == "run":
        said |= {"gen_ai.agent.name": operation.agent, "gen_ai.agent.version": _version(operation)}
    elif operation.kind == "tool":
        said["gen_ai.tool.name"] = operation.name
    else:
        said |= {
            "gen_ai.provider.name": operation.provider,
            "gen_ai.request.model": operation.model,
            "gen_ai.usage.input_tokens": operation.input_tokens,
            "gen_ai.usage.output_tokens": operation.output_tokens,
            **_of_the_provider(operation),
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


def _version(operation: Operation) -> str:
    """One run in four is of the version that is being tried."""
    return "1.5.0" if operation.trace_id[-1] in "048c" else "1.4.2"


def _of_the_provider(operation: Operation) -> dict[str, float | int]:
    """What only a provider knows: input that it had in its cache, and when it began to answer."""
    said: dict[str, float | int] = {
        "gen_ai.response.time_to_first_chunk": round((operation.end - operation.start) * 0.2, 3)
    }
    if (operation.input_tokens or 0) > _LEAST_CACHED:
        said["gen_ai.usage.cache_read.input_tokens"] = (operation.input_tokens or 0) // 2
    return said


def _attributes(said: Mapping[str, str | int | float | None]) -> list[dict[str, object]]:
    return [{"key": key, "value": _value(value)} for key, value in said.items() if value is not None]


def _value(value: str | float) -> dict[str, object]:
    if isinstance(value, str):
        return {"stringValue": value}
    return {"intValue": str(value)} if isinstance(value, int) else {"doubleValue": value}
