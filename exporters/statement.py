"""The ledger as a table: for who pays, by day or month, agent, model and source."""

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path

from exporters.ledger import NOTHING, Rows, Took, Who, plus
from exporters.state import read_only

_COUNTS = ("calls", "input", "output", "unsplit", "without usage", "unpriced")
HEAD = ("period", *Who._fields, *_COUNTS, "cost in USD")


def statement(directory: Path, by: str, form: str) -> Iterable[str]:
    """Yield the lines of the ledger in a state directory, also while an exporter uses it. Raises StateError."""
    with read_only(directory) as kept:
        rows = periods(kept.days(), by)
        zone = kept.zone
    if form == "json":
        names = [name.replace(" ", "_") for name in HEAD]
        return (json.dumps({"zone": zone, **dict(zip(names, row, strict=True))}, ensure_ascii=False) for row in rows)
    if form == "csv":
        return (_csv(row) for row in (HEAD, *rows))
    return table([(f"{by} ({zone})", *HEAD[1:]), *map(_spoken, rows)], 1 + len(Who._fields))


def periods(days: Rows, by: str) -> list[tuple[str | float | None, ...]]:
    """Return one row for each period and who; a cost or a number of tokens that is unknown is None."""
    found: dict[tuple[str, Who], Took] = {}
    for day, rows in days.items():
        for who, took in rows.items():
            key = (day if by == "day" else day[:7], who)
            found[key] = plus(found.get(key, NOTHING), took)
    return [(period, *who, *_numbers(took)) for (period, who), took in sorted(found.items())]


def _numbers(took: Took) -> tuple[float | None, ...]:
    tokens = (took.input_tokens, took.output_tokens, took.unsplit_tokens)
    known = tokens if took.tokens is not None else (None, None, None)
    return (took.calls, *known, took.without_usage, took.unpriced, took.cost)


def _csv(row: Iterable[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(_harmless(cell) for cell in row)
    return line.getvalue()


def _harmless(cell: object) -> object:
    """A name that a spreadsheet would run as a formula is written as text."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@")) else cell


def _spoken(row: tuple[str | float | None, ...]) -> tuple[str, ...]:
    *cells, cost = row
    spoken = tuple("unknown" if cell is None else cell if isinstance(cell, str) else f"{cell:,.0f}" for cell in cells)
    return (*spoken, "unknown" if cost is None else f"{cost:,.4f}")


def table(rows: list[tuple[str, ...]], names: int) -> Iterable[str]:
    """Yield lines with `names` columns of names to the left, then numbers to the right, as wide as the widest."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if place < names else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
