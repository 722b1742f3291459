"""The catalogue is sound, says so when it is not, and the pages written from it are those that are committed."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from exporters.catalogue import build
from exporters.catalogue.alerts import _HUMAN, alerts
from exporters.catalogue.faults import _OWN_LABELS, Query, faults
from exporters.catalogue.generated import publish
from exporters.catalogue.metrics import METRICS, labels_by_series
from exporters.catalogue.model import LABELS, Limit, Metric, Record, Signal, Unit, fill, spoken
from exporters.catalogue.records import RECORDS
from exporters.catalogue.signals import SIGNALS, _by_name

ROOT = Path(__file__).parents[1]

RATIO = Signal(
    name="failed",
    title="Failed runs by agent",
    unit="percentunit",
    expr='topk(10, sum by (gen_ai_agent_name) (rate(agentgauge_runs_total{outcome="error",$where}[$window])))',
    means="Runs that failed.",
    by=("gen_ai_agent_name",),
    record="agent:agentgauge_runs:rate5m",
    limits=(
        Limit(
            says="Too many runs fail.",
            headline="{} of runs fail",
            do="Look at the errors.",
            dashboard="agents-errors",
            above=0.2,
            window="15m",
            when="sum by (gen_ai_agent_name) (increase(agentgauge_runs_total{$where}[$window])) >= 5",
        ),
    ),
)
COUNTER = Metric(name="a_calls", type="counter", help="Calls.", of="run")


def limited(**changes):
    """The sound signal with another limit."""
    return replace(RATIO, limits=(replace(RATIO.limits[0], **changes),))


def test_the_catalogue_has_no_fault():
    assert faults(METRICS, SIGNALS.values(), RECORDS) == []


def test_a_sound_signal_and_a_sound_metric_have_no_fault():
    assert faults([COUNTER], [RATIO]) == []


@pytest.mark.parametrize(
    ("signal", "fault"),
    [
        (
            replace(RATIO, expr="sum by (gen_ai_agent_name) (rate(agentgauge_rnus_total{$where}[$window]))", record=""),
            "failed: there is no series agentgauge_rnus_total",
        ),
        (replace(RATIO, awaits="absent(agentgauge_rnus)"), "failed: there is no series agentgauge_rnus"),
        (
            replace(RATIO, expr=RATIO.expr.replace("outcome=", "result=")),
            "failed: agentgauge_runs_total has no label result",
        ),
        (
            replace(RATIO, expr=RATIO.expr.replace(",$where", "")),
            "failed: the selector of agentgauge_runs_total must end with $where",
        ),
        (
            replace(RATIO, expr="sum by (gen_ai_agent_name) (rate(agentgauge_runs_total[$window]))"),
            "failed: agentgauge_runs_total is asked for without {$where}",
        ),
        (
            replace(
                RATIO,
                expr="sum by (gen_ai_agent_name, gen_ai_tool_name) (rate(agentgauge_runs_total{$where}[$window]))",
            ),
            "failed: agentgauge_runs_total has no label gen_ai_tool_name to group by",
        ),
        (
            replace(RATIO, expr="sum by (gen_ai_agent_name, outcome) (rate(agentgauge_runs_total{$where}[$window]))"),
            "failed: the result keeps outcome, which `by` does not name",
        ),
        (
            replace(RATIO, expr="sum(rate(agentgauge_runs_total{$where}[$window]))"),
            "failed: the result does not keep gen_ai_agent_name",
        ),
        (replace(RATIO, over="now"), "failed: `over` is 'now' exactly when the expression has no $window"),
        (replace(RATIO, view="stat"), "failed: a stat is one number and keeps no label"),
        (replace(RATIO, means="Runs"), "failed: `means` is a sentence and ends with a period"),
        (
            replace(RATIO, view="matrix"),
            "failed: a matrix or a scatter has two labels, and names the values of the second",
        ),
        (
            replace(RATIO, columns=(("a", "A"),)),
            "failed: a matrix or a scatter has two labels, and names the values of the second",
        ),
        (
            replace(RATIO, record="agent:agentgauge_runs:ratio"),
            "failed: agent:agentgauge_runs:ratio is not level:metric:operation with the window rate5m",
        ),
        (
            replace(RATIO, record="model:agentgauge_runs:rate5m"),
            "failed: the level of model:agentgauge_runs:rate5m is not what `by` keeps",
        ),
        (
            replace(RATIO, record="agent:agentgauge_tool_calls:rate5m"),
            "failed: agent:agentgauge_tool_calls:rate5m names a metric that the expression does not ask for",
        ),
        (limited(above=None), "failed: a limit is either above or below"),
        (limited(below=0.1), "failed: a limit is either above or below"),
        (limited(clears=0.3), "failed: a limit clears on the side where all is fine"),
        (limited(keeps="a while"), "failed: 'a while' is not a duration"),
        (limited(headline="{} of runs fail."), "failed: `headline` is up to 45 characters, without a period"),
        (limited(headline="x" * 46), "failed: `headline` is up to 45 characters, without a period"),
        (limited(do="x" * 120 + "; y."), "failed: the first thing to do takes more than 120 characters"),
        (replace(RATIO, limits=RATIO.limits * 2), "Failed: two alerts have this name"),
        (limited(do=" "), "failed: a limit says what to do"),
        (limited(says="Failed: {{ $value }}."), "failed: `says` is a sentence without a value"),
        (limited(hold="5 minutes"), "failed: '5 minutes' is not a duration"),
        (
            limited(when="sum(increase(agentgauge_runs_total{$where}[$window])) >= 5"),
            "failed: `when` keeps other labels than `by`, so it would match nothing",
        ),
        (
            limited(when="sum by (gen_ai_agent_name) (increase(agentgauge_rnus_total{$where}[$window])) >= 5"),
            "failed: there is no series agentgauge_rnus_total",
        ),
    ],
)
def test_a_faulty_signal_is_named(signal, fault):
    assert fault in faults([COUNTER], [signal])


@pytest.mark.parametrize(
    ("factor", "fault"),
    [
        # One number, whoever the runs are of.
        ("* on () group_left () max(agentgauge_series{$where})", []),
        (
            "* on (gen_ai_agent_name) max(agentgauge_series{$where}) by (gen_ai_agent_name)",
            ["failed: agentgauge_series has no label gen_ai_agent_name to group by"],
        ),
        (
            "* on () group_left () max(agentgauge_series{$where}) + on (gen_ai_agent_name) agentgauge_series{$where}",
            ["failed: agentgauge_series has no label gen_ai_agent_name to group by"],
        ),
    ],
)
def test_a_series_is_asked_for_the_labels_of_a_grouping_unless_it_is_aggregated_whole(factor, fault):
    runs = "sum by (gen_ai_agent_name) (rate(agentgauge_runs_total{$where}[$window]))"
    assert faults([], [replace(RATIO, expr=f"{runs} {factor}", limits=())]) == fault


@pytest.mark.parametrize(
    ("metric", "fault"),
    [
        (replace(COUNTER, name="a_calls_total"), "a_calls_total: a counter's family is named without _total"),
        (replace(COUNTER, type="histogram"), "a_calls: buckets are for histograms, and a histogram needs them"),
        (replace(COUNTER, type="histogram", buckets=(1.0, 3.0, 2.0)), "a_calls: buckets must rise"),
        (replace(COUNTER, exemplars=True), "a_calls: exemplars are for histograms"),
        (replace(COUNTER, help="Calls"), "a_calls: the help is a sentence and ends with a period"),
        (replace(COUNTER, by="user"), "a_calls: the label user is unknown"),
    ],
)
def test_a_faulty_metric_is_named(metric, fault):
    assert faults([metric], []) == [fault]


RECORD = Record(
    name="agent:agentgauge_runs:increase1h",
    help="Runs of an hour.",
    expr="sum by (gen_ai_agent_name) (increase(agentgauge_runs_total[1h]))",
    by=("gen_ai_agent_name",),
)


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        (replace(RECORD, expr=RECORD.expr.replace("runs", "rnus")), "there is no series agentgauge_rnus_total"),
        (
            replace(RECORD, expr="sum by (gen_ai_agent_name) (later:agentgauge_runs:x)"),
            "there is no series later:agentgauge_runs:x",
        ),
        (replace(RECORD, expr='agentgauge_runs_total{user="x"}'), "agentgauge_runs_total has no label user"),
        (replace(RECORD, expr="agentgauge_runs_total{$where}"), "a record has no blanks"),
        (replace(RECORD, by=()), "its level is not what `by` keeps"),
        (replace(RECORD, help="Runs"), "the help is a sentence and ends with a period"),
    ],
)
def test_a_faulty_record_is_named(record, fault):
    assert f"{record.name}: {fault}" in faults([], [], [record])


def test_a_record_may_ask_for_those_before_it():
    later = Record(name=":agentgauge_runs:increase1h", help="All runs of an hour.", expr=f"sum({RECORD.name})")
    assert faults([], [], [RECORD, later]) == []
    assert faults([], [], [later, RECORD]) == [f"{later.name}: there is no series {RECORD.name}"]
    assert faults([], [], [RECORD, RECORD]) == [f"{RECORD.name}: two records have this name"]


def test_names_are_unique():
    other = replace(RATIO, title="Another")
    assert faults([COUNTER, COUNTER], [RATIO, other])[0] == "a_calls: two metrics have this name"
    assert "failed: two signals have this name" in faults([], [RATIO, other])
    assert "agent:agentgauge_runs:rate5m: two records have this name" in faults([], [RATIO, replace(RATIO, name="b")])
    with pytest.raises(ValueError, match="two signals share a name: \\['failed'\\]"):
        _by_name(RATIO, other)


def test_a_query_is_read_without_its_functions_strings_and_durations():
    query = Query.of(
        'label_replace(histogram_quantile(0.95, sum by (le, source) (rate(a_bucket{x="b_c",$where}[$window]))), '
        '"stat", "p95", "", "") or 1e3 * max by (source) (c:d:rate5m offset 5m) and on (source) up{job="e"} > bool 0'
    )
    assert query.series == {"a_bucket", "c:d:rate5m", "up"}
    assert query.selectors == (("a_bucket", 'x="",$where'), ("up", 'job=""'))
    assert query.grouped == {"le", "source"}
    assert query.made == {"stat"}


def test_what_is_matched_on_is_not_kept_and_what_is_counted_is_a_label():
    query = Query.of('sum by (a) (x) * on (b) group_left (c) count_values("d", y) and ignoring (e) z')
    assert query.kept == {"a", "c"}
    assert query.grouped == {"a", "b", "c"}
    assert query.made == {"d"}
    assert query.series == {"x", "y", "z"}


def test_a_limit_becomes_a_condition_over_all_members_matched_on_their_labels():
    (alert,) = alerts([RATIO])
    assert alert.breach == (
        '(\nsum by (gen_ai_agent_name) (rate(agentgauge_runs_total{outcome="error"}[15m]))\n) > 0.2\n'
        "and on (gen_ai_agent_name) (\nsum by (gen_ai_agent_name) (increase(agentgauge_runs_total[15m])) >= 5\n)"
    )


def test_a_limit_from_below_without_a_condition_is_a_comparison():
    (alert,) = alerts([SIGNALS["state_up"]])
    assert alert.breach == "(\nmin(agentgauge_state_up)\n) < 1"


def test_what_fires_goes_on_until_it_clears():
    (alert,) = alerts([replace(limited(clears=0.1, when=""), expr="sum by (gen_ai_agent_name) (x{$where})")])
    assert alert.breach == (
        "((\nsum by (gen_ai_agent_name) (x)\n) > 0.2\n"
        "or (\nsum by (gen_ai_agent_name) (x)\n) > 0.1\n"
        'and on (gen_ai_agent_name) ALERTS{alertname="Failed",alertstate="firing"})'
    )


def test_a_signal_without_a_limit_is_no_alert():
    assert alerts([SIGNALS["runs"]]) == []


@pytest.mark.parametrize(
    ("unit", "by", "window", "who", "description", "headline"),
    [
        (
            "currencyUSD",
            (),
            "1h",
            "",
            'Spend: {{ printf "$%.2f" $value }}, limit {{ printf "$%.2f" 12.5 }}, over 1h.',
            '{{ printf "$%.2f" $value }} is too much',
        ),
        (
            "bytes",
            ("source", "error_type"),
            "",
            'source {{ or $labels.source "unknown" }}, error type {{ or $labels.error_type "unknown" }}',
            "Spend: {{ $value | humanize1024 }}B, limit {{ 12.5 | humanize1024 }}B.",
            "{{ $value | humanize1024 }}B is too much",
        ),
    ],
)
def test_messages_are_told_who_how_bad_and_what_to_do_first(unit, by, window, who, description, headline):
    limit = Limit(
        says="Too much.", headline="{} is too much", do="Less: or none. Then go.", dashboard="x", above=12.5,
        window=window or "5m",
    )  # fmt: skip
    expr = "sum(rate(x{$where}[$window]))" if window else "sum(x{$where})"
    (alert,) = alerts([replace(SIGNALS["spend"], unit=unit, by=by, expr=expr, limits=(limit,))])
    notes = alert.annotations("$value")
    assert notes["who"] == who
    assert (notes["summary"], notes["description"], notes["first"]) == ("Too much.", description, "Less.")
    assert notes["headline"] == headline
    assert notes["value"] in notes["headline"]


def test_every_unit_can_be_said_in_an_alert():
    assert _HUMAN.keys() == set(get_args(Unit))


def test_only_an_outermost_topk_is_left_out_of_what_is_judged():
    assert RATIO.judged == 'sum by (gen_ai_agent_name) (rate(agentgauge_runs_total{outcome="error",$where}[$window]))'
    assert replace(RATIO, expr="sum(topk(3, x))").judged == "sum(topk(3, x))"
    assert replace(RATIO, expr="topk(3, x) / topk(3, y)").judged == "topk(3, x) / topk(3, y)"


def test_a_filter_goes_only_to_the_series_that_have_its_label():
    expr = (
        'rate(agentgauge_tool_calls_total{outcome="ok",$where}[$window]) / rate(agentgauge_runs_total{$where}[$window])'
    )
    where = {"source": '="a"', "gen_ai_tool_name": '="t"'}
    assert fill(expr, where, "1m", labels_by_series()) == (
        'rate(agentgauge_tool_calls_total{outcome="ok",source="a",gen_ai_tool_name="t"}[1m])'
        ' / rate(agentgauge_runs_total{source="a"}[1m])'
    )


def test_names_as_alerts_and_people_say_them():
    assert [alert.name for alert in alerts([RATIO])] == ["Failed"]
    (named,) = alerts([limited(name="Exceeded")])
    assert (named.name, named.anchor) == ("FailedExceeded", "failed_exceeded")
    assert "RunErrorRatioByAgent" in {alert.name for alert in alerts(SIGNALS.values())}
    assert [spoken(label) for label in ("gen_ai_request_model", "gen_ai_agent_name", "error_type")] == [
        "model",
        "agent",
        "error type",
    ]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.2, "percentunit", "20 %"), (60.0, "s", "60 s"), (1.5, "currencyUSD", "$1.50"), (0.0, "short", "0")],
)
def test_limits_are_written_as_people_write_numbers(value, unit, text):
    assert build.human(value, unit) == text


def test_every_unit_can_be_written():
    assert all(build.human(1.0, unit) for unit in get_args(Unit))


def test_every_label_is_explained():
    used = {label for metric in METRICS for label in metric.labels}
    assert set(build._LABELS) == used == set(LABELS) | _OWN_LABELS


def test_the_reference_tells_the_name_that_promql_asks_for():
    lines = build.metrics_page(METRICS, SIGNALS.values()).splitlines()
    assert "| `agentgauge_runs_total` | counter | `outcome` | Agent runs that ended, by outcome. |  |" in lines
    assert "| `agentgauge_build_info` | info | `version` | The version that runs. |  |" in lines
    duration = next(line for line in lines if line.startswith("| `gen_ai_execute_tool_duration_seconds`"))
    assert duration.endswith(
        "| histogram, exemplars | `error_type` | Duration of a tool call. | 0.01 to 655.36 in 17 |"
    )


def test_a_runbook_says_when_it_fires_and_what_to_do():
    page = build.runbooks_page([RATIO])
    assert "| [Failed](#failed) | warning | Too many runs fail. |" in page
    section = page.split('<a id="failed"></a>\n')[1]
    assert section.startswith("## Failed\n\n**Too many runs fail.** Severity: warning.")
    assert "Per agent: when it is above 20 % over 15 minutes for 5 minutes without a break. And only while" in section
    assert "**What to do.** Look at the errors." in section
    assert alerts([RATIO])[0].breach in section


def test_critical_runbooks_stand_first():
    page = build.runbooks_page([RATIO, replace(limited(severity="critical"), name="down")])
    assert page.index("## Down") < page.index("## Failed")


def test_the_committed_pages_are_fresh():
    done = subprocess.run(
        [sys.executable, "-m", "exporters.catalogue.build", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_stale_and_a_left_over_file_are_named_then_mended(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = {tmp_path / "out" / "a.yml": "new\n", tmp_path / "out" / "deep" / "b.yml": "b\n"}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.yml").write_text("old\n")
    (tmp_path / "out" / "gone.yml").write_text("gone\n")

    assert publish(files, arguments=["--check"], folders=[tmp_path / "out"], program="x.build") == 1
    assert capsys.readouterr().err.splitlines() == [
        "stale: out/a.yml",
        "stale: out/deep/b.yml",
        "stale: out/gone.yml",
        "Run `python -m x.build` and commit what it writes.",
    ]
    assert (tmp_path / "out" / "a.yml").read_text() == "old\n"

    assert publish(files, arguments=[], folders=[tmp_path / "out"], program="x.build") == 0
    assert {path: path.read_text() for path in (tmp_path / "out").rglob("*.yml")} == files
    assert publish(files, arguments=["--check"], folders=[tmp_path / "out"], program="x.build") == 0


def test_a_faulty_catalogue_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "SIGNALS", {"failed": limited(do="")})
    assert build.main([]) == 1
    assert capsys.readouterr().err == "failed: a limit says what to do\n"
    assert list(tmp_path.iterdir()) == []
