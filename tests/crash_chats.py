"""createagents lines for crash tests: chats side by side, and what goes wrong in a store now and then.

Numbers are multiples of powers of two, so that sums are the same in whatever order they are made.
"""

import json
import time
from collections.abc import Iterator
from random import Random

from exporters.demo import framework
from exporters.demo.framework import Context, Entry, Failure, Usage

AGENTS = ("planner", "researcher", "writer")
MODELS = (("openai", "model-a"), ("openai", "model-b"), ("ollama", "model-c"))
TOOLS = ("search", "fetch")
BAD_LINES = (b'{"event": "trace.st', b'{"timestamp": "then", "event": "trace.start"}', b"\xff\xfe not JSON at all")


class Chats:
    """Chats side by side, line by line, without an end. The same seed tells the same chats."""

    def __init__(self, seed: int, *, agents: tuple[str, ...] = AGENTS, bad: float = 0.02) -> None:
        self._random = Random(seed)
        self._agents = agents
        self._bad = bad
        self._under_way: list[Iterator[Entry]] = []

    def line(self) -> bytes:
        """The next line, without its newline."""
        random = self._random
        if random.random() < self._bad:
            return random.choice(BAD_LINES)
        while True:
            if len(self._under_way) < 4:
                self._under_way.append(self._chat(random.choice(self._agents)))
            chat = random.choice(self._under_way)
            entry = next(chat, None)
            if entry is not None:
                return _line(entry)
            self._under_way.remove(chat)

    def rest(self) -> list[bytes]:
        """The lines that the chats under way still have to write."""
        rest = [_line(entry) for chat in self._under_way for entry in chat]
        self._under_way.clear()
        return rest

    def _id(self) -> str:
        return f"{self._random.getrandbits(48):012x}"

    def _chat(self, agent: str) -> Iterator[Entry]:
        random = self._random
        provider, model = random.choice(MODELS)
        chat = Context(
            trace_id=f"trace-{self._id()}",
            run_id=f"run-{self._id()}",
            run_type="chat",
            operation="chat_with_agent",
            agent=agent,
            model=model,
            dialect="new",
            new_id=self._id,
            metadata={"streaming": False},
        )
        yield framework.chat_started(time.time(), chat, message="What now?", history_length=0)
        rounds = random.randint(1, 3)
        for iteration in range(1, rounds + 1):
            call = chat.child("llm", f"{provider}_iteration_{iteration}", iteration=iteration)
            yield framework.model_asked(time.time(), call, messages=iteration, tools=2)
            if random.random() < 0.08:
                failure = Failure(type="RateLimitError", message="429", stack="Traceback")
                yield framework.chat_failed(time.time(), chat, duration=_seconds(random), failure=failure)
                return
            tools = tuple(random.sample(TOOLS, random.randint(1, 2))) if iteration < rounds else ()
            usage = Usage(input=random.randint(1, 4000), output=random.randint(1, 500))
            yield self._answer(call, tools, usage)
            yield from self._tools(call, tools)
        if random.random() < 0.05:
            yield framework.chat_was_empty(time.time(), chat, duration=1.0)
            failure = Failure(type="ChatException", message="Empty response", stack="Traceback")
            yield framework.chat_failed(time.time(), chat, duration=_seconds(random), failure=failure)
        else:
            yield framework.chat_ended(time.time(), chat, duration=_seconds(random), response="So.")

    def _answer(self, call: Context, tools: tuple[str, ...], usage: Usage) -> Entry:
        assert usage.input is not None and usage.output is not None
        whole = Usage(input=usage.input, output=usage.output, total=usage.input + usage.output)
        entry = framework.model_answered(
            time.time(), call, duration=_seconds(self._random), text="So.", calls=tools, usage=whole
        )
        return {**entry, "cost_usd": self._random.randint(1, 64) / 1024}

    def _tools(self, call: Context, tools: tuple[str, ...]) -> Iterator[Entry]:
        for tool in tools:
            context = call.child("tool", f"tool_{tool}", tool_name=tool)
            call_id = f"call-{self._id()}"
            yield framework.tool_called(time.time(), context, tool=tool, call_id=call_id, arguments={"q": "x"})
            ok = self._random.random() > 0.1
            yield framework.tool_returned(
                time.time(),
                context,
                tool=tool,
                call_id=call_id,
                duration=_seconds(self._random),
                result="Found." if ok else f"Error executing tool '{tool}': timed out",
                ok=ok,
            )


def _seconds(random: Random) -> float:
    """A duration that is an eighth of a second or many."""
    return random.randint(1, 80) / 8


def _line(entry: Entry) -> bytes:
    return json.dumps(entry, ensure_ascii=False).encode()
