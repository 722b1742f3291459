"""Generated files: written, or compared with what is committed."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def publish(files: Mapping[Path, str], *, arguments: Sequence[str], folders: Sequence[Path] = (), program: str) -> int:
    """Write files where they differ; with `--check` among the arguments write nothing and name the stale.

    `folders` are directories that hold nothing but generated files: others in them, hidden ones aside,
    are left over from an older catalogue, so they are removed, or named. Returns the exit
    code: 1 when something is stale and was only checked, else 0.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {program}")
    parser.add_argument("--check", action="store_true", help="write nothing; name stale files and exit 1")
    check = parser.parse_args(arguments).check
    stale = [path for path, text in files.items() if _differs(path, text)]
    left_over = sorted(path for folder in folders for path in _inside(folder) - set(files))
    for path in [*stale, *left_over]:
        print(
            f"{'stale' if check else 'written' if path in files else 'removed'}: {os.path.relpath(path)}",
            file=sys.stderr,
        )
    if check:
        if stale or left_over:
            print(f"Run `python -m {program}` and commit what it writes.", file=sys.stderr)
        return int(bool(stale or left_over))
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path], encoding="utf-8")
    for path in left_over:
        path.unlink()
    return 0


def _differs(path: Path, text: str) -> bool:
    return not path.is_file() or path.read_text(encoding="utf-8") != text


def _inside(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")}
