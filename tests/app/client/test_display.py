"""How pictures are enlarged, and numbers and times told."""

import io

import numpy as np
import pytest
from PIL import Image

from app.client import display


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((28, 28), (224, 224)),
        ((112, 84), (560, 420)),
        ((641, 10), (641, 10)),
        ((1024, 512), (1024, 512)),
        ((4096, 2048), (1024, 512)),
        ((1, 100_000), (1, 1024)),
    ],
    ids=["small", "a grid", "wide enough", "the largest", "too large", "a line"],
)
def test_a_picture_is_shown_in_a_size_that_suits_a_screen(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    image = Image.new("L", size)
    assert display.size_shown(image) == expected
    assert Image.open(io.BytesIO(display.png(image))).size == expected


def test_in_html_small_pictures_are_enlarged_by_the_browser_and_large_ones_reduced_here() -> None:
    small = display.picture(Image.new("L", (28, 28)), 'a "3"')
    assert 'width="224" height="224"' in small and 'alt="a &quot;3&quot;"' in small
    noise = np.random.default_rng(0).integers(0, 256, (2048, 2048), np.uint8)
    large = display.picture(Image.fromarray(noise), "noise")
    assert 'width="1024" height="1024"' in large
    assert len(large) < 2048 * 2048


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"), (7.6, "8 s"), (99, "99 s"), (100, "2 min"), (5000, "83 min"),
        (6418.9, "1 h 47 min"), (360_000, "100 h 0 min"), (-1, "0 s"),
    ],
)  # fmt: skip
def test_a_time_is_told_in_words(seconds: float, words: str) -> None:
    assert display.duration(seconds) == words


def test_numbers_have_their_noun() -> None:
    assert display.number_of(1, "image") == "1 image"
    assert display.number_of(50_000, "image") == "50,000 images"


def test_places_are_spread_from_the_first_to_the_last() -> None:
    assert display.spread(1001, 11) == list(range(0, 1001, 100))
    assert display.spread(3, 11) == [0, 1, 2]
    assert display.spread(1, 11) == [0]
