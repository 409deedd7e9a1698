"""What tests of the page share: waiting until a view is complete, and judging it."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

axe = pytest.importorskip("axe_playwright_python.sync_playwright")

from playwright.sync_api import Page, Route, expect  # noqa: E402

VIEWS = ("generate", "watch", "understand")
REQUEST = "?view=generate&labels=each&n=4&seed=42&sampler=ddim&steps=10"
WATCH = "?view=watch&labels=1&seed=42&sampler=ddim&steps=10&frames=11"
KEY = "a long key of the tests"
DAMAGED = 2  # a label
LIMITS = ("--runtime=eager", "--max-queue-samples=12", "--max-frames=100")
LESSONS = ("#forward", "#learn", "#algorithm", "#compare", "#bits")
PIXELS = "canvas => [...canvas.getContext('2d').getImageData(0, 0, 8, 8).data]"
PICTURE = """image => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 8, height: 8 });
  canvas.getContext("2d").drawImage(image, 0, 0);
  return [...canvas.getContext("2d").getImageData(0, 0, 8, 8).data];
}"""


def refuse(route: Route) -> None:
    route.abort()


def pictures(page: Page) -> list[str]:
    """The base64 of the finished tiles."""
    expect(page.locator("#generate-downloads")).to_be_visible()
    sources = page.locator("#tiles img").evaluate_all("images => images.map(image => image.src)")
    return [source.removeprefix("data:image/png;base64,") for source in sources]


def picture(png: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A grey picture from its base64, (1,H,W) in [-1, 1]."""
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("L")
    return np.asarray(image, np.float32)[None] / 127.5 - 1


def finished(page: Page) -> None:
    expect(page.locator("#watch-strip img")).to_have_count(22)


def settle(page: Page, view: str) -> None:
    """Wait until everything of the view is there."""
    if view == "generate":
        pictures(page)
    elif view == "watch":
        finished(page)
        expect(page.locator("#watch-timeline .play")).to_have_text("Play")
    else:
        expect(page.locator("#forward")).to_be_visible()
        for lesson in filter(page.is_visible, LESSONS):
            page.locator(lesson).scroll_into_view_if_needed()
            expect(page.locator(f"{lesson}[aria-busy=false]")).to_be_visible()


def check_accessible(page: Page) -> None:
    """Assert that axe finds nothing. The page's policy forbids axe's script: bypass it."""
    found = axe.Axe().run(page).response["violations"]
    assert [(v["id"], [node["target"] for node in v["nodes"]]) for v in found] == []


def check_fits(page: Page, width: int) -> None:
    """Assert that a page of this width need not be scrolled sideways."""
    assert page.evaluate("document.documentElement.scrollWidth") == width
