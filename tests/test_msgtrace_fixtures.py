"""What becomes of a small database of msgtrace is what was worked out by hand from its rows.

After a change that is meant, write the page anew and read the difference: python tests/test_msgtrace_fixtures.py
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from msgtrace_store import Store
from serving import serving, until
from test_fixture_stores import totals_of
from test_once import is_of_store

from exporters.sources import Sums, open_source

STORE = Path(__file__).parent / "fixtures" / "msgtrace" / "agents"
START = 1_770_112_800


def built(directory: Path) -> Path:
    """Make the database that the committed SQL describes."""
    store = Store(directory / "msgtrace.db")
    store.connection.executescript((STORE / "spans.sql").read_text())
    store.close()
    return store.path


def once(path: Path) -> str:
    """The page of a database, without what the exporter says of itself."""
    command = [sys.executable, "-m", "exporters", "once", f"msgtrace://{path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return "".join(line for line in done.stdout.splitlines(keepends=True) if is_of_store(line))


def differences(page: str) -> dict[str, object]:
    """What is not as it was worked out by hand: the series, what is found and what should be."""
    wanted = json.loads((STORE / "totals.json").read_text())
    found = totals_of(page, {name: total["by"] for name, total in wanted.items()})
    by_hand = {name: {tuple(value[:-1]): value[-1] for value in total["values"]} for name, total in wanted.items()}
    return {
        name: (dict(found[name]), values)
        for name, values in by_hand.items()
        if found[name] != pytest.approx(values, rel=1e-9)
    }


def test_the_store_becomes_the_page_beside_it_and_the_totals_worked_out_by_hand(tmp_path: Path) -> None:
    page = once(built(tmp_path))
    assert differences(page) == {}
    assert page.splitlines() == (STORE / "page.txt").read_text().splitlines()


def test_the_store_followed_as_it_is_written_becomes_the_same_totals(tmp_path: Path) -> None:
    path = built(tmp_path)
    growing = Store(tmp_path / "growing.db")
    growing.execute("ATTACH ? AS whole", str(path))
    with serving(tmp_path / "state", f"msgtrace://{growing.path}?wait=2s") as exporter:
        exporter.await_ready()
        for number in range(1, 24):
            growing.execute("INSERT INTO spans SELECT * FROM whole.spans WHERE rowid = ?", number)
        until(lambda: not differences(exporter.page()), f"the totals: {differences(exporter.page())}")
    growing.close()


def test_the_stores_own_sums_are_those_worked_out_by_hand_but_for_what_is_bad(tmp_path: Path) -> None:
    source = open_source(f"msgtrace://{built(tmp_path)}")
    assert source.sums is not None
    # The first 50 seconds: without the three that are bad, and with what reports its cost in dollars.
    assert source.sums(START, START + 50) == Sums(
        calls=9, input_tokens=412 + 1100 + 500 + 10, output_tokens=96 + 150 + 20 + 1, cost=pytest.approx(0.0179)
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        (STORE / "page.txt").write_text(once(built(Path(temporary))))
