"""The folders that are measured: a week of the demo, again and again with fresh ids and times."""

import os
import re
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from exporters import demo

# The week ends here, so that the same folder is measured whenever it is made.
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC).timestamp()
_WEEK = timedelta(days=7)
# A copy begins nine days before the one after it: their files, which are local days, share no date.
_APART = 9
_ID = re.compile(rb'"((?:trace|run)-)[0-9a-f]{2}')
_STAMP = re.compile(rb'"timestamp": "(\d{4}-\d\d-\d\d)T')


def make(directory: Path, size: int) -> None:
    """Fill a folder with at least `size` bytes of lines; done once, a marker says that it is whole.

    A smaller folder beside it is a part of a larger one, so its files are linked, not copied.
    """
    whole = directory / "whole"
    if whole.exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    pool = week(directory.parent)
    made, copy = 0, 0
    while made < size:
        for path, text in copy_of(pool, copy):
            linked = directory.parent / "once" / path
            if directory.name != "once" and linked.exists():
                (directory / path).unlink(missing_ok=True)
                os.link(linked, directory / path)
            else:
                (directory / path).write_bytes(text)
            made += len(text)
        copy += 1
    whole.touch()


def files(directory: Path) -> list[Path]:
    """Return the files of a folder in the order in which they are read."""
    return sorted(directory.glob("traces_*.jsonl"))


def count(directory: Path) -> tuple[int, int]:
    """Return the lines and bytes of a folder; reads all of it, so that it is in the page cache."""
    lines = size = 0
    for path in files(directory):
        text = path.read_bytes()
        lines, size = lines + text.count(b"\n"), size + len(text)
    return lines, size


def week(directory: Path) -> list[Path]:
    """Return the files of the demo's week, which are made below a folder when they are not there."""
    made = directory / "week"
    if not made.exists():
        demo.run(
            made,
            history=_WEEK,
            rate=0.5,
            speed=1.0,
            seed=7,
            forever=False,
            now=lambda: NOON,
            stop=threading.Event(),
        )
    return files(made)


def copy_of(pool: list[Path], copy: int) -> Iterator[tuple[str, bytes]]:
    """Yield (file name, lines) of a week `copy` times nine days earlier, every id another one.

    The first two digits of an id are the copy's number; that two ids of the pool differ in those
    only, among some 50,000 of ten digits more, happens to one pool in 900.
    """
    for path in pool:
        day = date.fromisoformat(path.stem.removeprefix("traces_")) - timedelta(days=_APART * copy)
        text = path.read_bytes()
        text = _ID.sub(rb'"\g<1>%02x' % copy, text)
        stamps = {stamp: _earlier(stamp, copy) for stamp in set(_STAMP.findall(text))}
        for stamp, earlier in stamps.items():
            text = text.replace(b'"timestamp": "%sT' % stamp, b'"timestamp": "%sT' % earlier)
        yield f"traces_{day.isoformat()}.jsonl", text


def _earlier(stamp: bytes, copy: int) -> bytes:
    return (date.fromisoformat(stamp.decode()) - timedelta(days=_APART * copy)).isoformat().encode()
