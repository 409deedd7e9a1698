"""The playground page is for everybody: on a phone, by keyboard, by screen reader, of any model."""

from pathlib import Path
from typing import Any

import pytest

from tests.app.server import REAL, Server
from tests.tiny import save_tiny

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("axe_playwright_python.sync_playwright")

from playwright.sync_api import Browser, Page, expect

from tests.app.playground.pages import (
    VIEWS,
    check_accessible,
    check_fits,
    finished,
    pictures,
    settle,
)


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS)
def test_a_phone_need_not_scroll_sideways(browser: Browser, tiny: Server, view: str) -> None:
    with browser.new_context(
        viewport={"width": 360, "height": 740}, reduced_motion="reduce"
    ) as context:
        page = context.new_page()
        page.goto(f"{tiny.url}/?view={view}&labels=1&n=5&seed=42&steps=10")
        expect(page.locator(f"#{view}")).to_be_visible()
        settle(page, view)
        for details in page.locator("#more, #code").all():
            details.locator("summary").click()
        check_fits(page, 360)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing(browser: Browser, tiny: Server, view: str, scheme: Any) -> None:
    # The policy forbids axe's script, too.
    with browser.new_context(
        color_scheme=scheme, reduced_motion="reduce", bypass_csp=True
    ) as context:
        page = context.new_page()
        page.goto(f"{tiny.url}/?view={view}&labels=1&n=3&seed=42&steps=10&frames=11")
        settle(page, view)
        for details in page.locator("#more, #code").all():
            details.locator("summary").click()
        page.locator("#state").click()
        check_accessible(page)


def test_the_keyboard_alone_is_enough(page: Page, tiny: Server) -> None:
    page.goto(tiny.url + "/?view=generate&labels=1&n=1&seed=42&steps=5")
    pictures(page)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Watch", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    finished(page)
    expect(page.locator("#main")).to_be_focused()
    assert page.title().startswith("Watch")
    page.get_by_label("Seed", exact=True).focus()
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type("7")
    page.keyboard.press("Enter")
    page.wait_for_url("**seed=7**")


def test_the_theme_is_kept(page: Page, tiny: Server) -> None:
    page.goto(tiny.url + "/?n=1&labels=1")
    for name in ("light", "dark"):
        page.locator("#theme").click()
        expect(page.locator("#theme")).to_have_attribute("aria-label", f"Theme: {name}")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"


@pytest.mark.parametrize("path", ["/?labels=1", "/docs"])
def test_pages_ask_this_server_alone(page: Page, tiny: Server, path: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(tiny.url + path)
    if path == "/docs":
        expect(page.locator(".opblock").first).to_be_visible()
    else:
        expect(page.locator("#tiles img").first).to_be_visible()
    assert [url for url in asked if not url.startswith((tiny.url, "data:"))] == []


def test_the_page_forbids_inline_scripts_and_other_origins(tiny: Server) -> None:
    policy = tiny.client.get("/").headers["content-security-policy"]
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        pytest.param({"channels": 3, "num_timesteps": 30}, id="unconditional, RGB, T = 30"),
        pytest.param({"num_classes": 3}, id="labels needed"),
        pytest.param({"num_classes": 2, "null_label": True, "learned_range": True}, id="learned"),
    ],
)
def test_every_kind_of_checkpoint_works(page: Page, tmp_path: Path, model: dict[str, Any]) -> None:
    folder = save_tiny(tmp_path / "model", **model)
    with Server(
        tmp_path / "log", f"--checkpoint={folder}", "--runtime=eager", engine=REAL
    ) as server:
        page.goto(server.url)
        pictures(page)
        labels = page.get_by_label("Label")
        if "num_classes" in model:
            offered = labels.locator("option").all_text_contents()
            assert ("Any" in offered) == ("null_label" in model)
        else:
            expect(labels).to_be_hidden()
        guidance = page.get_by_label("Guidance")
        expect(guidance).to_be_visible(visible="null_label" in model)
        for view in ("Watch", "Understand"):
            page.get_by_role("link", name=view, exact=True).click()
            settle(page, view.lower())
        expect(page.locator("#compare tbody tr").last.locator("img").last).to_be_visible()
        page.goto("about:blank")
