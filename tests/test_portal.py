"""The portal's parts without a browser: numbers, colours, addresses, matchers, lines and the list of tabs."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

import pytest
from portal_stage import HOSTILE
from streamlit.testing.v1 import AppTest

from exporters.catalogue.alerts import alerts
from exporters.catalogue.faults import Query as Asked
from exporters.catalogue.model import Signal, spoken
from exporters.catalogue.signals import SIGNALS
from streamlit_portal import (
    charts,
    colours,
    firing,
    grafana,
    lines,
    notice,
    panel,
    prometheus,
    runbooks,
    settings,
    units,
    widgets,
)
from streamlit_portal.app import TABS
from streamlit_portal.axes import Look, values
from streamlit_portal.prometheus import Answer, Query, Series
from streamlit_portal.scope import LABELS, RANGES, Scope, moment_before, quoted
from streamlit_portal.tab import Tab

ALL_TABS = [tab for tabs in TABS.values() for tab in tabs]
BOARDS = Path(__file__).parents[1] / "grafana/provisioning/dashboards/json"
DAY = RANGES["24h"]


def signal(unit: str = "short", decimals: int | None = None, **more: object) -> Signal:
    return Signal(name="x", title="X", unit=unit, expr="x", means="X.", decimals=decimals, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "unit", "decimals", "shown"),
    [
        (0.0, "s", None, "0 s"),
        (0.0004, "s", None, "400 µs"),
        (0.25, "s", None, "250 ms"),
        (6.24, "s", None, "6.24 s"),
        (90.0, "s", None, "1.50 min"),
        (5400.0, "s", None, "1.50 hour"),
        (172_800.0, "s", None, "2 day"),
        (0.2, "percentunit", 1, "20.0%"),
        (0.0004, "percentunit", 1, "0.0%"),
        (28.8, "currencyUSD", 2, "$28.80"),
        (12_345.678, "currencyUSD", 2, "$12.35K"),
        (-3.0, "currencyUSD", 2, "-$3.00"),
        (0.00012, "currencyUSD", 4, "$0.0001"),
        (12.34, "short", None, "12.3"),
        (1000.0, "short", None, "1 K"),
        (1234.0, "short", None, "1.23 K"),
        (6_336_000.0, "short", 1, "6.3 Mil"),
        (2.5, "short", 0, "3"),
        (1449.0, "short", 0, "1.45 K"),
        (1536.0, "bytes", None, "1.50 KiB"),
        (1.0, "none", 0, "1"),
    ],
)
def test_numbers_are_printed_as_grafana_prints_them(value: float, unit: str, decimals: int | None, shown: str) -> None:
    assert units.text(value, unit, decimals) == shown  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "unit", "decimals", "shown"),
    [
        (3.0, "currencyUSD", 2, "+$3.00"),
        (-3.0, "currencyUSD", 2, "-$3.00"),
        (0.001, "currencyUSD", 2, "$0.00"),
        (0.125, "percentunit", 1, "+12.5 pp"),
        (-0.0004, "percentunit", 1, "0.0 pp"),
        (-0.25, "s", None, "-250 ms"),
    ],
)
def test_a_difference_has_a_sign_and_one_of_shares_is_in_points(
    value: float, unit: str, decimals: int | None, shown: str
) -> None:
    assert units.of(signal(unit, decimals, signed=True), value) == shown


def test_what_is_not_a_number_is_a_dash() -> None:
    assert units.of(signal(), None) == units.of(signal(), float("nan")) == "–"  # noqa: RUF001


@pytest.mark.parametrize(
    ("top", "unit", "labels"),
    [
        (640.0, "short", ["0", "200", "400", "600", "800"]),
        (0.33, "percentunit", ["0%", "10%", "20%", "30%", "40%"]),
        (580.0, "s", ["0 s", "2 min", "4 min", "6 min", "8 min", "10 min"]),
        (151.0, "s", ["0 s", "1 min", "2 min", "3 min"]),
        (7300.0, "s", ["0 s", "30 min", "1 hour", "1.5 hour", "2 hour", "2.5 hour"]),
        (400_000.0, "s", ["0 s", "1 day", "2 day", "3 day", "4 day", "5 day"]),
        (4.4, "s", ["0 s", "1 s", "2 s", "3 s", "4 s", "5 s"]),
        (0.2, "currencyUSD", ["$0", "$0.05", "$0.1", "$0.15", "$0.2"]),
        (3 * 1024.0, "bytes", ["0 B", "1 KiB", "2 KiB", "3 KiB"]),
        (0.0, "short", ["0", "1"]),
    ],
)
def test_an_axis_has_round_labels(top: float, unit: str, labels: list[str]) -> None:
    assert [units.tick(mark, unit) for mark in units.ticks(top, unit)] == labels  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("top", "bottom", "marks"),
    [
        (1.0, 0.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (1.0, -0.5, [-0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.3, -0.92, [-1.0, -0.8, -0.6, -0.4, -0.2, 0.0, 0.2, 0.4]),
    ],
)
def test_an_axis_goes_below_zero_where_values_do(top: float, bottom: float, marks: list[float]) -> None:
    axis = values(signal("percentunit"), top, bottom).to_dict()
    assert axis["axis"]["values"] == marks
    assert axis["scale"]["domain"] == [marks[0], marks[-1]]
    # Vega finds the label of a mark by its place among all.
    words = str([f"{round(100 * mark)}%" for mark in marks])
    assert axis["axis"]["labelExpr"] == f"{words}[round((datum.value - {marks[0]}) / 0.2)]"


@pytest.mark.parametrize(
    ("unit", "now", "before", "shown"),
    [
        ("short", 150.0, 100.0, ("+50.0%", True)),
        ("short", 96.0, 100.0, ("-4.0%", False)),
        ("short", 100.0, 100.0, (0, False)),
        ("short", 100.0, 100.01, (0, False)),
        ("short", 7.0, 0.0, ("+7", True)),
        ("short", 0.0, 0.0, (0, False)),
        ("percentunit", 0.2, 0.0, ("+20.0 pp", True)),
        ("percentunit", 0.105, 0.11, ("-0.5 pp", False)),
        ("s", 3.0, 4.0, ("-25.0%", True)),
        ("short", 109.0, 10.0, ("+990.0%", True)),
        ("short", 110.0, 10.0, ("+1,000%+", False)),
    ],
)
def test_a_change_has_a_sign_and_is_coloured_only_when_it_matters(
    unit: str, now: float, before: float, shown: tuple[str | float, bool]
) -> None:
    assert units.change(signal(unit), now, before) == shown


def test_the_hash_of_a_name_is_that_of_string_hash() -> None:
    # djb2 with xor: 5381 for nothing, then 5381 * 33 ^ 97 = 177573 ^ 97 = 177604 for "a".
    assert colours._hash("") == 5381
    assert colours._hash("a") == 177_604
    assert colours._hash("ba") == (177_604 * 33) ^ 98


@pytest.mark.parametrize("dark", [False, True])
def test_names_have_colours_that_can_be_told_apart_and_seen(dark: bool) -> None:
    names = ["claude-haiku-4.8", "claude-opus-4.8", "gemini-3-pro", "gpt-5.2", "local-llama"]
    found = colours.assigned(signal(), names, dark)
    assert all(colours.contrast(colour, colours.GROUND[dark]) >= 3 for colour in found.values())
    for one, other in combinations(found.values(), 2):
        assert colours._distance(one, other) >= 120
    assert found == colours.assigned(signal(), reversed(names), dark)
    # A name that has nobody beside it has the colour that Grafana gives it.
    assert colours.assigned(signal(), ["gpt-5.2"], dark)["gpt-5.2"] == colours.by_name("gpt-5.2", dark)[0]


def test_a_signals_own_colours_are_grafanas_of_the_theme() -> None:
    own = signal(colours=(("ok", "green"), ("error", "dark-red"), ("other", "text")))
    assert colours.assigned(own, ["ok", "error", "other"], False) == {
        "ok": "#56A64B",
        "error": "#AD0317",
        "other": "#24292E",
    }
    assert colours.assigned(own, ["ok", "error", "other"], True) == {
        "ok": "#73BF69",
        "error": "#C4162A",
        "other": "#CCCCDC",
    }


def test_every_colour_that_the_catalogue_names_exists() -> None:
    for known in SIGNALS.values():
        for _, colour in known.colours:
            assert colours.named(colour, True).startswith("#")
            assert colours.named(colour, False).startswith("#")


@pytest.mark.parametrize(
    ("value", "matcher"),
    [
        ("planner", '"planner"'),
        ('a"} or vector(1) #', r'"a\"} or vector(1) #"'),
        ("back\\slash", r'"back\\slash"'),
        ("two\nlines", r'"two\nlines"'),
        ("$window$where", r'"\x24window\x24where"'),
        ("größe", '"größe"'),
    ],
)
def test_a_label_value_stays_inside_its_quotes(value: str, matcher: str) -> None:
    assert quoted(value) == matcher


def test_a_signal_is_filled_with_the_pickers_that_its_families_know() -> None:
    scope = Scope(span=DAY, picked=(("agent", "planner"), ("model", "gpt-5")))
    assert scope.expression(SIGNALS["runs"], 3600) == (
        'sum(increase(agentgauge_runs_total{gen_ai_agent_name="planner"}[3600s]))'
    )
    assert scope.ignored(SIGNALS["runs"]) == ["model"]
    assert scope.ignored(SIGNALS["spend"]) == []


@pytest.mark.parametrize(
    ("name", "now", "before"),
    [
        ("spend", "2026-03-10T09:30:00", "2026-03-09T09:30:00"),
        ("spend_today", "2026-03-01T00:10:00", "2026-02-28T00:10:00"),
        ("spend_month", "2026-11-21T14:00:00", "2026-10-21T14:00:00"),
        ("spend_month", "2026-03-10T09:30:00", "2026-02-10T09:30:00"),
        # There is no 31st of February: all of it.
        ("spend_month", "2026-03-31T09:30:00", "2026-02-28T23:59:00"),
    ],
)
def test_a_card_is_compared_with_the_range_before_or_the_same_time_of_the_last_day_or_month(
    name: str, now: str, before: str
) -> None:
    moments = [datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() for text in (now, before)]
    assert moment_before(SIGNALS[name], moments[0], DAY) == moments[1]


@pytest.mark.parametrize(
    ("refresh", "live", "beats"), [(15, True, (15.0, 60.0)), (120, True, (120.0, 120.0)), (15, False, (None, None))]
)
def test_a_table_is_refreshed_once_a_minute_at_most(
    refresh: int, live: bool, beats: tuple[float | None, float | None]
) -> None:
    chosen = settings.from_environment({"PORTAL_REFRESH": str(refresh)})
    page = widgets.Page(settings=chosen, scope=Scope(span=DAY, live=live), board="b", grafana="")
    assert (page.beat, page.calm) == beats


def test_what_is_read_as_markdown_is_escaped() -> None:
    assert widgets.plain("**b** $x$ :red[r] <img> [l](u) a_b `c`\n# h") == (
        r"\*\*b\*\* \$x\$ \:red\[r\] \<img\> \[l\]\(u\) a\_b \`c\` \# h"
    )


def test_a_clock_survives_a_zone_that_is_none() -> None:
    noon = 1_700_000_000.0 // 86_400 * 86_400 + 43_200
    assert widgets.clock(noon, "UTC") == "12:00:00"
    assert widgets.clock(noon, "Asia/Tokyo") == "21:00:00"
    assert widgets.clock(noon, "../../etc/passwd") == widgets.clock(noon, "No/Where") == "12:00:00 UTC"


def test_a_frames_address_says_panel_range_theme_and_variables_and_nothing_of_the_moment() -> None:
    scope = Scope(span=DAY, picked=(("agent", 'a&b="c" d'), ("model", "gpt-5")), dark=True)
    assert grafana.panel("http://g:3000", "agents-cost", SIGNALS["spend_by_model"], scope) == (
        f"http://g:3000/d-solo/agents-cost/agents-cost?orgId=1&panelId=panel-{SIGNALS['spend_by_model'].panel_id}"
        "&from=now-24h&to=now&var-agent=a%26b%3D%22c%22%20d&var-model=gpt-5&theme=dark&timezone=browser"
        "&hideLogo=true&refresh=1m"
    )


def test_the_link_to_a_board_keeps_range_and_variables() -> None:
    scope = Scope(span=RANGES["7d"], picked=(("source", "demo"),))
    assert grafana.link("/grafana", "agents-cost", scope) == (
        "/grafana/d/agents-cost/agents-cost?orgId=1&from=now-7d&to=now&var-source=demo"
    )
    assert grafana.link("", "b", scope, SIGNALS["runs"]).endswith(f"&viewPanel=panel-{SIGNALS['runs'].panel_id}")


def test_a_path_of_grafana_is_one_of_the_portals_own_origin() -> None:
    assert grafana.absolute("/grafana", "https://gauge.example:8443/portal/cost?range=7d") == (
        "https://gauge.example:8443/grafana"
    )
    assert grafana.absolute("http://g:3000", "https://gauge.example/") == "http://g:3000"
    assert grafana.origin("javascript:alert(1)") == ""


def test_settings_have_defaults_and_grafana_is_left_out_when_it_is_not_named() -> None:
    found = settings.from_environment({})
    assert (found.prometheus, found.grafana, found.grafana_internal) == ("http://127.0.0.1:9090", "", "")
    assert (found.refresh, found.probe) == (15, 60)
    behind = {"GRAFANA_URL": "/grafana/", "GRAFANA_INTERNAL_URL": "http://grafana:3000/grafana/"}
    found = settings.from_environment(behind)
    assert (found.grafana, found.grafana_internal) == ("/grafana", "http://grafana:3000/grafana")
    assert settings.from_environment({"GRAFANA_URL": "http://g:3000/"}).grafana_internal == "http://g:3000"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PROMETHEUS_URL", "prometheus:9090"),
        ("GRAFANA_URL", "javascript:alert(1)"),
        ("GRAFANA_URL", "//elsewhere.example/"),
        ("PORTAL_REFRESH", "0"),
        ("PORTAL_PROBE", "soon"),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_code_2(name: str, value: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "streamlit_portal"],
        env={**os.environ, name: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    (said,) = [line for line in done.stderr.splitlines() if "WARNING" not in line]
    assert said.startswith(f"streamlit_portal: {name} is {value!r}")


def test_a_path_needs_an_address_for_the_probe() -> None:
    with pytest.raises(ValueError, match="GRAFANA_INTERNAL_URL"):
        settings.from_environment({"GRAFANA_URL": "/grafana"})


def series(*points: tuple[float, float], **labels: str) -> Series:
    return Series(labels=labels, points=points)


def test_a_gap_stays_a_gap_and_a_missing_part_adds_nothing() -> None:
    outcome = SIGNALS["runs_by_outcome"]
    answer = Answer(series=(series((0, 5.0), (60, 6.0), outcome="error"), series((60, 2.0), (180, 3.0), outcome="ok")))
    found = lines.lines(outcome, answer, lines.grid(0, 180, 60))
    assert [(line.name, line.values) for line in found] == [
        ("ok", (None, 2.0, None, 3.0)),
        ("error", (5.0, 6.0, None, None)),
    ]
    assert [line.values for line in lines.stacked(found)] == [(0.0, 2.0, None, 3.0), (5.0, 6.0, None, 0.0)]


def test_of_many_lines_the_ten_largest_are_drawn() -> None:
    agent = SIGNALS["runs_by_agent"]
    answer = Answer(series=tuple(series((0, float(size)), gen_ai_agent_name=f"a{size:02}") for size in range(12)))
    assert [line.name for line in lines.lines(agent, answer, (0.0,))] == [f"a{size:02}" for size in range(2, 12)]


def test_a_series_without_the_label_is_called_unknown() -> None:
    assert lines.name(SIGNALS["runs_by_agent"], series((0, 1.0))) == "unknown"
    assert lines.name(SIGNALS["bad_records_by_reason"], series((0, 1.0), source="a", reason="b")) == "a · b"


def test_buckets_are_counts_of_their_own_without_the_empty_ones_at_the_ends() -> None:
    answer = Answer(
        series=(
            series((0, 9.0), (60, 4.0), le="+Inf"),
            series((0, 9.0), (60, 4.0), le="10.0"),
            series((0, 5.0), (60, 4.0), le="2.0"),
            series((0, 0.0), (60, 0.0), le="1.0"),
            series((0, 4.0), (60, 4.5), le="1.5"),
        )
    )
    found = lines.buckets(answer, (0.0, 60.0))
    assert [(line.name, line.values) for line in found] == [
        ("1.5", (4.0, 4.5)),
        ("2.0", (1.0, 0.0)),
        ("10.0", (4.0, 0.0)),
    ]


def test_a_chart_is_the_same_document_for_the_same_numbers() -> None:
    answer = Answer(series=(series((0, 1.0), (60, 2.0), outcome="ok"),))
    look = Look(dark=False, width=600, height=300)
    one, other = (charts.draw(SIGNALS["runs_by_outcome"], answer, (0.0, 60.0), look) for _ in range(2))
    assert one is not None and other is not None
    assert one.to_dict() == other.to_dict()


def test_a_limit_is_drawn_where_values_come_near_it() -> None:
    ratio = SIGNALS["run_error_ratio_by_agent"]
    look = Look(dark=False, width=600, height=300)

    def drawn(value: float) -> str:
        answer = Answer(series=(series((0, value), (60, value), gen_ai_agent_name="a"),))
        chart = charts.draw(ratio, answer, (0.0, 60.0), look)
        assert chart is not None
        return json.dumps(chart.to_dict())

    assert "limit 20%" in drawn(0.15)
    assert "limit 20%" not in drawn(0.05)


def test_a_band_without_the_usual_says_what_it_takes() -> None:
    band = SIGNALS["spend_band"]
    look = Look(dark=False, width=600, height=300)

    def drawn(*stats: str) -> str:
        answer = Answer(series=tuple(series((0, 1.0), (60, 2.0), stat=stat) for stat in stats))
        chart = charts.draw(band, answer, (0.0, 60.0), look)
        assert chart is not None
        return json.dumps(chart.to_dict())

    assert band.empty in drawn("present")
    assert band.empty not in drawn("present", "usual", "upper", "lower")


def test_a_long_legend_takes_nothing_of_a_chart_that_stands_alone() -> None:
    answer = Answer(series=tuple(series((0, 1.0), (60, 2.0), gen_ai_agent_name=f"agent {at}") for at in range(8)))

    def height(width: int, alone: bool) -> int:
        look = Look(dark=False, width=width, height=300, alone=alone)
        chart = charts.draw(SIGNALS["runs_by_agent"], answer, (0.0, 60.0), look)
        assert chart is not None
        return int(chart.to_dict()["height"])

    # A name of seven letters takes 85 pixels: three in a line of 280, and eight names are three lines.
    assert (height(280, True), height(280, False), height(1000, True)) == (316, 300, 300)


def test_one_or_two_points_are_no_sparkline() -> None:
    assert widgets._sparkline(Answer()) is None
    assert widgets._sparkline(Answer(series=(series((0, 1.0), (60, 2.0)),))) is None
    assert widgets._sparkline(Answer(series=(series((0, 1.0), (60, 2.0), (120, 3.0)),))) == [1.0, 2.0, 3.0]


def test_nothing_to_draw_is_none() -> None:
    look = Look(dark=False, width=600, height=300)
    for name in ("runs_by_outcome", "run_latency_heatmap", "spend_share_by_agent", "source_up"):
        assert charts.draw(SIGNALS[name], Answer(), (0.0, 60.0), look) is None


@pytest.mark.parametrize("tab", ALL_TABS, ids=lambda tab: tab.title)
def test_a_tab_keeps_to_the_layout(tab: Tab) -> None:
    panels = [SIGNALS[name] for names in tab.rows for name in names]
    cards = [SIGNALS[name] for name in tab.cards]
    assert len(cards) in (4, 8)
    assert all(card.view == "stat" for card in cards)
    assert 1 <= len(panels) <= 4
    assert all(panel.view not in ("stat", "column") for panel in panels)
    assert len(tab.tables) <= 3
    assert all(table.signals for table in tab.tables)
    for table in tab.tables:
        heads = [*(spoken(label).capitalize() for label in table.labels), *(one.title for one in table.signals)]
        assert len(set(heads)) == len(heads), table.name


@pytest.mark.parametrize("tab", ALL_TABS, ids=lambda tab: tab.title)
def test_every_framed_panel_stands_on_its_board(tab: Tab) -> None:
    board = json.loads((BOARDS / f"{tab.board}.json").read_text())
    assert board["uid"] == tab.board
    standing = {panel["id"]: panel["title"] for row in board["panels"] for panel in (row, *row.get("panels", ()))}
    for name in (name for names in tab.rows for name in names):
        assert standing.get(SIGNALS[name].panel_id) == SIGNALS[name].title


def test_every_picker_is_a_variable_of_every_board() -> None:
    for tab in ALL_TABS:
        board = json.loads((BOARDS / f"{tab.board}.json").read_text())
        assert {"source", "agent", "model"} <= {variable["name"] for variable in board["templating"]["list"]}, tab.board


def test_every_alert_has_a_page_of_its_panel() -> None:
    for alert in alerts(SIGNALS.values()):
        found = panel.tab(str(alert.signal.panel_id))
        assert found is not None
        assert (found.rows, found.board) == (((alert.signal.name,),), alert.limit.dashboard)
    assert panel.tab("1") is None
    assert panel.tab("") is None


def test_every_alert_has_a_runbook_without_formulas() -> None:
    page = AppTest.from_string("from streamlit_portal import runbooks; runbooks.show()").run()
    assert not page.exception
    assert [header.value for header in page.header] == [alert.name for alert in alerts(SIGNALS.values())]
    assert "**What to do.**" in page.markdown[0].value
    assert runbooks._without_formulas("$1 and $2\n```\n$3\n```\n$4") == "\\$1 and \\$2\n```\n$3\n```\n\\$4"


@pytest.mark.parametrize(
    ("said", "known"), [({}, False), ({"AGENTGAUGE_NOTIFY": "slack"}, False), ({"AGENTGAUGE_NOTIFY": " "}, True)]
)
def test_that_nobody_is_told_of_alerts_is_said_where_it_is_known(said: dict[str, str], known: bool) -> None:
    assert bool(notice._untold(settings.from_environment(said))) == known


class Deaf:
    """A listener that accepts, counts and never says a word."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.held: list[socket.socket] = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                self.held.append(self.socket.accept()[0])
            except OSError:
                return

    def stop(self) -> None:
        self.socket.close()
        for held in self.held:
            held.close()


@pytest.fixture
def deaf() -> Iterator[Deaf]:
    listener = Deaf()
    yield listener
    listener.stop()


def test_many_queries_to_a_prometheus_that_hangs_cost_one_time_out_and_then_none(
    deaf: Deaf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus, "TIMEOUT", 0.5)
    queries = tuple(Query(expr=f"up + {number}", end=0.0) for number in range(24))
    assert prometheus.ask(deaf.url, queries) == (Answer(problem=prometheus.SILENT),) * 24
    # One round of queries at once, of three.
    reached = len(deaf.held)
    assert 1 <= reached <= 8
    assert prometheus.ask(deaf.url, queries[:1])[0].problem == prometheus.SILENT
    assert prometheus.label_values(deaf.url, "source", 0.0) is None
    assert len(deaf.held) == reached


def test_a_refused_connection_is_a_state_and_not_an_exception() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    (answer,) = prometheus.ask(f"http://127.0.0.1:{port}", (Query(expr="up", end=0.0),))
    assert answer == Answer(problem=prometheus.SILENT)


def test_an_address_is_shown_without_its_password() -> None:
    assert prometheus.shown_address("https://me:secret@prom.example:9090/x") == "https://prom.example:9090/x"
    assert prometheus.shown_address("http://127.0.0.1:9090") == "http://127.0.0.1:9090"


def test_not_a_number_is_no_number() -> None:
    result = [
        {"metric": {"a": "1"}, "value": [1, "NaN"]},
        {"metric": {"__name__": "x", "a": HOSTILE}, "values": [[1, "2"], [2, "+Inf"], [3, "4"]]},
    ]
    assert prometheus._series(result) == (Series(labels={"a": HOSTILE}, points=((1.0, 2.0), (3.0, 4.0))),)


def test_a_matrix_names_its_rows_and_columns_and_leaves_out_what_is_not_known() -> None:
    by_hour = SIGNALS["spend_by_hour"]
    answer = Answer(series=(series((0, 1.5), day="0", hour="9"), series((0, 3.0), day="6", hour="23")))
    look = Look(dark=True, width=600, height=300)
    drawn = charts.draw(by_hour, answer, (0.0,), look)
    assert drawn is not None
    said = json.dumps(drawn.to_dict())
    assert '{"row": "Monday", "column": "09", "value": 1.5, "words": "$1.50"}' in said
    assert '{"row": "Sunday", "column": "23", "value": 3.0, "words": "$3.00"}' in said
    assert said.count('"words": "$') == 2
    assert charts.draw(by_hour, Answer(), (0.0,), look) is None


def test_a_point_needs_all_of_its_numbers() -> None:
    plane = SIGNALS["cost_against_latency"]
    numbers = {"duration": 2.0, "cost": 5.0, "calls": 30.0}
    whole = [series((0, value), gen_ai_request_model="a", stat=stat) for stat, value in numbers.items()]
    part = series((0, 1.0), gen_ai_request_model="b", stat="calls")
    look = Look(dark=False, width=600, height=300)
    drawn = charts.draw(plane, Answer(series=(*whole, part)), (0.0,), look)
    assert drawn is not None
    (rows,) = drawn.to_dict()["datasets"].values()
    (row,) = rows
    shown = {"words": "$5.00", "seconds": "2 s", "count": "30"}
    assert row == {"name": "a", "high": 5.0, "duration": 2.0, "calls": 30.0, **shown}
    assert charts.draw(plane, Answer(series=(part,)), (0.0,), look) is None


def rows_of(drawn: charts.Drawn) -> list[dict[str, object]]:
    """The rows of every part of a chart."""
    return [row for rows in drawn.to_dict()["datasets"].values() for row in rows]


def test_bars_with_limits_have_the_colour_of_the_worst_that_they_are_past() -> None:
    used = SIGNALS["budget_used"]
    shares = {"well": 0.5, "at": 0.8, "near": 0.9, "past": 1.3}
    found = Answer(series=tuple(series((0, share), budget=name) for name, share in shares.items()))
    drawn = charts.draw(used, found, (0.0,), Look(dark=False, width=400, height=200))
    assert drawn is not None
    green, orange, red = (colours.named(name, False) for name in ("green", "orange", "red"))
    assert {row["name"]: row["colour"] for row in rows_of(drawn) if "colour" in row} == {
        "well": green, "at": green, "near": orange, "past": red,
    }  # fmt: skip
    assert [row["high"] for row in rows_of(drawn) if row.keys() == {"high"}] == [0.8, 1.0]


def test_a_state_that_is_more_than_well_or_not_has_its_own_words() -> None:
    state = SIGNALS["budget_state"]
    found = Answer(series=(series((0, 0.0), (60, 0.0), (120, 4.0), (180, 5.0), budget="b"),))
    drawn = charts.draw(state, found, (0.0, 60.0, 120.0, 180.0), Look(dark=True, width=400, height=200))
    assert drawn is not None
    assert [row["state"] for row in rows_of(drawn)] == ["OK", "Warning", "Exceeded"]
    scale = drawn.to_dict()["encoding"]["color"]["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True))["Exceeded"] == colours.named("red", True)


def rule(name: str, *alerts: dict[str, object], health: str = "ok") -> dict[str, object]:
    return {"name": name, "health": health, "alerts": list(alerts)}


def fires(severity: str, since: str, state: str = "firing", **labels: str) -> dict[str, object]:
    return {
        "labels": {"severity": severity, **labels},
        "annotations": {"panel_id": "7"},
        "state": state,
        "activeAt": f"2026-03-10T09:{since}:00.123456789Z",
    }


RULES = [
    rule("Slow", fires("warning", "10", gen_ai_agent_name="a"), fires("warning", "50", gen_ai_agent_name="b")),
    rule("Failing", fires("critical", "20", gen_ai_agent_name="b & c", gen_ai_request_model="gpt-5")),
    rule("Dear", fires("warning", "30", state="pending")),
    rule("Quiet"),
    rule("WeeklyDrill", fires("critical", "55")),
]


def test_what_is_critical_stands_first_and_then_what_began_last() -> None:
    assert [(one.name, one.labels["gen_ai_agent_name"]) for one in firing.firing(RULES)] == [
        ("Failing", "b & c"),
        ("Slow", "b"),
        ("Slow", "a"),
    ]
    assert [one.name for one in firing.firing(RULES, "pending")] == ["Dear"]
    # 09:20 of that day, and what the nanoseconds say to the microsecond.
    assert firing.firing(RULES)[0].since == datetime(2026, 3, 10, 9, 20, 0, 123456, UTC).timestamp()


def test_how_many_alerts_fire_is_said_above_every_page() -> None:
    assert firing.headline(RULES) == "2 alerts fire"
    assert firing.headline(RULES[:1]) == "1 alert fires"
    assert firing.headline(RULES[2:]) == firing.headline([]) == firing.headline(None) == ""


def test_a_panel_of_an_alert_is_that_of_whom_it_fires_for() -> None:
    assert firing._panel(firing.firing(RULES)[0]) == "panel?id=7&agent=b%20%26%20c&model=gpt-5"


def test_that_nothing_fires_is_another_thing_than_that_nobody_looks() -> None:
    assert "no alert rules" in firing._quiet([])
    assert "Not judged yet" in firing._quiet([rule("Slow", health="unknown")])
    assert "Nothing fires.] 1 alerts" in firing._quiet([rule("Slow", health="unknown"), rule("Quiet")])


def test_what_the_notice_asks_for_exists() -> None:
    assert Asked.of(notice.BEHIND).series <= LABELS.keys()
