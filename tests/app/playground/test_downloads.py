"""Files of what is shown: their progress is said, they can be given up, and what fails is told."""

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import Locator, Page, Route, expect

from tests.app.playground.pages import finished, refuse
from tests.app.server import Server

WATCH = "/?view=watch&labels=1&seed=42&sampler=ddim&steps=5"
GIF = "image/gif"


@pytest.fixture
def watch(page: Page, tiny: Server) -> Page:
    page.goto(tiny.url + WATCH)
    finished(page)
    return page


@pytest.fixture
def held(watch: Page) -> Iterator[list[Route]]:
    """Requests for a GIF that have no answer yet."""
    routes: list[Route] = []

    def hold(route: Route) -> None:
        if route.request.headers["accept"] == GIF:
            routes.append(route)
        else:
            route.continue_()

    watch.route("**/denoise-trajectory", hold)
    yield routes
    watch.unroute("**/denoise-trajectory", hold)


def gif(page: Page) -> Locator:
    return page.get_by_role("button", name="GIF", exact=True)


@pytest.mark.slow
def test_a_file_in_the_making_is_told_of_and_asked_for_once(watch: Page, held: list[Route]) -> None:
    gif(watch).click()
    gif(watch).dispatch_event("click")  # Playwright itself does not press what is aria-disabled
    line = watch.locator("#watch-downloads .download")
    expect(line).to_have_count(1)
    expect(line).to_contain_text("GIF: being made")
    expect(line.get_by_role("progressbar", name="Progress of the GIF")).to_be_visible()
    expect(watch.locator("#spoken")).to_have_text("The GIF is being made")
    with watch.expect_download() as download:
        (route,) = held
        route.continue_()
    assert download.value.suggested_filename == "tiny-seed-42.gif"
    expect(line).to_have_count(0)
    expect(gif(watch)).to_be_focused()
    expect(watch.locator("#spoken")).to_have_text("tiny-seed-42.gif is saved")


@pytest.mark.slow
@pytest.mark.usefixtures("held")
def test_a_file_is_given_up_by_keyboard(watch: Page) -> None:
    ended: list[str] = []
    watch.on("requestfailed", lambda request: ended.append(request.failure or ""))
    gif(watch).focus()
    watch.keyboard.press("Enter")
    cancel = watch.get_by_role("button", name="Cancel the GIF")
    cancel.focus()
    watch.keyboard.press("Enter")
    expect(cancel).to_have_count(0)
    expect(gif(watch)).to_be_focused()
    expect(watch.locator("#watch .message")).to_be_hidden()
    assert ended == ["net::ERR_ABORTED"], "the server computes it no longer"
    gif(watch).click()  # and it can be asked for again
    expect(cancel).to_be_visible()
    cancel.click()


def test_a_server_that_is_gone_is_told_where_the_user_looks(watch: Page, errors: list[str]) -> None:
    watch.route("**/denoise-trajectory", refuse)
    gif(watch).click()
    message = watch.locator("#watch .message")
    expect(message).to_have_text("The server cannot be reached.")
    expect(message).to_be_in_viewport()
    expect(watch.locator(".download")).to_have_count(0)
    watch.unroute("**/denoise-trajectory", refuse)
    with watch.expect_download():
        gif(watch).click()
    expect(message).to_be_hidden()
    errors.clear()  # of the connection


RECEIVED = """async length => {
  const { received } = await import("./playground/api.js");
  const parts = [new Uint8Array(3), new Uint8Array(5)];
  const body = new ReadableStream({
    pull(stream) { parts.length ? stream.enqueue(parts.shift()) : stream.close(); },
  });
  const told = [];
  const headers = { "Content-Type": "image/gif", ...(length && { "Content-Length": length }) };
  const file = await received(new Response(body, { headers }), (...numbers) => told.push(numbers));
  return [file.size, file.type, told];
}"""


@pytest.mark.parametrize(("length", "told"), [("8", 8), ("", None)])
def test_a_body_is_counted_as_it_arrives(watch: Page, length: str, told: Any) -> None:
    assert watch.evaluate(RECEIVED, length) == [8, GIF, [[3, told], [8, told]]]
