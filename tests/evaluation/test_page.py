"""The report's page in a real Chromium, used as a reader uses it."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import browser as chromium
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from evaluation.conftest import AWKWARD
from ticodec.evaluation import photo_page
from ticodec.evaluation.registry import CoderSpec


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium.find())


@pytest.fixture
def open_page(browser: Browser) -> Iterator:
    """A function that opens a file. The page must print nothing to the console, and must not
    request anything else."""
    said: list[str] = []
    asked: list[str] = []
    context = browser.new_context(viewport={"width": 1400, "height": 900})

    def call(path: Path) -> Page:
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        return page

    yield call
    context.close()
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == asked[:1]


@pytest.fixture
def page(open_page, measured) -> Page:
    return open_page(measured.out / "report.html")


@pytest.fixture
def stage(page: Page) -> Locator:
    """The first picture with its divider focused."""
    found = page.locator(".stage").first
    found.locator(".divider").focus()
    return found


def pixels(element: Locator) -> np.ndarray:
    """The visible pixels, without captions and divider."""
    style = "figcaption, .divider { opacity: 0 }"
    shot = Image.open(BytesIO(element.screenshot(style=style)))
    return np.asarray(shot.convert("RGB")).astype(int)


def at(stage: Locator) -> int:
    return int(stage.locator(".divider").get_attribute("aria-valuenow"))


def seen(stage: Locator) -> list[dict]:
    """The box of each visible image as fractions of its pane."""
    return stage.evaluate("""stage => [...stage.querySelectorAll(".pane")]
        .filter(pane => getComputedStyle(pane).display !== "none")
        .map(pane => {
            const a = pane.getBoundingClientRect();
            const b = pane.querySelector("img").getBoundingClientRect();
            return [(b.x - a.x) / a.width, (b.y - a.y) / a.height, b.width / a.width];
        })""")


def test_the_page_has_everything(page: Page, measured) -> None:
    assert page.locator("h1").inner_text() == "tiny against jpeg and jpeg2000"
    assert page.locator(".plots img").count() == 2
    assert page.locator("h2").all_inner_texts() == [
        "a.png 240×176",
        f"sub/{AWKWARD} 176×240",  # the name is escaped to text
    ]
    loaded = page.evaluate("""async () => {
        const images = [...document.images];
        for (const image of images) { image.loading = "eager"; await image.decode(); }
        return images.map(image => [image.naturalWidth, image.naturalHeight]);
    }""")
    assert loaded[2:] == [[240, 176]] * 4 + [[176, 240]] * 4
    rows = page.locator(".card").first.locator("tbody tr")
    subject = measured.run.measured(measured.run.sources[0], measured.run.coders[0], 4.0)
    assert f"{subject.bytes:,}" in rows.nth(1).inner_text()
    assert f"{subject.psnr:.2f}" in rows.nth(1).inner_text()
    for row in (2, 3):  # the peers have nearly as many bytes
        size = int(rows.nth(row).locator("td").nth(2).inner_text().replace(",", ""))
        assert abs(size / subject.bytes - 1) < 0.1


def test_pixels_are_the_measured_ones(page: Page, measured) -> None:
    """The picture on the page equals the decoded one in every sample."""
    source, coder = measured.run.sources[0], measured.run.coders[0]
    decoded = coder.decode(measured.run.path(source, coder, 4.0).read_bytes())
    for index, expected in ((0, np.array(Image.open(source.path))), (1, decoded)):
        drawn = (
            page.locator(".pane img")
            .nth(index)
            .evaluate("""async image => {
            await image.decode();
            const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            return [...context.getImageData(0, 0, canvas.width, canvas.height).data];
        }""")
        )
        shape = (source.height, source.width, 4)
        assert np.array_equal(np.array(drawn, np.uint8).reshape(shape)[..., :3], expected)


def test_the_slider_moves_with_keys(page: Page, stage: Locator) -> None:
    assert at(stage) == 50
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert at(stage) == 54
    page.keyboard.press("ArrowLeft")
    assert at(stage) == 52
    page.keyboard.press("Home")
    right = pixels(stage)
    page.keyboard.press("End")
    left = pixels(stage)
    assert np.abs(left - right).mean() > 1  # the original and tiny's picture
    page.keyboard.press("Home")
    for _ in range(25):
        page.keyboard.press("ArrowRight")
    both, middle = pixels(stage), left.shape[1] // 2
    assert np.array_equal(both[:, : middle - 2], left[:, : middle - 2])
    assert np.array_equal(both[:, middle + 2 :], right[:, middle + 2 :])


def test_the_slider_moves_with_the_mouse(page: Page, stage: Locator) -> None:
    box = stage.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, y, steps=5)
    page.mouse.up()
    assert at(stage) == 25
    page.mouse.move(box["x"] + box["width"] * 0.9, y)  # the button is released, so it stays
    assert at(stage) == 25
    page.mouse.click(box["x"] + box["width"] * 0.8, y)
    assert at(stage) == 80


def test_zoom_and_position_are_shared(page: Page, stage: Locator) -> None:
    assert seen(stage) == [[0, 0, 1]] * 2
    before = page.locator(".stage").nth(1).evaluate("stage => stage.style.cssText")
    for key in ("+", "+", "Shift+ArrowRight", "Shift+ArrowDown"):
        page.keyboard.press(key)
    first, second = seen(stage)
    assert first == second
    assert first[2] == pytest.approx(2.25)
    assert first[0] == pytest.approx(0.5 - 0.5 * 2.25 - 0.1)
    assert first[1] == pytest.approx(0.5 - 0.5 * 2.25 - 0.1)
    page.keyboard.press("s")  # all versions side by side at the same position
    panes = seen(stage)
    assert len(panes) == 4
    for pane in panes:
        assert pane == pytest.approx(first, abs=1e-3)
    box = stage.locator(".pane").nth(2).bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.wheel(0, -300)
    assert len({tuple(np.round(pane, 3)) for pane in seen(stage)}) == 1
    assert seen(stage)[0][2] == pytest.approx(2.25 * np.e, rel=1e-3)
    page.mouse.down()
    page.mouse.move(box["x"] + 50, box["y"] + 35)
    page.mouse.up()
    assert len({tuple(np.round(pane, 3)) for pane in seen(stage)}) == 1
    page.keyboard.press("0")
    assert seen(stage) == [pytest.approx([0, 0, 1])] * 4
    other = page.locator(".stage").nth(1)
    assert other.evaluate("stage => stage.style.cssText") == before


def test_the_wheel_scrolls_the_page_until_a_picture_is_clicked(page: Page) -> None:
    stage = page.locator(".stage").first
    stage.scroll_into_view_if_needed()
    stage.hover()
    page.mouse.wheel(0, -100)
    assert seen(stage)[0][2] == 1
    stage.click()
    page.mouse.wheel(0, -300)
    assert seen(stage)[0][2] == pytest.approx(np.e, rel=1e-3)


def test_the_wheel_scrolls_when_zooming_out_is_impossible(page: Page) -> None:
    page.locator(".stage").first.click()
    before = page.evaluate("() => scrollY")
    page.mouse.wheel(0, 200)
    page.wait_for_function("before => scrollY > before", arg=before)


def test_touch_moves_only_the_divider(browser: Browser, measured) -> None:
    context = browser.new_context(has_touch=True, viewport={"width": 400, "height": 800})
    page = context.new_page()
    page.goto((measured.out / "report.html").as_uri())
    stage = page.locator(".stage").first
    stage.scroll_into_view_if_needed()
    touch = """(element, [from, to]) => {
        const at = (type, x) => element.dispatchEvent(new PointerEvent(type, {pointerId: 1,
            pointerType: "touch", isPrimary: true, button: 0, bubbles: true, clientX: x}));
        Element.prototype.setPointerCapture = () => {};
        at("pointerdown", from); at("pointermove", to); at("pointerup", to); at("pointermove", 0);
    }"""
    box = stage.bounding_box()
    ends = [box["x"] + box["width"] / 2, box["x"] + box["width"] / 4]
    stage.locator(".pane.left").evaluate(touch, ends)
    assert at(stage) == 50
    stage.locator(".divider").evaluate(touch, ends)
    assert at(stage) == 25
    context.close()


def test_versions_are_chosen_by_key_list_and_row(page: Page, stage: Locator) -> None:
    card = page.locator(".card").first
    sides = [card.locator(f"[data-side={side}]") for side in ("left", "right")]
    shown = lambda: [side.input_value() for side in sides]  # noqa: E731
    assert shown() == ["0", "1"]
    page.keyboard.press("3")
    assert shown() == ["0", "2"]
    page.keyboard.press("9")  # there are only four
    page.keyboard.press("x")
    assert shown() == ["2", "0"]
    sides[0].select_option("3")
    card.locator("tbody tr").nth(1).click()
    assert shown() == ["3", "1"]
    visible = stage.locator("figcaption:visible").all_inner_texts()
    assert [text.split()[0] for text in visible] == ["tiny", "jpeg2000"]
    card.get_by_role("button", name="Swap sides").click()
    card.get_by_role("button", name="Zoom in").click()
    assert seen(stage)[0][2] == pytest.approx(1.5)
    card.get_by_role("button", name="Side by side").click()
    assert stage.locator("figcaption:visible").count() == 4


def test_the_tab_key_reaches_everything(page: Page) -> None:
    found = []
    for _ in range(12):
        page.keyboard.press("Tab")
        found.append(
            page.evaluate("""() => { const e = document.activeElement;
            return e.dataset.side || e.dataset.do || e.className || e.localName; }""")
        )
    order = ["summary", "left", "swap", "right", "out", "in", "fit", "grid", "divider"]
    assert found[: len(order)] == order


def test_light_and_dark(page: Page) -> None:
    def look() -> tuple[str, str]:
        ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        plot = page.locator(".plots img").first
        plot.evaluate("image => image.decode()")
        return ground, plot.evaluate("image => image.currentSrc")

    page.emulate_media(color_scheme="light")
    light = look()
    page.emulate_media(color_scheme="dark")
    dark = look()
    assert light[0] == "rgb(255, 255, 255)"
    assert dark[0] == "rgb(22, 24, 28)"
    assert light[1] != dark[1]


def test_a_narrow_window(page: Page) -> None:
    page.set_viewport_size({"width": 380, "height": 700})
    wide = page.evaluate("() => document.documentElement.scrollWidth")
    assert wide <= 380
    assert page.locator(".stage").first.bounding_box()["width"] > 300


def test_page_of_one_photo(open_page, photos: Path, tmp_path: Path) -> None:
    specs = [CoderSpec("tiny", True, "cpu", (2.0, 6.0)), CoderSpec("webp")]
    html, rows, _ = photo_page.compare(photos / "a.png", specs, (2.0, 6.0))
    (tmp_path / "page.html").write_bytes(html)
    page = open_page(tmp_path / "page.html")
    assert page.locator("h1").inner_text() == "a.png: tiny against webp"
    titles = page.locator("h2").all_inner_texts()
    assert titles == ["a.png, quality 2 240×176", "a.png, quality 6 240×176"]
    assert page.locator(".plots img").count() == 2
    for ours, webp in rows:
        assert abs(webp.bytes / ours.bytes - 1) < 0.05
    single, rows, _ = photo_page.compare(photos / "a.png", [CoderSpec("tiny", True, "cpu")])
    assert [row.setting for row in rows[0]] == [4]
    assert b'class="plots"' not in single  # one point makes no curve
