"""The page of a server that has API keys, and limits of each client."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.app.server import REAL, Server
from tests.conftest import ServerFor
from tests.tiny import save_tiny

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("axe_playwright_python.sync_playwright")

from playwright.sync_api import Browser, Page, expect

from tests.app.playground.pages import (
    KEY,
    LIMITS,
    VIEWS,
    check_accessible,
    check_fits,
    pictures,
    settle,
)

QUICK = "/?view=generate&n=2&seed=42&sampler=ddim&steps=5"


def test_without_keys_none_is_asked_for(page: Page, tiny: Server) -> None:
    page.goto(tiny.url + "/?n=1&labels=1")
    pictures(page)
    expect(page.get_by_label("API key")).to_be_hidden()
    assert "API_KEY" not in snippets(page)


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["", "somebody else's key", "не ключ"])
def test_a_missing_or_wrong_key_is_mended_in_its_field(
    page: Page, keyed: Server, errors: list[str], wrong: str
) -> None:
    page.goto(keyed.url + QUICK)
    field = page.get_by_label("API key")
    expect(field).to_be_focused()
    field.fill(wrong)
    field.press("Enter")
    said = keyed.client.post("/sample", json={}, headers={"Authorization": ""}).json()["detail"]
    for place in ("#key-error", "#generate .message"):
        expect(page.locator(place)).to_have_text(said)
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    with_key(page)
    assert len(pictures(page)) == 2
    expect(page.locator("#generate .message")).to_be_hidden()
    expect(field).not_to_have_attribute("aria-invalid", "true")
    assert errors and all("401" in error for error in errors)
    errors.clear()


def with_key(page: Page) -> None:
    """Give the key, and ask again."""
    page.get_by_label("API key").fill(KEY)
    page.locator("#run").click()


def snippets(page: Page) -> str:
    """The curl command and the Python program on the screen."""
    return "\n".join(page.locator("#code-curl, #code-python").all_text_contents())


@pytest.mark.slow
def test_the_key_goes_with_every_request(page: Page, keyed: Server, errors: list[str]) -> None:
    page.goto(keyed.url + QUICK)
    with_key(page)
    pictures(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="ZIP").click()
    body = {"n": 2, "seed": 42, "sampler": "ddim", "steps": 5}
    expected = keyed.post("/sample", body, "application/zip").content
    assert Path(download.value.path()).read_bytes() == expected
    errors.clear()  # of the first, without the key
    for view in ("Watch", "Understand"):
        page.get_by_role("link", name=view, exact=True).click()
        settle(page, view.lower())
    page.get_by_role("link", name="Jobs").click()
    page.get_by_role("button", name="Start a job").click()
    row = page.locator("#job-list li")
    expect(row).to_contain_text("finished")
    with page.expect_download() as download:
        row.get_by_role("button", name="ZIP").click()
    row.get_by_role("button", name="Remove").click()
    expect(row).to_have_count(0)


@pytest.mark.slow
def test_jobs_are_seen_once_the_key_is_there(page: Page, keyed: Server, errors: list[str]) -> None:
    body, later = {"n": 2, "steps": 5, "seed": 8}, {"Prefer": "respond-async"}
    job = keyed.client.post("/sample", json=body, headers=later).json()
    page.goto(keyed.url + "/?view=jobs")
    page.evaluate("id => localStorage.setItem('jobs', JSON.stringify([id]))", job["id"])
    page.reload()
    field = page.get_by_label("API key")
    expect(field).to_be_focused()
    field.fill(KEY)
    expect(page.locator("#job-list li")).to_contain_text("2 images of seed 8")
    expect(page.locator("#jobs .message")).to_be_hidden()
    expect(field).not_to_have_attribute("aria-invalid", "true")
    errors.clear()


@pytest.mark.slow
def test_lessons_of_a_network_that_cannot_take_all_steps_say_so(
    page: Page, server_for: ServerFor, tmp_path: Path, errors: list[str]
) -> None:
    tiny = save_tiny(tmp_path / "tiny", fourier_time=True)
    server = server_for(f"--checkpoint={tiny}", *LIMITS, engine=REAL)
    page.goto(server.url + "/?view=understand&seed=42")
    for lesson in ("#forward", "#algorithm", "#compare"):
        page.locator(lesson).scroll_into_view_if_needed()
        expect(page.locator(f"{lesson} .message")).to_have_text(
            "This model cannot take all T steps, as this lesson does: its network cannot be told "
            "t = 1."
        )
    expect(page.locator(".field-error")).to_have_count(0)
    assert errors and all("422" in error for error in errors)
    errors.clear()


@pytest.mark.slow
def test_one_refused_lesson_is_enough(page: Page, keyed: Server, errors: list[str]) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(keyed.url + "/?view=understand&seed=42")
    expect(page.get_by_label("API key")).to_be_focused()
    refused = len(errors)
    page.locator("#compare").scroll_into_view_if_needed()
    expect(page.locator("#compare")).to_be_in_viewport()
    with_key(page)
    settle(page, "understand")
    assert len(errors) == refused
    errors.clear()


@pytest.mark.slow
@pytest.mark.parametrize("is_remembered", [False, True])
def test_the_key_stays_in_the_tab_unless_asked(
    browser: Browser, keyed: Server, is_remembered: bool
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(keyed.url + QUICK)
        page.get_by_label("Remember it in this browser").set_checked(is_remembered)
        with_key(page)
        pictures(page)
        page.reload()
        pictures(page)
        kept = "Object.entries(localStorage).join() + document.cookie"
        assert (KEY in page.evaluate(kept)) == is_remembered
        elsewhere = context.new_page()
        elsewhere.goto(keyed.url + QUICK)
        expect(elsewhere.get_by_label("API key")).to_have_value(KEY if is_remembered else "")
        page.get_by_label("Remember it in this browser").uncheck()
        assert KEY not in page.evaluate(kept)


@pytest.mark.parametrize("view", [*VIEWS, "jobs"])
def test_the_key_is_in_no_address_and_no_snippet(
    page: Page, keyed: Server, errors: list[str], view: str
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{keyed.url}/?view={view}&n=2&seed=42&sampler=ddim&steps=5")
    with_key(page)
    page.wait_for_url("**model=**")
    links = page.locator("a").evaluate_all("links => links.map(link => link.href)")
    for text in (*asked, *links, page.url, snippets(page)):
        assert "a%20long" not in text and "a+long" not in text and KEY not in text
    assert '-H "Authorization: Bearer $DDPM_API_KEY"' in snippets(page)
    assert "os.environ['DDPM_API_KEY']" in snippets(page)
    errors.clear()


@pytest.mark.slow
@pytest.mark.parametrize("view", ["generate", "watch", "jobs"])
def test_the_python_on_the_screen_finds_the_key(
    page: Page, keyed: Server, errors: list[str], tmp_path: Path, view: str
) -> None:
    page.goto(f"{keyed.url}/?view={view}&n=2&seed=42&sampler=ddim&steps=5&frames=3")
    expect(page.locator("#code-python")).to_contain_text("DDPM_API_KEY")
    program = page.locator("#code-python").text_content() or ""
    environment = {**os.environ, "DDPM_API_KEY": KEY}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    made = {"generate": ["000000.png", "000001.png"], "watch": [], "jobs": ["images.zip"]}[view]
    assert sorted(path.name for path in tmp_path.iterdir()) == made
    assert ("iVBOR" in done.stdout) == (view == "watch")
    page.goto("about:blank")
    errors.clear()


def test_a_full_part_of_the_queue_is_asked_again_when_it_says(
    page: Page, keyed: Server, errors: list[str]
) -> None:
    page.goto(keyed.url + QUICK)
    with_key(page)
    pictures(page)
    long, accept = {"n": 50, "frames": 2}, {"Accept": "text/event-stream"}
    with keyed.client.stream("POST", "/denoise-trajectory", json=long, headers=accept):
        page.get_by_role("spinbutton", name="Images").fill("30")
        page.locator("#run").click()
        message = page.locator("#generate .message")
        expect(message).to_contain_text("your part of the queue has room for")
        expect(message).to_contain_text(re.compile(r"Trying again in \d+ s"))
    expect(page.locator("#state-text")).to_have_text("Ready")  # it notices that the reader has left
    message.get_by_role("button", name="Try now").click()
    expect(page.locator("#tiles img")).to_have_count(30)
    assert any("429" in error for error in errors)
    errors.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_a_key_refused(browser: Browser, keyed: Server, scheme: Any) -> None:
    with browser.new_context(
        color_scheme=scheme, bypass_csp=True, viewport={"width": 360, "height": 740}
    ) as context:
        page = context.new_page()
        page.goto(keyed.url + QUICK)
        expect(page.locator("#key-error")).to_be_visible()
        check_fits(page, 360)
        check_accessible(page)
