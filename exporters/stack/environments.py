"""What each process of the stack has in its environment: what every process needs, and what it needs itself."""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from exporters.stack.parts import Part
from exporters.stack.settings import Settings, write_private

# None of these is a secret. AGENTGAUGE_HOME says whose process it is.
EVERYWHERE = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_*", "TZ", "TMPDIR", "AGENTGAUGE_HOME"),
    *("PYTHON*", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)


def select(environment: Mapping[str, str], needs: Iterable[str] = ()) -> dict[str, str]:
    """Return the variables that every process has and those that `needs` names; a `*` stands for anything."""
    patterns = (*EVERYWHERE, *needs)
    return {
        name: value for name, value in environment.items() if any(fnmatchcase(name, pattern) for pattern in patterns)
    }


def write(settings: Settings, running: Sequence[Part], environment: Mapping[str, str]) -> None:
    """Write each part's environment into a file for its owner only, from which it is started, and started again."""
    _folder(settings).mkdir(mode=0o700, exist_ok=True)
    for part in running:
        write_private(file(settings, part), json.dumps(select(environment, part.needs)))


def remove(settings: Settings) -> None:
    """Take the files away once nothing runs: what somebody set for one start should not stay."""
    shutil.rmtree(_folder(settings), ignore_errors=True)


def file(settings: Settings, part: Part) -> Path:
    """Return where a part's environment stands while it runs."""
    return _folder(settings) / f"{part.name}.json"


def _folder(settings: Settings) -> Path:
    return settings.home / "environment"
