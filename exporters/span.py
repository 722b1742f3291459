"""The one record: a model call, a tool call or an agent run, finished or still open."""

from typing import Literal

import msgspec

# A part is a span of a trace that is none of the others: it links those below it to those above.
Kind = Literal["inference", "tool", "run", "score", "part"]

# The closed set behind the label `error_type`. Stores write exception class names, which are
# unbounded; these are what an engineer on call tells apart. `_OTHER` is OpenTelemetry's fallback.
ERROR_TYPES = (
    "timeout",
    "rate_limited",
    "authentication",
    "connection",
    "invalid_request",
    "server_error",
    "content_filter",
    "cancelled",
    "iteration_limit",
    "no_response",
    "abandoned",
    "_OTHER",
)

# First match wins, on lower-cased text without separators.
_ERROR_WORDS = (
    ("timeout", ("timeout", "timedout", "deadline")),
    ("rate_limited", ("ratelimit", "toomanyrequests", "quota", "throttl", "429")),
    ("authentication", ("authentication", "permission", "unauthorized", "forbidden", "apikey")),
    ("iteration_limit", ("maxtoolcallingiterations", "iterationlimit", "maxiterations", "recursion")),
    ("content_filter", ("contentfilter", "contentpolicy", "moderation", "safety")),
    ("cancelled", ("cancelled", "canceled", "keyboardinterrupt", "generatorexit")),
    ("connection", ("connection", "connect", "network", "dns", "socket", "unreachable")),
    ("server_error", ("servererror", "internalerror", "unavailable", "overloaded", "badgateway")),
    (
        "invalid_request",
        ("badrequest", "invalid", "notfound", "unprocessable", "validation", "contextlength"),
    ),
)


class Span(msgspec.Struct, gc=False, omit_defaults=True):
    """What a store says of one operation, once when it starts (if it says so) and once when it ends.

    `None` is unknown, which is not zero. Times are Unix seconds, durations seconds, money USD.
    `input_tokens` include cached ones and `output_tokens` include reasoning, as the
    OpenTelemetry conventions say; a source whose store counts otherwise converts.
    """

    kind: Kind
    ended: bool
    trace_id: str
    span_id: str
    parent_id: str = ""
    time: float = 0.0
    agent: str = ""
    model: str = ""
    provider: str = ""
    operation: str = ""
    tool: str = ""
    agent_version: str = ""
    environment: str = ""
    error: str = ""
    duration: float | None = None
    time_to_first_chunk: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    # Tokens of a store that gives a total only; set when neither part is known.
    unsplit_tokens: int | None = None
    cost: float | None = None
    cost_source: str = ""
    # Where the cost is computed: what tokens read from a cache would have cost more, and what writing there cost more.
    cache_saving: float | None = None
    cache_surcharge: float | None = None
    unpriced: str = ""
    # Why the usage cannot be right, such as more tokens from a cache than there were.
    invalid_usage: str = ""
    # True or nothing: a flag that is not set feeds no counter.
    without_usage: bool | None = None
    streaming: bool = False
    # The store may say the same end again, with more: wait a moment for it.
    provisional: bool = False
    # Usage that the store gives for a whole run, counted without counting a call.
    usage_only: bool = False
    # Of a run in a store that never says that one has ended: it has, when nothing more is heard of it.
    ends_when_idle: bool = False
    # Of a run: what it took. Filled when it is closed.
    inference_calls: int | None = None
    tool_calls: int | None = None
    total_tokens: int | None = None
    # Of a score: what was judged, and how.
    score_name: str = ""
    score: float | None = None
    # The prompt that a model call was made with, where a store manages prompts.
    prompt: str = ""
    prompt_version: str = ""


def error_type(*texts: str | None) -> str:
    """Return the member of ERROR_TYPES that exception names and messages speak of."""
    said = "".join(text or "" for text in texts).lower()
    said = said.replace(" ", "").replace("_", "").replace("-", "")
    for name, words in _ERROR_WORDS:
        if any(word in said for word in words):
            return name
    return "_OTHER"
