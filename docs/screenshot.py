"""A picture of a report's page: python docs/screenshot.py report/report.html page.png [card]"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright


def main(page: str, picture: str, card: str = "1") -> None:
    """Open the page in Chromium, zoom into a card, and save what is seen."""
    import shutil

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1180, "height": 1500})
        tab.goto(Path(page).resolve().as_uri())
        stage = tab.locator(".stage").nth(int(card) - 1)
        stage.locator(".divider").focus()
        tab.keyboard.press("1")
        tab.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
