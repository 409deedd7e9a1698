"""What a visitor does before the model is known."""

import re

import pytest

from tests.app.server import Server

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("axe_playwright_python.sync_playwright")

from playwright.sync_api import Page, Route, expect

from tests.app.playground.pages import finished, pictures, refuse


class LateModel:
    """Holds back the answer to `GET /models` until it is released."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._held: list[Route] = []
        page.route("**/models", self._hold)

    def _hold(self, route: Route) -> None:
        self._held.append(route)

    def release(self) -> None:
        while not self._held:
            self._page.wait_for_timeout(10)
        self._held.pop().continue_()


@pytest.mark.parametrize(
    "address", ["/", "/?view=generate&labels=each&n=2&seed=42&sampler=ddim&steps=10"]
)
def test_what_is_typed_before_the_model_is_known_stays(
    page: Page, tiny: Server, address: str
) -> None:
    model = LateModel(page)
    page.goto(tiny.url + address)
    page.get_by_label("Seed", exact=True).fill("7")
    page.get_by_role("spinbutton", name="Images").fill("1")
    page.get_by_label("Sampler", exact=True).select_option("dpmpp")
    page.get_by_label("Steps").fill("5")
    model.release()
    made = pictures(page)
    body = {"n": 1, "seed": 7, "labels": [0], "sampler": "dpmpp", "steps": 5}
    assert made == [s["png"] for s in tiny.post("/sample", body).json()["samples"]]
    expect(page.get_by_label("Seed", exact=True)).to_have_value("7")
    assert re.search(r"n=1&seed=7&.*sampler=dpmpp&steps=5", page.url), "and the link has it"


def test_a_field_that_is_not_changed_meanwhile_is_the_addresss_own(
    page: Page, tiny: Server
) -> None:
    model = LateModel(page)
    page.goto(tiny.url + "/?view=generate&labels=1&n=2&seed=42&sampler=ddim&steps=10")
    expect(page.get_by_label("Seed", exact=True)).to_have_value("42")  # at once
    page.get_by_label("Steps").fill("")  # emptied is changed, too
    model.release()
    pictures(page)
    assert re.search(r"labels=1&n=2&seed=42&.*sampler=ddim&eta=", page.url), "and no steps"
    expect(page.get_by_label("Steps")).to_have_value("")
    expect(page.get_by_label("Label")).to_have_value("1")


def test_back_returns_to_what_was_shown_whatever_was_typed_early(page: Page, tiny: Server) -> None:
    model = LateModel(page)
    page.goto(tiny.url + "/?view=generate&labels=1&n=1&seed=42&steps=5")
    page.get_by_label("Seed", exact=True).fill("7")
    model.release()
    pictures(page)
    page.get_by_label("Seed", exact=True).fill("8")
    page.get_by_role("button", name="Generate").click()
    page.wait_for_url("**seed=8**")
    page.go_back()
    expect(page.get_by_label("Seed", exact=True)).to_have_value("7")


def test_buttons_and_views_wait_for_the_model_and_lose_nothing(page: Page, tiny: Server) -> None:
    model = LateModel(page)
    page.goto(tiny.url + "/?view=generate&labels=1&n=1&seed=42&sampler=ddim&steps=5&frames=11")
    page.get_by_label("Steps").fill("10")
    page.get_by_role("button", name="Generate").click()  # waits, and does not load the page anew
    page.get_by_role("button", name="Another seed").click()
    seed = page.get_by_label("Seed", exact=True).input_value()
    assert seed.isdecimal() and seed != "42"
    page.get_by_role("link", name="Watch", exact=True).click()
    expect(page.get_by_role("button", name="Watch", exact=True)).to_be_visible()
    model.release()
    finished(page)
    expect(page.locator("#watch-count")).to_contain_text("10 steps")
    expect(page.get_by_label("Seed", exact=True)).to_have_value(seed)


def test_who_gave_up_waiting_for_the_model_can_ask_again(
    page: Page, tiny: Server, errors: list[str]
) -> None:
    page.route("**/models", refuse)
    page.goto(tiny.url + "/?view=generate&labels=1&n=1&seed=42&steps=5")
    page.get_by_label("Steps").fill("7")
    page.locator("#boot").get_by_role("button", name="Give up").click()
    page.unroute("**/models")
    page.get_by_role("button", name="Generate").click()
    pictures(page)
    expect(page.get_by_label("Steps")).to_have_value("7")
    errors.clear()
