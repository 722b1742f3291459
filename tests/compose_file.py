"""docker-compose.yml as Compose resolves it, worked out here: for tests where there is no Docker."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).parents[1] / "docker-compose.yml"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-+?]")


class MissingError(Exception):
    """A variable that has to be set is not, with what the file says of that."""


def interpolate(text: str, env: Mapping[str, str]) -> str:
    """Put variables in place of their names, by the rules of Compose (github.com/compose-spec, 12-interpolation.md)."""
    parts = []
    at = 0
    while (dollar := text.find("$", at)) >= 0:
        parts.append(text[at:dollar])
        if text.startswith("$$", dollar):
            parts.append("$")
            at = dollar + 2
        elif text.startswith("${", dollar):
            end = _closing(text, dollar + 2)
            parts.append(_braced(text[dollar + 2 : end], env))
            at = end + 1
        else:
            name = _NAME.match(text, dollar + 1)
            assert name, f"a $ that names nothing: {text}"
            parts.append(env.get(name[0], ""))
            at = name.end()
    return "".join(parts) + text[at:]


def _closing(text: str, at: int) -> int:
    """Where the brace ends that was opened before `at`."""
    depth = 1
    while depth:
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        at += 1
    return at - 1


def _braced(inner: str, env: Mapping[str, str]) -> str:
    name = _NAME.match(inner)
    assert name, inner
    rest = inner[name.end() :]
    if not rest:
        return env.get(name[0], "")
    operator = _OPERATOR.match(rest)
    assert operator, inner
    other = rest[operator.end() :]
    # With a colon, what is empty counts as not set.
    is_set = bool(env.get(name[0])) if operator[0].startswith(":") else name[0] in env
    if operator[0].endswith("+"):
        return interpolate(other, env) if is_set else ""
    if is_set:
        return env[name[0]]
    if operator[0].endswith("?"):
        raise MissingError(f"{name[0]} {interpolate(other, env)}")
    return interpolate(other, env)


def environment(service: str, env: Mapping[str, str]) -> dict[str, str]:
    """The variables that a service's container gets from the file; one without a value is passed on if it is set."""
    listed: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"][service].get("environment", {})
    return {
        name: interpolate(str(value), env) if value is not None else env[name]
        for name, value in listed.items()
        if value is not None or name in env
    }
