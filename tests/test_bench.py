"""The benchmark measures what it says: its folder, its program for mtail, its table."""

import json
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
from bench import store
from bench.figures import Figure, table

from exporters.sources.llm_metrics.generations import Page, translate
from exporters.sources.llm_metrics.rows import FIELDS
from tests.bench import queries, sql, tuples

PLAIN = Path(__file__).parent / "fixtures" / "createagents" / "plain"
PROGRAM = Path(__file__).parent / "bench" / "counters.mtail"


def test_a_copy_of_the_week_has_its_own_ids_and_days_and_is_otherwise_the_same() -> None:
    [source] = PLAIN.glob("*.jsonl")

    copies = [list(store.copy_of([source], number)) for number in (0, 1, 17)]

    assert [[name for name, _ in files] for files in copies] == [
        ["traces_2026-02-03.jsonl"],
        ["traces_2026-01-25.jsonl"],  # nine days earlier
        ["traces_2025-09-03.jsonl"],  # 153 days earlier
    ]
    first = [json.loads(line) for line in source.read_bytes().splitlines()]
    for number, files in zip((0, 1, 17), copies, strict=True):
        entries = [json.loads(line) for line in files[0][1].splitlines()]
        assert [entry.pop("timestamp")[10:] for entry in entries] == [entry["timestamp"][10:] for entry in first]
        assert len(files[0][1]) == source.stat().st_size
        for entry, original in zip(entries, first, strict=True):
            for name in ("trace_id", "run_id", "parent_run_id"):
                if name in entry:
                    prefix, digits = entry[name].split("-")
                    assert (prefix, digits[:2]) == (original[name].split("-")[0], f"{number:02x}")
                    assert digits[2:] == original[name].split("-")[1][2:]


@pytest.mark.skipif(shutil.which("mtail") is None, reason="mtail is not installed")
def test_mtail_counts_the_same_as_was_worked_out_by_hand() -> None:
    command = ["mtail", "-one_shot", "-one_shot_format", "prometheus", "-progs", str(PROGRAM), "-logtostderr"]
    done = subprocess.run(
        [*command, "-logs", f"{PLAIN}/*.jsonl"], capture_output=True, text=True, check=True, timeout=60
    )
    page = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines() if line and not line.startswith("#"))

    prog = 'prog="counters.mtail"'
    assert page[f"records_total{{{prog}}}"] == "35"
    assert page[f'inference_calls_total{{agent="support",model="gpt-4o-mini",outcome="ok",{prog}}}'] == "3"
    assert page[f'input_tokens_total{{agent="research",model="gpt-4.1",{prog}}}'] == "7320"
    assert page[f'output_tokens_total{{agent="notes",model="llama3.2",{prog}}}'] == "112"
    assert page[f'tool_calls_total{{agent="research",outcome="ok",{prog},tool="fetch_page"}}'] == "2"
    assert page[f'runs_total{{agent="support",outcome="ok",{prog}}}'] == "2"
    assert page[f'inference_duration_seconds_sum{{agent="research",model="gpt-4.1",{prog}}}'] == "8.25"


def test_the_table_says_what_was_reached() -> None:
    figures = [
        Figure(what="speed", ours="3", other="1", ratio=3.0, wanted="2", reached=True),
        Figure(what="cost", ours="5 ms"),
    ]
    assert table(figures) == (
        "| What  | Ours | Beside it | Ratio | To reach | Reached |\n"
        "| ----- | ---- | --------- | ----- | -------- | ------- |\n"
        "| speed | 3    | 1         | 3.00  | 2        | yes     |\n"
        "| cost  | 5 ms |           |       |          |         |"
    )


def test_a_database_has_the_rows_that_are_measured_and_its_floor_selects_what_the_exporter_does(tmp_path: Path) -> None:
    path = tmp_path / "rows.db"

    sql.make(path, 50)

    with sqlite3.connect(path) as db:
        selected = db.execute(tuples.SELECT)
        rows = selected.fetchall()
        assert len(selected.description) == len(FIELDS)
    found = translate(Page(rows=rows, zeros=True, unit=1000.0), "")
    calls = [span for span in found.spans if span.kind == "inference"]
    assert (found.records, len(calls), found.bad) == (50, 50, {})
    assert all(span.duration and span.time_to_first_chunk == 0.25 and span.cost and span.agent for span in calls)


def test_a_board_is_asked_as_grafana_asks_when_it_is_opened() -> None:
    board = {
        "templating": {
            "list": [{"type": "datasource", "name": "datasource"}, {"type": "query", "name": "agent", "allValue": ".*"}]
        },
        "panels": [
            {"type": "row", "title": "Where"},
            {
                "title": "Spend",
                "targets": [{"instant": True, "expr": 'sum(increase(x{a=~"$agent"}[$__range]))'}],
            },
            {
                "title": "Rate",
                "maxDataPoints": 120,
                "targets": [{"instant": False, "interval": "1m", "expr": "rate(y[$__rate_interval])"}],
            },
            {"title": "Level", "targets": [{"instant": False, "expr": "z"}]},
        ],
    }

    spend, rate, level = queries.asked(board, queries.seconds_of("now-6h"), 1_000_000.0)

    assert (spend.path, spend.form) == (
        "query", {"query": 'sum(increase(x{a=~".*"}[21600s]))', "time": "1000000.000"},
    )  # fmt: skip
    # 21,600 s in 120 points are steps of 180 s, and a window is a step and an interval more: 240 s.
    times = {"start": "978400.000", "end": "1000000.000"}
    assert (rate.panel, rate.path, rate.form) == (
        "Rate", "query_range", {"query": "rate(y[240s])", "step": "180", **times},
    )  # fmt: skip
    # In 1,000 points it is 22 s.
    assert level.form == {"query": "z", "step": "22", **times}
    assert queries.seconds_of("now-30d/d") == 30 * 86_400
