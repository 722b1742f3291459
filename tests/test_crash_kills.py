"""Fifty kills at random moments, while a folder is written, rotated and truncated: nothing lost, nothing twice."""

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from crash_exporter import Exporter, Ledger, live_and_die, until
from crash_folder import Folder, Writer
from crash_recount import OF_READING, expected, totals

from exporters.state import read_only

KILLS = 50


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    found = Exporter(tmp_path)
    yield found
    found.kill()


@pytest.fixture
def writer(exporter: Exporter) -> Iterator[Writer]:
    found = Writer(Folder(exporter.folder), seed=20261121)
    found.start()
    yield found
    found.stop()


def test_after_fifty_kills_no_counter_fell_and_every_total_is_the_truth(exporter: Exporter, writer: Writer) -> None:
    random, ledger = Random(1), Ledger()
    began = time.monotonic()
    exporter.start().awaited()
    start_up = time.monotonic() - began
    exporter.kill()
    answered = 0
    for _ in range(KILLS):
        start_up, seen = live_and_die(exporter, start_up, random, ledger)
        answered += seen
    writer.stop()
    truth = expected(writer.folder.lines, but=OF_READING)
    exporter.start()

    def arrived() -> bool:
        page = exporter.scrape()
        if page is not None:
            ledger.note(page)
            found = totals(page, but=OF_READING)
        return page is not None and found == truth

    def differences() -> str:
        found = totals(exporter.awaited(), but=OF_READING)
        wrong = {name for name in truth.keys() | found.keys() if truth.get(name) != found.get(name)}
        return "\n".join(f"{name}: {found.get(name)} should be {truth.get(name)}" for name in sorted(wrong))

    until(arrived, 60, differences)
    # Another look: it stays so.
    page = exporter.awaited()
    ledger.note(page)
    assert totals(page, but=OF_READING) == truth
    assert ledger.falls == []
    # The days are in the same transactions as the totals.
    with read_only(exporter.state) as kept:
        days = [took for rows in kept.days().values() for took in rows.values()]
    for name, number in (
        ("agentgauge_inference_calls_total", sum(took.calls for took in days)),
        ("gen_ai_client_inference_usage_input_tokens_total", sum(took.input_tokens for took in days)),
    ):
        assert number == sum(value for found, value in truth.items() if found.startswith(name + "{")) > 0
    # That much did happen.
    assert answered >= KILLS / 4
    assert ledger.pages >= 2 * answered
    assert min(writer.done.values()) >= 3, writer.done
    assert "Traceback" not in exporter.log.read_text()
