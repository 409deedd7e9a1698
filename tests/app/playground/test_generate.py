"""The view Generate: images of a request."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.app.server import REAL, Server
from tests.conftest import ServerFor
from tests.tiny import save_tiny

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("axe_playwright_python.sync_playwright")

from playwright.sync_api import Browser, Page, expect

from tests.app.playground.pages import pictures


def test_a_newcomer_sees_images_without_doing_anything(page: Page, tiny: Server) -> None:
    page.goto(tiny.url + "/?n=3&labels=1")
    assert len(pictures(page)) == 3
    expect(page.locator("#state-text")).to_have_text(re.compile("Ready|in progress"))


@pytest.mark.slow
def test_the_pictures_are_those_of_sample(page: Page, tiny: Server) -> None:
    page.goto(
        f"{tiny.url}/?view=generate&labels=1&n=3&seed=5&first_index=7&sampler=ddpm&guidance=2"
    )
    body = {"n": 3, "seed": 5, "first_index": 7, "labels": 1, "guidance": 2}
    assert pictures(page) == [s["png"] for s in tiny.post("/sample", body).json()["samples"]]
    expect(page.locator("#tiles img").first).to_have_attribute("alt", "Image 7, label 1")


def test_each_in_turn_asks_for_one_label_after_the_other(page: Page, tiny: Server) -> None:
    page.goto(tiny.url + "/?view=generate&labels=each&n=2&seed=5&sampler=ddim&steps=5")
    body = {"n": 2, "seed": 5, "labels": [0, 1], "sampler": "ddim", "steps": 5}
    assert pictures(page) == [s["png"] for s in tiny.post("/sample", body).json()["samples"]]


@pytest.mark.slow
def test_a_newcomer_begins_with_what_the_card_recommends(
    page: Page, server_for: ServerFor, tmp_path: Path
) -> None:
    folder = save_tiny(tmp_path / "tiny", num_classes=2, null_label=True)
    card = json.loads((folder / "model_card.json").read_text())
    card["tuned"] = {"unipc": {"3": [50, 20, 4]}}
    card["recommended"] = {"sampler": "unipc", "steps": 3, "spacing": "tuned", "guidance": 1.5}
    (folder / "model_card.json").write_text(json.dumps(card))
    server = server_for(f"--checkpoint={folder}", "--runtime=eager", engine=REAL)
    page.goto(server.url + "/?n=2&labels=1&seed=5")
    body = {"n": 2, "seed": 5, "labels": 1, "sampler": "unipc", "spacing": [50, 20, 4]}
    body["guidance"] = 1.5
    assert pictures(page) == [s["png"] for s in server.post("/sample", body).json()["samples"]]
    page.get_by_label("Sampler", exact=True).select_option("ddpm")
    expect(page.locator("#spacing")).to_have_value("")
    page.goto(server.url + "/?n=1&labels=1&seed=5&sampler=ddim")
    expect(page.get_by_label("Steps")).to_have_value("")
    expect(page.get_by_label("Guidance", exact=True)).to_have_value("0")


def test_guidance_at_some_timesteps_is_asked_for(page: Page, tiny: Server) -> None:
    page.goto(
        f"{tiny.url}/?view=generate&labels=1&n=1&seed=5&sampler=ddim&steps=5&guidance=2"
        "&guidance_interval=40,+15"
    )
    body = {"seed": 5, "labels": 1, "sampler": "ddim", "steps": 5, "guidance": 2}
    some = tiny.post("/sample", {**body, "guidance_interval": [40, 15]}).json()["samples"]
    assert pictures(page) == [s["png"] for s in some]


@pytest.mark.slow
def test_a_link_shows_the_same_to_somebody_else(page: Page, browser: Browser, tiny: Server) -> None:
    page.goto(tiny.url + "/?n=2&labels=1")
    assert len(pictures(page)) == 2  # by then the page has taken its fields from the address
    page.get_by_label("Seed", exact=True).fill("")  # none: the page draws one
    page.get_by_label("Steps").fill("7")
    page.get_by_role("button", name="Generate").click()
    page.wait_for_url("**steps=7**")
    expect(page.locator("#generate[aria-busy=false]")).to_be_visible()
    seen = pictures(page)
    assert re.search(r"[?&]seed=\d+", page.url)
    with browser.new_context() as elsewhere:
        other = elsewhere.new_page()
        other.goto(page.url)
        assert pictures(other) == seen
        expect(other.get_by_label("Steps")).to_have_value("7")


def test_a_link_made_with_other_weights_says_so(page: Page, tiny: Server) -> None:
    for link in ("model=tiny&weights=01234567", "model=01234567"):  # as they are, and were before
        page.goto(f"{tiny.url}/?n=1&labels=1&{link}")
        expect(page.locator("#boot .message")).to_contain_text("other weights (01234567)")


def test_the_die_draws_a_seed_and_back_returns(page: Page, tiny: Server) -> None:
    page.goto(tiny.url + "/?n=1&labels=1&seed=42&steps=5")
    before = pictures(page)
    page.get_by_role("button", name="Another seed").click()
    page.wait_for_url(lambda url: "seed=42&" not in url)
    expect(page.locator("#generate[aria-busy=false]")).to_be_visible()
    assert pictures(page) != before
    page.go_back()
    expect(page.get_by_label("Seed", exact=True)).to_have_value("42")
    expect(page.locator("#tiles img")).to_have_attribute("src", re.compile(re.escape(before[0])))


def test_downloads_are_the_servers_own_representations(page: Page, tiny: Server) -> None:
    page.goto(tiny.url + "/?view=generate&n=2&labels=1&seed=42&sampler=ddim&steps=5")
    pictures(page)
    body = {"n": 2, "seed": 42, "labels": 1, "sampler": "ddim", "steps": 5}
    for name, accept in (("PNG grid", "image/png"), ("ZIP", "application/zip")):
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        assert download.value.suggested_filename.startswith("tiny-seed-42.")
        content = Path(download.value.path()).read_bytes()
        assert content == tiny.post("/sample", body, accept).content


def test_the_python_on_the_screen_makes_the_same_pictures(
    page: Page, tiny: Server, tmp_path: Path
) -> None:
    page.goto(tiny.url + "/?view=generate&n=2&labels=1&seed=42&sampler=ddim&steps=5")
    pictures(page)
    program = page.locator("#code-python").text_content() or ""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    body = {"n": 2, "seed": 42, "labels": 1, "sampler": "ddim", "steps": 5}
    sample = tiny.post("/sample", {**body, "n": 1}, "image/png").content
    assert (tmp_path / "000000.png").read_bytes() == sample
    curl = page.locator("#code-curl").text_content() or ""
    assert json.loads(re.search(r"-d '(.*)'", curl)[1]) == body  # type: ignore[index]
