"""Saves a picture of a page that `ticodec compare` made, for the documents.

    python docs/tools/screenshot.py page.html page.jpg

It needs the extra `dev` and a Chromium browser. `make test` installs both.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
import browser as chromium


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("page", type=Path, help="the HTML file of `ticodec compare`")
    options.add_argument("picture", type=Path, help="the JPEG file to write")
    return options


def main(words: list[str] | None = None) -> None:
    """Open the page in a browser and save a picture of it, down to the end of the first photo."""
    options = parser().parse_args(words)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium.find())
        tab = browser.new_page(viewport={"width": 1300, "height": 1000})
        tab.goto(options.page.resolve().as_uri())
        first = tab.locator(".card").first
        for image in first.locator("img").all():
            image.evaluate("image => { image.loading = 'eager'; return image.decode(); }")
        box = first.bounding_box() or {"y": 0, "height": 1000}
        tab.set_viewport_size({"width": 1300, "height": int(box["y"] + box["height"]) + 24})
        tab.screenshot(path=options.picture, type="jpeg", quality=85)
        browser.close()


if __name__ == "__main__":
    main()
