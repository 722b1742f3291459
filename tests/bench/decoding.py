"""Reads and decodes every line of a folder into the source's structs, and does nothing else.

`python -m tests.bench.decoding DIR` is what `agentgauge once` is measured against.
"""

import sys
from pathlib import Path

from exporters.sources.createagents.lines import decode
from tests.bench.store import files


def main(directory: Path) -> None:
    for path in files(directory):
        with path.open("rb", buffering=1 << 20) as file:
            for line in file:
                decode(line)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
