"""What may stand in arguments of the command line: times, zones, labels and their limits, each read or refused.

What is refused raises argparse.ArgumentTypeError, which argparse tells in one line.
"""

import argparse
import os
import re
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from exporters.days import ZoneError, zone_of
from exporters.feed import PLANS
from exporters.sources import seconds_of


def label(text: str) -> tuple[str, str]:
    """Read `name=value`, of a label that Prometheus has."""
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[a-zA-Z_]\w*", name) or re.search(r'["\\\n]', value):
        raise argparse.ArgumentTypeError(f"'{text}' is not a label such as instance=127.0.0.1:9464")
    return name, value


def state_home() -> Path:
    """Return where the state is kept unless it is said."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "agentgauge"


def file(variable: str) -> Path | None:
    """Return the file that a variable of the environment names; None if it names none."""
    named = os.environ.get(variable)
    return Path(named) if named else None


def duration(text: str) -> float:
    """Read a time such as 30d, in seconds."""
    try:
        return seconds_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def zone(text: str) -> str:
    """Read the name of a zone of the calendar; empty is none."""
    try:
        return zone_of(text).key if text else ""
    except ZoneError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def moment(text: str) -> float:
    """Return the Unix seconds of a date, in UTC unless it says otherwise, or of a duration ago."""
    with suppress(ValueError):
        return time.time() - seconds_of(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is neither a date such as 2026-11-01 nor a duration") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def positive(text: str) -> int:
    """Read a whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def label_limit(text: str) -> tuple[str, int]:
    """Read `50`, `gen_ai_agent_name=50` or `tool.gen_ai_agent_name=50`; the label is empty for all of them."""
    label, _, number = text.rpartition("=")
    known = {name for kind, plan in PLANS.items() for own in plan.labels for name in (own, f"{kind}.{own}")}
    if label and label not in known:
        names = ", ".join(sorted(name for name in known if "." not in name))
        raise argparse.ArgumentTypeError(f"'{label}' is not a label of spans; there are {names}")
    return label, positive(number)
