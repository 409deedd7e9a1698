"""Results as people meet them: at the prompt, in a notebook, copied and pickled."""

import copy
import dataclasses
import io
import pickle
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.client import display
from app.client.results import Frame, Sample, Samples, Trajectories
from app.client.status import Job, Model

PIXELS = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
"""Two colour images, 3 rows of 4 pixels."""
EVIL = "<script>alert('1')</script>"


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


SAMPLE = Sample(5, 3, png(PIXELS[0]))
SAMPLES = Samples("abc", "mnist", 7, "ddim", 20, (SAMPLE, Sample(6, None, png(PIXELS[1]))), 0.5, 2)
TRAJECTORIES = Trajectories(
    7,
    np.array([5, 6]),
    np.array([-1, 3]),
    np.array([1000, 500, 0]),
    np.zeros((2, 3, 1, 4, 5), np.float32),
    np.ones((2, 3, 1, 4, 5), np.float32),
)
FRAME = Frame(7, 5, 500, *(Image.fromarray(image) for image in PIXELS))
JOB = Job(
    "abc", "sample", "mnist", 7, "ddim", 20, "running", None, 10, 3, 1.5, 4.7,
    datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC),
)  # fmt: skip
MODEL = Model(
    "mnist", [1, 28, 28], 1000, "linear", [1.0] * 1001, "fixed_small", list("0123456789"), 10,
    1_114_498, "4a49eeda" * 8, "mnist", "ddpm train", {}, {}, "openvino", "float32", "cpu", True,
    {"guidance": 0.5}, {"max_samples": 256},
)  # fmt: skip
RESULTS: list[Any] = [SAMPLE, SAMPLES, TRAJECTORIES, FRAME, JOB, MODEL]
PICTURES: list[Any] = [SAMPLE, SAMPLES, TRAJECTORIES, FRAME]


def shown(result: Any) -> Image.Image:
    """The picture of a result in a notebook."""
    return Image.open(io.BytesIO(result._repr_png_()))


def name(result: object) -> str:
    return type(result).__name__


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (SAMPLE, f"Sample(index=5, label=3, png=<{len(SAMPLE.png)} bytes>)"),
        (SAMPLES, "Samples(2 images of mnist, seed 7, ddim with 20 steps)"),
        (
            TRAJECTORIES,
            "Trajectories(2 images of seed 7, t = 1000 .. 0; x_t and x0_hat are float32 2x3x1x4x5)",
        ),
        (FRAME, "Frame(seed=7, index=5, t=500)"),
        (JOB, "Job(abc: sample of mnist, seed 7, running, 3 of 10 done, about 5 s left)"),
        (MODEL, "Model(mnist: 28 x 28, grey, 10 labels, openvino in float32 on cpu)"),
    ],
    ids=name,
)
def test_at_the_prompt_a_result_is_one_line(result: object, text: str) -> None:
    assert repr(result) == text


@pytest.mark.parametrize("result", RESULTS, ids=name)
def test_a_result_is_the_same_when_it_is_copied_or_pickled(result: object) -> None:
    assert copy.deepcopy(result) == result
    assert pickle.loads(pickle.dumps(result)) == result
    assert result != "something else"


@pytest.mark.parametrize("field", ["seed", "t", "x_t"])
def test_trajectories_differ_where_a_number_does(field: str) -> None:
    changed = dataclasses.replace(TRAJECTORIES, **{field: getattr(TRAJECTORIES, field) + 1})
    assert changed != TRAJECTORIES


@pytest.mark.parametrize(
    ("result", "size"),
    [(SAMPLE, (32, 24)), (SAMPLES, (64, 24)), (TRAJECTORIES, (120, 64)), (FRAME, (64, 24))],
    ids=["Sample", "Samples", "Trajectories", "Frame"],
)
def test_a_notebook_shows_pictures_whose_pixels_are_squares(
    result: Any, size: tuple[int, int]
) -> None:
    assert shown(result).size == size
    assert np.array_equal(np.asarray(shown(SAMPLE)), PIXELS[0].repeat(8, axis=0).repeat(8, axis=1))


@pytest.mark.parametrize("result", PICTURES, ids=name)
def test_a_notebook_shows_what_a_picture_is_beneath_it(result: Any) -> None:
    html = result._repr_html_()
    assert "image-rendering: pixelated" in html
    assert "<figcaption>" in html and 'alt="' in html


def test_of_many_images_the_first_are_shown_and_that_is_said() -> None:
    many = dataclasses.replace(SAMPLES, samples=(SAMPLE,) * 300)
    assert shown(many).size == (10 * 4 * 8, 10 * 3 * 8)
    assert "300 images of mnist" in many._repr_html_()
    assert "; the first 100 are shown" in many._repr_html_()
    assert "shown" not in SAMPLES._repr_html_()


def test_of_a_long_trajectory_some_states_are_shown_from_the_noise_to_the_image() -> None:
    t = np.arange(1000, -1, -1)
    states = np.zeros((9, 1001, 1, 2, 2), np.float32)
    states[:, -1] = 1
    long = Trajectories(7, np.arange(9), np.full(9, -1), t, states, states)
    assert shown(long).size == (11 * 2 * 8, 8 * 2 * 8)
    assert np.asarray(shown(long))[0, [0, -1]].tolist() == [128, 255]
    caption = long._repr_html_().partition("<figcaption>")[2]
    assert "t = 1000, 900, 800, 700, 600, 500, 400, 300, 200, 100, 0" in caption
    assert "the first 8 are shown" in caption


def test_nothing_that_a_server_says_is_markup() -> None:
    results: list[Any] = [
        dataclasses.replace(SAMPLES, model=EVIL),
        dataclasses.replace(JOB, detail=EVIL, model=EVIL),
        dataclasses.replace(MODEL, name=EVIL, data=EVIL),
    ]
    for result in results:
        html = result._repr_html_()
        assert "<script" not in html and display.escape(EVIL) in html
