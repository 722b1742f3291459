"""`python -m exporters.stack.launch FILE COMMAND...`: become a command with the environment of a file, and no other.

The supervisor gives all of its children one environment. This way it has no secret, and each part only its own.
"""

import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Replace this process by the command; does not return. OSError where the file or the program is not there."""
    file, *command = sys.argv[1:]
    environment: dict[str, str] = json.loads(Path(file).read_text("utf-8"))
    os.execvpe(command[0], command, environment)  # noqa: S606 -- a part's own command line


if __name__ == "__main__":
    main()
