"""Who the demo's agents are: their models, tools and habits, and what goes wrong with them."""

from dataclasses import dataclass
from typing import Literal

from exporters.demo.framework import Dialect

Provider = Literal["openai", "ollama"]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model's pace: seconds until the first token, tokens per second, and tokens it thinks before it answers."""

    name: str
    provider: Provider = "openai"
    first_token: float
    pace: float
    thinks: int = 0


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool: its usual duration in seconds, how often it fails and how, and what it is asked.

    `asks` is the name of an agent: the tool is that agent's chat, which is a trace of its own.
    """

    name: str
    seconds: float = 0.3
    failing: float = 0.01
    failures: tuple[str, ...] = ("timed out",)
    arguments: tuple[str, ...] = ("query",)
    result: tuple[int, int] = (200, 1500)
    logs: tuple[tuple[str, str], ...] = ()
    asks: str = ""


@dataclass(frozen=True, kw_only=True)
class Agent:
    """An agent: how often it is asked, with which models and tools, and how it answers.

    `share` is its part of the traffic at the height of its day; `rounds` are the fewest and
    most rounds of tool calls before it answers; `answer` the length of an answer in
    characters; `prompt` the tokens of its instructions; `streams` the share of chats streamed.
    """

    name: str
    share: float
    models: tuple[tuple[Model, float], ...]
    tools: tuple[Tool, ...] = ()
    rounds: tuple[int, int] = (0, 2)
    most_rounds: int = 100
    answer: tuple[int, int] = (200, 1500)
    prompt: int = 600
    streams: float = 0.0
    sessions: bool = False
    hours: Literal["office", "day", "always"] = "day"
    dialect: Dialect = "new"
    failing: float = 0.012


_GPT_4O = Model(name="gpt-4o", first_token=0.55, pace=75)
_GPT_4O_MINI = Model(name="gpt-4o-mini", first_token=0.4, pace=95)
_GPT_41 = Model(name="gpt-4.1", first_token=0.6, pace=80)
_GPT_41_MINI = Model(name="gpt-4.1-mini", first_token=0.45, pace=90)
_GPT_5_MINI = Model(name="gpt-5-mini", first_token=0.9, pace=110, thinks=500)
_O3 = Model(name="o3", first_token=1.2, pace=85, thinks=1800)
_LLAMA = Model(name="llama3.2", provider="ollama", first_token=0.8, pace=28)

_WEB_SEARCH = Tool(
    name="web_search",
    seconds=0.9,
    failing=0.025,
    failures=("timed out", "429 Too Many Requests", "503 Service Unavailable"),
    result=(600, 4000),
    logs=(("INFO", "10 results"), ("WARNING", "retry 1 of 3")),
)
_FETCH_PAGE = Tool(
    name="fetch_page",
    seconds=1.4,
    failing=0.06,
    failures=("timed out", "Connection refused", "403 Forbidden", "404 Not Found"),
    arguments=("url",),
    result=(1500, 9000),
    logs=(("WARNING", "page is longer than 8000 characters, cut"),),
)
_SEARCH_HELP = Tool(name="search_help", seconds=0.25, result=(300, 1800))
_FIND_ORDER = Tool(name="find_order", seconds=0.12, failing=0.015, failures=("order not found",), arguments=("order",))
_REFUND_ORDER = Tool(
    name="refund_order",
    seconds=0.7,
    failing=0.03,
    failures=("payment service: 502 Bad Gateway", "amount is larger than what was paid: invalid"),
    arguments=("order", "amount"),
    result=(40, 160),
    logs=(("INFO", "refund booked"),),
)
_FIND_INVOICE = Tool(
    name="find_invoice", seconds=0.2, failures=("invoice not found",), arguments=("invoice",), result=(150, 700)
)
_EXCHANGE_RATES = Tool(name="exchange_rates", seconds=0.35, failing=0.02, arguments=(), result=(80, 300))
_READ_FILE = Tool(name="read_file", seconds=0.02, failures=("file not found",), arguments=("path",), result=(800, 9000))
_WRITE_FILE = Tool(name="write_file", seconds=0.03, arguments=("path", "content"), result=(20, 60))
_SEARCH_CODE = Tool(name="search_code", seconds=0.4, result=(300, 3000))
_RUN_TESTS = Tool(
    name="run_tests",
    seconds=14.0,
    failing=0.12,
    failures=("exit status 1", "exit status 1", "timed out after 120 s"),
    arguments=(),
    result=(400, 5000),
    logs=(("INFO", "collected 212 items"), ("WARNING", "3 tests were slower than 5 s")),
)
_QUERY_WAREHOUSE = Tool(
    name="query_warehouse",
    seconds=3.5,
    failing=0.03,
    failures=("timed out", "permission denied for table payroll"),
    arguments=("sql",),
    result=(500, 6000),
)
_SEARCH_NOTES = Tool(name="search_notes", seconds=0.08, result=(200, 1500))

AGENTS = (
    Agent(
        name="support",
        share=3.0,
        models=((_GPT_4O_MINI, 1.0),),
        tools=(_SEARCH_HELP, _FIND_ORDER, _REFUND_ORDER),
        rounds=(0, 3),
        answer=(200, 1400),
        prompt=900,
        streams=0.3,
        sessions=True,
    ),
    Agent(
        name="billing",
        share=1.2,
        models=((_GPT_41_MINI, 1.0),),
        tools=(_FIND_INVOICE, _EXCHANGE_RATES, _FIND_ORDER),
        rounds=(1, 3),
        answer=(200, 900),
        prompt=700,
        sessions=True,
        hours="office",
    ),
    Agent(
        name="research",
        share=0.8,
        models=((_GPT_41, 0.85), (_O3, 0.15)),
        tools=(_WEB_SEARCH, _FETCH_PAGE),
        rounds=(1, 4),
        answer=(1500, 4000),
        prompt=500,
        streams=0.1,
    ),
    Agent(
        name="coding",
        share=0.9,
        models=((_GPT_5_MINI, 0.9), (_O3, 0.1)),
        tools=(_READ_FILE, _SEARCH_CODE, _WRITE_FILE, _RUN_TESTS),
        rounds=(2, 8),
        most_rounds=10,
        answer=(400, 2500),
        prompt=1800,
        hours="office",
        failing=0.02,
    ),
    Agent(
        name="triage",
        share=0.5,
        models=((_GPT_4O, 1.0),),
        tools=(
            Tool(name="ask_support", asks="support", arguments=("question",)),
            Tool(name="ask_research", asks="research", arguments=("question",)),
        ),
        rounds=(1, 1),
        answer=(200, 800),
        prompt=400,
    ),
    Agent(
        name="reports",
        share=0.4,
        models=((_GPT_4O, 1.0),),
        tools=(_QUERY_WAREHOUSE,),
        rounds=(1, 3),
        answer=(1200, 3500),
        prompt=1200,
        hours="office",
        dialect="old",
    ),
    Agent(
        name="notes",
        share=0.25,
        models=((_LLAMA, 1.0),),
        tools=(_SEARCH_NOTES,),
        rounds=(0, 1),
        answer=(200, 900),
        prompt=300,
        hours="always",
        failing=0.025,
    ),
)

# What a model call can raise, by provider: the exception's class as the framework records it
# (OpenAI's adapter wraps everything in its own) and the text.
MODEL_FAILURES: dict[Provider, tuple[tuple[str, str], ...]] = {
    "openai": (
        ("ChatException", "Error communicating with OpenAI: Request timed out."),
        ("ChatException", "Error communicating with OpenAI: Error code: 429 - Rate limit reached for requests"),
        ("ChatException", "Error communicating with OpenAI: Error code: 500 - The server had an error: server_error"),
        ("ChatException", "Error communicating with OpenAI: Connection error."),
        ("ChatException", "Error communicating with OpenAI: Error code: 400 - context_length_exceeded"),
        ("ChatException", "Error communicating with OpenAI: Error code: 400 - content_policy_violation"),
        ("ChatException", "OpenAI returned an empty response."),
    ),
    "ollama": (
        ("ConnectError", "[Errno 111] Connection refused"),
        ("ReadTimeout", "timed out"),
        ("ResponseError", "model runner has unexpectedly stopped (status code: 500)"),
    ),
}
# While the provider is slow, these are what a call raises: (timeout, rate limit, server error).
SLOW_FAILURES = MODEL_FAILURES["openai"][:3]
