"""Rows per second of `agentgauge once` on an llm_metrics database, against the bare SELECT; its memory."""

import re
import sqlite3
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from tests.bench.figures import Figure, Rounds
from tests.bench.processes import AGENTGAUGE, ROOT, take

_ROUNDS = 5
_SCHEMA = ROOT / "tests" / "fixtures" / "llm_metrics" / "b" / "store.sql"
_FIRST = datetime(2025, 6, 1, tzinfo=UTC).replace(tzinfo=None)
_AGENTS = ("code_developer", "planner", "reviewer", "architect")
_MODELS = ("openai/gpt-4o", "gpt-4-turbo", "anthropic/claude-3-5-sonnet", "gemini/gemini-2.5-flash")


def figures(directory: Path, core: int, rows: int) -> list[Figure]:
    """Measure on a database of so many rows and one of four times as many; both are made when they are not there."""
    single, fourfold = directory / "single.db", directory / "fourfold.db"
    make(single, rows)
    make(fourfold, 4 * rows)
    rounds = Rounds()
    for _ in range(_ROUNDS):
        before = _bare(single, core)
        once = take([*AGENTGAUGE, "once", f"llm-metrics://{single}"], core)
        rounds.add(before, once.cpu, _bare(single, core))
    more = take([*AGENTGAUGE, "once", f"llm-metrics://{fourfold}"], core)
    return [
        rounds.figure("`once` on SQLite against the bare SELECT of the same columns", rows, "rows", 0.25),
        Figure(
            what=f"peak memory of `once`: {rows:,} rows of SQLite, and four times as many",
            ours=f"{more.memory / 1e6:.0f} MB",
            other=f"{once.memory / 1e6:.0f} MB",
            ratio=more.memory / once.memory,
            wanted="at most 200 MB, and the same",
            reached=max(once.memory, more.memory) <= 200e6 and more.memory <= 1.1 * once.memory,
        ),
    ]


def _bare(path: Path, core: int) -> float:
    """Return the seconds of CPU that the bare SELECT takes."""
    return take([sys.executable, "-m", "tests.bench.tuples", str(path)], core).cpu


def make(path: Path, rows: int) -> None:
    """Write a database of layout B with so many calls, two to five a trace; done once."""
    if path.exists():
        return
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    db = sqlite3.connect(draft)
    db.execute("PRAGMA journal_mode = OFF")
    db.execute("PRAGMA synchronous = OFF")
    for statement in re.findall(r"^CREATE .*?;$", _SCHEMA.read_text(), re.DOTALL | re.MULTILINE):
        db.execute(statement)
    made, traces = 0, _traces(Random(7))
    while made < rows:
        trace, calls = next(traces)
        calls = calls[: rows - made]
        db.execute(f"INSERT INTO traces ({', '.join(trace)}) VALUES ({_places(trace)})", list(trace.values()))
        for call in calls:
            db.execute(f"INSERT INTO generations ({', '.join(call)}) VALUES ({_places(call)})", list(call.values()))
        made += len(calls)
    db.commit()
    db.close()
    draft.rename(path)


def _places(row: dict[str, Any]) -> str:
    return ", ".join("?" * len(row))


def _traces(random: Random) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Traces one after another, as the export of layout B writes them, with prompts of a few hundred characters."""
    begin = _FIRST
    while True:
        begin += timedelta(seconds=random.random() * 20)
        agent, trace = random.choice(_AGENTS), str(UUID(int=random.getrandbits(128)))
        calls = []
        for number in range(random.randint(2, 5)):
            start = begin + timedelta(seconds=3 * number + random.random())
            end = start + timedelta(seconds=0.5 + 2 * random.random())
            model, given, taken = random.choice(_MODELS), random.randint(1, 5000), random.randint(1, 800)
            calls.append({
                "id": str(UUID(int=random.getrandbits(128))), "trace_id": trace, "name": f"{model}_generation",
                "model": model, "input": "What now? " * 30, "output": "So. " * 40, "input_tokens": given,
                "output_tokens": taken, "total_tokens": given + taken, "input_cost": given * 1e-5,
                "output_cost": taken * 3e-5, "total_cost": given * 1e-5 + taken * 3e-5,
                "latency_ms": (end - start).total_seconds() * 1000, "created_at": start.isoformat(),
                "metadata": f'{{"agent": "{agent}", "model": "{model}"}}', "completion_end_time": end.isoformat(),
                "completion_start_time": (start + timedelta(seconds=0.25)).isoformat(),
            })  # fmt: skip
        row = {
            "id": trace, "name": f"{agent}_task", "user_id": "user_9", "session_id": "session_18",
            "trace_metadata": f'{{"agent": "{agent}", "priority": {random.randint(1, 3)}}}',
            "created_at": begin.isoformat(), "tags": f'["{agent}", "production"]',
        }  # fmt: skip
        yield row, calls
