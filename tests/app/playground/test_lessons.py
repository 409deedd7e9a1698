"""The lessons *Learning to undo it* and *What it costs in bits*, whose numbers are the server's."""

import io
import json
import re
from typing import Any

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import Browser, Page, Response, Route, expect

from tests.app.playground.pages import PIXELS, check_accessible, check_fits, picture, settle
from tests.app.server import Server

LESSONS = "/?view=understand&labels=1&seed=42"


@pytest.fixture
def alpha_bar(tiny: Server) -> list[float]:
    found: list[float] = tiny.client.get("/model").json()["alpha_bar"]
    return found


def number(text: str | None) -> float:
    """A number as the page writes it, such as −0.012 or 7.7·10⁻⁶."""
    mantissa, _, exponent = (text or "").replace("−", "-").partition("·10")
    power = exponent.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")) or "0"
    return float(mantissa) * 10 ** int(power)


def learn(page: Page) -> None:
    page.locator("#learn").scroll_into_view_if_needed()
    expect(page.locator("#learn-count")).to_have_text("40 of the 50 possible t, the same noise")


def bits(page: Page) -> None:
    page.locator("#bits").scroll_into_view_if_needed()
    expect(page.locator("#bits-count")).to_have_text("6 of the 50 terms, spread over the chain")


@pytest.mark.slow
def test_the_loss_is_that_of_the_noise_and_the_guess(
    page: Page, tiny: Server, alpha_bar: list[float]
) -> None:
    answers: list[Response] = []
    page.on("response", lambda r: answers.append(r) if "npz" in kind(r) else None)
    page.goto(tiny.url + LESSONS)
    learn(page)
    expected = dict(turn(answer, alpha_bar) for answer in answers if "start" in asked(answer))
    assert len(expected) == 40 and {1, 50} < set(expected)
    slider = page.locator("#learn-slider")
    slider.press("Home")
    for t in sorted(expected, reverse=True):
        lines = page.locator("#learn-lines output").all_text_contents()
        eps, eps_hat = expected[t]
        assert lines[2] == f"= {t}"
        assert number(lines[3].removeprefix("= ")) == pytest.approx(eps[0, 4, 4], abs=1e-3)
        loss = re.search(r"= (\S+) on average", lines[4])
        assert loss and number(loss[1]) == pytest.approx(
            ((eps - eps_hat) ** 2).mean(), rel=0.1, abs=5e-4
        )
        slider.press("ArrowRight")


def kind(response: Response) -> str:
    return response.headers.get("content-type", "")


def asked(response: Response) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(response.request.post_data or "{}")
    return body


def turn(answer: Response, alpha_bar: list[float]) -> tuple[int, tuple[Any, Any]]:
    """The t, and the noise and the guess of it, by eq. 4."""
    start = asked(answer)["start"]
    arrays = np.load(io.BytesIO(answer.body()))
    x_t, x_0_hat = (arrays[name][0, 0].astype(np.float64) for name in ("x_t", "x0_hat"))
    x_0, share = picture(start["image"]), alpha_bar[start["t"]]
    return start["t"], tuple((x_t - share**0.5 * x) / (1 - share) ** 0.5 for x in (x_0, x_0_hat))


@pytest.mark.slow
def test_the_bound_is_the_servers(page: Page, tiny: Server) -> None:
    answers: list[str] = []

    def note(route: Route) -> None:  # the browser itself keeps no body of a stream
        response = route.fetch()
        answers.append(response.text())
        route.fulfill(response=response)

    page.route("**/bound", note)
    page.goto(tiny.url + LESSONS)
    bits(page)
    data = [json.loads(line[6:]) for line in answers[0].split("\n") if line[:5] == "data:"]
    terms, found = {term["t"]: term for term in data[:-1]}, data[-1]["images"][0]
    shown = page.locator("#bits-numbers li").all_text_contents()
    between = found["bits_per_dim"] - found["L_T"] - found["L_0"]
    for text, value in zip(shown, (found["L_T"], between, found["L_0"]), strict=False):
        assert number(text.split(" = ")[1]) == pytest.approx(value, rel=0.1, abs=1e-3)
    assert number(shown[3].split(" ")[0]) == pytest.approx(found["bits_per_dim"], abs=1e-3)
    slider = page.locator("#bits-slider")
    slider.press("End")
    expect(page.locator("#bits-reading")).to_contain_text("L0")
    slider.press("Home")
    reading = page.locator("#bits-reading output")
    expect(reading.first).to_have_text(str(max(terms)))
    assert number(reading.last.text_content()) == pytest.approx(
        terms[max(terms)]["bits_per_dim"], rel=0.1, abs=1e-3
    )


def test_the_posteriors_mean_lies_between_the_picture_and_the_state(
    page: Page, tiny: Server
) -> None:
    page.goto(tiny.url + LESSONS)
    bits(page)
    slider, shown = page.locator("#bits-slider"), page.locator("#bits-reading .is-time output")
    slider.press("Home")
    seen = set()
    for _ in range(6):
        t = re.match(r"t = (\d+)", slider.get_attribute("aria-valuetext") or "")
        assert t
        expect(shown).to_have_text(t[1])
        mean, of_image, x_0, of_state, x_t = (
            number(found.strip("()"))
            for found in re.findall(r"[^ =+]+·10\S+|\(?−?\d\S*", formula(page))
        )
        assert mean == pytest.approx(of_image * x_0 + of_state * x_t, abs=3e-3)
        assert 0 <= of_image <= 1.01 and 0 <= of_state <= 1.01
        seen.add(of_image)
        slider.press("ArrowRight")
    expect(shown).to_have_text("1")
    assert len(seen) > 3


def formula(page: Page) -> str:
    return page.locator("#bits-formula").text_content() or ""


@pytest.mark.slow
def test_a_picture_of_ones_own_goes_through_the_lessons(page: Page, tiny: Server) -> None:
    page.goto(tiny.url + LESSONS)
    learn(page)
    bits(page)
    content = tiny.post("/sample", {"seed": 5, "labels": 3, "steps": 10}, "image/png").content
    file: Any = {"name": "mine.png", "mimeType": "image/png", "buffer": content}
    with page.expect_request("**/bound") as bound:
        page.locator("#forward-file").set_input_files(file)
        bits(page)
    mine = page.locator("#forward-0").evaluate(PIXELS)
    page.locator("#learn").scroll_into_view_if_needed()
    while page.locator("#learn-pictures [data-part=x_0]").evaluate(PIXELS) != mine:
        page.wait_for_timeout(20)  # until the test's time is over
    sent = picture(bound.value.post_data_json["images"])
    assert ((sent.ravel() + 1) * 127.5).round().tolist() == mine[::4]


@pytest.mark.slow
def test_a_server_without_starts_and_bounds_has_three_lessons(page: Page, tiny: Server) -> None:
    def older(route: Route) -> None:
        document = route.fetch().json()
        del document["paths"]["/bound"]
        for schema in document["components"]["schemas"].values():
            schema.get("properties", {}).pop("start", None)
        route.fulfill(json=document)

    page.route("**/openapi.json", older)
    page.goto(tiny.url + LESSONS)
    settle(page, "understand")
    for hidden in ("#learn", "#bits", "[data-view=edit]", "[data-view=between]"):
        expect(page.locator(hidden)).to_be_hidden()
    expect(page.locator(".lesson:visible .number")).to_have_text(["1", "2", "3"])


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_everybody_can_follow_them(browser: Browser, tiny: Server, scheme: Any, width: int) -> None:
    viewport: Any = {"width": width, "height": 800}
    with browser.new_context(
        color_scheme=scheme, viewport=viewport, reduced_motion="reduce", bypass_csp=True
    ) as context:
        page = context.new_page()
        page.goto(tiny.url + LESSONS)
        settle(page, "understand")
        bits(page)
        expect(page.locator(".lesson .number")).to_have_text(["1", "2", "3", "4", "5"])
        check_fits(page, width)
        check_accessible(page)
