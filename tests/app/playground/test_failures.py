"""What the page says when something is wrong."""

import re
from pathlib import Path

import pytest

from tests.app.server import Server
from tests.tiny import save_tiny

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("axe_playwright_python.sync_playwright")

from playwright.sync_api import Page, Route, expect

from tests.app.playground.pages import DAMAGED, LIMITS, finished, pictures


@pytest.mark.slow
def test_a_wrong_field_is_named_where_it_is(page: Page, tiny: Server, errors: list[str]) -> None:
    page.goto(tiny.url + "/?view=generate&labels=1&n=1&seed=42")
    pictures(page)
    page.get_by_label("Steps").fill("51")
    page.get_by_role("button", name="Generate").click()
    steps = page.get_by_label("Steps")
    expect(steps).to_have_attribute("aria-invalid", "true")
    expect(steps).to_be_focused()
    message = "this model has T = 50, so it must be 1..50"
    expect(page.locator("#steps-error")).to_have_text(message)
    expect(page.locator("#generate .message")).to_contain_text(
        f"steps: 51 is not allowed: {message}"
    )
    steps.fill("50")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#generate .message")).to_be_hidden()
    expect(steps).not_to_have_attribute("aria-invalid", "true")
    assert [error for error in errors if "422" in error]
    errors.clear()


def test_a_failure_of_the_servers_is_told(page: Page, tiny: Server) -> None:
    page.goto(f"{tiny.url}/?view=watch&labels={DAMAGED}&seed=42&frames=11")
    expect(page.locator("#watch .message")).to_contain_text("is not a number after step 1 of")
    page.get_by_label("Label").select_option("1")
    page.get_by_role("button", name="Watch", exact=True).click()
    finished(page)
    expect(page.locator("#watch .message")).to_be_hidden()


def test_a_full_server_is_asked_again_when_it_says(
    page: Page, tiny: Server, errors: list[str]
) -> None:
    detail = "the queue has room for 1 of the 12 samples asked for"

    def full(route: Route) -> None:
        problem = {"title": "Not available", "status": 503, "detail": detail}
        route.fulfill(status=503, headers={"Retry-After": "7"}, json=problem)

    page.route("**/denoise-trajectory", full)
    page.goto(tiny.url + "/?view=generate&labels=1&n=12&seed=42")
    message = page.locator("#generate .message")
    expect(message).to_contain_text(detail)
    expect(message).to_contain_text(re.compile(r"Trying again in \d+ s"))
    message.get_by_role("button", name="Give up").click()
    expect(message).to_be_hidden()
    page.unroute("**/denoise-trajectory", full)
    page.get_by_role("button", name="Generate").click()
    assert len(pictures(page)) == 12
    assert errors and all("503" in error for error in errors)
    errors.clear()


@pytest.mark.slow
def test_the_lamp_tells_of_the_model_that_is_shown(
    page: Page, tiny: Server, errors: list[str]
) -> None:
    loading: list[str] = []

    def waiting(route: Route) -> None:
        route.fulfill(status=503, json={"reasons": ["of some kind"], "loading": loading})

    page.route("**/readyz", waiting)
    page.goto(tiny.url + "/?view=generate&labels=1&n=1&seed=42")
    expect(page.locator("#state-text")).to_have_text("Not ready")
    loading.append("another")
    expect(page.locator("#state-text")).to_have_text("Ready")
    loading.append("tiny")
    expect(page.locator("#state-text")).to_have_text("Not ready")
    assert errors and all("503" in error for error in errors)
    errors.clear()


@pytest.mark.slow
def test_a_lost_server_is_found_again(
    page: Page, checkpoint: Path, tmp_path: Path, errors: list[str]
) -> None:
    flags = [f"--checkpoint={checkpoint}", *LIMITS]
    with Server(tmp_path / "first.log", *flags) as first:
        page.goto(f"{first.url}/?view=generate&labels=1&n=2&seed=42")
        before = pictures(page)
    expect(page.locator("#state-text")).to_have_text("No connection")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#generate .message")).to_contain_text("The server cannot be reached.")
    with Server(tmp_path / "second.log", *flags, port=first.port):
        expect(page.locator("#generate .message")).to_be_hidden()
        expect(page.locator("#state-text")).to_have_text("Ready")
        assert pictures(page) == before
        page.goto("about:blank")
    errors.clear()


@pytest.mark.slow
def test_a_server_that_returns_with_another_model_is_met_anew(
    page: Page, checkpoint: Path, tmp_path: Path, errors: list[str]
) -> None:
    with Server(tmp_path / "first.log", f"--checkpoint={checkpoint}", *LIMITS) as first:
        page.goto(f"{first.url}/?view=generate&labels=1&n=1&seed=42")
        pictures(page)
    expect(page.locator("#state-text")).to_have_text("No connection")
    page.get_by_label("Steps").fill("7")
    other = save_tiny(tmp_path / "other", channels=3)
    with Server(tmp_path / "second.log", f"--checkpoint={other}", *LIMITS, port=first.port):
        expect(page.locator("#boot .message")).to_contain_text("This server has no model tiny")
        expect(page.get_by_label("Label")).to_be_hidden()
        pictures(page)
        expect(page.get_by_label("Steps")).to_have_value("7")
        page.goto("about:blank")
    errors.clear()
