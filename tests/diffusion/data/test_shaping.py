"""What a decoded picture is made into: its size, what is cut off, what is filled up."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffusion.config import Crop
from diffusion.data.picture import decode
from diffusion.data.shaping import Form, colour
from tests.diffusion.data.samples import encoded, png


def read(raw: bytes, form: Form) -> np.ndarray:
    return decode(raw, form, "a.png")


WIDE = Image.fromarray(np.repeat(np.array([[0, 100, 200]], np.uint8), 10, axis=1).repeat(10, 0))
"""30 x 10: a black, a dark and a light square, from left to right."""


@pytest.mark.parametrize(
    ("crop", "columns"),
    [
        ("center", [100] * 10),  # the middle square
        ("pad", [0, 0, 0, 0, 100, 100, 200, 200, 200, 200]),  # the fourth row is all three squares
        ("none", [0, 0, 0, 30, 100, 100, 130, 200, 200, 200]),
    ],
)
def test_a_wide_picture_becomes_square(crop: Crop, columns: list[int]) -> None:
    made = read(encoded(WIDE), Form(1, (10, 10), crop))
    assert made.shape == (1, 10, 10)
    if crop == "pad":
        assert set(made[0, 0]) == {255} == set(made[0, -1]) and made[0, 5, 0] == 0
    else:
        np.testing.assert_allclose(made[0, 5], columns, atol=40)


def test_a_random_crop_depends_on_the_name_alone() -> None:
    form = Form(1, (10, 10), "random")
    made = {name: decode(encoded(WIDE), form, name).tobytes() for name in map(str, range(20))}
    again = {name: decode(encoded(WIDE), form, name).tobytes() for name in made}
    assert made == again
    assert len(set(made.values())) > 5


def test_a_picture_is_made_smaller_by_the_mean_over_areas() -> None:
    checks = np.indices((8, 8)).sum(axis=0) % 2 * 200
    raw = encoded(Image.fromarray(checks.astype(np.uint8)))
    assert set(read(raw, Form(1, (4, 4))).flatten().tolist()) == {100}


def test_height_and_width_may_differ() -> None:
    assert read(png(size=(8, 8)), Form(3, (2, 6))).shape == (3, 2, 6)


def test_padding_has_the_colour_of_the_background() -> None:
    form = Form(3, (4, 4), "pad", (1, 2, 3))
    assert read(png((9, 9, 9), (4, 2), "RGB"), form)[:, 0, 0].tolist() == [1, 2, 3]


CROPS: list[Crop] = ["center", "random", "pad", "none"]


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("size", [(7, 5), (40, 64), (33, 90)])
def test_only_what_stays_is_scaled_and_is_as_if_all_was(crop: Crop, size: tuple[int, int]) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (31, 57), np.uint8)
    made = decode(encoded(Image.fromarray(levels)), Form(1, size, crop), "a")[0]
    H, W = size
    choose = {"pad": min, "none": None}.get(crop, max)
    scale = choose(W / 57, H / 31) if choose else 0
    width, height = (round(57 * scale), round(31 * scale)) if scale else (W, H)
    filter = Image.Resampling.BOX if width * height < 57 * 31 else Image.Resampling.LANCZOS
    whole = np.asarray(Image.fromarray(levels).resize((width, height), filter)).astype(int)
    if crop == "pad":
        left, top = (W - width) // 2, (H - height) // 2
        made = made[top : top + height, left : left + width]
        offsets = [(0, 0)]
    elif crop == "center":
        offsets = [((height - H) // 2, (width - W) // 2)]
    else:
        offsets = [(y, x) for y in range(height - H + 1) for x in range(width - W + 1)]
    h, w = made.shape
    parts = [whole[y : y + h, x : x + w] for y, x in offsets]
    assert min(abs(part - made).max() for part in parts) <= 1


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1)])
def test_a_long_and_thin_picture_takes_no_memory(
    crop: Crop, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    resize = Image.Image.resize

    def spy(self: Image.Image, size: tuple[int, int], *rest: Any) -> Image.Image:
        made.append(size[0] * size[1])
        return resize(self, size, *rest)

    monkeypatch.setattr(Image.Image, "resize", spy)
    assert read(png(9, size), Form(1, (64, 64), crop)).shape == (1, 64, 64)
    assert max(made) <= 64 * 64


def test_colours_are_written_as_in_css() -> None:
    assert colour("white") == colour("#fff") == colour("rgb(255, 255, 255)") == (255, 255, 255)
    with pytest.raises(ValueError, match="wite"):
        colour("wite")
