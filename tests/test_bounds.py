"""Names without end: memory and page stay bounded, whatever strangers call their agents, tools and models."""

import subprocess
import sys
from pathlib import Path

import pytest
from createagents_lines import line

# More traces than any memory of the exporter holds: 16,384 that closed lately, 10,000 open, 10,000 prices.
SOME, MANY = 17_000, 40_000


def store(folder: Path, names: int) -> Path:
    """A folder with a run of an agent of its own for each name: a model call, a tool call, and its end."""
    folder.mkdir()
    with (folder / "traces_2025-12-06.jsonl").open("wb") as file:
        for number in range(names):
            trace, agent, at = f"t{number}", f"agent {number:07}", number * 86_000 / names
            for text in (
                line("trace.start", at, "r", trace_id=trace, agent_name=agent),
                line(
                    "llm.response", at, "c", "r", trace_id=trace, agent_name=agent, model=f"m{number % 12_000}",
                    input_tokens=10, output_tokens=3, duration_ms=5.0,
                ),
                line("tool.result", at, "k", "r", trace_id=trace, agent_name=agent, operation=f"tool_{number}"),
                line("trace.end", at, "r", trace_id=trace, agent_name=agent, duration_ms=9.0),
            ):  # fmt: skip
                file.write(text + b"\n")
    return folder


# The system counts towards a process what the one that started it took, until it runs a program of its own: so
# it is asked for its memory itself.
ONCE = """if True:
    import re, sys
    from pathlib import Path
    from exporters.__main__ import main
    assert main(["once", sys.argv[1]]) == 0
    print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1], file=sys.stderr)
"""


def once(folder: Path) -> tuple[list[str], float]:
    """What `agentgauge once` prints of a folder, and the most memory that it took, in MB."""
    command = [sys.executable, "-c", ONCE, f"createagents://{folder}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines(), int(done.stderr.split()[-1]) / 1024


def total(page: list[str], start: str) -> float:
    return sum(float(row.rpartition("} ")[2].split(" # ")[0]) for row in page if row.startswith(start))


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bounds")
    return {names: once(store(folder / str(names), names)) for names in (SOME, MANY)}


def test_a_store_of_names_without_end_takes_no_more_memory_than_one_of_a_few_thousand(pages):
    """More than twice the names take nothing more, and so a million: all that is kept of a name
    is bounded by number, and the smaller store has filled each of these bounds already."""
    (_, some), (_, many) = pages[SOME], pages[MANY]
    assert many < some + 5
    assert many < 128


def test_the_page_of_a_store_of_names_without_end_is_within_its_bound_and_its_totals_are_true(pages):
    for names, (page, _) in pages.items():
        samples = [row for row in page if row and not row.startswith("#")]
        of_store = [row for row in samples if 'source="createagents"' in row and "{" in row]
        assert 9_000 < len(of_store) <= 10_000 + 20  # the exporter's own say the source too
        assert total(page, "agentgauge_inference_calls_total{") == names
        assert total(page, "agentgauge_tool_calls_total{") == names
        assert total(page, "agentgauge_runs_total{") == names
        assert total(page, "gen_ai_client_inference_usage_input_tokens_total{") == 10 * names
        assert total(page, "agentgauge_label_overflow_total{") > names
