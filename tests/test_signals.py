"""What signals say of series whose numbers are known, as Prometheus evaluates them."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporters.catalogue.metrics import labels_by_series
from exporters.catalogue.model import fill
from exporters.catalogue.records import RECORDS
from exporters.catalogue.signals import SIGNALS
from streamlit_portal.scope import RANGES, Scope

# What takes a while: the word in signals' names, and that in the family's.
_TAKES = {"run": "invoke_agent", "inference": "client_inference", "tool": "execute_tool"}

Said = dict[tuple[tuple[str, str], ...], float]


def of(**labels: str) -> tuple[tuple[str, str], ...]:
    return tuple(labels.items())


def told(folder: Path, series: dict[str, str], name: str, window: str, at: str, said: Said) -> str:
    """What promtool finds wrong with what a signal should say at a moment; "" when it says just that.

    `series` are in promtool's notation, a value each minute.
    """
    return evaluated(folder, series, fill(SIGNALS[name].expr, {}, window, labels_by_series()), at, said)


def evaluated(folder: Path, series: dict[str, str], expr: str, at: str, said: Said) -> str:
    """The same of an expression."""
    samples = [{"labels": _selector(labels), "value": value} for labels, value in said.items()]
    test: dict[str, Any] = {
        "interval": "1m",
        "input_series": [{"series": one, "values": values} for one, values in series.items()],
        "promql_expr_test": [{"expr": expr, "eval_time": at, "exp_samples": samples}],
    }
    path = folder / "test.yml"
    path.write_text(yaml.safe_dump({"tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _selector(labels: tuple[tuple[str, str], ...]) -> str:
    return "{" + ",".join(f'{label}="{value}"' for label, value in labels) + "}"


# Three hours: each minute of the second one costs the planner 1, and of the third 2; one agent stops, another begins.
SPEND = {
    'agentgauge_cost_usd_total{gen_ai_agent_name="planner"}': "0x60 1+1x59 62+2x59",
    'agentgauge_cost_usd_total{gen_ai_agent_name="gone"}': "0x60 5+5x59 300x59",
    'agentgauge_cost_usd_total{gen_ai_agent_name="new"}': "0x120 10+10x59",
    'agentgauge_inference_calls_total{gen_ai_agent_name="planner",outcome="ok"}': "0+1x180",
}


def test_what_changed_most_counts_who_is_new_and_who_is_gone(tmp_path: Path) -> None:
    said = {
        of(gen_ai_agent_name="planner"): 60.0,
        of(gen_ai_agent_name="gone"): -300.0,
        of(gen_ai_agent_name="new"): 600.0,
    }
    assert told(tmp_path, SPEND, "agent_spend_change", "1h", "3h", said) == ""


def test_nothing_is_said_of_a_change_where_the_period_before_is_not_known_from_its_beginning(tmp_path: Path) -> None:
    later = {series: f"_x70 {values.partition(' ')[2] or '0+1x109'}" for series, values in SPEND.items()}
    assert told(tmp_path, later, "agent_spend_change", "1h", "3h", {}) == ""


@pytest.mark.parametrize(("every", "said"), [(1, {of(gen_ai_agent_name="a"): 0.25}), (4, {})])
def test_the_failures_of_few_runs_are_not_compared(every: int, said: Said, tmp_path: Path) -> None:
    """Of the second hour's runs a quarter fails, of the third's a half: of 60 runs an hour, and of 15."""
    hour = 60 // every
    good, bad = (f"0x60 {0}x58 {a * hour // 4} {a * hour // 4}x58 {b * hour // 4}" for a, b in ((3, 5), (1, 3)))
    series = {
        'agentgauge_runs_total{gen_ai_agent_name="a",outcome="ok"}': good,
        'agentgauge_runs_total{gen_ai_agent_name="a",outcome="error"}': bad,
    }
    assert told(tmp_path, series, "agent_error_change", "1h", "3h", said) == ""


@pytest.mark.parametrize(("good", "said"), [(30, {of(gen_ai_agent_name="a"): 20.0}), (15, {})])
def test_durations_are_compared_where_there_are_enough_of_what_succeeded(good: int, said: Said, tmp_path: Path) -> None:
    """Good runs take 20 to 40 s in the second hour, 40 to 60 s in the third; sixty an hour fail within 20 s."""
    runs, took = "agentgauge_runs_total", "gen_ai_invoke_agent_duration_seconds_bucket"
    hours = f"0x60 0x58 {good} {good}x58 {2 * good}"
    series = {
        f'{runs}{{gen_ai_agent_name="a",outcome="ok"}}': hours,
        f'{runs}{{gen_ai_agent_name="a",outcome="error"}}': "0+1x180",
        f'{took}{{gen_ai_agent_name="a",error_type="authentication",le="20"}}': "0+1x180",
        f'{took}{{gen_ai_agent_name="a",error_type="authentication",le="+Inf"}}': "0+1x180",
        f'{took}{{gen_ai_agent_name="a",le="20"}}': "0x180",
        f'{took}{{gen_ai_agent_name="a",le="40"}}': f"0x60 0x58 {good} {good}x58 {good}",
        f'{took}{{gen_ai_agent_name="a",le="60"}}': hours,
        f'{took}{{gen_ai_agent_name="a",le="+Inf"}}': hours,
    }
    assert told(tmp_path, series, "agent_latency_change", "1h", "3h", said) == ""


# Each minute a good call takes 20 to 40 s, one fails after 40 to 60 s, and one waits for 60 to 80 s in vain.
TOOK = {
    f'{took}{{{labels}le="{le}"}}': f"0+{count}x20"
    for took in (f"gen_ai_{of_what}_duration_seconds_bucket" for of_what in _TAKES.values())
    for labels, within in (
        ("", 40),
        ('error_type="timeout",', 80),
        ('error_type="server_error",', 60),
    )
    for le in ("20", "40", "60", "80", "+Inf")
    for count in (int(float(le) >= within),)
}


@pytest.mark.parametrize("what", _TAKES)
def test_how_long_it_takes_is_asked_of_what_succeeded_and_of_what_failed_apart(what: str, tmp_path: Path) -> None:
    """Of what is within a bucket of 20 s, the 95th percentile is 19 s above its lower bound."""
    assert told(tmp_path, TOOK, f"{what}_latency_p95", "10m", "20m", {(): 39.0}) == ""
    failed = {of(error_type="timeout"): 79.0, of(error_type="server_error"): 59.0}
    assert told(tmp_path, TOOK, f"{what}_error_latency_by_type", "10m", "20m", failed) == ""


def test_no_duration_is_asked_of_what_succeeded_and_what_failed_together() -> None:
    asked = re.compile(rf"gen_ai_(?:{'|'.join(_TAKES.values())})_duration_seconds_(?:bucket|sum|count){{([^}}]*)}}")
    exprs = {
        **{signal.name: [signal.expr, *(limit.when for limit in signal.limits)] for signal in SIGNALS.values()},
        **{record.name: [record.expr] for record in RECORDS},
    }
    found = {name: [inside for one in each for inside in asked.findall(one)] for name, each in exprs.items()}
    assert sum(map(len, found.values())) > 40
    mixed = {name for name, each in found.items() if not all(re.match('error_type!?="",?', inside) for inside in each)}
    # The time that agents spent in a tool is also what they waited for in vain.
    assert mixed == {"tool_column_time"}


def test_a_period_stands_beside_the_one_before_it(tmp_path: Path) -> None:
    series = {'agentgauge_inference_calls_total{outcome="ok"}': "0x60 1+1x59 62+2x59"}
    said = {of(period="this period"): 120.0, of(period="the one before"): 60.0}
    assert told(tmp_path, series, "period_calls", "1h", "3h", said) == ""


def test_a_wrong_number_is_noticed(tmp_path: Path) -> None:
    assert "exp:" in told(tmp_path, SPEND, "agent_spend_change", "1h", "3h", {of(gen_ai_agent_name="new"): 6.0})


def test_an_hour_of_the_week_costs_what_such_hours_cost_on_average(tmp_path: Path) -> None:
    """The clock of promtool begins on a Thursday at midnight: its first hour costs 60, its second nothing; that of the
    Thursday after costs 120."""
    week = 7 * 24 * 60
    series = {"agentgauge_cost_usd_total": f"0+1x60 60x{week - 61} 62+2x59 180x60"}
    thursday = {of(day="3", hour="0"): 60.0, of(day="3", hour="1"): 0.0}
    assert told(tmp_path, series, "spend_by_hour", "2h", "2h", thursday) == ""
    both = {of(day=f"{day}", hour=f"{hour}"): 0.0 for day in range(7) for hour in range(24)}
    both[of(day="3", hour="0")] = 90.0
    assert told(tmp_path, series, "spend_by_hour", "170h", "170h", both) == ""


def test_saved_by_caching_is_what_reading_saved_less_what_writing_cost(tmp_path: Path) -> None:
    read, written = "agentgauge_cache_savings_usd_total", "agentgauge_cache_surcharge_usd_total"
    both = {read: "0+2x60", written: "0+1x60"}
    assert told(tmp_path, both, "cache_saved", "1h", "1h", {(): 60.0}) == ""
    assert told(tmp_path, {read: "0+2x60"}, "cache_saved", "1h", "1h", {(): 120.0}) == ""
    assert told(tmp_path, {written: "0+1x60"}, "cache_saved", "1h", "1h", {(): -60.0}) == ""
    assert told(tmp_path, {"other": "0x60"}, "cache_saved", "1h", "1h", {}) == ""


def test_tokens_without_a_price_do_not_make_the_others_cheaper(tmp_path: Path) -> None:
    tokens = "gen_ai_client_inference_usage_input_tokens_total"
    series = {
        f'{tokens}{{gen_ai_request_model="a"}}': "0+1000x60",
        f'{tokens}{{gen_ai_request_model="free"}}': "0+9000x60",
        'agentgauge_cost_usd_total{gen_ai_request_model="a",cost_source="computed"}': "0+2x60",
    }
    assert told(tmp_path, series, "cost_per_1k_tokens", "1h", "1h", {(): 2.0}) == ""


JUDGED = {"agentgauge_budgets_judged_timestamp_seconds": "1x5"}
OBJECTIVES = {'agentgauge_objective_ratio{gen_ai_agent_name="a",objective="success"}': "0.9x5"}
READING = {'agentgauge_source_caught_up{source="s"}': "0x5"}
LEFT = {'agent_objective:agentgauge_objective:budget_left{gen_ai_agent_name="a",objective="success"}': "0.5x5"}


@pytest.mark.parametrize(
    ("name", "series", "said"),
    [
        # The exporter judges budgets from its first commit on, be there a file of them or not.
        ("budget_used", {}, {(): 1.0}),
        ("budget_used", {"agentgauge_budgets_judged_timestamp_seconds": "0x5"}, {(): 1.0}),
        ("budget_used", JUDGED, {}),
        ("budget_used", JUDGED | {'agentgauge_budget_limit_usd{budget="b"}': "20x5"}, {(): 20.0}),
        # It says the objectives of the agents that it knows; Prometheus judges them.
        ("error_budget_left", {}, {}),
        ("error_budget_left", READING, {(): 1.0}),
        ("error_budget_left", OBJECTIVES, {(): 0.9}),
        ("error_budget_left", OBJECTIVES | LEFT, {}),
    ],
    ids=[
        *("not scraped", "not judged", "no budgets", "budgets"),
        *("no objectives", "no agents yet", "objectives not judged", "objectives judged"),
    ],
)
def test_what_is_awaited_is_another_thing_than_what_there_is_not(
    name: str, series: dict[str, str], said: Said, tmp_path: Path
) -> None:
    awaits = Scope(span=RANGES["24h"], picked=(("agent", "nobody"),)).awaited(SIGNALS[name])
    assert evaluated(tmp_path, series, awaits, "5m", said) == ""
