"""Blocks of history: written once whatever is killed, run twice or put together, and refused when samples are lost."""

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import DEVNULL

import pytest
from createagents_lines import START, line
from test_backfill import MINI, agentgauge, backfill, prometheus, read
from whole_stack import until

from exporters.aggregate import Aggregate
from exporters.blocks import WRITTEN, Page, Stretch, covered, drafts, load, written
from exporters.runner import Runner
from exporters.sources import SourceError, open_source
from exporters.stack.debian import program
from exporters.state import read_only

pytestmark = pytest.mark.skipif(program("prometheus") is None, reason="needs prometheus")

DAY = 86_400.0


def blocks_of(data: Path) -> list[Path]:
    return sorted(meta.parent for meta in data.glob("*/meta.json"))


def samples_of(data: Path) -> int:
    return sum(json.loads((block / "meta.json").read_bytes())["stats"]["numSamples"] for block in blocks_of(data))


def call(number: int, at: float, tokens: int = 1000) -> bytes:
    return line(
        "llm.response", at, f"call-{number}", "run", trace=f"trace-{number}", model=MINI, duration_ms=1.0,
        input_tokens=tokens, output_tokens=0,
    )  # fmt: skip


def write(folder: Path, *lines: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    with (folder / "traces_2025-12-06.jsonl").open("ab") as file:
        file.write(b"".join(record + b"\n" for record in lines))
    return folder


@pytest.fixture(scope="module")
def weeks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A call each half hour of eight days."""
    return write(tmp_path_factory.mktemp("traces") / "traces", *(call(number, number * 1800) for number in range(384)))


@pytest.fixture(scope="module")
def whole(weeks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory after one run that nothing disturbed."""
    data = tmp_path_factory.mktemp("whole") / "data"
    backfill(weeks, "--into", data)
    return data


def test_a_run_that_was_killed_is_completed_by_the_next_and_nothing_is_there_twice(
    weeks: Path, whole: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    command = [sys.executable, "-m", "exporters", "backfill", "--into", str(data), f"createagents://{weeks}?name=hand"]

    def killed_at(blocks: int) -> bool:
        with subprocess.Popen(command, stdout=DEVNULL, stderr=DEVNULL) as process:
            until(lambda: process.poll() is not None or len(blocks_of(data)) >= blocks, "some blocks", 60)
            early = process.poll() is None
            process.send_signal(signal.SIGKILL)
        return early

    assert sum(map(killed_at, (1, 3, 6))) >= 2, "it was killed in the middle"
    assert len(blocks_of(data)) < len(blocks_of(whole))
    backfill(weeks, "--into", data)
    assert samples_of(data) == samples_of(whole)
    assert list(tmp_path.iterdir()) == [data], "what the killed runs left is gone"
    again = agentgauge("backfill", "--into", data, f"createagents://{weeks}?name=hand")
    assert again.stderr.endswith(f"agentgauge: 0 blocks of history in {data}\n")
    with prometheus(data) as server:
        end = START + 383 * 1800
        assert server.by("", "sum(increase(agentgauge_inference_calls_total[9d]))", end) == {"": 384.0}
        (series,) = server.raw('agentgauge_inference_calls_total{outcome="ok"}', 9 * 86400, end).values()
        assert len({moment for moment, _ in series}) == len(series)


def test_a_longer_history_and_an_earlier_beginning_add_what_is_missing(
    weeks: Path, whole: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    from_day_3, to_day_5 = (datetime.fromtimestamp(START + days * DAY, UTC).isoformat() for days in (3, 5))
    backfill(weeks, "--into", data, "--from", from_day_3, "--to", to_day_5)
    with prometheus(data) as server:
        # At the end of `--to`, the value that a counter had which was scraped from then on.
        assert server.by("", "sum(agentgauge_inference_calls_total)", START + 5 * DAY) == {"": 241.0}
        assert server.by("", "sum(agentgauge_inference_calls_total)", START + 3 * DAY - 60) == {}
    # The running server is not asked to forget: another copy goes on.
    backfill(weeks, "--into", data)
    assert samples_of(data) == samples_of(whole)
    with prometheus(data) as server:
        end = START + 383 * 1800
        assert server.by("", "sum(increase(agentgauge_inference_calls_total[9d]))", end) == {"": 384.0}


def test_another_source_and_other_labels_are_another_history(weeks: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    short = write(tmp_path / "short", call(1, 0), call(2, 3600))
    other = write(tmp_path / "other", call(1, 0), call(2, 3600))
    backfill(short, "--into", data)
    once = samples_of(data)
    done = agentgauge("backfill", "--into", data, f"createagents://{short}?name=hand", f"createagents://{other}?name=b")
    assert done.returncode == 0, done.stderr
    assert samples_of(data) == 2 * once
    backfill(short, "--into", data, "--label", "job=another")
    assert samples_of(data) == 3 * once


def test_a_second_run_at_the_same_time_is_refused(tmp_path: Path) -> None:
    refused = pytest.raises(SourceError, match="another backfill writes into it; wait until it is done")
    with drafts(tmp_path / "data"), refused, drafts(tmp_path / "data"):
        pass
    with drafts(tmp_path / "data") as place:
        assert list(place.iterdir()) == []


# What is noted.


def note(data: Path, *stretches: Stretch) -> None:
    data.mkdir(exist_ok=True)
    lines = (json.dumps({name: getattr(stretch, name) for name in stretch.__struct_fields__}) for stretch in stretches)
    (data / WRITTEN).write_text("\n" + "\n".join(lines))


def block(data: Path, name: str, *sources: str) -> None:
    (data / name).mkdir(parents=True)
    (data / name / "meta.json").write_text(json.dumps({"compaction": {"sources": [name, *sources]}}))


def test_a_stretch_counts_as_written_while_its_blocks_are_there_also_put_together(tmp_path: Path) -> None:
    labels = {"job": "agentgauge"}
    moved, killed, compacted = (
        Stretch(first=number, last=number + 9, sources=["s"], labels=labels, blocks=[name])
        for number, name in ((0.0, "A"), (10.0, "B"), (20.0, "C"))
    )
    elsewhere = Stretch(first=30.0, last=39.0, sources=["s"], labels={}, blocks=["A"])
    note(tmp_path, moved, killed, compacted, elsewhere)
    block(tmp_path, "A")
    block(tmp_path, "Z", "C", "D")
    found = written(tmp_path, labels)
    assert found == [moved, compacted]
    assert [covered(found, "s", at) for at in (0.0, 9.0, 9.5, 15.0, 25.0, 35.0)] == [
        True,
        True,
        False,
        False,
        True,
        False,
    ]
    assert not covered(found, "another", 5.0)


def test_a_note_that_a_power_cut_left_half_is_passed_over(tmp_path: Path) -> None:
    whole = Stretch(first=0.0, last=9.0, sources=["s"], labels={}, blocks=[])
    note(tmp_path, whole)
    with (tmp_path / WRITTEN).open("a") as file:
        file.write('\n{"first": 10.0, "la')
    assert written(tmp_path, {}) == [whole]
    assert written(tmp_path / "nothing", {}) == []
    (tmp_path / WRITTEN).write_text('{"first": "x"}')
    with pytest.raises(SourceError, match=r"cannot be read: .*; remove it to write all history anew"):
        written(tmp_path, {})


def test_a_sample_that_promtool_drops_without_a_word_is_told_and_nothing_kept(tmp_path: Path) -> None:
    path = tmp_path / "page.om"
    path.write_text('a_total{job="x"} 1 1765029600.000\na_total{job="x"} 2 1765029500.000\n# EOF\n')
    page = Page(path=path, samples=2, stretch=Stretch(0.0, 1.0, ["s"], {}))
    data = tmp_path / "data"
    data.mkdir()
    with pytest.raises(SourceError, match="promtool: took 1 of the 2 samples of a page; nothing of it was kept"):
        load(program("promtool") or "", page, data)
    assert list(data.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from", "yesterday"), "'yesterday' is neither a date such as 2026-11-01 nor a duration"),
        (("--from", "1d", "--to", "2d"), "agentgauge: --from should be before --to"),
    ],
)
def test_times_that_cannot_be_are_told(words: tuple[str, ...], said: str, weeks: Path, tmp_path: Path) -> None:
    done = agentgauge("backfill", "--into", tmp_path / "data", *words, f"createagents://{weeks}")
    assert done.returncode == 2
    assert done.stderr.strip().endswith(said)
    assert not (tmp_path / "data").exists()


# Ninety days of the demo.


def test_the_daily_increase_of_tokens_and_cost_is_the_ledgers(tmp_path: Path) -> None:
    traces, data = tmp_path / "traces", tmp_path / "data"
    made = agentgauge("demo", traces, "--history", "90d", "--rate", "0.05", "--once")
    assert made.returncode == 0, made.stderr
    done = agentgauge("backfill", "--into", data, "--step", "6h", f"createagents://{traces}?name=demo")
    assert done.returncode == 0, done.stderr
    runner = Runner(
        [open_source(f"createagents://{traces}?name=demo")], tmp_path / "state", Aggregate(time.time), idle=3600
    )
    runner.read_to_end(lambda source, size: None)
    runner.stop()
    spent: dict[str, dict[str, tuple[float, float, float]]] = {}
    with read_only(tmp_path / "state") as kept:
        for day, rows in kept.days().items():
            for who, took in rows.items():
                before = spent.setdefault(day, {}).get(who.model, (0.0, 0.0, 0.0))
                now = (took.input_tokens, took.output_tokens, took.cost or 0.0)
                spent[day][who.model] = tuple(a + b for a, b in zip(before, now, strict=True))  # type: ignore[assignment]
    # The first day is whole because there was nothing before it; the last is not over.
    days = sorted(spent)[:-1]
    assert len(days) >= 89
    names = (
        "gen_ai_client_inference_usage_input_tokens_total",
        "gen_ai_client_inference_usage_output_tokens_total",
        "agentgauge_cost_usd_total",
    )
    compared = 0
    with prometheus(data) as server:
        for day in days:
            midnight = datetime.fromisoformat(f"{day}T00:00:00Z") + timedelta(days=1)
            for place, name in enumerate(names):
                query = f"sum by (gen_ai_request_model) (increase({name}[1d1ms]))"
                rose = server.by("gen_ai_request_model", query, midnight.timestamp())
                wanted = {model: took[place] for model, took in spent[day].items() if took[place]}
                assert {model: value for model, value in rose.items() if value} == pytest.approx(wanted, rel=1e-4)
                compared += len(wanted)
    assert compared > 500


def test_a_page_has_no_bucket_that_tells_nothing(weeks: Path, tmp_path: Path) -> None:
    # Each call takes a millisecond, the smallest bucket; 1000 tokens are past 4**4 and within 4**5.
    backfill(weeks, "--openmetrics", tmp_path, "--step", "1d")
    found = read(tmp_path)
    bounds = {
        dict(labels)["le"]
        for labels in found
        if dict(labels)["__name__"] == "gen_ai_client_inference_operation_input_tokens_bucket"
    }
    assert sorted(map(float, bounds - {"+Inf"})) == [4.0**power for power in range(4, 14)]
