"""The page of a server that has several models."""

import re
from pathlib import Path

import pytest

from tests.app.server import REAL, Server
from tests.conftest import ServerFor
from tests.tiny import save_tiny

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("axe_playwright_python.sync_playwright")

from playwright.sync_api import Page, expect

from tests.app.playground.pages import pictures


@pytest.mark.slow
def test_another_model_is_picked_and_stays_in_the_address(
    page: Page, server_for: ServerFor, checkpoint: Path, tmp_path: Path
) -> None:
    other = save_tiny(tmp_path / "other", channels=3)
    flags = (f"--checkpoint=tiny={checkpoint}", f"--checkpoint={other}", "--runtime=eager")
    server = server_for(*flags, engine=REAL)
    page.goto(server.url + "/?view=generate&labels=1&n=2&seed=5&sampler=ddim&steps=5")
    pictures(page)
    picker = page.get_by_label("Model", exact=True)
    assert picker.locator("option").all_text_contents() == ["tiny", "other"]
    picker.select_option("other")
    expect(page.locator("#model-name")).to_have_text("other")
    expect(page).to_have_url(re.compile("[?&]model=other(&|$)"))
    expect(page).to_have_url(re.compile("[?&]seed=5(&|$)"))
    expect(picker).to_be_focused()
    found = pictures(page)
    body = {"model": "other", "seed": 5, "n": len(found), "sampler": "ddim"}
    assert found == [s["png"] for s in server.post("/sample", body).json()["samples"]]
    expect(page.locator("#code-curl")).to_contain_text('"model":"other"')
    page.reload()
    expect(page.locator("#model-name")).to_have_text("other")
    page.goto(server.url + "/?model=third&n=1")
    expect(page.locator("#boot .message")).to_have_text(
        "This server has no model third; this is tiny."
    )


def test_a_single_model_is_not_to_be_picked(page: Page, tiny: Server) -> None:
    page.goto(tiny.url + "/?n=1&labels=1")
    pictures(page)
    expect(page.get_by_label("Model", exact=True)).to_be_hidden()
