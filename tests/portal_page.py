"""What a page of the portal shows in a browser: its cards, its charts, and when all of it is there."""

import re
import time

from playwright.sync_api import Page, expect

from streamlit_portal.app import TABS
from streamlit_portal.tab import Tab

ALL_TABS = [tab for tabs in TABS.values() for tab in tabs]
CHART = ".stVegaLiteChart svg"

# A bound for what is awaited, not a measure: two cores may be busy with something else.
expect.set_options(timeout=15_000)


def settled(page: Page, tab: Tab) -> Page:
    """Wait until every card and every slot of a tab has its content."""
    expect(page.get_by_test_id("stMetric")).to_have_count(len(tab.cards), timeout=40_000)
    for name in (name for names in tab.rows for name in names):
        slot = page.locator(f".st-key-slot-{name}")
        expect(slot.locator(f"{CHART}, iframe, [data-testid=stCaptionContainer]").first).to_be_visible(timeout=40_000)
    expect(page.get_by_test_id("stException")).to_have_count(0)
    return page


def cards(page: Page) -> tuple[float, dict[str, tuple[str, str]]]:
    """Return the moment that the cards speak of and, by title, their value and change, in one look."""
    clock, found = page.evaluate(
        """() => [
            document.querySelector('.st-key-moment').innerText,
            [...document.querySelectorAll('[data-testid=stMetric]')].map(card => [
                card.querySelector('[data-testid=stMetricLabel]').innerText.trim(),
                card.querySelector('[data-testid=stMetricValue]').innerText.trim(),
                card.querySelector('[data-testid=stMetricDelta]')?.innerText.trim() ?? '',
            ])
        ]"""
    )
    match = re.match(r"As of (\d\d):(\d\d):(\d\d) ", clock)
    assert match, clock
    hours, minutes, seconds = map(int, match.groups())
    today = time.time() // 86_400 * 86_400
    moment = today + hours * 3600 + minutes * 60 + seconds
    return moment - 86_400 if moment > time.time() + 60 else moment, {title: (v, d) for title, v, d in found}


def value(page: Page, title: str) -> str:
    """Return one card's value."""
    return cards(page)[1][title][0]


def beats(page: Page, count: int) -> None:
    """Wait until the cards have renewed themselves so many times."""
    for _ in range(count):
        seen = page.locator(".st-key-moment").inner_text()
        expect(page.locator(".st-key-moment")).not_to_have_text(seen)
