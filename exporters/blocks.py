"""Prometheus' data directory: pages of history become blocks in it with promtool, each stretch of time once."""

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from exporters.sources import SourceError

# promtool reads a page once for each block that it spans, so each page is one block: 18 h is one of the sizes
# that Prometheus itself compacts to, and so is 6 h, in which the last day is written, whose steps are finer.
BLOCK = 64800
SMALL_BLOCK = 21600
# What has been written, beside the blocks: Prometheus passes over it, and it goes when they go.
WRITTEN = "agentgauge-backfill.jsonl"


class Stretch(msgspec.Struct, frozen=True):
    """From which sample to which one, in Unix seconds, the series of sources with these labels have been written,
    and the blocks that were made of them."""

    first: float
    last: float
    sources: list[str]
    labels: dict[str, str]
    blocks: list[str] = []

    def covers(self, source: str, at: float) -> bool:
        """Return whether a source's samples of a time are written."""
        return source in self.sources and self.first <= at <= self.last


@dataclass(frozen=True, kw_only=True)
class Page:
    """A file of samples in OpenMetrics for one block, and what it holds."""

    path: Path
    samples: int
    stretch: Stretch


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Stretch).decode


def promtool() -> str:
    """Return promtool's path. Raises SourceError when there is none."""
    found = shutil.which("promtool")
    if found is None:
        raise SourceError("promtool is not on the PATH; install Prometheus, or write files with --openmetrics")
    return found


@contextmanager
def drafts(directory: Path) -> Iterator[Path]:
    """Make the data directory if need be, and yield an empty one beside it, from which blocks are renamed into it,
    whole. What a killed run left there goes. Raises SourceError when another run uses it."""
    directory.mkdir(parents=True, exist_ok=True)
    place = directory.parent / f".{directory.name}.backfill"
    place.mkdir(mode=0o700, exist_ok=True)
    held = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A promtool may have outlived the run that was killed, and still be at work in there: a name of one's own.
        for left in place.iterdir():
            shutil.rmtree(left, ignore_errors=True)
        yield Path(tempfile.mkdtemp(dir=place))
    except BlockingIOError:
        raise SourceError(f"{directory}: another backfill writes into it; wait until it is done") from None
    else:
        shutil.rmtree(place, ignore_errors=True)
    finally:
        os.close(held)


def written(directory: Path, labels: Mapping[str, str]) -> list[Stretch]:
    """Return what earlier runs have written into a data directory under these labels.

    A stretch is noted before its blocks are put in their place, so that a kill in between is found out: one whose
    blocks are not there, nor in what Prometheus has made of them, was not written. Raises SourceError.
    """
    path = directory / WRITTEN
    if not path.exists():
        return []
    try:
        noted = [_decode(line) for line in path.read_bytes().splitlines() if line.endswith(b"}")]
    except msgspec.MsgspecError as error:
        raise SourceError(f"{path}: cannot be read: {error}; remove it to write all history anew") from None
    there = _blocks_of(directory)
    return [stretch for stretch in noted if stretch.labels == labels and there.issuperset(stretch.blocks)]


def _blocks_of(directory: Path) -> set[str]:
    """Return every block there is, and those that Prometheus has put together into them."""
    found: set[str] = set()
    for meta in directory.glob("*/meta.json"):
        found.add(meta.parent.name)
        try:
            found.update(json.loads(meta.read_bytes()).get("compaction", {}).get("sources", ()))
        except (OSError, ValueError):
            continue  # a block that is being removed
    return found


def load(program: str, page: Page, directory: Path) -> int:
    """Make blocks of a page, which goes, note it, and put them into the data directory; return how many.

    Raises SourceError when promtool fails, or has not taken every sample: what is out of order it drops without a
    word.
    """
    made = page.path.with_suffix(".blocks")
    command = [program, "tsdb", "create-blocks-from", "openmetrics", f"--max-block-duration={BLOCK}s"]
    done = subprocess.run([*command, str(page.path), str(made)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SourceError(f"promtool: {((done.stderr or done.stdout).strip().splitlines() or ['failed'])[-1]}")
    blocks = [block for block in made.iterdir() if (block / "meta.json").exists()]
    taken = sum(_samples(block) for block in blocks)
    if taken != page.samples:
        raise SourceError(f"promtool: took {taken} of the {page.samples} samples of a page; nothing of it was kept")
    page.path.unlink()
    _note(directory, msgspec.structs.replace(page.stretch, blocks=[block.name for block in blocks]))
    for block in blocks:
        block.rename(directory / block.name)
    return len(blocks)


def _samples(block: Path) -> int:
    meta: dict[str, Any] = json.loads((block / "meta.json").read_bytes())
    return int(meta["stats"]["numSamples"])


def _note(directory: Path, stretch: Stretch) -> None:
    # One write of one line: threads do not mix theirs, and a line that a power cut leaves half is passed over.
    with (directory / WRITTEN).open("ab", buffering=0) as file:
        file.write(b"\n" + _encode(stretch))
        os.fsync(file.fileno())


def covered(stretches: Iterable[Stretch], source: str, at: float) -> bool:
    """Return whether a source's samples of a time are in one of the stretches."""
    return any(stretch.covers(source, at) for stretch in stretches)
