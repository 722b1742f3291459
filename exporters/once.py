"""Reading stores to their end: what `agentgauge once` prints and `agentgauge check` looks into."""

import gc
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from exporters.aggregate import Aggregate
from exporters.declarations import Declaration
from exporters.objectives import Objectives
from exporters.runner import Runner
from exporters.sources import Source, SourceError
from exporters.span import Span


@contextmanager
def read(
    sources: Sequence[Source],
    aggregate: Aggregate,
    *,
    idle: float,
    zone: str = "",
    budgets: Path | None = None,
    objectives: Declaration[Objectives] | None = None,
    counted: Callable[[str, Sequence[Span]], None] | None = None,
) -> Iterator[Runner]:
    """Read sources to their end, with a progress bar on standard error where that is a terminal.

    The state is a directory for the moment, so that memory is bounded as it is for `serve`;
    `counted` is told the spans as they are counted; `zone` is that of the
    ledger's days, and `budgets` a file of them.
    Raises SourceError, OSError or StateError; a SourceError when the block is left, if a part of a
    store could not be read although the rest could: as of `cat`, what there is comes all the same.
    """
    with tempfile.TemporaryDirectory(prefix="agentgauge-") as directory, _frozen():
        runner = Runner(
            sources,
            Path(directory),
            aggregate,
            idle=idle,
            lasting=False,
            zone=zone,
            budgets=budgets,
            objectives=objectives,
            counted=counted,
        )
        files = all(source.reader.unit == "bytes" for source in sources)
        unit, thousand = ("B", 1024) if files else ("records", 1000)
        with tqdm(unit=unit, unit_scale=True, unit_divisor=thousand, disable=None, desc="reading") as bar:
            done: dict[str, int] = {}

            def progress(source: Source, read: int) -> None:
                done[source.name] = done.get(source.name, 0) + read
                bar.total = sum(done.values()) + source.reader.backlog()
                bar.update(read)

            runner.read_to_end(progress)
        runner.judge()
        try:
            yield runner
        finally:
            runner.stop()
        problems = [problem for source in sources if (problem := runner.standing.problem_of(source.name))]
        if problems:
            raise SourceError("; ".join(problems))


@contextmanager
def _frozen() -> Iterator[None]:
    """Do not look for cycles of garbage among what was loaded at the start."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
