"""Pictures and states that a client sends, as text."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.client.pictures import base64_of, each, mask_of, states
from app.client.results import Sample

GREY = np.arange(16, dtype=np.uint8).reshape(4, 4)


def opened(text: str | list[str]) -> np.ndarray:
    assert isinstance(text, str)
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return np.asarray(image)


def test_images_and_arrays_become_png() -> None:
    for picture in (Image.fromarray(GREY), GREY, GREY[:, :, None]):
        np.testing.assert_array_equal(opened(base64_of("mask", picture)), GREY)
    colour = np.stack([GREY] * 3, axis=-1)
    np.testing.assert_array_equal(opened(base64_of("mask", colour)), colour)


def test_files_are_sent_as_they_are(tmp_path: Path) -> None:
    content = b"any file"
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for picture in (content, path, str(path), Sample(0, None, content)):
        assert base64.b64decode(base64_of("mask", picture)) == content


def test_several_are_a_list_or_an_array() -> None:
    for several in ([GREY, GREY], (GREY, GREY), np.stack([GREY[:, :, None]] * 2)):
        made = each("start.image", several)
        assert isinstance(made, list) and len(made) == 2
        np.testing.assert_array_equal(opened(made[1]), GREY)
    assert isinstance(each("start.image", GREY), str)


def test_states_are_sent_as_npy() -> None:
    x_t = np.ones((2, 1, 4, 4))
    sent = np.load(io.BytesIO(base64.b64decode(states("start.x_t", x_t))))
    assert sent.dtype == np.float32
    np.testing.assert_array_equal(sent, x_t)


@pytest.mark.parametrize(
    ("mode", "shows"),
    [
        ("1", "L"), ("LA", "LA"), ("La", "LA"), ("P", "RGB"), ("PA", "RGBA"), ("RGBA", "RGBA"),
        ("RGBa", "RGBA"), ("RGBX", "RGB"), ("CMYK", "RGB"), ("YCbCr", "RGB"), ("HSV", "RGB"),
    ],
)  # fmt: skip
def test_an_image_of_any_mode_shows_the_same(mode: str, shows: str) -> None:
    image = Image.fromarray(np.stack([GREY, GREY, 2 * GREY, 255 - GREY], axis=-1))
    image = image.convert(shows).convert(mode)
    with Image.open(io.BytesIO(base64.b64decode(base64_of("image", image)))) as sent:
        np.testing.assert_array_equal(sent.convert(shows), image.convert(shows))


def test_16_bits_stay_16_bits() -> None:
    deep = GREY.astype(np.uint16) * 4096
    image = Image.fromarray(deep)
    assert image.mode == "I;16"
    np.testing.assert_array_equal(opened(base64_of("image", image)), deep)


def test_an_image_is_turned_as_its_camera_says() -> None:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.new("L", (6, 4)).save(file, "JPEG", exif=exif)
    assert opened(base64_of("image", Image.open(file))).shape == (6, 4)


def test_true_is_white() -> None:
    np.testing.assert_array_equal(opened(base64_of("mask", GREY > 7)), 255 * (GREY > 7))
    np.testing.assert_array_equal(opened(mask_of("mask", GREY > 7)), 255 * (GREY > 7))


def test_tensors_are_arrays() -> None:
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(opened(base64_of("mask", torch.tensor(GREY))), GREY)
    assert len(each("image", torch.zeros(2, 4, 4, 1, dtype=torch.uint8))) == 2


def test_a_mask_of_0_and_1_is_refused_for_it_would_keep_everything() -> None:
    with pytest.raises(ValueError, match="^mask: uint8 .* 255 is white; make it bool"):
        mask_of("mask", (GREY > 7).astype(np.uint8))
    assert mask_of("mask", np.zeros_like(GREY)), "black all over may be meant"


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (3, "it must be a PIL image, an array, a file's bytes or its path"),
        (None, "it must be a PIL image"),
        ("a\0b", "it must be a PIL image"),
        (GREY.ravel(), "it must be uint8 or bool"),
        (GREY[:0], "it must be uint8 or bool"),
        (np.zeros((4, 4, 2), np.uint8), "1, 3 or 4 channels$"),
        (np.zeros((3, 8, 8), np.uint8), r"channels last: x.transpose\(1, 2, 0\)"),
        (GREY / 15, r"values are 0..1: \(255 \* x\).round\(\).astype\('uint8'\)"),
        (GREY / 7.5 - 1, r"values are -1..1: \(127.5 \* \(x \+ 1\)\).round\(\)"),
        (GREY * 17.0, r"values are 0..255: x.round\(\).astype\('uint8'\)"),
        (GREY.astype(np.int64), r"values are 0..15: x.astype\('uint8'\)"),
        (GREY.astype(np.int64) % 2, r"values are 0..1: x.astype\(bool\)"),
        (GREY * 1000.0, "values are 0..1.5e\\+04$"),
        (Image.new("F", (4, 4)), "its mode must be L, RGB or RGBA"),
        (Image.new("I", (4, 4)), "image mode=I .*an array uint8"),
        (Image.new("L", (0, 4)), "it cannot be read"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(picture: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^start.image\[1\]: .*" + reason):
        each("start.image", [GREY, picture])


def test_advice_makes_the_picture_that_was_meant() -> None:
    unit, both = GREY / 15, GREY / 7.5 - 1
    for made in (
        (255 * unit).round().astype("uint8"),
        (127.5 * (both + 1)).round().astype("uint8"),
    ):
        np.testing.assert_array_equal(opened(base64_of("image", made)), 17 * GREY)


def test_an_image_whose_file_is_closed_is_refused() -> None:
    file = io.BytesIO()
    Image.fromarray(GREY).save(file, "PNG")
    image = Image.open(file)
    image.close()
    with pytest.raises(ValueError, match="^mask: .* it cannot be read: .*closed"):
        base64_of("mask", image)


def test_too_large_a_file_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"^image: a file of 4.0 MiB .* image.thumbnail"):
        base64_of("image", b"0" * (4 * 2**20 + 1))


def test_none_at_all_are_refused() -> None:
    nothings: list[Any] = [[], np.zeros((0, 4, 4, 1), np.uint8)]
    for nothing in nothings:
        with pytest.raises(ValueError, match="^image: .* it must be one picture or more"):
            each("image", nothing)


def test_what_is_no_state_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^start.x_t: uint8 of shape \(4, 4\) is not allowed"):
        states("start.x_t", GREY)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_states_are_finite(value: float) -> None:
    with pytest.raises(ValueError, match=r"^start.x_t: .* must be finite in float32"):
        states("start.x_t", np.full((1, 4, 4), value))


def test_a_file_that_is_not_there_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        base64_of("mask", "no/such/file.png")
