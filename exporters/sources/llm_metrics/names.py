"""The names that a row bears: of the model and its provider, and of the agent, by whichever convention."""

import re
import warnings
from ast import literal_eval
from typing import Any

import msgspec

from exporters.sources.llm_metrics.rows import utf8
from exporters.sources.records import LONGEST

# What stands for nothing in a column of text: JSON's null, and Python's.
NOTHING = ("", "null", "None")
_BEFORE_SLASH = {
    "anthropic": "anthropic",
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "gemini": "gcp.gemini",
    "google": "gcp.gen_ai",
    "groq": "groq",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "ollama": "ollama",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "vertex_ai": "gcp.vertex_ai",
    "xai": "x_ai",
}


def model_of(said: str | None) -> tuple[str, str]:
    """Split `openai/gpt-4o` into provider and model; what stands before the slash of `meta-llama/Llama-3` is no
    provider."""
    named = name(said)
    before, slash, rest = named.partition("/")
    provider = _BEFORE_SLASH.get(before, "") if slash else ""
    return (provider, rest) if provider and rest else ("", named)


# Of what is read as Python, the parser would tell on standard error whatever seems odd to it in metadata.
warnings.filterwarnings("ignore", category=SyntaxWarning, module="<unknown>")


class _Named(msgspec.Struct):
    """What metadata may say of the agent."""

    agent_name: Any = None
    agent: Any = None


def agent_of(metadata: Any) -> str:
    """Return the agent that metadata names: JSON, or what Python prints of a dict; anything else names none."""
    if not isinstance(metadata, str) or "agent" not in metadata:
        return ""
    try:
        named = _decode(metadata)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        named = _printed(metadata)
    return name(named.agent_name) or name(named.agent)


_decode = msgspec.json.Decoder(_Named).decode
_decode_text = msgspec.json.Decoder(str).decode
_PRINTED_DICT = re.compile(r"\s*\{\s*'")


def _printed(metadata: str) -> _Named:
    """Read what Python prints of a dict, also where it is JSON's text."""
    try:
        if metadata.startswith('"'):
            metadata = _decode_text(metadata)
        found = literal_eval(metadata) if _PRINTED_DICT.match(metadata) else {}
        return _Named(agent_name=found.get("agent_name"), agent=found.get("agent"))
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError, AttributeError):
        return _Named()  # msgspec's errors are ValueErrors


def name(value: Any) -> str:
    """Return a name as it is worth keeping: not a null's text, no lone surrogates, not endless."""
    if not isinstance(value, str) or value in NOTHING:
        return ""
    return value if value.isascii() and len(value) <= LONGEST else utf8(value[:LONGEST])
