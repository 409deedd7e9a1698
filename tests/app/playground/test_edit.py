"""The view *Edit*: what is drawn, masked or opened is what the server gets, and back."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import Browser, Locator, Page, Request, expect

from tests.app.playground.pages import (
    PICTURE,
    PIXELS,
    check_accessible,
    check_fits,
    picture,
    pictures,
)
from tests.app.server import Server

EDIT = "/?view=edit&labels=1&n=3&seed=42&sampler=ddim&steps=10&t=30"
WHITE = 255


@pytest.fixture
def alpha_bar(tiny: Server) -> list[float]:
    found: list[float] = tiny.client.get("/model").json()["alpha_bar"]
    return found


@pytest.fixture
def edit(page: Page, tiny: Server) -> Page:
    page.goto(tiny.url + EDIT)
    expect(page.locator("#edit-count")).to_have_text("Draw something, or open a picture")
    return page


@pytest.fixture
def asked(edit: Page) -> Iterator[list[dict[str, Any]]]:
    """The bodies of requests that begin at a picture."""
    bodies: list[dict[str, Any]] = []

    def note(request: Request) -> None:
        body = json.loads(request.post_data or "{}")
        if "start" in body:
            bodies.append(body)

    edit.on("request", note)
    yield bodies
    edit.remove_listener("request", note)


def canvas(page: Page) -> Locator:
    return page.locator("#sketch .base")


def grey(page: Page) -> list[int]:
    """The picture on the canvas, a byte for each pixel."""
    found: list[int] = canvas(page).evaluate(PIXELS)[::4]
    return found


def stroke(page: Page, *places: tuple[float, float]) -> None:
    """Draw a line through places, in pixels of the picture."""
    canvas(page).scroll_into_view_if_needed()
    box = canvas(page).bounding_box()
    assert box
    unit = box["width"] / 8
    for k, (x, y) in enumerate(places):
        page.mouse.move(box["x"] + x * unit, box["y"] + y * unit)
        if k == 0:
            page.mouse.down()
    page.mouse.up()


def made(page: Page, n: int = 3) -> None:
    expect(page.locator("#edit-tiles .is-finished")).to_have_count(n)


def sent(png: str) -> list[int]:
    values: list[int] = ((picture(png).ravel() + 1) * 127.5).round().astype(int).tolist()
    return values


@pytest.mark.slow
def test_what_is_drawn_is_where_the_chains_begin(
    edit: Page, tiny: Server, asked: list[dict[str, Any]]
) -> None:
    stroke(edit, (1.5, 1.5), (6.5, 1.5))
    assert grey(edit)[8 + 3] == WHITE and grey(edit)[-1] == 0
    edit.get_by_role("button", name="Make it anew").click()
    made(edit)
    (body,) = asked
    png = body["start"].pop("image")
    assert sent(png) == grey(edit)
    assert body == {
        "n": 3, "seed": 42, "labels": 1, "sampler": "ddim", "steps": 10,
        "start": {"t": 30}, "frames": 24,
    }  # fmt: skip
    edit.locator("#edit-player input").press("End")
    assert len(set(sources(edit))) == 3, "each has its own noise"
    body["start"]["image"] = png
    del body["frames"]
    samples = tiny.post("/sample", body).json()["samples"]
    assert sources(edit) == ["data:image/png;base64," + sample["png"] for sample in samples]


def sources(page: Page) -> list[str]:
    found: list[str] = page.locator("#edit-tiles img").evaluate_all("all => all.map(i => i.src)")
    return found


@pytest.mark.slow
def test_a_mask_is_made_anew_from_T_by_a_sampler_that_can(
    edit: Page, asked: list[dict[str, Any]]
) -> None:
    edit.get_by_label("Sampler", exact=True).select_option("dpmpp")
    stroke(edit, (1.5, 1.5), (6.5, 1.5))
    edit.get_by_text("Mask", exact=True).click()
    edit.locator("#sketch-width").fill("3")
    stroke(edit, (0, 6.5), (8, 6.5))
    edit.locator("#run").click()
    made(edit)
    (body,) = asked
    mask = np.array(sent(body["mask"])).reshape(8, 8)
    assert (mask[6] == WHITE).all() and (mask[:4] == 0).all()
    assert (body["sampler"], body["eta"], body["start"]["t"]) == ("ddim", 1, 50)
    assert (body["resamplings"], body["jump"]) == (5, 5)
    assert grey(edit)[6 * 8 + 4] == 0, "the picture itself is as it was"


@pytest.mark.slow
def test_undo_goes_back_stroke_by_stroke(edit: Page) -> None:
    blank = grey(edit)
    stroke(edit, (1.5, 1.5), (6.5, 1.5))
    one = grey(edit)
    stroke(edit, (1.5, 6.5), (6.5, 6.5))
    edit.get_by_role("button", name="Clear").click()
    assert grey(edit) == blank
    undo = edit.get_by_role("button", name="Undo")
    for _ in range(2):
        undo.click()
    assert grey(edit) == one
    undo.click()
    assert grey(edit) == blank
    expect(undo).to_be_disabled()


def test_the_keyboard_draws_and_erases(edit: Page) -> None:
    canvas(edit).focus()
    edit.keyboard.press("Space")
    for _ in range(2):
        edit.keyboard.press("Shift+ArrowRight")
    edit.keyboard.press("ArrowUp")
    drawn = np.array(grey(edit)).reshape(8, 8)
    assert (drawn[4, 4:7] == WHITE).all() and (drawn[1] == 0).all()
    edit.get_by_label("Erase").check(force=True)
    canvas(edit).press("ArrowDown")
    canvas(edit).press("Space")
    assert grey(edit)[4 * 8 + 6] == 0


def test_the_noise_under_the_slider_is_that_of_t(edit: Page, alpha_bar: list[float]) -> None:
    stroke(edit, (1.5, 1.5), (6.5, 1.5))
    slider, noised = edit.locator("#edit-t"), edit.locator("#edit-x-t")
    before = noised.evaluate(PIXELS)
    slider.fill("1")
    assert noised.evaluate(PIXELS) != before
    assert noised.evaluate(PIXELS)[::4] == pytest.approx(grey(edit), abs=16), "t = 1: hardly any"
    expect(edit.locator("#edit-formula b").first).to_have_text(f"{alpha_bar[1] ** 0.5:.3f}")


@pytest.mark.slow
def test_a_picture_can_be_opened_and_a_result_used(edit: Page, tiny: Server) -> None:
    content = tiny.post("/sample", {"seed": 5, "labels": 3, "steps": 10}, "image/png").content
    file: Any = {"name": "mine.png", "mimeType": "image/png", "buffer": content}
    edit.locator("#sketch-file").set_input_files(file)
    expect(edit.get_by_role("button", name="Undo")).to_be_enabled()
    assert any(0 < value < WHITE for value in grey(edit))
    edit.locator("#run").click()
    made(edit)
    edit.locator("#edit-player input").press("End")
    result = edit.locator("#edit-tiles img").nth(1).evaluate(PICTURE)
    edit.get_by_role("button", name="Use the result 1").click()
    expect(canvas(edit)).to_be_focused()
    assert grey(edit) == result[::4]
    file["buffer"] = b"no picture"
    edit.locator("#sketch-file").set_input_files(file)
    expect(edit.locator("#edit .message")).to_contain_text("not a picture")


@pytest.mark.slow
def test_a_drawing_stays_in_its_tab_and_a_link_says_so(edit: Page, browser: Browser) -> None:
    stroke(edit, (1.5, 1.5), (6.5, 1.5))
    edit.locator("#run").click()
    made(edit)
    drawn = grey(edit)
    edit.get_by_role("button", name="Copy link").click()
    expect(edit.locator("#share")).to_have_text("Copied without the drawing")
    edit.reload()
    made(edit)
    assert grey(edit) == drawn
    edit.get_by_role("button", name="Clear").click()
    stroke(edit, (1.5, 6.5), (6.5, 6.5))
    before = edit.url
    edit.locator("#run").click()
    edit.wait_for_url(lambda url: url != before)
    with browser.new_context() as elsewhere:
        other = elsewhere.new_page()
        other.goto(edit.url)
        expect(other.locator("#boot .message, #edit .message").last).to_contain_text(
            "is not in the link"
        )


@pytest.mark.slow
def test_back_brings_the_drawing_before(edit: Page) -> None:
    stroke(edit, (1.5, 1.5), (6.5, 1.5))
    edit.locator("#run").click()
    made(edit)
    first = grey(edit)
    stroke(edit, (1.5, 6.5), (6.5, 6.5))
    edit.locator("#run").click()
    made(edit)
    edit.go_back()
    for _ in range(500):
        if grey(edit) == first:
            break
        edit.wait_for_timeout(20)
    assert grey(edit) == first


@pytest.mark.slow
def test_an_image_of_generate_and_watch_can_be_edited(page: Page, tiny: Server) -> None:
    page.goto(tiny.url + "/?view=generate&labels=each&n=2&seed=42&sampler=ddim&steps=10")
    png = pictures(page)[1]
    page.get_by_role("link", name="Edit image 1").click()
    made(page, 4)
    assert grey(page) == sent(png)
    expect(page.get_by_label("Label")).to_have_value("1")
    page.reload()  # it is in the address
    made(page, 4)
    assert grey(page) == sent(png)
    page.goto(tiny.url + "/?view=watch&labels=each&first_index=1&seed=42&sampler=ddim&steps=10")
    page.get_by_role("link", name="edit it").click()
    made(page, 4)
    assert grey(page) == sent(png)


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_everybody_can_edit(browser: Browser, tiny: Server, scheme: Any, width: int) -> None:
    viewport: Any = {"width": width, "height": 800}
    with browser.new_context(
        color_scheme=scheme, viewport=viewport, reduced_motion="reduce", bypass_csp=True,
        has_touch=True,
    ) as context:  # fmt: skip
        page = context.new_page()
        page.goto(tiny.url + EDIT)
        expect(page.locator("#edit-count")).to_have_text("Draw something, or open a picture")
        canvas(page).tap()
        assert max(grey(page)) > 200
        page.locator("#run").click()
        made(page)
        page.locator("#code summary").click()
        page.locator("#more summary").click()
        check_fits(page, width)
        check_accessible(page)
