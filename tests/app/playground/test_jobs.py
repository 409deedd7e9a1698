"""The page starts jobs, follows them, and fetches what they made."""

from pathlib import Path

import pytest

from tests.app.server import Server

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("axe_playwright_python.sync_playwright")

from playwright.sync_api import Page, expect

from tests.app.playground.pages import pictures


@pytest.mark.slow
def test_a_job_is_started_followed_downloaded_and_removed(page: Page, tiny: Server) -> None:
    if "/jobs/{job_id}" not in tiny.client.get("/openapi.json").json()["paths"]:
        pytest.skip("this server keeps no jobs, and the page shows no tab for them")
    page.goto(tiny.url + "/?view=generate&labels=1&n=2&seed=42&sampler=ddim&steps=5")
    pictures(page)
    page.get_by_role("link", name="Jobs").click()
    page.get_by_role("spinbutton", name="Images").fill("12")
    page.get_by_role("button", name="Start a job").click()
    row = page.locator("#job-list li")
    expect(row).to_contain_text("12 images of seed 42")
    expect(row).to_contain_text("finished")
    page.reload()  # this browser remembers, and a link starts no second one
    expect(row).to_contain_text("finished")
    with page.expect_download() as download:
        row.get_by_role("button", name="ZIP").click()
    body = {"n": 12, "seed": 42, "labels": 1, "sampler": "ddim", "steps": 5}
    expected = tiny.post("/sample", body, "application/zip").content
    assert Path(download.value.path()).read_bytes() == expected
    row.get_by_role("button", name="Remove").click()
    expect(row).to_have_count(0)


def test_without_jobs_there_is_no_tab_for_them(page: Page, tiny: Server) -> None:
    paths = tiny.client.get("/openapi.json").json()["paths"]
    page.goto(tiny.url + "/?labels=1&n=1")
    pictures(page)
    expect(page.get_by_role("link", name="Jobs")).to_be_visible(visible="/jobs/{job_id}" in paths)
