"""The view Watch: the way of an image from noise, frame by frame."""

import math
import re
from pathlib import Path

import pytest

from tests.app.server import Server

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("axe_playwright_python.sync_playwright")

from playwright.sync_api import Browser, Page, expect

from tests.app.playground.pages import WATCH, finished, pictures


def test_scrubbing_shows_each_frame_that_the_server_sent(page: Page, tiny: Server) -> None:
    page.goto(tiny.url + "/" + WATCH)
    finished(page)
    slider = page.locator("#watch-timeline input")
    body = {"labels": 1, "seed": 42, "sampler": "ddim", "steps": 10, "frames": 11}
    frames = tiny.post("/denoise-trajectory", body).json()["trajectories"][0]["frames"]
    slider.press("Home")  # pauses, too
    for frame in frames:
        expect(page.locator("#watch-timeline .is-time output")).to_have_text(str(frame["t"]))
        expect(page.locator("#watch-x-t")).to_have_attribute("src", source(frame["x_t"]))
        expect(page.locator("#watch-x-0")).to_have_attribute("src", source(frame["x0_hat"]))
        slider.press("ArrowRight")
    slider.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", re.compile(r"t = 50, alpha bar 7\.7"))


def source(png: str) -> str:
    return f"data:image/png;base64,{png}"


def test_the_numbers_of_the_curves_are_the_schedules(page: Page, tiny: Server) -> None:
    alpha_bar = tiny.client.get("/model").json()["alpha_bar"]
    page.goto(tiny.url + "/" + WATCH)
    finished(page)
    page.locator("#watch-timeline input").press("Home")
    for _ in range(5):
        page.locator("#watch-timeline input").press("ArrowRight")
    reading = page.locator("#watch-timeline .legend output").all_text_contents()
    signal, noise = math.sqrt(alpha_bar[25]), math.sqrt(1 - alpha_bar[25])
    assert reading == ["25", f"{signal:.3f}", f"{noise:.3f}"]


@pytest.mark.slow
def test_it_plays_to_the_end_and_again_on_space(page: Page, tiny: Server) -> None:
    page.goto(tiny.url + "/" + WATCH)
    play = page.locator("#watch-timeline .play")
    expect(play).to_have_text("Pause")
    expect(play).to_have_text("Play")
    expect(page.locator("#watch-timeline input")).to_have_value("10")
    page.locator("#main").focus()
    page.keyboard.press("Space")
    expect(play).to_have_text("Pause")
    page.keyboard.press("Space")
    expect(play).to_have_text("Play")


def test_who_prefers_less_motion_is_shown_the_result(browser: Browser, tiny: Server) -> None:
    with browser.new_context(reduced_motion="reduce") as context:
        page = context.new_page()
        page.goto(tiny.url + "/" + WATCH)
        expect(page.locator("#watch-timeline .is-time output")).to_have_text("0")
        expect(page.locator("#watch-timeline .play")).to_have_text("Play")


def test_an_image_leads_to_its_way_from_noise(page: Page, tiny: Server) -> None:
    page.goto(tiny.url + "/?view=generate&labels=each&n=2&seed=42&sampler=ddim&steps=10")
    made = pictures(page)
    page.locator("#tiles li > a").nth(1).click()
    finished(page)
    page.locator("#watch-timeline input").press("End")
    expect(page.locator("#watch-x-t")).to_have_attribute("src", source(made[1]))
    page.go_back()
    expect(page.locator("#tiles img")).to_have_count(2)


@pytest.mark.parametrize(
    ("name", "accept"), [("GIF", "image/gif"), ("WebP", "image/webp"), ("PNG strip", "image/png")]
)
def test_the_way_can_be_downloaded(page: Page, tiny: Server, name: str, accept: str) -> None:
    page.goto(tiny.url + "/" + WATCH)
    finished(page)
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    body = {"labels": 1, "seed": 42, "sampler": "ddim", "steps": 10, "frames": 11}
    expected = tiny.post("/denoise-trajectory", body, accept).content
    assert Path(download.value.path()).read_bytes() == expected
