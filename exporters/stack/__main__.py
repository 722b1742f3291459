"""`python -m exporters.stack up|down|status|logs|drill`: what `make up` and its sisters call."""

import argparse
import os
import sys

from exporters.stack import compose, processes
from exporters.stack.settings import Settings, StackError, load, recall

# Both rooms offer these and is_running, each taking the settings.
_VERBS = ("up", "down", "status", "logs", "drill")


def main() -> int:
    """Carry out one verb where the stack runs, or where it would; return the exit code (2: refused)."""
    parser = argparse.ArgumentParser(prog="python -m exporters.stack", description=__doc__)
    parser.add_argument("verb", choices=_VERBS)
    verb = parser.parse_args().verb
    # What is written here belongs to whoever typed the command.
    os.umask(0o077)
    try:
        settings = load()
        room = compose if _in_docker(settings) else processes
        if verb != "up" or room.is_running(settings):
            settings = recall(settings)
        return int(getattr(room, verb)(settings))
    except StackError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _in_docker(settings: Settings) -> bool:
    """Say where: what runs stays where it is; else as AGENTGAUGE_STACK says; else in Docker when an engine answers."""
    if settings.mode:
        return settings.mode == "compose"
    return not processes.is_running(settings) and compose.answers(settings)


if __name__ == "__main__":
    sys.exit(main())
