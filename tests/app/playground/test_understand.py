"""The view Understand: the lessons, in numbers and pictures."""

import io
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.app.server import REAL, Server
from tests.tiny import save_tiny

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("axe_playwright_python.sync_playwright")

from playwright.sync_api import Page, Route, expect

from tests.app.playground.pages import PICTURE, PIXELS, WATCH, finished, settle


@pytest.mark.slow
def test_line_4_adds_up_in_every_iteration(page: Page, tiny: Server) -> None:
    alpha_bar = tiny.client.get("/model").json()["alpha_bar"]
    page.goto(tiny.url + "/?view=understand&labels=1&seed=42")
    page.locator("#algorithm").scroll_into_view_if_needed()
    expect(page.locator("#algorithm-count")).to_have_text(
        "40 of the 50 iterations of the loop are shown"
    )
    slider = page.locator("#algorithm-player input")
    slider.press("Home")
    current = page.locator("#algorithm-lines [aria-current=step]")
    expect(current).to_have_attribute("data-line", "1")
    for _ in range(3):
        slider.press("ArrowRight")
    expect(current).to_have_attribute("data-line", "4")
    line_2 = page.locator("#algorithm-lines li[data-line='2'] output")
    t = 50
    for _ in range(10):
        outputs = page.locator("#algorithm-lines output").all_text_contents()
        assert outputs[1] == f"t = {t}"
        x_prev, outer, x_t, inner, eps, sigma, z = numbers(outputs[3])
        alpha = alpha_bar[t] / alpha_bar[t - 1]
        assert outer == pytest.approx(1 / math.sqrt(alpha), abs=1e-4)
        assert inner == pytest.approx((1 - alpha) / math.sqrt(1 - alpha_bar[t]), abs=1e-4)
        beta_tilde = (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]) * (1 - alpha)
        assert sigma == pytest.approx(math.sqrt(beta_tilde), abs=1e-3)
        assert x_prev == pytest.approx(outer * (x_t - inner * eps) + sigma * z, abs=5e-3)
        for _ in range(3):
            page.get_by_role("button", name="Forward one line").click()
        t = int((line_2.text_content() or "").removeprefix("t = "))
    slider.press("End")
    expect(current).to_have_attribute("data-line", "6")


@pytest.mark.slow
def test_with_zero_terminal_snr_line_4_is_its_limit_at_T(page: Page, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "model", num_timesteps=30, prediction="v", zero_snr=True)
    with Server(
        tmp_path / "log", f"--checkpoint={folder}", "--runtime=eager", engine=REAL
    ) as server:
        model = server.client.get("/model").json()
        body = {"seed": 42, "sampler": "ddpm", "variance": "fixed_small", "timesteps": [30, 29]}
        npz = server.post("/denoise-trajectory", body, "application/x-npz").content
        arrays = np.load(io.BytesIO(npz))
        page.goto(server.url + "/?view=understand&seed=42")
        for name, enabled in {"unipc": False, "ipndm": False, "ddim": True}.items():
            expect(page.locator(f"#sampler [value={name}]")).to_be_enabled(enabled=enabled)
        page.locator("#algorithm").scroll_into_view_if_needed()
        expect(page.locator("#algorithm-count")).to_contain_text("30 of the 30")
        page.locator("#algorithm-player input").press("Home")
        outputs = page.locator("#algorithm-lines output").all_text_contents()
        assert outputs[1] == "t = 30"
        x_prev, signal, x_0_hat, sigma, z = numbers(outputs[3])
        _, H, W = model["image_shape"]
        before, after = (arrays[n].reshape(2, H, W)[:, H // 2, W // 2] for n in ("x0_hat", "x_t"))
        assert [x_prev, x_0_hat] == pytest.approx([after[1], before[0]], abs=1e-3)
        assert signal == pytest.approx(math.sqrt(model["alpha_bar"][29]), abs=1e-4)
        assert sigma == pytest.approx(math.sqrt(1 - model["alpha_bar"][29]), abs=1e-3)
        assert x_prev == pytest.approx(signal * x_0_hat + sigma * z, abs=5e-3)
        expect(page.locator("#algorithm-note")).to_contain_text("Its limit is shown there")
        page.locator("#compare").scroll_into_view_if_needed()
        expect(page.locator("#compare tbody tr").last.locator("img").last).to_be_visible()
        page.goto("about:blank")


def numbers(text: str) -> list[float]:
    """The decimal numbers in a line; a minus before a space is an operator."""
    return [float(found.replace("−", "-")) for found in re.findall(r"−?\d+\.\d+", text)]


def test_a_pixel_is_chosen_by_arrow_keys(page: Page, tiny: Server) -> None:
    page.goto(tiny.url + "/?view=understand&labels=1&seed=42")
    page.locator("#algorithm").scroll_into_view_if_needed()
    expect(page.locator("#algorithm-count")).to_contain_text("iterations")
    line = page.locator("#algorithm-lines li[data-line='4'] output")
    before = line.text_content() or ""
    page.locator("#algorithm-pictures [data-part=x_t]").press("ArrowLeft")
    expect(line).not_to_have_text(before)
    page.locator("#algorithm-pictures [data-part=x_t]").press("ArrowRight")
    expect(line).to_have_text(before)


def test_the_forward_process_ends_in_the_image(page: Page, tiny: Server) -> None:
    page.goto(tiny.url + "/?view=understand&labels=1&seed=42")
    expect(page.locator("#forward-formula b")).to_have_count(2)
    page.locator("#forward-slider").press("End")
    expect(page.locator("#forward-timeline .is-time output")).to_have_text("1")
    pixels = "canvas => [...canvas.getContext('2d').getImageData(0, 0, 8, 8).data]"
    previous = page.locator("#forward-previous").evaluate(pixels)
    assert previous == page.locator("#forward-0").evaluate(pixels), "x_{t-1} at t = 1 is x_0"
    assert previous != page.locator("#forward-t").evaluate(pixels)


@pytest.mark.slow
def test_all_lessons_show_one_image_which_is_asked_for_once(page: Page, tiny: Server) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.post_data or ""))
    page.goto(tiny.url + "/?view=understand&labels=1&seed=42")
    settle(page, "understand")
    image = page.locator("#forward-0").evaluate(PIXELS)
    page.locator("#algorithm-player input").press("End")
    assert page.locator("canvas[data-part=x_prev]").evaluate(PIXELS) == image
    algorithm_2 = page.get_by_role("img", name="DDPM, 50 steps, t = 0", exact=True)
    assert algorithm_2.first.evaluate(PICTURE) == pytest.approx(image, abs=1)  # it is rounded
    assert len([body for body in asked if "timesteps" in body and "start" not in body]) == 1


def test_a_picture_of_ones_own_stays_while_the_lessons_image_is_made(
    page: Page, tiny: Server
) -> None:
    held: list[Route] = []
    page.route("**/denoise-trajectory", lambda route: held.append(route))
    page.goto(tiny.url + "/?view=understand&labels=1&seed=42")
    expect(page.locator("#forward-count")).to_have_text("The server is taking 50 steps …")
    content = tiny.post("/sample", {"seed": 5, "labels": 3, "steps": 10}, "image/png").content
    file: Any = {"name": "mine.png", "mimeType": "image/png", "buffer": content}
    page.locator("#forward-file").set_input_files(file)
    expect(page.locator("#forward-formula b")).to_have_count(2)
    expect(page.locator("#forward-count")).to_be_empty()
    mine = page.locator("#forward-0").evaluate(PIXELS)
    page.locator("#algorithm").scroll_into_view_if_needed()
    held[0].continue_()
    expect(page.locator("#algorithm-count")).to_contain_text("iterations")
    assert page.locator("#forward-0").evaluate(PIXELS) == mine
    page.unroute_all()


def test_the_lessons_begin_where_half_of_the_image_is_left(page: Page, tiny: Server) -> None:
    alpha_bar = tiny.client.get("/model").json()["alpha_bar"]
    half = min(range(1, 51), key=lambda t: abs(alpha_bar[t] - 0.5))
    page.goto(tiny.url + "/?view=understand&labels=1&seed=42")
    expect(page.locator("#forward-timeline .is-time output")).to_have_text(str(half))
    page.locator("#algorithm").scroll_into_view_if_needed()
    expect(page.locator("#algorithm-count")).to_contain_text("iterations")
    line_2 = page.locator("#algorithm-lines li[data-line='2'] output").text_content() or ""
    assert half - 2 < int(line_2.removeprefix("t = ")) <= half


@pytest.mark.slow
def test_the_model_has_its_name_at_the_top_and_axes_have_theirs(page: Page, tiny: Server) -> None:
    for view, timeline in (("watch", "#watch-timeline"), ("understand", "#forward-timeline")):
        page.goto(tiny.url + f"/?view={view}&labels=1&seed=42&sampler=ddim&steps=10&frames=11")
        expect(page.get_by_role("button", name=re.compile("^tiny"))).to_be_visible()
        axes = page.locator(f"{timeline} .axis")
        expect(axes).to_have_text(
            ["coefficients in eq. 4", "timestep t, in steps: 50 is noise, 0 the image"]
        )
        marks = page.locator(f"{timeline} .mark")
        expect(marks).to_have_text(["50", "38", "25", "13", "0", "1", "0.5", "0"])


def test_the_strip_names_the_t_of_each_column(page: Page, tiny: Server) -> None:
    page.goto(tiny.url + "/" + WATCH)
    finished(page)
    expect(page.locator("#watch-strip span")).to_have_text([str(t) for t in range(50, -1, -5)])
    expect(page.locator("#watch-note")).to_be_visible()


def test_a_file_that_is_no_picture_is_refused_kindly(page: Page, tiny: Server) -> None:
    page.goto(tiny.url + "/?view=understand&labels=1&seed=42")
    file: Any = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"not a picture"}
    expect(page.locator("#forward-formula b")).to_have_count(2)
    page.locator("#forward-file").set_input_files(file)
    expect(page.locator("#forward .message")).to_contain_text("not a picture")


@pytest.mark.slow
def test_samplers_start_from_the_same_noise(page: Page, tiny: Server) -> None:
    page.goto(tiny.url + "/?view=understand&labels=1&seed=42")
    page.locator("#compare").scroll_into_view_if_needed()
    rows = page.locator("#compare tbody tr")
    expect(page.locator("#compare tbody tr:last-child td:last-child img")).to_have_count(1)
    expect(page.locator("#compare[aria-busy=false]")).to_be_visible()
    names = rows.locator("th b").all_text_contents()
    assert names == ["DPM-Solver++", "DPM-Solver++", "DDIM", "DDIM", "DDPM"]  # T is 50 here
    first = rows.locator("td:nth-child(2) img").evaluate_all("all => all.map(image => image.src)")
    last = rows.locator("td:last-child img").evaluate_all("all => all.map(image => image.src)")
    assert len(first) == 5 and len(set(first)) == 1
    assert len(set(last)) > 1
