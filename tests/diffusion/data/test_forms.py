"""The one form of all pictures: what decides it, and what is told of it."""

import numpy as np
import pytest
from PIL import Image

from diffusion.data.arrangement import Place
from diffusion.data.forms import Seen, converted, decode_entry, look_at, most_channels, one_size
from diffusion.data.images import DataError
from diffusion.data.picture import Look
from diffusion.data.shaping import Form
from diffusion.data.sources import Entry
from tests.diffusion.data.samples import encoded, png, ramp

Content = bytes | np.ndarray
BROKEN = encoded(Image.fromarray(ramp(16, 16)))[:55]  # its header is whole


def entry(content: Content, name: str = "a") -> Entry:
    return Entry(name, Place("train", None), (), lambda: content)


def seen(content: Content, size: tuple[int, int] = (4, 4), channels: int = 1) -> Seen:
    return entry(content), Look(size, channels, False)


def test_pictures_of_files_and_of_arrays_are_looked_at_and_decoded() -> None:
    array = np.arange(2 * 5 * 3, dtype=np.uint8).reshape(3, 2, 5)
    assert look_at(entry(png(size=(5, 2)))) == Look((2, 5), 1, False)
    assert look_at(entry(array)) == Look((2, 5), 3, False)
    np.testing.assert_array_equal(decode_entry(entry(array), Form(3)), array)
    assert decode_entry(entry(png(7)), Form(1)).max() == 7  # type: ignore[union-attr]


def test_what_cannot_be_used_has_a_reason() -> None:
    assert look_at(entry(b"x")) == decode_entry(entry(b"x"), Form(1))
    assert look_at(entry(b"x")) == "not an image of a format that is known"
    assert str(decode_entry(entry(BROKEN), Form(1))).startswith("not a readable image")


def test_one_coloured_picture_makes_all_of_them_rgb_if_it_can_be_decoded() -> None:
    assert most_channels([seen(png())]) == 1
    assert most_channels([seen(png()), seen(png((1, 2, 3), mode="RGB"), channels=3)]) == 3
    assert most_channels([seen(png()), seen(BROKEN, channels=3)]) == 1


def test_a_size_counts_if_a_picture_of_it_can_be_decoded() -> None:
    assert one_size([seen(png()), seen(png())]) == (4, 4)
    assert one_size([seen(BROKEN, (9, 9)), seen(png())]) == (4, 4)
    with pytest.raises(DataError, match="2 different sizes .a 4x4, a 8x4.*size"):
        one_size([seen(png()), seen(BROKEN, (4, 8)), seen(png(), (4, 8))])


def test_what_became_of_other_pictures_is_told() -> None:
    grey, colour = Look((4, 4), 1, False), Look((4, 4), 3, True)
    assert converted([grey, grey], Form(1)) == []
    assert converted([grey, colour], Form(3)) == [
        "1 grey image is converted to RGB",
        "1 image is read as the first of several frames or pages",
    ]
    assert converted([colour, colour], Form(1))[0] == "2 colour images are converted to grey"
