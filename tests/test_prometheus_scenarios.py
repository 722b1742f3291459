"""Every alert has a scenario in which it fires and ends, and none goes on firing about data that vanished."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from promtools import with_every_promtool

from exporters.catalogue.alerts import alerts
from exporters.catalogue.signals import SIGNALS

Json = dict[str, Any]

HERE = Path(__file__).parents[1] / "prometheus"
SCENARIOS = sorted((HERE / "tests").glob("*.yml"))
NAMES = {alert.name: alert for alert in alerts(SIGNALS.values())}
SILENCE = {name for name, alert in NAMES.items() if "absent(" in alert.value}

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d+)([smhdw])")
_RUN = re.compile(r"(-?[\d.e]+|_)(?:([+-][\d.e]+))?x(\d+)")


def seconds(duration: str) -> int:
    return sum(int(count) * _SECONDS[unit] for count, unit in _DURATION.findall(duration))


def values(notation: str) -> list[str]:
    """Write promtool's notation out: `1+2x3` is 1 3 5 7, `_x2` two samples that are missing."""
    found: list[str] = []
    for word in notation.split():
        match = _RUN.fullmatch(word)
        if match is None:
            found.append(word)
        elif match[1] == "_":
            found += ["_"] * int(match[3])
        else:
            found += [repr(float(match[1]) + float(match[2] or 0) * place) for place in range(int(match[3]) + 1)]
    return found


def firing(group: Json) -> dict[str, int]:
    """The alerts that fire in a scenario, each with the first moment (in seconds) at which it is seen to."""
    found: dict[str, int] = {}
    for one in group.get("alert_rule_test", ()):
        if one.get("exp_alerts"):
            found.setdefault(one["alertname"], seconds(one["eval_time"]))
    return found


def groups() -> Iterator[tuple[Path, Json, Json]]:
    for path in SCENARIOS:
        document = yaml.safe_load(path.read_text())
        for group in document["tests"]:
            yield path, document, group


def test_the_notation_is_read_as_promtool_does():
    assert values("0+60x2 7x1 _x2 3 stale 5-1x1") == (
        ["0.0", "60.0", "120.0", "7.0", "7.0", "_", "_", "3", "stale", "5.0", "4.0"]
    )
    assert seconds("1d2h30m") == 95400


def test_every_alert_fires_and_ends():
    ended = set()
    for _, _, group in groups():
        for name, first in firing(group).items():
            later = [one for one in group["alert_rule_test"] if one["alertname"] == name]
            if any(seconds(one["eval_time"]) > first and not one.get("exp_alerts") for one in later):
                ended.add(name)
    assert ended == set(NAMES)


# What people ask to be told of, in their words.
ASKED = {
    "errors of an agent": {"RunErrorRatioByAgent"},
    "errors of a model": {"InferenceErrorRatioByModel"},
    "latency of a model": {"InferenceLatencyByModel"},
    "burn rates": {"BurnRate1h", "BurnRate6h", "BurnRate1d", "BurnRate3d", "ErrorBudgetLeft"},
    "a budget": {"BudgetUsedHalf", "BudgetUsedWarning", "BudgetUsedExceeded", "BudgetForecast"},
    "a cost that is unusual": {"SpendAnomaly", "SpendAnomalyByAgent"},
    "tokens that are unusual": {"TokenAnomaly", "TokenAnomalyByAgent"},
    "a run that is stuck or loops": {"RunStuckShareByAgent", "RunGrowthByAgent", "OpenRuns"},
    "a tool that fails": {"ToolErrorRatioByTool"},
    "scores that drop": {"ScoreDrop"},
    "a source": {"SourceUp", "SourceLastSuccessAge", "SourceLagBySource", "BadRecordsByReason", "ReconcileDrift"},
    "calls without a price": {"UnpricedShare"},
    "too many series": {"SeriesUsed", "LabelOverflow"},
    "no traffic where there was some": {"RunsAgainstUsual", "TrafficAgainstUsual"},
    "an exporter that is absent": {"ExporterUp"},
}


def test_whatever_people_ask_to_be_told_of_is_an_alert():
    assert set.union(*ASKED.values()) <= set(NAMES)


def test_every_alert_is_silent_in_a_scenario_before_it_fires():
    begun = set()
    for _, _, group in groups():
        for name, first in firing(group).items():
            silent = [one for one in group["alert_rule_test"] if one["alertname"] == name and not one.get("exp_alerts")]
            begun |= {name} if any(seconds(one["eval_time"]) < first for one in silent) else set()
    assert begun == set(NAMES)


def cut(document: Json, group: Json, at: int, names: list[str]) -> Json:
    """The scenario with all its data gone from `at` on, judged when the alerts' windows and an hour more are over."""
    step = seconds(group["interval"])
    series = [
        {"series": one["series"], "values": " ".join([*values(str(one["values"]))[: at // step + 1], "stale"])}
        for one in group["input_series"]
    ]
    limits = [NAMES[name].limit for name in names]
    window = max(seconds(limit.window) + seconds(limit.keeps) for limit in limits)
    gone = at + window + 3600 + 2 * seconds(document["evaluation_interval"])
    return {
        "interval": group["interval"],
        "input_series": series,
        "alert_rule_test": [{"eval_time": f"{gone}s", "alertname": name} for name in names],
    }


@with_every_promtool
@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_an_alert_is_quiet_when_its_data_vanish_unless_silence_is_the_failure(path, tool, tmp_path):
    document = yaml.safe_load(path.read_text())
    files = [(path.parent / name).resolve() for name in document["rule_files"]]
    done: set[str] = set()
    cuts = []
    for group in document["tests"]:
        new = {name: at for name, at in firing(group).items() if name not in done}
        cuts += [
            cut(document, group, at, [name for name in new if new[name] == at]) for at in sorted(set(new.values()))
        ]
        done |= new.keys()
    if not cuts:
        return
    scenarios = tmp_path / path.name
    scenarios.write_text(yaml.safe_dump({**document, "rule_files": [str(file) for file in files], "tests": cuts}))
    run = subprocess.run([tool, "test", "rules", scenarios], capture_output=True, text=True, check=False)
    output = run.stdout + run.stderr
    assert set(re.findall(r"alertname:\s*(\w+)", output)) == SILENCE & done, output
