"""The README's picture of a page: python docs/screenshot.py report/report.html page.jpg [card]

Needs the development extra and a Chromium (`make test` installs both).
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import browser as chromium


def main(page: str, picture: str, card: str = "1") -> None:
    """Open the page, move a card's slider from the middle, and save the card as JPEG."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium.find())
        tab = browser.new_page(viewport={"width": 1300, "height": 1000})
        tab.goto(Path(page).resolve().as_uri())
        shown = tab.locator(".card").nth(int(card) - 1)
        shown.scroll_into_view_if_needed()
        for image in shown.locator("img").all():
            image.evaluate("image => { image.loading = 'eager'; return image.decode(); }")
        shown.screenshot(path=picture, type="jpeg", quality=85)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
