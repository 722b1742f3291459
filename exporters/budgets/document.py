"""The file of budgets: who may spend how much in which period."""

from collections.abc import Callable, Collection
from fnmatch import translate
from pathlib import Path
from re import compile as pattern
from typing import Annotated

import msgspec

from exporters.budgets.period import PERIODS
from exporters.days import ZoneError, zone_of
from exporters.declarations import convert, read_entries
from exporters.ledger import Who
from exporters.sources import SourceError

# Each is some fifteen series.
MOST = 100
# What is of no budget stands under this name beside the budgets.
NOBODY = "(no budget)"


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An amount in USD for a period, of the calls whose names its globs all match; an empty one matches any."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    amount: Annotated[float, msgspec.Meta(gt=0, le=1_000_000_000)]
    period: str
    source: str = ""
    environment: str = ""
    agent: str = ""
    model: str = ""
    zone: str = ""


def read_budgets(path: Path, zone: str) -> tuple[Budget, ...]:
    """Read a file of budgets, whose days are to be those of the ledger's zone; "" while that is not known.

    Raises SourceError with one line that names file, entry and field.
    """
    entries = read_entries(path, under="budgets", help_page="docs/budgets.md")
    if len(entries) > MOST:
        raise SourceError(f"{path}: has {len(entries)} budgets, more than {MOST}; leave some out")
    found: dict[str, Budget] = {}
    for number, entry in enumerate(entries, 1):
        name = entry.get("name") if isinstance(entry, dict) else None
        named = f"{path}: entry {number}" + (f" ({name})" if isinstance(name, str) else "")
        budget = convert(entry, Budget, named)
        if wrong := _wrong(budget, found.keys(), zone):
            raise SourceError(f"{named}: {wrong}")
        found[budget.name] = budget
    return tuple(found.values())


def _wrong(budget: Budget, others: Collection[str], zone: str) -> str:
    """Return what is wrong with a budget beside the kinds of its fields; nothing where all is well."""
    if budget.name in others:
        return "name: is there twice; each budget has its own"
    if not budget.name.isprintable() or budget.name != budget.name.strip() or budget.name == NOBODY:
        return f"name: should be printable text without blanks around it, and not {NOBODY}"
    if budget.period not in PERIODS:
        return f"period: '{budget.period}' is none of {', '.join(PERIODS)}"
    try:
        zone_of(budget.zone or "UTC")
    except ZoneError as error:
        return f"zone: {error}"
    # A day of the ledger is one sum: it cannot be divided into days that begin at another hour.
    if zone and budget.zone not in ("", zone):
        return (
            f"zone: is {budget.zone}, and the ledger's days are of {zone}; leave it out, or keep a state of its own "
            f"with --zone {budget.zone}"
        )
    return ""


def matcher(budget: Budget) -> Callable[[Who], bool]:
    """Return what says whether a row of the ledger is of a budget's scope; without regard to case."""
    globs = [pattern(translate(glob.lower())).fullmatch if glob else None for glob in scope(budget)]
    return lambda who: all(glob is None or glob(name.lower()) for glob, name in zip(globs, who, strict=True))


def scope(budget: Budget) -> Who:
    """Return a budget's globs in the order of a row's names."""
    return Who(budget.source, budget.environment, budget.agent, budget.model)
