"""The demo's budgets: one that is well, one nearly spent and one overspent, whatever the day of the month is."""

import math
import time
from pathlib import Path
from urllib.parse import quote

from exporters.aggregate import Aggregate
from exporters.budgets.period import period_of
from exporters.days import zone_of
from exporters.ledger import UTC
from exporters.once import read
from exporters.runs import IDLE_SECONDS
from exporters.sources import open_source

# Name, agent, period, and the share of the amount that is spent by now; the rest of the agents have no budget.
_BUDGETS = (
    ("Research", "research", "month", 0.4),
    ("Support", "support", "month", 0.87),
    ("Coding", "coding", "month", 1.12),
    ("Triage, by day", "triage", "day", 0.6),
)


def write(path: Path, directory: Path) -> None:
    """Write a file of budgets for what the demo has written into a folder; an existing file is left alone.

    Raises OSError, SourceError.
    """
    if path.exists():
        return
    source = open_source(f"createagents://{quote(str(directory.resolve()))}")
    with read([source], Aggregate(time.time), idle=IDLE_SECONDS) as runner:
        _, days = runner.ledger.news(anew=True)
    entries = []
    for name, agent, kind, used in _BUDGETS:
        spent = {
            day: math.fsum(took.cost or 0.0 for who, took in rows.items() if who.agent == agent)
            for day, rows in days.items()
        }
        first = period_of(time.time(), kind, zone_of(UTC)).first.isoformat()
        so_far = math.fsum(cost for day, cost in spent.items() if day >= first)
        # At a period's beginning nothing is spent yet: then as at the end of a usual day.
        amount = max(so_far, math.fsum(spent.values()) / max(1, len(spent))) / used or 1.0
        scope = f"source: {source.name}, agent: {agent}"
        entries.append(f'  - {{name: "{name}", {scope}, amount: {float(f"{amount:.2g}"):g}, period: {kind}}}\n')
    path.write_text("# What the demo's agents may spend, in USD; see docs/budgets.md.\nbudgets:\n" + "".join(entries))
