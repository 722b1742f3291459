"""One chat of the demo: its lines in the order of their times, as the framework would have written them."""

import contextlib
import operator
from random import Random

from exporters.demo import framework, words
from exporters.demo.framework import Context, Entry, Failure, Usage
from exporters.demo.scenario import AGENTS, MODEL_FAILURES, SLOW_FAILURES, Agent, Model, Tool
from exporters.demo.weather import Incident, Weather

Line = tuple[float, Entry]

# Shares of chats, or of model calls, to which the oddities of the format happen.
_ABANDONED_STREAM = 0.06
_CANCELLED = 0.004
_EMPTY = 0.005
_EMPTY_RETRY = 0.03
_NO_USAGE = 0.006
_NO_PROMPT_COUNT = 0.06
_PATIENCE = 60.0
_LOGGED = 0.15
_ORPHAN_LOG = 0.1

_STACK = 'Traceback (most recent call last):\n  File "chat_with_agent.py", line 141, in execute\n'
_DEPLOY_FAILURE = ("ChatException", "Error processing AI response: 'answer'")
_BY_NAME = {agent.name: agent for agent in AGENTS}


class _Abandoned(Exception):  # noqa: N818 - not an error: the caller of the chat walked away
    """Nobody waits for the chat any more; it writes nothing further."""


class Chat:
    """A chat being told: `at` moves on as it goes, `lines` fill.

    After `tell()`, `answer` is what it said, or `failure` why it did not; a chat that was
    abandoned has neither, and no end. `nested` says that another agent waits for the answer.
    """

    def __init__(self, agent: Agent, at: float, *, random: Random, weather: Weather, nested: bool = False) -> None:
        self.agent = agent
        self.at = at
        self.lines: list[Line] = []
        self.answer = ""
        self.failure = ""
        self._started = at
        self._random = random
        self._weather = weather
        self._nested = nested
        models, weights = zip(*agent.models, strict=True)
        self._model: Model = random.choices(models, weights)[0]
        self._streams = not nested and random.random() < agent.streams
        self._deploy = weather.incident("deploy", agent.name, at)
        self._message = words.question(random)
        self._history = random.choice((0, 0, 2, 4, 8)) if agent.sessions else 0
        self._messages = self._history + 1
        self._input = agent.prompt + self._history * 120 + len(self._message) // 4
        self._context = self._call = self._root()

    def tell(self) -> list[Line]:
        """Return the chat's lines, and those of the chats it asked for, in the order of their times."""
        self._write(framework.chat_started(self.at, self._context, message=self._message, history_length=self._history))
        with contextlib.suppress(_Abandoned):
            self._converse()
        return sorted(self.lines, key=operator.itemgetter(0))

    def _root(self) -> Context:
        tools = [tool.name for tool in self.agent.tools]
        return Context(
            trace_id=f"trace-{self._id()}",
            run_id=f"run-{self._id()}",
            run_type="chat",
            operation="chat_with_agent",
            agent=self.agent.name,
            model=self._model.name,
            dialect=self.agent.dialect,
            new_id=self._id,
            session_id=f"session-{self._id()}" if self.agent.sessions else "",
            metadata={
                "message_length": len(self._message),
                "streaming": self._streams,
                "tools_available": len(tools),
                "tool_names": tools,
            },
        )

    def _converse(self) -> None:
        rounds = self._random.randint(*self.agent.rounds) if self.agent.tools else 0
        if self._random.random() < 0.02 and self.agent.most_rounds < 100:
            rounds = self.agent.most_rounds
        for iteration in range(1, self.agent.most_rounds + 1):
            calls = self._choose_tools() if iteration <= rounds else ()
            if not self._ask_model(iteration, calls):
                return
            if not calls:
                self._end()
                return
            self._call_tools(iteration, calls)
        self._fail("ChatException", f"Max tool calling iterations ({self.agent.most_rounds}) exceeded")

    def _choose_tools(self) -> tuple[Tool, ...]:
        together = min(self._random.choices((1, 2, 3), (0.7, 0.22, 0.08))[0], len(self.agent.tools))
        return tuple(self._random.sample(self.agent.tools, together))

    def _ask_model(self, iteration: int, calls: tuple[Tool, ...]) -> bool:
        """Write a model call; return whether the chat goes on after it."""
        self._call = self._context.child("llm", f"{self._model.provider}_iteration_{iteration}", iteration=iteration)
        tools = len(self.agent.tools)
        if not self._streams:
            self._write(framework.model_asked(self.at, self._call, messages=self._messages, tools=tools))
        if self._walks_away():
            raise _Abandoned
        text = "" if calls else words.text(self._random, *self.agent.answer)
        output = self._output_tokens(text, len(calls))
        slow = self._weather.incident("slow", self._model.provider, self.at)
        duration = self._duration(output, slow)
        if failure := self._model_failure(slow):
            # A timeout is what the client's patience was, not what the call would have taken.
            self.at += _PATIENCE if "timed out" in failure[1] else duration * 0.4
            self._fail(*failure)
            return False
        self.at += duration
        if not calls and self._model.provider == "ollama" and self._random.random() < _EMPTY_RETRY:
            # An empty answer is asked for again, and neither answer is logged.
            self.at += duration
            self.answer = text
        elif not calls and self._random.random() < _EMPTY:
            self._answer_model("", (), 1, duration)
            self._end_empty()
            return False
        else:
            self._answer_model(text, calls, output, duration)
        return True

    def _answer_model(self, text: str, calls: tuple[Tool, ...], output: int, duration: float) -> None:
        if not self._streams:
            names = tuple(tool.name for tool in calls)
            usage = self._usage(output)
            self._write(
                framework.model_answered(self.at, self._call, duration=duration, text=text, calls=names, usage=usage)
            )
        self.answer = text
        self._messages += 1 + len(calls)
        self._input += len(text) // 4

    def _call_tools(self, iteration: int, calls: tuple[Tool, ...]) -> None:
        """Write the calls of one round, which run at the same time, and move on to the end of the slowest."""
        ends = []
        begin = self.at
        for place, tool in enumerate(calls):
            self.at = begin + 0.0004 * (place + 1)
            ends.append(self._call_tool(iteration, tool))
        self.at = max(ends) + 0.002

    def _call_tool(self, iteration: int, tool: Tool) -> float:
        """Write one tool call; return when it ends."""
        start = self.at
        if self._model.provider == "openai":
            call_id = f"call_{self._id()}{self._id()}"
            metadata: dict[str, object] = {"tool_name": tool.name, "tool_call_id": call_id}
        else:
            call_id = f"ollama_{tool.name}_{int(start * 1000)}"
            metadata = {"tool_name": tool.name}
        context = self._call.child("tool", f"tool_{tool.name}", **metadata)
        arguments = {name: words.value(self._random) for name in tool.arguments}
        self._write(framework.tool_called(start, context, tool=tool.name, call_id=call_id, arguments=arguments))
        if self._streams and self._random.random() < _ABANDONED_STREAM:
            raise _Abandoned
        duration, result, ok = self._ask(tool, start) if tool.asks else self._use(tool, start)
        end = start + duration
        if self._model.provider == "ollama" and not ok:
            result = f"Error: {result}"
        entry = framework.tool_returned(
            end, context, tool=tool.name, call_id=call_id, duration=duration, result=result, ok=ok
        )
        self.lines.append((end, entry))
        self._input += len(result) // 4
        return end

    def _use(self, tool: Tool, start: float) -> tuple[float, str, bool]:
        """Return how long a tool took, what it said, and whether it worked; write what it logged."""
        flaky = self._weather.incident("flaky", tool.name, start)
        duration = tool.seconds * self._random.lognormvariate(0, 0.5) * (flaky.slower if flaky else 1.0)
        if tool.logs and self._random.random() < _LOGGED:
            level, message = self._random.choice(tool.logs)
            orphan = self._random.random() < _ORPHAN_LOG
            at = start + duration * 0.6
            log = framework.tool_logged(at, self._context, tool=tool.name, level=level, message=message, orphan=orphan)
            self.lines.append((at, log))
        if self._random.random() < tool.failing + (flaky.failing if flaky else 0.0):
            why = self._random.choice(tool.failures)
            waited = duration + (10.0 if why == "timed out" else 0.0)
            return waited, f"Error executing tool '{tool.name}': {why}", False
        return duration, words.text(self._random, *tool.result), True

    def _ask(self, tool: Tool, start: float) -> tuple[float, str, bool]:
        """Let another agent answer: its chat is a trace of its own."""
        asked = Chat(_BY_NAME[tool.asks], start + 0.001, random=self._random, weather=self._weather, nested=True)
        self.lines.extend(asked.tell())
        duration = asked.at - start + 0.001
        if asked.failure:
            return duration, f"Error executing tool '{tool.name}': {asked.failure}", False
        return duration, asked.answer, True

    def _walks_away(self) -> bool:
        share = _ABANDONED_STREAM if self._streams else _CANCELLED
        return not self._nested and self._random.random() < share

    def _duration(self, output: int, slow: Incident | None) -> float:
        slower = (slow.slower if slow else 1.0) * (self._deploy.slower if self._deploy else 1.0)
        return (self._model.first_token + output / self._model.pace) * slower * self._random.lognormvariate(0, 0.35)

    def _model_failure(self, slow: Incident | None) -> tuple[str, str] | None:
        if self._deploy and self._random.random() < self._deploy.failing:
            return _DEPLOY_FAILURE
        if slow and self._random.random() < slow.failing:
            return self._random.choice(SLOW_FAILURES)
        # Per call, and a chat has about three of them.
        if self._random.random() < self.agent.failing / 3:
            return self._random.choice(MODEL_FAILURES[self._model.provider])
        return None

    def _output_tokens(self, text: str, calls: int) -> int:
        thinks = int(self._model.thinks * self._random.lognormvariate(0, 0.6))
        return max(1, len(text) // 4 + 22 * calls) + thinks

    def _usage(self, output: int) -> Usage:
        bloat = 2.0 if self._deploy else 1.0
        given = int(self._input * bloat)
        if self._model.provider == "ollama":
            # Ollama leaves the prompt out when it had it cached, and then there is no total either.
            cached = self._random.random() < _NO_PROMPT_COUNT
            return Usage(output=output) if cached else Usage(input=given, output=output, total=given + output)
        if self._random.random() < _NO_USAGE:
            return Usage()
        return Usage(input=given, output=output, total=given + output)

    def _end(self) -> None:
        self.at += 0.003
        duration = self.at - self._started
        self._write(framework.chat_ended(self.at, self._context, duration=duration, response=self.answer))

    def _end_empty(self) -> None:
        """End twice, as the framework does on an empty answer: once where it notices, once where it catches."""
        duration = self.at - self._started
        self._write(framework.chat_was_empty(self.at, self._context, duration=duration))
        self.at += 0.0003
        where = "stream" if self._streams else "repository"
        self._fail("ChatException", f"Empty response received from {where}")

    def _fail(self, kind: str, message: str) -> None:
        if self._streams and message.startswith("Error communicating with OpenAI"):
            message = message.replace("Error communicating with OpenAI", "Error during OpenAI streaming")
        self.at += 0.001
        stack = f"{_STACK}{kind}: {message}\n"
        failure = Failure(type=kind, message=message, stack=stack)
        self.failure = message
        self._write(framework.chat_failed(self.at, self._context, duration=self.at - self._started, failure=failure))

    def _write(self, entry: Entry) -> None:
        self.lines.append((self.at, entry))

    def _id(self) -> str:
        return f"{self._random.getrandbits(48):012x}"
