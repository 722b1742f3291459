"""The files that createagents' file store writes: one a local day, more of them past 100 MiB."""

import json
from datetime import datetime
from pathlib import Path

from exporters.demo.framework import Entry

_MOST_BYTES = 100 * 1024 * 1024


def holds_traces(directory: Path) -> bool:
    """Say whether a folder has files of a trace store."""
    return next(directory.glob("traces_*.jsonl"), None) is not None


def write(directory: Path, at: float, entry: Entry) -> int:
    """Append a line to the file of its time (Unix seconds) in one write; return its length in bytes.

    The file is named by the local date. Once it holds 100 MiB, it stays, and each line goes to
    a file named by its local second. Raises OSError when the line cannot be written whole.
    """
    line = encode(entry)
    local = datetime.fromtimestamp(at)
    path = directory / f"traces_{local:%Y-%m-%d}.jsonl"
    if _size(path) >= _MOST_BYTES:
        path = directory / f"traces_{local:%Y-%m-%d_%H%M%S}.jsonl"
    with path.open("ab", buffering=0) as file:
        if file.write(line) < len(line):
            raise OSError(f"{path}: the disk took only a part of a line")
    return len(line)


def encode(entry: Entry) -> bytes:
    """Return the line of an entry, UTF-8, as the file store writes it."""
    return json.dumps(entry, default=str, ensure_ascii=False).encode() + b"\n"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
