"""The playground page, in a real headless Chromium on a real server with a tiny model."""

import io
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.app.server import REAL, Server
from tests.conftest import ServerFor
from tests.tiny import save_tiny

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("axe_playwright_python.sync_playwright")

from playwright.sync_api import Browser, Page, Route, expect

from tests.app.playground.pages import (
    DAMAGED,
    KEY,
    LIMITS,
    PICTURE,
    PIXELS,
    check_accessible,
    check_fits,
    finished,
    pictures,
    refuse,
    settle,
)

VIEWS = ("generate", "watch", "understand")
REQUEST = "?view=generate&labels=each&n=4&seed=42&sampler=ddim&steps=10"
WATCH = "?view=watch&labels=1&seed=42&sampler=ddim&steps=10&frames=11"


# Generate


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
    card["recommended"] = {"sampler": "unipc", "steps": 3, "spacing": "tuned"}
    (folder / "model_card.json").write_text(json.dumps(card))
    server = server_for(f"--checkpoint={folder}", "--runtime=eager", engine=REAL)
    page.goto(server.url + "/?n=2&labels=1&seed=5")
    body = {"n": 2, "seed": 5, "labels": 1, "sampler": "unipc", "spacing": [50, 20, 4]}
    assert pictures(page) == [s["png"] for s in server.post("/sample", body).json()["samples"]]
    page.get_by_label("Sampler", exact=True).select_option("ddpm")
    expect(page.locator("#spacing")).to_have_value("")
    page.goto(server.url + "/?n=1&labels=1&seed=5&sampler=ddim")
    expect(page.get_by_label("Steps")).to_have_value("")


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


# Several models


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


# Watch


def test_scrubbing_shows_each_frame_that_the_server_sent(page: Page, tiny: Server) -> None:
    page.goto(tiny.url + "/" + WATCH)
    finished(page)
    slider = page.locator("#watch-timeline input")
    body = {"labels": 1, "seed": 42, "sampler": "ddim", "steps": 10, "frames": 11}
    frames = tiny.post("/denoise-trajectory", body).json()["trajectories"][0]["frames"]
    slider.press("Home")  # pauses, too
    for frame in frames:
        expect(page.locator("#watch-timeline .is-time output")).to_have_text(str(frame["t"]))
        expect(page.locator("#watch-x-t")).to_have_attribute("src", source(frame["x_t"]))
        expect(page.locator("#watch-x-0")).to_have_attribute("src", source(frame["x0_hat"]))
        slider.press("ArrowRight")
    slider.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", re.compile(r"t = 50, alpha bar 7\.7"))


def source(png: str) -> str:
    return f"data:image/png;base64,{png}"


def test_the_numbers_of_the_curves_are_the_schedules(page: Page, tiny: Server) -> None:
    alpha_bar = tiny.client.get("/model").json()["alpha_bar"]
    page.goto(tiny.url + "/" + WATCH)
    finished(page)
    page.locator("#watch-timeline input").press("Home")
    for _ in range(5):
        page.locator("#watch-timeline input").press("ArrowRight")
    reading = page.locator("#watch-timeline .legend output").all_text_contents()
    signal, noise = math.sqrt(alpha_bar[25]), math.sqrt(1 - alpha_bar[25])
    assert reading == ["25", f"{signal:.3f}", f"{noise:.3f}"]


@pytest.mark.slow
def test_it_plays_to_the_end_and_again_on_space(page: Page, tiny: Server) -> None:
    page.goto(tiny.url + "/" + WATCH)
    play = page.locator("#watch-timeline .play")
    expect(play).to_have_text("Pause")
    expect(play).to_have_text("Play")
    expect(page.locator("#watch-timeline input")).to_have_value("10")
    page.locator("#main").focus()
    page.keyboard.press("Space")
    expect(play).to_have_text("Pause")
    page.keyboard.press("Space")
    expect(play).to_have_text("Play")


def test_who_prefers_less_motion_is_shown_the_result(browser: Browser, tiny: Server) -> None:
    with browser.new_context(reduced_motion="reduce") as context:
        page = context.new_page()
        page.goto(tiny.url + "/" + WATCH)
        expect(page.locator("#watch-timeline .is-time output")).to_have_text("0")
        expect(page.locator("#watch-timeline .play")).to_have_text("Play")


def test_an_image_leads_to_its_way_from_noise(page: Page, tiny: Server) -> None:
    page.goto(tiny.url + "/?view=generate&labels=each&n=2&seed=42&sampler=ddim&steps=10")
    made = pictures(page)
    page.locator("#tiles li > a").nth(1).click()
    finished(page)
    page.locator("#watch-timeline input").press("End")
    expect(page.locator("#watch-x-t")).to_have_attribute("src", source(made[1]))
    page.go_back()
    expect(page.locator("#tiles img")).to_have_count(2)


@pytest.mark.parametrize(
    ("name", "accept"), [("GIF", "image/gif"), ("WebP", "image/webp"), ("PNG strip", "image/png")]
)
def test_the_way_can_be_downloaded(page: Page, tiny: Server, name: str, accept: str) -> None:
    page.goto(tiny.url + "/" + WATCH)
    finished(page)
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    body = {"labels": 1, "seed": 42, "sampler": "ddim", "steps": 10, "frames": 11}
    expected = tiny.post("/denoise-trajectory", body, accept).content
    assert Path(download.value.path()).read_bytes() == expected


# Understand


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


# Before the model is known


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


# When something is wrong


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


# For everybody


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


# Keys and limits

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


# Jobs


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
