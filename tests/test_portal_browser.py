"""The portal as people see it: real Streamlit in real Chromium on a real Prometheus with known numbers."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright
from portal_page import ALL_TABS, CHART, beats, cards, settled, value
from portal_stage import HOSTILE, Grafana, Prometheus, portal

from exporters.catalogue.alerts import alerts
from exporters.catalogue.signals import SIGNALS
from streamlit_portal import units
from streamlit_portal.scope import RANGES, Scope
from streamlit_portal.tab import Tab
from streamlit_portal.tabs import agents, anomalies, budgets, cost, exporter_health, overview

# Between them every kind of card, panel and table.
SHAPES = [agents.TAB, anomalies.TAB, cost.TAB, exporter_health.TAB]
DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
PHONE_AGENT = "Mozilla/5.0 (Linux; Android 16; Pixel) AppleWebKit/537.36 Chrome/140.0.0.0 Mobile Safari/537.36"

# Streamlit draws these itself and gives no way to mend them: the sparkline of a card has parts with a role
# and no name, and the list that the navigation becomes on a phone has groups between <ul> and <li>.
STREAMLITS_OWN = ["[data-testid=stMetricChart]", "[data-testid=stSidebarNavItems]"]

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    server = Prometheus(tmp_path_factory.mktemp("prometheus"), time.time())
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def grafana() -> Iterator[Grafana]:
    server = Grafana()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def framing(prometheus: Prometheus, grafana: Grafana, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A portal with a Grafana beside it, on fast beats."""
    told = {"PROMETHEUS_URL": prometheus.url, "GRAFANA_URL": grafana.url, "PORTAL_REFRESH": "2", "PORTAL_PROBE": "1"}
    with portal(tmp_path_factory.mktemp("framing"), told) as address:
        yield address


@pytest.fixture(scope="module")
def drawing(prometheus: Prometheus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A portal that has no Grafana and draws everything itself."""
    told = {"PROMETHEUS_URL": prometheus.url, "PORTAL_REFRESH": "2"}
    with portal(tmp_path_factory.mktemp("drawing"), told) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Open an address in a browser of its own, in UTC; `page.outside` collects requests that leave this machine."""
    contexts = []

    def opened(address: str, **look: Any) -> Page:
        context = browser.new_context(**{"viewport": DESKTOP, "timezone_id": "UTC", "color_scheme": "light"} | look)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()


@pytest.mark.parametrize("tab", ALL_TABS, ids=lambda tab: tab.title)
def test_the_cards_of_a_tab_say_what_promql_says(
    tab: Tab, drawing: str, prometheus: Prometheus, open_page: Open
) -> None:
    page = settled(open_page(f"{drawing}/{tab.path}"), tab)
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(f"^{tab.title}"))
    moment, shown = cards(page)
    scope = Scope(span=RANGES["24h"])
    for signal in (SIGNALS[name] for name in tab.cards):
        expr = scope.expression(signal, 86_400)
        now = prometheus.value(expr, moment)
        if now is None:
            # There are no budgets and no objectives there, and no other weeks.
            assert tab.path in ("budgets", "reliability", "anomalies")
            assert shown[signal.title] == (signal.empty, "")
            continue
        if signal.begins == "month":
            # Nothing is known of the month before.
            assert shown[signal.title] == (units.of(signal, now), "")
            continue
        before = prometheus.value(expr, moment - 86_400)
        delta = str(units.change(signal, now, before)[0])
        assert shown[signal.title] == (units.of(signal, now), delta), signal.name


def test_a_link_to_a_runbook_shows_the_section_of_its_alert(drawing: str, open_page: Open) -> None:
    first, *_, alert = alerts(SIGNALS.values())
    page = open_page(f"{drawing}/runbooks?alert={alert.anchor}")
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("^Runbooks"))
    expect(page.locator(f"#{alert.anchor}")).to_have_text(alert.name)
    expect(page.get_by_text("What to do.")).to_be_in_viewport()
    expect(page.locator(f"#{first.anchor}")).to_have_count(0)
    # Another is picked by a part of its name, and the address says which.
    picker = page.get_by_role("combobox", name="Alert")
    picker.fill(first.name)
    page.get_by_role("option", name=first.name).click()
    expect(page.locator(f"#{first.anchor}")).to_have_text(first.name)
    page.wait_for_url(re.compile(f"alert={first.anchor}$"))
    page.goto(f"{drawing}/runbooks")
    expect(page.locator(f"#{first.anchor}")).to_have_text(first.name)
    expect(page.locator(f"#{alert.anchor}")).to_have_text(alert.name)


def test_a_prometheus_without_alert_rules_is_not_one_of_which_nothing_fires(drawing: str, open_page: Open) -> None:
    page = open_page(f"{drawing}/alerts")
    expect(page.get_by_text("Prometheus has no alert rules.")).to_be_visible()
    expect(page.get_by_text("Nothing fires.")).to_have_count(0)


def test_a_link_to_a_panel_shows_it_for_whom_the_message_was_about(drawing: str, open_page: Open) -> None:
    signal = SIGNALS["run_error_ratio_by_agent"]
    page = open_page(f"{drawing}/panel?id={signal.panel_id}&agent=planner")
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(f"^{signal.title}"))
    expect(page.locator(f".st-key-slot-{signal.name} canvas, .st-key-slot-{signal.name} svg").first).to_be_visible()
    expect(page.locator("iframe")).to_have_count(0)
    # It is no tab.
    expect(page.get_by_role("link", name="Panel", exact=True)).to_have_count(0)
    page.goto(f"{drawing}/panel?id=1")
    expect(page.get_by_role("heading", level=1)).to_have_text("No such panel")


def test_the_overview_shows_the_numbers_that_were_put_in(drawing: str, open_page: Open) -> None:
    page = settled(open_page(drawing), overview.TAB)
    # 5 runs a step, 576 steps a day, one of them failed; each took 5 s, in the bucket from 3.2 to 6.4 s.
    # 10,000 + 1,000 tokens and five cents a step.
    assert {title: shown for title, (shown, _) in cards(page)[1].items()} == {
        "Runs": "2.88 K",
        "Failed runs": "20.0%",
        "Good run p95": "6.24 s",
        "Tokens": "6.3 Mil",
        "Spend": "$28.80",
        "Spend today": "$12.50",
        "Spend this month": "$250.00",
        "Source lag": "0 s",
    }
    expect(page.get_by_text("No Grafana is set up here")).to_be_visible()
    expect(page.locator("iframe")).to_have_count(0)
    # One of ten model calls a step has no price. Nothing was held against the store's own totals.
    expect(page.locator(".st-key-trust")).to_have_text(
        "These numbers: read up to 0 s ago · 10.0% of the model calls have no price."
    )


def test_no_data_is_a_sentence_and_not_a_zero(drawing: str, open_page: Open) -> None:
    page = settled(open_page(f"{drawing}/exporter-health"), exporter_health.TAB)
    expect(page.locator(".st-key-slot-bad_records_by_reason").get_by_text("No bad records")).to_be_visible()
    page = settled(open_page(f"{drawing}/budgets"), budgets.TAB)
    assert value(page, SIGNALS["budget_least_left"].title) == "None set"


@pytest.mark.parametrize("tab", [overview.TAB, *SHAPES], ids=lambda tab: tab.title)
def test_a_page_needs_nothing_that_its_policy_forbids(tab: Tab, drawing: str, framing: str, open_page: Open) -> None:
    for portal_ in (drawing, framing):
        page = open_page("about:blank")
        said: list[str] = []
        page.on("console", lambda message, said=said: said.append(message.text))
        answer = page.goto(f"{portal_}/{tab.path}")
        assert answer is not None
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        settled(page, tab)
        if portal_ == framing:
            for frame in page.locator("iframe").all():
                expect(frame.content_frame.get_by_text("panel of Grafana")).to_be_visible()
        # That is how it would be said.
        with page.expect_console_message(lambda message: "Content Security Policy" in message.text):
            page.evaluate("fetch('http://127.0.0.1:9/').catch(() => 0)")
        assert [text for text in said if "Content Security Policy" in text and "http://127.0.0.1:9/" not in text] == []


def test_the_page_asks_nobody_but_the_portal(drawing: str, browser: Browser) -> None:
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(drawing)
    settled(page, overview.TAB)
    page.close()
    assert len(asked) > 20
    assert {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))} == {
        urlsplit(drawing).netloc
    }


def test_a_link_opens_with_its_range_and_agent(drawing: str, open_page: Open) -> None:
    page = settled(open_page(f"{drawing}/?range=6h&agent=planner"), overview.TAB)
    # 4 runs of the planner a step, 144 steps in six hours, a quarter failed.
    assert (value(page, "Runs"), value(page, "Failed runs")) == ("576", "25.0%")
    expect(page.get_by_role("combobox", name="Agent")).to_have_value("planner")
    # What is picked stays in the address, and goes along to another tab.
    page.get_by_role("radio", name="1h").click()
    page.wait_for_url(re.compile("range=1h"))
    expect(page.get_by_test_id("stMetricValue").first).to_have_text("96")
    page.get_by_role("button", name="Money").click()
    page.get_by_role("menuitem", name=re.compile("Cost")).click()
    page.wait_for_url(re.compile(r"/cost\?.*agent=planner"))
    settled(page, cost.TAB)
    assert "range=1h" in page.url
    expect(page.get_by_text("change against the hour before")).to_be_visible()


@pytest.mark.parametrize(
    "query", ["range=99y&live=maybe", "agent=nobody%22%7D%20or%20vector(1)", "model=" + "x" * 3000]
)
def test_a_wrong_value_in_the_address_is_as_if_it_were_not_there(query: str, drawing: str, open_page: Open) -> None:
    page = settled(open_page(f"{drawing}/?{query}"), overview.TAB)
    assert value(page, "Runs") == "2.88 K"
    expect(page.get_by_text("change against the 24 hours before")).to_be_visible()


def test_a_hostile_name_is_a_name(drawing: str, open_page: Open) -> None:
    page = settled(open_page(f"{drawing}/agents?agent={quote(HOSTILE)}"), agents.TAB)
    # One run a step, none failed: the matcher holds the name and nothing else.
    assert (value(page, "Runs"), value(page, "Failed runs")) == ("576", "0.0%")
    expect(page.get_by_role("combobox", name="Agent")).to_have_value(HOSTILE)
    page.locator(".st-key-slot-runs_by_agent").locator(CHART).hover(position={"x": 300, "y": 120})
    assert page.locator("img[src=x]").count() == 0
    assert page.title() == "Agents · Agentgauge"
    assert page.locator("a[href^=javascript]").count() == 0


def test_the_pickers_that_do_not_narrow_a_card_are_named_in_its_help(drawing: str, open_page: Open) -> None:
    page = settled(open_page(f"{drawing}/?model=gpt-5"), overview.TAB)
    page.get_by_test_id("stMetric").first.get_by_test_id("stTooltipIcon").first.hover()
    expect(page.get_by_test_id("stTooltipContent")).to_contain_text("Not narrowed by model")


def test_frames_are_grafanas_and_stay_loaded_whatever_happens_around_them(
    framing: str, prometheus: Prometheus, grafana: Grafana, open_page: Open
) -> None:
    grafana.asked.clear()
    page = settled(open_page(f"{framing}/?agent=planner&range=6h"), overview.TAB)
    names = [name for row in overview.TAB.rows for name in row]
    expect(page.locator("iframe")).to_have_count(4)
    for name in names:
        frame = page.locator(f".st-key-slot-{name} iframe")
        expect(frame).to_have_attribute("title", SIGNALS[name].title)
        address = urlsplit(str(frame.get_attribute("src")))
        assert f"{address.scheme}://{address.netloc}" == grafana.url
        assert address.path == "/d-solo/agents-overview/agents-overview"
        assert parse_qs(address.query) == {
            "orgId": ["1"],
            "panelId": [f"panel-{SIGNALS[name].panel_id}"],
            "from": ["now-6h"],
            "to": ["now"],
            "var-agent": ["planner"],
            "theme": ["light"],
            "timezone": ["browser"],
            "hideLogo": ["true"],
            "refresh": ["1m"],
        }
        expect(frame.content_frame.get_by_text("panel of Grafana")).to_be_visible()
    assert len(grafana.asked) == 4
    beats(page, 3)
    prometheus.stop()
    try:
        expect(page.locator(".st-key-cards").get_by_text("Prometheus does not answer")).to_be_visible()
        # The browser changes them one by one.
        expect(page.get_by_test_id("stMetricValue")).to_have_text(["No answer"] * len(overview.TAB.cards))
    finally:
        prometheus.start()
    expect(page.get_by_test_id("stMetricValue").first).to_have_text("576")
    beats(page, 1)
    assert len(grafana.asked) == 4, "a frame was loaded again"


def test_panels_are_drawn_here_while_grafana_is_away(framing: str, grafana: Grafana, open_page: Open) -> None:
    page = settled(open_page(framing), overview.TAB)
    expect(page.locator("iframe")).to_have_count(4)
    grafana.healthy = False
    try:
        expect(page.locator("iframe")).to_have_count(0)
        expect(page.locator(".st-key-notice").get_by_text("Grafana does not answer")).to_be_visible()
        settled(page, overview.TAB)
        for name in (name for names in overview.TAB.rows for name in names):
            slot = page.locator(f".st-key-slot-{name}")
            expect(slot.get_by_role("heading", level=2)).to_have_text(SIGNALS[name].title)
            expect(slot.locator(CHART)).to_be_visible()
    finally:
        grafana.healthy = True
    expect(page.locator("iframe")).to_have_count(4)
    expect(page.locator(".st-key-notice").get_by_text("Grafana does not answer")).to_have_count(0)


def test_a_page_opened_while_prometheus_is_away_says_so_keeps_its_link_and_recovers(
    drawing: str, prometheus: Prometheus, open_page: Open
) -> None:
    prometheus.stop()
    try:
        page = settled(open_page(f"{drawing}/?agent=planner"), overview.TAB)
        expect(page.get_by_test_id("stMetricValue").first).to_have_text("No answer")
        expect(page.locator(".st-key-slot-runs_by_agent").get_by_text("Prometheus does not answer")).to_be_visible()
        expect(page.get_by_role("combobox", name="Agent")).to_have_value("planner")
    finally:
        prometheus.start()
    expect(page.get_by_test_id("stMetricValue").first).to_have_text("2.30 K")
    expect(page.locator(".st-key-slot-runs_by_agent").locator(CHART)).to_be_visible()


def test_the_switch_stops_the_refresh(drawing: str, open_page: Open) -> None:
    page = settled(open_page(f"{drawing}/?live=false"), overview.TAB)
    before = cards(page)[0]
    other = settled(open_page(drawing), overview.TAB)
    beats(other, 3)
    assert cards(page)[0] == before
    page.get_by_text("Auto-refresh").click()
    beats(page, 1)


def test_what_is_drawn_anew_does_not_wink(drawing: str, open_page: Open) -> None:
    # With no refresh of its own, which would mark the card as well.
    page = settled(open_page(f"{drawing}/?live=false"), overview.TAB)
    card = page.locator(".st-key-cards [data-testid=stElementContainer]").last
    style = "card => getComputedStyle(card).transitionDelay"
    expect(card).to_have_css("transition-delay", "0s")
    # As Streamlit marks what is being drawn anew, before it fades.
    assert card.evaluate(f"card => {{ card.dataset.stale = true; return ({style})(card) }}") == "2.5s"


def test_light_and_dark_follow_the_browser_and_grafana_follows_too(framing: str, open_page: Open) -> None:
    page = settled(open_page(framing, color_scheme="dark"), overview.TAB)
    frame = page.locator("iframe").first
    expect(frame).to_have_attribute("src", re.compile("theme=dark"))
    assert ground(page) == "rgb(24, 27, 31)"
    page.emulate_media(color_scheme="light")
    expect(frame).to_have_attribute("src", re.compile("theme=light"))
    assert ground(page) == "rgb(255, 255, 255)"


def test_streamlits_own_switch_changes_the_theme(framing: str, open_page: Open) -> None:
    page = settled(open_page(framing), overview.TAB)
    page.get_by_test_id("stMainMenu").click()
    page.get_by_test_id("stMainMenuItem-theme-Dark").click()
    expect(page.locator("iframe").first).to_have_attribute("src", re.compile("theme=dark"))
    assert ground(page) == "rgb(24, 27, 31)"


def ground(page: Page) -> str:
    return str(page.get_by_test_id("stApp").evaluate("app => getComputedStyle(app).backgroundColor"))


def test_the_first_screen_has_title_filters_cards_and_the_first_chart(drawing: str, open_page: Open) -> None:
    page = settled(open_page(drawing), overview.TAB)
    for part in ("title", "filters", "cards", "slot-runs_by_agent"):
        box = page.locator(f".st-key-{part}").first.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= DESKTOP["height"], part
    tops = {round(box["y"]) for card in page.get_by_test_id("stMetric").all() if (box := card.bounding_box())}
    assert len(tops) == 1, "eight cards in one line"


@pytest.mark.parametrize("tab", [tab for tab in ALL_TABS if len(tab.cards) == 8], ids=lambda tab: tab.title)
def test_the_cards_of_a_line_are_equally_high(tab: Tab, drawing: str, open_page: Open) -> None:
    """Also where those of one half have a change, and those of the other have none."""
    page = settled(open_page(f"{drawing}/{tab.path}"), tab)
    heights = {round(box["height"]) for card in page.get_by_test_id("stMetric").all() if (box := card.bounding_box())}
    assert len(heights) == 1


@pytest.mark.parametrize("tab", SHAPES, ids=lambda tab: tab.title)
def test_a_phone_shows_everything_in_its_width(tab: Tab, framing: str, open_page: Open) -> None:
    page = settled(open_page(f"{framing}/{tab.path}", viewport=PHONE, user_agent=PHONE_AGENT), tab)
    assert page.locator("iframe").count() == 0
    for box in (card.bounding_box() for card in page.get_by_test_id("stMetric").all()):
        assert box is not None
        assert 150 <= box["width"] <= 195, "two cards in a line"
    for slot in page.locator("[class*=st-key-slot]").all():
        box = slot.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_a_phone_has_the_pickers_behind_one_button(drawing: str, open_page: Open) -> None:
    page = settled(open_page(drawing, viewport=PHONE, user_agent=PHONE_AGENT), overview.TAB)
    page.get_by_role("button", name="Filters").click()
    page.get_by_role("combobox", name="Agent").click()
    page.get_by_role("option", name="planner").click()
    expect(page.get_by_test_id("stMetricValue").first).to_have_text("2.30 K")


@pytest.mark.parametrize(
    "look",
    [
        {"color_scheme": "light"},
        {"color_scheme": "dark"},
        {"viewport": PHONE, "user_agent": PHONE_AGENT},
    ],
    ids=["light", "dark", "phone"],
)
@pytest.mark.parametrize("tab", SHAPES, ids=lambda tab: tab.title)
def test_axe_finds_nothing_serious_that_is_ours(look: dict[str, Any], tab: Tab, drawing: str, open_page: Open) -> None:
    page = settled(open_page(f"{drawing}/{tab.path}?live=false", **look), tab)
    found = Axe().run(page, context={"exclude": [[part] for part in STREAMLITS_OWN]}).response["violations"]
    serious = {
        finding["id"]: [node["html"][:300] for node in finding["nodes"]]
        for finding in found
        if finding["impact"] in ("serious", "critical")
    }
    assert serious == {}


# Streamlit's own: it closes the socket of a page that has just gone, which is closed.
GONE = re.compile(
    r"Exception in ASGI application\n(?:(?!.*streamlit_portal|Exception in).*\n)*?"
    r'.*WebSocketDisconnected: Cannot call "send" once a close message has been sent\.\n'
)


def test_all_of_it_writes_no_error_to_the_log(
    drawing: str, framing: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    logs = [log.read_text() for log in Path(tmp_path_factory.getbasetemp()).rglob("portal-*.log")]
    assert len(logs) == 2
    said = [line for log in logs for line in GONE.sub("", log).splitlines()]
    assert not [line for line in said if re.search("Traceback|Error|Exception", line)], logs
