"""The view *Between*: what the server is asked for, and the strip that can be kept."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import Browser, Page, Request, Route, expect

from tests.app.playground.pages import check_accessible, check_fits, picture, pictures
from tests.app.server import Server

SEEDS = "/?view=between&labels=1&seed=42&other_seed=7&sampler=ddim&steps=10"
PICTURES = SEEDS + "&ends=pictures&mix_t=30"
WEIGHTS = [k / 8 for k in range(9)]


def walked(page: Page) -> None:
    expect(page.locator("#between-downloads")).to_be_visible()


def asked(page: Page, url: str) -> dict[str, Any]:
    """The body of the request for the strip."""
    with page.expect_request(starts) as request:
        page.goto(url)
    body: dict[str, Any] = request.value.post_data_json or {}
    walked(page)
    return body


def starts(request: Request) -> bool:
    return "start" in json.loads(request.post_data or "{}")


def download(page: Page, name: str) -> bytes:
    with page.expect_download() as found:
        page.get_by_role("button", name=name).click()
    return Path(found.value.path()).read_bytes()


@pytest.mark.slow
def test_two_seeds_are_nine_weights_on_the_way(page: Page, tiny: Server) -> None:
    body = asked(page, tiny.url + SEEDS)
    assert body.pop("frames") == 8
    assert body == {
        "n": 9, "seed": 42, "labels": 1, "sampler": "ddim", "steps": 10,
        "start": {"seeds": [42, 7], "weight": WEIGHTS},
    }  # fmt: skip
    expect(page.locator("#between-from")).to_be_hidden()


@pytest.mark.slow
def test_pictures_may_come_in_any_order(page: Page, tiny: Server) -> None:
    def turn_round(route: Route) -> None:
        """The last picture's frames come first."""
        answer = route.fetch()
        events = answer.text().rstrip().split("\n\n")
        frames = [event for event in events if event.startswith("event: frame")]
        rest = [event for event in events if event not in frames]
        index = {event: json.loads(event.partition("data: ")[2])["index"] for event in frames}
        frames.sort(key=lambda event: -index[event])
        route.fulfill(response=answer, body="\n\n".join([*frames, *rest, ""]))

    page.route("**/denoise-trajectory", turn_round)
    page.goto(tiny.url + SEEDS)
    walked(page)
    expect(page.locator("#between-player input")).to_have_attribute("max", "8")
    page.locator("#between-player input").press("End")
    last = page.locator("#between-strip img").last.get_attribute("src") or ""
    expect(page.locator("#between-picture")).to_have_attribute("src", last)


@pytest.mark.slow
def test_two_pictures_are_noised_to_t_and_mixed(page: Page, tiny: Server) -> None:
    body = asked(page, tiny.url + PICTURES)
    images = body["start"].pop("images")
    assert body["start"] == {"t": 30, "weight": WEIGHTS}
    plain = {"labels": 1, "sampler": "ddim", "steps": 10}
    for image, seed in zip(images, (42, 7), strict=True):
        sample = tiny.post("/sample", {**plain, "seed": seed}).json()["samples"][0]["png"]
        assert (picture(image) == picture(sample)).all()


@pytest.mark.slow
def test_the_slider_and_the_strip_show_each_picture(page: Page, tiny: Server) -> None:
    asked(page, tiny.url + SEEDS)
    slider, picture = page.locator("#between-player input"), page.locator("#between-picture")
    strip = page.locator("#between-strip img")
    expect(strip).to_have_count(9)
    slider.press("Home")
    seen = []
    for place in range(9):
        expect(slider).to_have_attribute(
            "aria-valuetext", f"picture {place + 1} of 9, weight {WEIGHTS[place]:g}"
        )
        seen.append(picture.get_attribute("src"))
        slider.press("ArrowRight")
    assert seen == [strip.nth(k).get_attribute("src") for k in range(9)]
    page.get_by_role("button", name="Picture 3,").click()
    expect(picture).to_have_attribute("src", seen[2] or "")


@pytest.mark.slow
def test_the_strip_can_be_kept_as_gif_and_png(page: Page, tiny: Server) -> None:
    asked(page, tiny.url + SEEDS)
    shown = [
        picture((source or "").partition(",")[2])[0]
        for source in (
            page.locator("#between-strip img").nth(k).get_attribute("src") for k in range(9)
        )
    ]
    strip = Image.open(io.BytesIO(download(page, "PNG strip"))).convert("L")
    assert strip.size == (9 * 224, 224)
    gif = Image.open(io.BytesIO(download(page, "GIF")))
    frames = [frame.convert("L") for frame in ImageSequence.Iterator(gif)]
    assert gif.size == (224, 224) and len(frames) == 16, "there and back"
    for k, expected in enumerate(shown):
        from_strip = strip.crop((224 * k, 0, 224 * (k + 1), 224))
        for found in (from_strip, frames[k]):
            small = found.resize((8, 8), Image.Resampling.NEAREST)
            assert (np.asarray(small) == ((expected + 1) * 127.5).round()).all()


@pytest.mark.slow
def test_a_file_of_the_strip_is_told_of_and_can_be_given_up(page: Page, tiny: Server) -> None:
    asked(page, tiny.url + SEEDS)
    # The page makes a frame at a time, and each waits here
    page.evaluate("[late, own, setTimeout] = [[], setTimeout, (go) => late.push(go)]")
    page.get_by_role("button", name="GIF").click()
    line = page.locator("#between-downloads .download")
    expect(line).to_contain_text("GIF: being made")
    line.get_by_role("button", name="Cancel the GIF").click()
    page.evaluate("setTimeout = own; late.forEach((go) => go())")
    expect(line).to_have_count(0)


def test_an_image_of_generate_walks_to_the_next(page: Page, tiny: Server) -> None:
    page.goto(tiny.url + "/?view=generate&labels=each&n=2&seed=42&sampler=ddim&steps=10")
    made = pictures(page)
    with page.expect_request(starts) as request:
        page.get_by_role("link", name="Walk from image 0 to the next").click()
    body: dict[str, Any] = request.value.post_data_json or {}
    walked(page)
    images = [picture(image) for image in body["start"]["images"]]
    assert all((a == picture(b)).all() for a, b in zip(images, made, strict=True))
    assert "labels" not in body, "they differ"


@pytest.mark.slow
def test_a_drawing_can_be_an_end(page: Page, tiny: Server) -> None:
    asked(page, tiny.url + PICTURES)
    end = page.locator("#between-to")
    end.get_by_role("button", name="The drawing").click()
    expect(page.locator("#between .message")).to_contain_text("Nothing is drawn yet")
    page.get_by_role("link", name="Edit", exact=True).click()
    page.locator("#sketch .base").click()
    page.get_by_role("link", name="Between", exact=True).click()
    with page.expect_request(starts) as request:
        end.get_by_role("button", name="The drawing").click()
    body: dict[str, Any] = request.value.post_data_json or {}
    drawn = picture(body["start"]["images"][1])
    assert drawn[0, 3:5, 3:5].min() > 0.5 and drawn.min() == -1


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_everybody_can_walk(browser: Browser, tiny: Server, scheme: Any, width: int) -> None:
    viewport: Any = {"width": width, "height": 800}
    with browser.new_context(
        color_scheme=scheme, viewport=viewport, reduced_motion="reduce", bypass_csp=True
    ) as context:
        page = context.new_page()
        page.goto(tiny.url + PICTURES)
        walked(page)
        check_fits(page, width)
        check_accessible(page)
