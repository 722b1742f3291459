"""The whole stack, started with `make up` on the demo's week: what people are shown is what the traces say."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from string import ascii_uppercase
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, expect, sync_playwright
from portal_page import ALL_TABS, CHART, cards, settled
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from traces_told import calls_of, totals
from whole_stack import CHECKOUT, Prometheus, Stack, has_data, launched, stack, until

from exporters.catalogue import tables
from exporters.catalogue.alerts import DRILL, alerts
from exporters.catalogue.model import panel_id
from exporters.catalogue.records import RECORDS
from exporters.catalogue.signals import SIGNALS, anomalies
from exporters.catalogue.tables import SCORES, VERSIONS
from exporters.stack.debian import program
from streamlit_portal import units
from streamlit_portal.scope import RANGES, Scope
from streamlit_portal.tab import Tab
from streamlit_portal.tabs import exporter_health, overview

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        program("prometheus") is None or program("chromium") is None, reason="needs prometheus and chromium"
    ),
]

EVALUATIONS = (
    "scores",
    "mean_score",
    "scores_per_run",
    "score_by_name",
    "score_by_agent",
    "score_heatmap",
    "scores_by_agent",
)
# What returns nothing on the demo, and why.
EMPTY = {
    "cache_share": "createagents does not record how much of its input came from a cache",
    "cache_saved": "createagents does not record how much of its input came from a cache",
    "tokens_of_which": "createagents does not record how much of its input came from a cache",
    "inference_error_latency_by_type": "createagents does not record how long a failed model call took",
    "first_chunk_by_model": "createagents does not record when an answer began",
    **dict.fromkeys(VERSIONS.columns, "createagents does not record the versions of agents"),
    **dict.fromkeys((*SCORES.columns, *EVALUATIONS), "createagents has no scores"),
    "bad_records_by_reason": "the demo writes no record that cannot be used",
    "label_overflow": "the demo has few names",
    "source_backlog_records": "createagents writes files, and the demo's backlog is bytes",
    **dict.fromkeys(
        (
            signal_.name
            for signal_ in (*anomalies.ANOMALIES, *anomalies.ANOMALY_COLUMNS)
            if not signal_.name.endswith("_band")
        ),
        "the demo's week has no other weeks to be held against",
    ),
    "rate_limit_used": "files have no rate limit",
    "invalid_usage_by_reason": "the demo writes no usage that cannot be right",
    **dict.fromkeys(
        (
            "spend_forecast",
            "spend_forecast_range",
            "budget_forecast",
            "budget_end_low",
            "budget_end_expected",
            "budget_end_high",
            "budget_runs_out",
        ),
        "the demo's week is too short for a forecast",
    ),
}
# There is no week before the demo's.
NO_WEEK_BEFORE = {name for name in SIGNALS if name.endswith("_change")}
MODEL = "gen_ai_request_model"
SHOTS = CHECKOUT / ".screenshots"

Said = subprocess.CompletedProcess[str]
Seen = TypeVar("Seen")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Said]]:
    with stack(tmp_path_factory.mktemp("stack")) as started:
        yield started


@pytest.fixture(scope="module")
def running(up: tuple[Stack, Said]) -> Stack:
    """The stack, once the exporter has read the week, and Prometheus has seen it read on."""
    started, said = up
    assert said.returncode == 0, said.stdout + said.stderr
    ask = started.prometheus.instant
    assert ask('up{job="agentgauge"} == 1', time.time()), "make up did not wait for the first numbers"
    until(lambda: ask("agentgauge_source_caught_up == 1", time.time()), "the week is read")
    # The demo's agents are asked once a minute, more or less: at times nothing comes for longer.
    read_on = "rate(agentgauge_commit_duration_seconds_count[1m]) > 0"
    until(lambda: ask(read_on, time.time()), "the present is read", seconds=240)
    until(lambda: ask(":agentgauge_cost_usd:increase1h", time.time()), "an hour is derived", 90)
    # The portal asks for a moment that is up to a quarter of a minute ago.
    left = "agent_objective:agentgauge_objective:budget_left offset 30s"
    until(lambda: ask(left, time.time()), "the objectives are judged", 240)
    return started


@pytest.fixture(scope="module")
def server(running: Stack) -> Prometheus:
    return running.prometheus


# What `make up` says


def test_make_up_says_in_a_few_lines_what_runs_where(running: Stack, up: tuple[Stack, Said]) -> None:
    said = up[1]
    assert said.stdout.startswith("Writing the demo's past (7d) ...\nLoading it into Prometheus ...\n")
    where = {"Portal": "PORTAL_PORT", "Prometheus": "PROMETHEUS_PORT", "Exporter": "EXPORTER_PORT"}
    for part, address in [
        *((part, running.url(port)) for part, port in where.items()),
        ("Demo", running.home / "demo"),
    ]:
        assert re.search(rf"^ +{part} +well +{address}$", said.stdout, re.MULTILINE), said.stdout
    assert "Traceback" not in said.stderr


# Every question has an answer


def looked(look: Callable[[], Seen], expected: Seen) -> Seen:
    """Return what a look sees, the first that is as expected within half a minute, else the last: on a
    busy machine a scrape may be missed, and then there is nothing to be seen of that moment."""
    end = time.monotonic() + 30
    while (seen := look()) != expected and time.monotonic() < end:
        time.sleep(1)
    return seen


@pytest.mark.parametrize(("name", "known"), [("24h", set(EMPTY)), ("7d", EMPTY.keys() | NO_WEEK_BEFORE)])
def test_every_signal_is_answered_and_what_is_empty_is_known(name: str, known: set[str], server: Prometheus) -> None:
    scope = Scope(span=RANGES[name])
    span = scope.span

    def empty() -> set[str]:
        now = time.time()
        found = {
            signal_.name: server.over(scope.expression(signal_, span.step), now - span.seconds, now, span.step)
            if signal_.over == "rate"
            else server.instant(scope.expression(signal_, span.seconds), now)
            for signal_ in SIGNALS.values()
        }
        return {name for name, answer in found.items() if not has_data(answer)}

    assert looked(empty, known) == known


BOARDS = sorted((CHECKOUT / "grafana" / "provisioning" / "dashboards" / "json").glob("*.json"))
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@pytest.mark.parametrize("board", BOARDS, ids=lambda path: path.stem)
def test_every_panel_of_a_dashboard_has_data_or_is_known_to_have_none(board: Path, server: Prometheus) -> None:
    document = json.loads(board.read_text())
    names = {signal_.panel_id: name for name, signal_ in SIGNALS.items()}
    variables = {one["name"]: one["allValue"] for one in document["templating"]["list"] if one["type"] == "query"}
    asked = [
        (names.get(panel["id"]) or columns_of(panel, target), panel, target)
        for panel in document["panels"]
        for target in panel.get("targets", ())
    ]
    shown = {name for name, _, _ in asked}
    assert len(shown) >= 8

    def empty() -> set[str]:
        return {
            name
            for name, panel, target in asked
            if not has_data(drawn(server, document["time"]["from"], panel, target, variables))
        }

    assert looked(empty, shown & EMPTY.keys()) == shown & EMPTY.keys()


TABLES = {panel_id(table.name): table for table in vars(tables).values() if isinstance(table, tables.Table)}


def columns_of(panel: Any, target: Any) -> str:
    """Return the name of the signal that a query of a table asks for."""
    return TABLES[panel["id"]].columns[ascii_uppercase.index(target["refId"])]


def drawn(server: Prometheus, since: str, panel: Any, target: Any, variables: dict[str, str]) -> dict[Any, Any]:
    """Ask what a panel asks when its dashboard is opened, its variables filled as Grafana fills them.

    https://grafana.com/docs/grafana/latest/datasources/prometheus/template-variables/
    """
    match = re.fullmatch(r"now-(\d+)([hd])(/d)?", since)
    assert match, since
    seconds = int(match[1]) * SECONDS[match[2]]
    # The data source scrapes every 15 s; a target may ask for no finer a step than its own.
    least = int(target["interval"][:-1]) * SECONDS[target["interval"][-1]] if target.get("interval") else 15
    step = max(least, -(-seconds // (panel.get("maxDataPoints") or 1000)))
    own = {"__range": f"{seconds}s", "__rate_interval": f"{max(step + least, 4 * least)}s", "__interval": f"{step}s"}
    filled = re.sub(r"\$(\w+)", lambda blank: (own | variables)[blank[1]], target["expr"])
    assert target["instant"] != target["range"]
    now = time.time()
    if target["instant"]:
        return server.instant(filled, now)
    # Grafana's last step is the last whole one, which may have ended before the first scrape; ours is now.
    return server.over(filled, now - seconds // step * step, now, step)


# The numbers are those of the traces


def counted(server: Prometheus, at: float) -> dict[str, dict[Any, int]]:
    """What `totals` returns, from the counters of that moment."""
    calls = server.instant(f"sum by ({MODEL}, outcome) (agentgauge_inference_calls_total)", at)
    usage = "gen_ai_client_inference_usage_{}_tokens_total"
    return {
        "calls": {(dict(labels)[MODEL], dict(labels)["outcome"]): int(value) for labels, value in calls.items()},
        **{
            kind: {model: int(value) for model, value in server.by(MODEL, f"sum by ({MODEL}) ({name})", at).items()}
            for kind, name in ((kind, usage.format(kind)) for kind in ("input", "output"))
        },
    }


@pytest.mark.parametrize(("ago", "step"), [(4 * 86_400, 300), (2 * 3600, 60)], ids=["four days ago", "two hours ago"])
def test_the_past_in_prometheus_is_that_of_the_traces_to_the_token(
    ago: int, step: int, running: Stack, server: Prometheus
) -> None:
    at = (time.time() - ago) // step * step
    expected = totals(calls_of(running.home / "demo", time.time() - 600), at)
    assert sum(expected["calls"].values()) > 3000
    assert counted(server, at) == expected


def test_the_whole_week_is_what_once_says_of_the_folder(running: Stack, server: Prometheus) -> None:
    command = [sys.executable, "-m", "exporters", "once", f"createagents://{running.home}/demo"]
    page = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    once: dict[str, Counter[str]] = {}
    for sample in (sample for family in text_string_to_metric_families(page) for sample in family.samples):
        once.setdefault(sample.name, Counter())[sample.labels.get(MODEL, "")] += sample.value
    for name in (
        "agentgauge_inference_calls_total",
        "agentgauge_cost_usd_total",
        "gen_ai_client_inference_usage_input_tokens_total",
        "gen_ai_client_inference_duration_seconds_sum",
    ):
        # Longer than the week, so that every birth at 0 is in the window.
        week = server.by(MODEL, f"sum by ({MODEL}) (increase({name}[8d]))", time.time())
        assert len(week) >= 6
        assert week == pytest.approx(dict(once[name]), rel=0.01), name


def test_past_and_present_are_one_curve(server: Prometheus) -> None:
    for name in ("agentgauge_cost_usd_total", "gen_ai_invoke_agent_duration_seconds_sum", "agentgauge_runs_total"):
        # A reset would count a total twice, and another set of labels would be another curve.
        assert set(server.instant(f"resets({name}[8d])", time.time()).values()) == {0.0}
        assert server.by("instance", f"count by (instance, job) ({name} offset 2h)", time.time()).keys() == (
            server.by("instance", f"count by (instance, job) ({name})", time.time()).keys()
        )


# The portal


Looks = dict[str, BrowserContext]


@pytest.fixture(scope="module")
def looks() -> Iterator[Looks]:
    """A browser of its own for each colour scheme; what one tab has loaded, the next has in the cache."""
    told = {"viewport": {"width": 1440, "height": 1800}, "timezone_id": "UTC", "reduced_motion": "reduce"}
    with sync_playwright() as playwright, launched(playwright) as chromium:
        yield {scheme: chromium.new_context(color_scheme=scheme, **told) for scheme in ("light", "dark")}


def opened(context: BrowserContext, address: str) -> tuple[Page, list[str]]:
    """Open an address; collect the errors that the page tells the console."""
    page = context.new_page()
    page.set_default_timeout(30_000)
    errors: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        # Below a tab's path Streamlit looks for its own pages in two places, and finds them in the second.
        probing = urlsplit(message.location["url"]).path.endswith(("/_stcore/health", "/_stcore/host-config"))
        if message.type == "error" and not probing:
            errors.append(f"{message.text} ({message.location['url']})")

    page.on("console", heard)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    return page, errors


@pytest.mark.parametrize("tab", ALL_TABS, ids=lambda tab: tab.title)
def test_the_cards_of_a_tab_say_what_prometheus_says(
    tab: Tab, running: Stack, server: Prometheus, looks: Looks
) -> None:
    page, errors = opened(looks["light"], f"{running.url('PORTAL_PORT')}/{tab.path}")
    settled(page, tab)
    for name in (name for names in tab.rows for name in names if name not in EMPTY):
        # Also minutes after the first start, which is less than a step.
        expect(page.locator(f".st-key-slot-{name}").locator(CHART)).to_be_visible()
    scope = Scope(span=RANGES["24h"])

    def wrong() -> dict[str, tuple[str, set[str]]]:
        """The cards that do not say what Prometheus does, and what both say."""
        moment, shown = cards(page)
        found = {}
        for signal_ in (SIGNALS[name] for name in tab.cards):
            expr = scope.expression(signal_, scope.span.seconds)
            # A scrape at the very moment may have come in after the portal asked.
            told = [server.instant(expr, at) for at in (moment, moment - 5)]
            assert max(map(len, told)) <= (signal_.name not in EMPTY), signal_.name
            said = {units.of(signal_, value) for answer in told for value in answer.values()} or {signal_.empty}
            missed = signal_.name not in EMPTY and {} in told
            if missed or shown[signal_.title][0] not in said:
                found[signal_.name] = (shown[signal_.title][0], said)
        return found

    assert looked(wrong, {}) == {}
    page.screenshot(path=SHOTS / f"{tab.path or 'overview'}-light.png")
    page.close()
    assert errors == []


@pytest.mark.parametrize("tab", ALL_TABS, ids=lambda tab: tab.title)
def test_every_tab_is_drawn_in_the_dark_over_the_week(tab: Tab, running: Stack, looks: Looks) -> None:
    # The exporter's own health has no past: it begins with the first scrape.
    span = "1h" if tab is exporter_health.TAB else "7d"
    page, errors = opened(looks["dark"], f"{running.url('PORTAL_PORT')}/{tab.path}?range={span}")
    settled(page, tab)
    for name in (name for names in tab.rows for name in names):
        slot = page.locator(f".st-key-slot-{name}")
        if name in EMPTY:
            expect(slot.get_by_text(SIGNALS[name].empty)).to_be_visible()
        else:
            expect(slot.locator(CHART)).to_be_visible()
    if tab is overview.TAB:
        # The busiest agent's line goes from edge to edge.
        lines = page.locator(f".st-key-slot-{tab.rows[0][0]} {CHART} g.mark-line path")
        widths = lines.evaluate_all("paths => paths.map(path => path.getBBox().width)")
        assert max(widths) > 1000, widths
    page.screenshot(path=SHOTS / f"{tab.path or 'overview'}-dark.png")
    page.close()
    assert errors == []


def test_the_alerts_page_says_what_fires(running: Stack, server: Prometheus, looks: Looks) -> None:
    page, errors = opened(looks["light"], f"{running.url('PORTAL_PORT')}/alerts")
    expect(page.locator(".st-key-firing [data-testid=stMarkdown]").first).to_be_visible()

    def shown() -> set[str]:
        return {
            text.split(" · ")[0]
            for text in page.locator("[class*=st-key-alert-] [data-testid=stCaptionContainer]").all_inner_texts()
        }

    def wrong() -> set[str]:
        """What either of them says alone: one may have fired or ended since the page asked."""
        fires = {one["labels"]["alertname"] for one in server.get("alerts")["alerts"] if one["state"] == "firing"}
        return fires - {DRILL} ^ shown()

    assert looked(wrong, set()) == set()
    page.screenshot(path=SHOTS / "alerts-light.png")
    page.close()
    assert errors == []


# Prometheus itself


def test_every_target_is_up_and_every_rule_is_evaluated(server: Prometheus) -> None:
    targets = server.get("targets", state="active")["activeTargets"]
    assert {(one["labels"]["job"], one["health"], one["lastError"]) for one in targets} == {
        ("agentgauge", "up", ""),
        ("prometheus", "up", ""),
    }

    def rules() -> list[dict[str, Any]]:
        found = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
        return found if all(rule["health"] != "unknown" for rule in found) else []

    # The slowest are computed every five minutes.
    evaluated = until(rules, "every rule was evaluated", 330)
    assert [(rule["name"], rule["lastError"]) for rule in evaluated if rule["health"] != "ok"] == []
    recorded = [rule["name"] for rule in evaluated if rule["type"] == "recording"]
    own = [signal_.record for signal_ in SIGNALS.values() if signal_.record]
    assert sorted(recorded) == sorted([*own, *(record.name for record in RECORDS)])
    # What is usual takes weeks to know, and what objectives record has tests of its own.
    for name in own:
        until(lambda name=name: has_data(server.instant(name, time.time())), f"{name} has a value", 120)
    # What the demo's agents do may be past a limit; that the exporter is not well would be a fault.
    about_agents = {one.name for one in alerts(SIGNALS.values()) if one.limit.dashboard != "agents-exporter-health"}
    assert {alert["labels"]["alertname"] for alert in server.get("alerts")["alerts"]} <= about_agents


# Killed, stopped and started again


def test_a_killed_exporter_comes_back_and_no_counter_is_lower(running: Stack, server: Prometheus) -> None:
    before, old = running.counters(), running.pid("exporter")
    os.kill(old, signal.SIGKILL)
    killed = time.time()
    until(lambda: running.pid("exporter") not in (0, old), "supervisor starts it again")
    after = until(running.counters, "the exporter answers again")
    assert len(before) > 1000
    assert {key: (value, after.get(key)) for key, value in before.items() if after.get(key, -1.0) < value} == {}
    scraped = "timestamp(agentgauge_source_caught_up == 1)"
    until(lambda: max(server.instant(scraped, time.time()).values(), default=0.0) > killed, "it is scraped again")
    for name in ("agentgauge_inference_calls_total", "gen_ai_client_inference_duration_seconds_sum"):
        assert set(server.instant(f"resets({name}[1h])", time.time()).values()) == {0.0}


def test_after_that_nothing_is_lost_and_nothing_is_counted_twice(running: Stack, server: Prometheus) -> None:
    at = time.time()
    # A line is counted within a second and scraped within five; some were written since.
    least = totals(calls_of(running.home / "demo", at - 20), at - 20)
    found = counted(server, at)
    most = totals(calls_of(running.home / "demo", at + 20), at + 20)
    for kind, values in found.items():
        for key, value in values.items():
            assert least[kind].get(key, 0) <= value <= most[kind].get(key, 0), (kind, key)


def test_make_status_says_that_all_is_well(running: Stack) -> None:
    said = running.make("status")
    assert said.returncode == 0
    assert re.findall(r"^ +(\w+) +well ", said.stdout, re.MULTILINE) == [
        *("Portal", "Prometheus", "Alertmanager", "Exporter", "Guard", "Demo")
    ]
    assert "\nAlerts: nobody is told of them: set SLACK_WEBHOOK_URL in .env" in said.stdout


def test_make_logs_shows_what_every_part_says_until_it_is_interrupted(running: Stack) -> None:
    # As from a terminal: whoever is started in the background may have been told to ignore interrupts.
    command = ["env", "--default-signal=INT", *running.command("logs")]
    with subprocess.Popen(command, **running.options, stdout=subprocess.PIPE, start_new_session=True) as following:
        assert following.stdout is not None
        heads = set()
        for line in following.stdout:
            if match := re.fullmatch(r"==> .*/(\w+)\.log <==", line.strip()):
                heads.add(match[1])
            if heads == {"portal", "prometheus", "alertmanager", "exporter", "guard", "demo", "supervisor"}:
                break
        os.killpg(following.pid, signal.SIGINT)
        following.stdout.read()
    assert following.returncode != 0


def test_make_up_again_changes_nothing(running: Stack) -> None:
    pids = {part: running.pid(part) for part in ("exporter", "portal", "prometheus", "demo")}
    said = running.make("up")
    assert said.returncode == 0
    assert said.stdout.startswith("Agentgauge already runs.")
    assert {part: running.pid(part) for part in pids} == pids


def test_a_busy_port_is_one_line_and_nothing_is_started(running: Stack, tmp_path: Path) -> None:
    second = Stack(tmp_path)
    number = running.ports["PORTAL_PORT"]
    said = second.make("up", f"PORTAL_PORT={number}")
    assert said.returncode == 2
    (line,) = (line for line in said.stderr.splitlines() if not line.startswith("make: "))
    assert re.match(rf"Port {number} is taken by \S+ \(pid {running.pid('portal')}\), and Portal needs it\.", line)
    assert said.stdout == ""
    assert second.processes() == {}
    assert not (second.home / "demo").exists()


def test_what_was_stopped_goes_on_where_it_was(running: Stack, server: Prometheus) -> None:
    before = running.counters()
    down = running.make("down")
    assert (down.returncode, running.processes()) == (0, {})
    assert running.make("status").stdout == "Agentgauge does not run: make up starts it.\n"
    again = running.make("up")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "past" not in again.stdout
    after = until(running.counters, "the exporter answers again")
    assert {key for key, value in before.items() if after.get(key, -1.0) < value} == set()
    week = server.by("", "sum(increase(agentgauge_runs_total[7d]))", time.time())[""]
    assert week == pytest.approx(sum(v for (name, _), v in after.items() if name == "agentgauge_runs_total"), rel=0.02)
