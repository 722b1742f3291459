"""`agentgauge once` on the small stores prints the pages that are committed beside them.

After a change that is meant, write the pages anew and read the difference: python tests/test_once.py
"""

import subprocess
import sys
from pathlib import Path

import pytest
from serving import url_of

from exporters.catalogue.metrics import METRICS

FOLDER = Path(__file__).parent / "fixtures" / "createagents"
STORES = sorted(path.parent.name for path in FOLDER.glob("*/totals.json"))
# What the exporter says of itself differs from run to run; these are what it says of a store.
NAMES = tuple(metric.name for metric in METRICS if metric.of != "exporter")


def page_of(store: str) -> str:
    """The page of a store, without what the exporter says of itself."""
    command = [sys.executable, "-m", "exporters", "once", url_of(FOLDER / store)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    kept = [line for line in done.stdout.splitlines(keepends=True) if is_of_store(line)]
    return "".join(kept)


def is_of_store(line: str) -> bool:
    described = line.removeprefix("# HELP ").removeprefix("# TYPE ")
    return described.startswith(NAMES) or line == "# EOF\n"


@pytest.mark.parametrize("store", STORES)
def test_a_store_becomes_the_page_beside_it(store):
    wanted = (FOLDER / store / "page.txt").read_text()
    assert page_of(store).splitlines() == wanted.splitlines()


def test_every_store_has_a_page_and_every_family_of_a_store_is_on_one():
    pages = [path.read_text() for path in sorted(FOLDER.glob("*/page.txt"))]
    assert len(pages) == len(STORES) > 5
    # What createagents never says, and what only thousands of values bring.
    silent = {
        "gen_ai_client_inference_time_to_first_chunk_seconds",
        "gen_ai_client_inference_usage_cache_read_input_tokens",
        "gen_ai_client_inference_usage_cache_write_input_tokens",
        "gen_ai_client_inference_usage_reasoning_output_tokens",
        "agentgauge_cache_savings_usd",
        "agentgauge_cache_surcharge_usd",
        "agentgauge_inference_invalid_usage",
        "agentgauge_label_overflow",
        # Of stores that have scores and prompts, and that change what they said.
        "agentgauge_prompt_calls",
        "agentgauge_prompt_cost_usd",
        "agentgauge_evaluation_score",
        "agentgauge_late_updates",
        # Of stores whose spans are a tree.
        "agentgauge_wrapper_spans",
        "agentgauge_spans_without_ancestor",
    }
    shown = {name for name in NAMES if any(f"# TYPE {name} " in page for page in pages)}
    assert set(NAMES) - shown == silent


if __name__ == "__main__":
    for name in STORES:
        (FOLDER / name / "page.txt").write_text(page_of(name))
