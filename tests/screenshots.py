"""`make screenshots`: the README's pictures, of a portal on the demo's week.

With PORTAL_URL set, of the portal that runs there; else of a stack that is started for it.
"""

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

from exporters.catalogue.signals import SIGNALS
from tests.whole_stack import CHECKOUT, launched, stack

FOLDER = CHECKOUT / "docs" / "images"
# Name, the tab's address and the browser's theme.
PICTURES = (("portal", "?range=7d", "light"), ("cost", "cost?range=7d", "dark"))
SIZE = {"width": 1440, "height": 900}
# As many as a palette holds; a PNG of millions of colours is three times as large.
COLOURS = 256


@contextlib.contextmanager
def portal() -> Iterator[str]:
    """Yield the address of a portal."""
    if address := os.environ.get("PORTAL_URL"):
        yield address.rstrip("/")
        return
    with tempfile.TemporaryDirectory(prefix="agentgauge-") as folder, stack(Path(folder)) as (started, said):
        if said.returncode:
            sys.exit(said.stdout + said.stderr)
        yield started.url("PORTAL_PORT")


def picture(browser: Browser, address: str, scheme: str) -> bytes:
    """Return a PNG of the first screen, once everything on it is drawn."""
    page = browser.new_page(viewport=SIZE, color_scheme=scheme, timezone_id="UTC", reduced_motion="reduce")
    page.goto(address)
    expect(page.locator(".stVegaLiteChart svg")).to_have_count(4, timeout=60_000)
    expect(page.get_by_test_id("stMetricValue").first).to_be_visible()
    # What the exporter says of itself comes with its first scrape.
    expect(page.get_by_text(SIGNALS["source_lag"].empty, exact=True)).to_have_count(0, timeout=60_000)
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0, timeout=60_000)
    taken = page.screenshot(animations="disabled")
    page.close()
    return taken


def small(png: bytes) -> bytes:
    """Return the same picture with a palette, without dithering, which would make flat grounds grainy."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    reduced = image.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    written = io.BytesIO()
    reduced.save(written, "PNG", optimize=True)
    return written.getvalue()


def main() -> int:
    """Take every picture; return the exit code."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with portal() as address, sync_playwright() as playwright, launched(playwright) as browser:
        for name, path, scheme in PICTURES:
            taken = small(picture(browser, f"{address}/{path}", scheme))
            (FOLDER / f"{name}.png").write_bytes(taken)
            print(f"{(FOLDER / name).relative_to(CHECKOUT)}.png  {len(taken) / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
