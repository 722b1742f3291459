"""A demo of every kind of store at once, started with `make up`: each is read, and people see that it is."""

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Playwright, expect, sync_playwright
from whole_stack import Stack, has_data, launched, stack, until

from exporters.catalogue.alerts import alerts
from exporters.catalogue.signals import SIGNALS
from exporters.stack.debian import program
from streamlit_portal.scope import RANGES, Scope

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        program("prometheus") is None or program("chromium") is None, reason="needs prometheus and chromium"
    ),
]
KINDS = {"createagents", "msgtrace", "llm-metrics", "otlp", "langfuse"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(tmp_path_factory.mktemp("every"), DEMO="all", DEMO_HISTORY="3h") as (started, said):
        assert said.returncode == 0, said.stdout + said.stderr
        yield started


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


def test_every_source_is_up_and_read_and_none_has_failed(running: Stack) -> None:
    def by_source(name: str) -> dict[str, float]:
        return running.prometheus.by("source", name, time.time())

    for name, value in (("agentgauge_source_up", 1.0), ("agentgauge_source_caught_up", 1.0)):
        wanted = dict.fromkeys(KINDS, value)
        until(lambda name=name, wanted=wanted: by_source(name) == wanted, f"{name} of every kind is {value}")  # type: ignore[misc]
    assert set(by_source("sum by (source) (agentgauge_source_errors_total)").values()) == {0.0}
    assert not has_data(running.prometheus.instant("agentgauge_bad_records_total > 0", time.time()))


def test_every_source_has_just_been_read_whether_or_not_it_brought_anything(running: Stack) -> None:
    def ages() -> dict[str, float]:
        return running.prometheus.by("source", alert.value, time.time())

    [alert] = [alert for alert in alerts(SIGNALS.values()) if alert.name == "SourceLastSuccessAge"]
    # Seconds between two looks, and those until Prometheus scrapes.
    until(lambda: ages().keys() == KINDS and max(ages().values()) < 60, "every source has just been read")


def test_what_happens_in_each_is_counted(running: Stack) -> None:
    """The past is of the files and the databases; the present of all, two chats a minute in one and fewer in others."""

    def calls() -> dict[str, float]:
        return running.prometheus.by("source", "sum by (source) (agentgauge_inference_calls_total)", time.time())

    until(lambda: {name for name, count in calls().items() if count > 0} == KINDS, "a call of every kind", 600.0)
    found = calls()
    assert found["createagents"] > found["msgtrace"] > 10


def test_the_tab_of_the_exporter_s_health_shows_each(running: Stack, playwright: Playwright) -> None:
    with launched(playwright) as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1600})
        page.goto(f"{running.url('PORTAL_PORT')}/exporter-health")
        chart = page.locator(".st-key-slot-source_up .stVegaLiteChart svg")
        expect(chart).to_be_visible(timeout=60_000)
        for kind in KINDS:
            expect(chart.get_by_text(kind, exact=True).first).to_be_visible()


# Of what the first demo's store does not record, what others do.
ELSEWHERE = ("cache_saved", "tokens_of_which", "first_chunk_by_model", "version_runs", "scores", "score_mean")


def test_what_one_kind_does_not_record_is_answered_by_another(running: Stack) -> None:
    scope = Scope(span=RANGES["1h"])
    for name in ELSEWHERE:
        signal = SIGNALS[name]
        window = scope.span.seconds if signal.over == "range" else 300
        expr = scope.expression(signal, window)
        until(lambda expr=expr: has_data(running.prometheus.instant(expr, time.time())), name, 600.0)  # type: ignore[misc]  # a default for the loop
