"""The small databases of llm_metrics become the totals worked out by hand and the page beside them.

After a change that is meant, write the pages anew and read the difference: python tests/test_llm_metrics_stores.py
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from llm_metrics_store import FOLDER, POSTGRES, Layout, OnPostgresql, OnSqlite, Server, Store, postgresql
from test_fixture_stores import totals_of
from test_once import is_of_store

from exporters.sources import Sums, open_source

HOUR = 1760011200.0  # 2025-10-09 12:00 UTC


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if POSTGRES is None:
        pytest.skip("PostgreSQL is not installed")
    with postgresql() as found:
        yield found


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["a", "b"])
def store(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> Iterator[Store]:
    layout: Layout = request.param
    found: Store
    if database == "sqlite":
        found = OnSqlite(tmp_path / "llm_metrics.db", layout, rows=True)
    else:
        server: Server = request.getfixturevalue("server")
        found = OnPostgresql(server, f"fixture_{layout}", layout, rows=True)
    yield found
    found.close()


def page_of(url: str) -> str:
    """What `agentgauge once` prints of a database."""
    command = [sys.executable, "-m", "exporters", "once", f"{url}?name=llm-metrics"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def of_store(page: str) -> str:
    """A page without what the exporter says of itself."""
    return "".join(line for line in page.splitlines(keepends=True) if is_of_store(line))


def test_a_store_becomes_the_totals_worked_out_by_hand_and_the_page_beside_it(store: Store) -> None:
    folder = FOLDER / store.layout
    wanted = json.loads((folder / "totals.json").read_text())

    page = page_of(store.url)

    found = totals_of(page, {name: total["by"] for name, total in wanted.items()})
    for name, total in wanted.items():
        by_hand = {tuple(value[:-1]): value[-1] for value in total["values"]}
        assert found[name] == pytest.approx(by_hand, rel=1e-9), name
    assert of_store(page).splitlines() == (folder / "page.txt").read_text().splitlines()


def test_a_store_says_its_own_sums_of_a_period(store: Store) -> None:
    source = open_source(store.url)
    assert source.sums is not None
    whole = source.sums(HOUR, HOUR + 3600)
    if store.layout == "a":
        # Six rows; the one exported at 12:40 ended at 12:10:03.5. What has no price has none here either.
        assert whole == Sums(calls=6, input_tokens=919, output_tokens=196, cost=pytest.approx(0.00346))
        assert source.sums(HOUR + 603, HOUR + 604) == Sums(calls=1, input_tokens=100, output_tokens=50, cost=0.0)
        assert source.sums(HOUR + 600, HOUR + 603.5).calls == 0
    else:
        # All that can be told the time of: also the row with tokens below zero, which is in no total of ours.
        assert whole == Sums(calls=12, input_tokens=6483, output_tokens=482, cost=pytest.approx(0.06803))
        assert source.sums(HOUR, HOUR + 60) == Sums(
            calls=2, input_tokens=5966, output_tokens=404, cost=pytest.approx(0.06228)
        )
    assert source.sums(HOUR + 3600, HOUR + 7200) == Sums(calls=0, input_tokens=0, output_tokens=0, cost=0.0)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        for name in ("a", "b"):
            made = OnSqlite(Path(directory) / f"{name}.db", name, rows=True)
            (FOLDER / name / "page.txt").write_text(of_store(page_of(made.url)))
            made.close()
