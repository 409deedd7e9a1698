"""Full screen for teaching, keys that play and step, and pictures of whole pixels."""

from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import Browser, Page, expect

from tests.app.playground.pages import check_accessible, finished, pictures
from tests.app.server import Server

WATCH = "/?view=watch&labels=1&seed=42&sampler=ddim&steps=10&frames=11"
WIDTHS = "all => all.filter(e => e.checkVisibility()).map(e => e.getBoundingClientRect().width)"


def teach(page: Page) -> None:
    page.get_by_role("button", name="Full screen").click()
    expect(page.locator("html")).to_have_attribute("data-teaching", "")


@pytest.mark.slow
def test_arrows_step_and_space_plays_in_full_screen(page: Page, tiny: Server) -> None:
    page.goto(tiny.url + WATCH)
    finished(page)
    expect(page.locator("#watch-timeline .play")).to_have_text("Play")
    before = page.locator("#watch-x-t").evaluate("image => image.clientWidth")
    teach(page)
    expect(page.locator("#request")).to_be_hidden()
    assert page.locator("#watch-x-t").evaluate("image => image.clientWidth") > before
    t = page.locator("#watch-timeline .is-time output")
    for expected in ("5", "10"):
        page.keyboard.press("ArrowLeft")
        expect(t).to_have_text(expected)
    page.keyboard.press("ArrowRight")
    expect(t).to_have_text("5")
    page.locator("#main").focus()
    page.keyboard.press("Space")
    expect(page.locator("#watch-timeline .play")).to_have_text("Pause")
    page.get_by_role("button", name="Full screen").click()
    expect(page.locator("#request")).to_be_visible()


@pytest.mark.slow
def test_arrows_move_the_slider_of_the_lesson_in_sight(page: Page, tiny: Server) -> None:
    page.goto(tiny.url + "/?view=understand&labels=1&seed=42")
    page.locator("#learn").scroll_into_view_if_needed()
    expect(page.locator("#learn-count")).to_contain_text("possible t")
    teach(page)
    page.locator("#learn .timeline").scroll_into_view_if_needed()
    slider = page.locator("#learn-slider")
    before = int(slider.input_value())
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_value(str(before - 1))


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [1, 2, 1.5])
def test_pictures_are_enlarged_by_whole_pixels(
    browser: Browser, tiny: Server, ratio: float
) -> None:
    viewport: Any = {"width": 777, "height": 800}
    with browser.new_context(viewport=viewport, device_scale_factor=ratio) as context:
        page = context.new_page()
        page.goto(tiny.url + "/?view=generate&labels=1&n=4&seed=42&sampler=ddim&steps=5")
        pictures(page)
        for width in page.locator(".picture").evaluate_all(WIDTHS):
            scale = width * ratio / 8
            assert scale == pytest.approx(round(scale), abs=0.01) and scale > 1


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_full_screen(browser: Browser, tiny: Server, scheme: Any) -> None:
    with browser.new_context(
        color_scheme=scheme, reduced_motion="reduce", bypass_csp=True
    ) as context:
        page = context.new_page()
        page.goto(tiny.url + WATCH)
        finished(page)
        teach(page)
        check_accessible(page)
