"""The key pair of a Langfuse project: from the environment or from files, never from a URL."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from exporters.sources import SourceError

# What Langfuse's own SDKs call the host that the keys of the environment belong to, the newest name first.
_HOSTS = ("LANGFUSE_BASE_URL", "LANGFUSE_HOST")


@dataclass(frozen=True)
class Keys:
    """What HTTP Basic authentication takes. Neither is shown by `repr`."""

    public: str = field(repr=False)
    secret: str = field(repr=False)


def origin_of(url: SplitResult) -> str:
    """Return the address of a project's API such as `https://cloud.langfuse.com`, with a base path if it has one.

    Raises SourceError when the URL carries keys, or names no host. The URL itself is never said: it may hold a key.
    """
    scheme = url.scheme.removeprefix("langfuse+")
    if "@" in url.netloc:
        raise SourceError(
            f"{url.scheme}://{url.netloc.rpartition('@')[2]}: keys do not belong into the URL, where logs and process "
            "lists show them; set LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY instead"
        )
    try:
        port = url.port
    except ValueError:
        raise SourceError(f"{url.scheme}://{url.netloc}: the port should be a number up to 65535") from None
    if not url.hostname:
        raise SourceError(f"{url.scheme}://: write the host, as in {url.scheme}://cloud.langfuse.com")
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    return f"{scheme}://{host}{f':{port}' if port else ''}{url.path.rstrip('/')}"


def keys_for(origin: str, own: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> Keys:
    """Return the keys of a source: of the files that its options name, else of the environment.

    Keys of the environment go to the host that LANGFUSE_BASE_URL (or LANGFUSE_HOST) names, if one is named: a changed
    URL must not carry them elsewhere (CVE-2026-41487 of Langfuse itself). Raises SourceError.
    """
    if "public_key_file" in own or "secret_key_file" in own:
        return Keys(*(_read(own.get(name, ""), f"?{name}=") for name in ("public_key_file", "secret_key_file")))
    for name in _HOSTS:
        meant = environment.get(name, "").strip()
        if meant:
            if _host(meant) != _host(origin):
                raise SourceError(
                    f"{origin}: the keys of the environment are for {name}, which is another host; change {name}, "
                    "or give this host's keys with ?public_key_file=...&secret_key_file=..."
                )
            break
    found = [_of_environment(f"LANGFUSE_{name}_KEY", environment) for name in ("PUBLIC", "SECRET")]
    missing = [f"LANGFUSE_{name}_KEY" for name, key in zip(("PUBLIC", "SECRET"), found, strict=True) if not key]
    if missing:
        raise SourceError(f"{origin}: set {' and '.join(missing)}, or the file of it as {missing[0]}_FILE")
    return Keys(*found)


def _host(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url if "://" in url else f"https://{url}")
    try:
        port = parts.port
    except ValueError:
        port = None
    return parts.scheme, parts.hostname or "", port or (80 if parts.scheme == "http" else 443)


def _of_environment(name: str, environment: Mapping[str, str]) -> str:
    given = environment.get(name, "").strip()
    file = environment.get(f"{name}_FILE", "")
    return given or (_read(file, f"{name}_FILE") if file else "")


def _read(path: str, name: str) -> str:
    """Read a key from a file, without the newline that editors put at its end."""
    try:
        key = Path(path).read_text("ascii").strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not plain text"
        raise SourceError(f"{name}: the key's file {path!r} cannot be read: {why}") from None
    if not key or not key.isprintable():
        raise SourceError(f"{name}: the key's file {path!r} should hold one key and nothing else")
    return key
