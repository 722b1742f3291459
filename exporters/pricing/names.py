"""What providers and models are called: as stores write it, and as price lists do.

The label on the page stays what the store says, because that is the name its users know. Only the
search for a price goes through here.
"""

import re

# What OpenTelemetry, instrumentations, LiteLLM and LangChain call a provider -> its id in the price list.
# An id that a model's name may have in front of it stands here too, also where it is the same.
_PROVIDERS = {
    "ai21": "ai21",
    "anthropic": "anthropic",
    "aws": "aws",
    "bedrock": "aws",
    "cerebras": "cerebras",
    "claude": "anthropic",
    "cohere": "cohere",
    "cohere_chat": "cohere",
    "databricks": "databricks",
    "deepseek": "deepseek",
    "fireworks": "fireworks",
    "fireworks_ai": "fireworks",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "gemini": "google",
    "google": "google",
    "google-gla": "google",
    "google-vertex": "google",
    "google_genai": "google",
    "google_vertexai": "google",
    "grok": "x-ai",
    "groq": "groq",
    "mistral": "mistral",
    "mistral_ai": "mistral",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "moonshot_ai": "moonshotai",
    "novita": "novita",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "together": "together",
    "together_ai": "together",
    "vertex_ai": "google",
    "vertexai": "google",
    "voyage": "voyageai",
    "x-ai": "x-ai",
    "x_ai": "x-ai",
    "xai": "x-ai",
}
# Not who sells the model but what calls it: any compatible endpoint can be behind these, so the
# model's name alone says whose it is.
_ANYBODY = frozenset(
    ("", "openai", "litellm", "litellm_proxy", "langchain", "llama_index", "openai_compatible", "_other", "unknown")
)
# Amazon's ids: `us.anthropic.claude-sonnet-4-5-20250929-v1:0`, `amazon.nova-pro-v1:0`.
_BEDROCK = re.compile(
    r"(?:[a-z]{2,6}\.)?(?:ai21|amazon|anthropic|cohere|deepseek|meta|mistral|openai|qwen|writer)\.\S+"
)
# Resource names: `models/X`, `projects/p/locations/l/publishers/google/models/X`, and ARNs that end in `/X`.
_GOOGLE = re.compile(r"(?:(?:projects|publishers)/.*/)?models/([^/]+)")
_ARN = re.compile(r"arn:aws[\w-]*:bedrock:.*/([^/]+)")
_DATED = re.compile(r"[-@]20\d\d-?[01]\d-?[0-3]\d$")
# Ollama's tags: weights of that size, on a machine of one's own.
_OWN_WEIGHTS = re.compile(r"[^/]+:(?:latest|[\d.x]+[bm]\b.*)")
_OWN_MACHINE = ("ollama/", "ollama_chat/", "hosted_vllm/", "vllm/", "lm_studio/", "llamafile/")
_LISTED = frozenset((*_PROVIDERS.values(), "azure"))


def provider_id(provider: str) -> str:
    """Return the price list's id of a provider; its own name in lower case where none is known."""
    name = provider.strip().lower()
    if "azure" in name or name.startswith("az."):
        return "azure"
    if "bedrock" in name:
        return "aws"
    return _PROVIDERS.get(name, name)


def candidates(provider: str, model: str) -> list[tuple[str, str]]:
    """Return where to look for a model's price: ids of providers and names in lower case, the closest first.

    The provider is `""` where the model's name alone has to say whose it is.
    """
    seller, name = _resource(provider_id(provider), model.strip().lower())
    anybody = seller in _ANYBODY
    if anybody and (name.startswith(_OWN_MACHINE) or _OWN_WEIGHTS.fullmatch(name)):
        return []
    found = [(seller, name)] if seller == "openai" or not anybody else []
    head, tail = _split(name)
    while tail:
        if anybody:
            seller = provider_id(head)
            anybody = seller in _ANYBODY
            if anybody is False and seller not in _LISTED:
                return [*found, ("", name)]
        name = tail
        if seller == "openai" or not anybody:
            found.append((seller, name))
        head, tail = _split(name)
    if anybody:
        found.append(("aws" if _BEDROCK.fullmatch(name) else "openai" if name.startswith("ft:") else "", name))
    # The last resort: a new issue of a model costs what the model does, until the list says otherwise.
    return list(dict.fromkeys((*found, *((who, _DATED.sub("", what)) for who, what in found))))


def _resource(seller: str, name: str) -> tuple[str, str]:
    """Take a model's name out of a cloud's name for it."""
    if arn := _ARN.fullmatch(name):
        return "aws", arn[1]
    if path := _GOOGLE.fullmatch(name):
        return "google" if seller in _ANYBODY else seller, path[1]
    return seller, name


def _split(name: str) -> tuple[str, str]:
    """Split `openai/gpt-4o` and `openai:gpt-4o` into front and rest; the rest is empty without a front."""
    head, mark, tail = name.partition("/")
    if not mark:
        head, mark, tail = name.partition(":")
        if provider_id(head) not in _LISTED:
            return name, ""
    return head, tail
