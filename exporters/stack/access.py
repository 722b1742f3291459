"""The password between the guard and what is behind it: made anew at each start, known to the guard alone."""

import secrets
from pathlib import Path

import bcrypt

from exporters.stack.settings import Settings, write_private

USER = "agentgauge"
# Where the guard is told it.
PASSWORD = "AGENTGAUGE_GUARD_PASSWORD"  # noqa: S105 -- the name of a variable
# The lowest that there is: what is random in 256 bits is not guessed, however fast a guess is.
_COST = 4


def options(settings: Settings) -> tuple[str, ...]:
    """Return how Prometheus and Alertmanager are told to ask for the password.

    https://prometheus.io/docs/prometheus/latest/configuration/https/
    """
    return (f"--web.config.file={_file(settings)}",)


def make(settings: Settings) -> str:
    """Return a new password, once its hash is written for those who ask for it."""
    password = secrets.token_urlsafe(32)
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(_COST)).decode()
    write_private(_file(settings), f"basic_auth_users: {{{USER}: '{hashed}'}}\n")
    return password


def _file(settings: Settings) -> Path:
    return settings.home / "web.yml"
