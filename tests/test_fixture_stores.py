"""What `agentgauge once` says of each small store is what was worked out by hand from its lines."""

import importlib.util
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

FOLDER = Path(__file__).parent / "fixtures" / "createagents"
STORES = sorted(path.parent.name for path in FOLDER.glob("*/totals.json"))


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_fixtures", FOLDER / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page_of(directory: Path) -> str:
    """Return what `agentgauge once` prints for a folder."""
    command = [sys.executable, "-m", "exporters", "once", f"createagents://{directory}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def totals_of(page: str, by: dict[str, list[str]]) -> dict[str, dict[tuple[str, ...], float]]:
    """Add up the samples of the wanted series by the wanted labels; zeros are left out."""
    found: dict[str, dict[tuple[str, ...], float]] = defaultdict(lambda: defaultdict(float))
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name in by and sample.value:
                found[sample.name][tuple(sample.labels.get(name, "") for name in by[sample.name])] += sample.value
    return found


@pytest.mark.parametrize("store", STORES)
def test_the_totals_are_those_worked_out_by_hand(store: str) -> None:
    wanted = json.loads((FOLDER / store / "totals.json").read_text())

    found = totals_of(page_of(FOLDER / store), {name: total["by"] for name, total in wanted.items()})

    for name, total in wanted.items():
        by_hand = {tuple(value[:-1]): value[-1] for value in total["values"]}
        assert found[name] == pytest.approx(by_hand, rel=1e-9), name


def test_the_committed_stores_are_what_the_script_writes(build: ModuleType, tmp_path: Path) -> None:
    for write in build.STORES:
        write(tmp_path)

    written = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.glob("*/*.jsonl")}
    assert written == {path.relative_to(FOLDER): path.read_bytes() for path in FOLDER.glob("*/*.jsonl")}
    assert sorted({path.parts[0] for path in written}) == STORES


def test_a_line_of_200_kb_is_a_line_like_any_other(tmp_path: Path) -> None:
    store = "plain"
    [source] = (FOLDER / store).glob("*.jsonl")
    lines = source.read_text().split("\n")
    place = next(number for number, line in enumerate(lines) if '"result": "found"' in line)
    lines[place] = lines[place].replace('"result": "found"', f'"result": "{"lorem é " * 22_000}"')
    assert len(lines[place].encode()) > 190_000
    (tmp_path / source.name).write_text("\n".join(lines))
    by = {"agentgauge_records_total": [], "agentgauge_tool_calls_total": ["outcome"]}

    found = totals_of(page_of(tmp_path), by)

    assert found == {"agentgauge_records_total": {(): 35.0}, "agentgauge_tool_calls_total": {("ok",): 5.0}}
