"""One picture: its mode, depth, transparency, orientation and size, each by one rule."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from diffusion.config import Crop
from diffusion.data.picture import Form, PictureError, colour, decode, look
from tests.diffusion.data.samples import encoded, png, ramp

GREY, RGB = Form(1), Form(3)


def read(raw: bytes, form: Form = RGB) -> np.ndarray:
    return decode(raw, form, "a.png")


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG2000", "PPM"])
def test_16_bit_grey_is_scaled_by_1_257(format: str) -> None:
    deep = (np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040).astype(np.uint16)
    raw = encoded(Image.fromarray(deep), format)
    assert look(raw).channels == 1
    np.testing.assert_array_equal(read(raw, GREY)[0], np.round(deep / 257))


def test_the_ends_of_16_bits_are_black_and_white() -> None:
    raw = encoded(Image.fromarray(np.array([[0, 65535]], np.uint16)))
    assert read(raw, GREY).tolist() == [[[0, 255]]]


@pytest.mark.parametrize(("dtype", "kind"), [(np.float32, "floating-point"), (np.int32, "32-bit")])
def test_pixels_without_a_known_range_are_refused(dtype: type, kind: str) -> None:
    raw = encoded(Image.fromarray(np.linspace(0, 1, 16).reshape(4, 4).astype(dtype)), "TIFF")
    with pytest.raises(PictureError, match=f"{kind} numbers, whose range is not known"):
        look(raw)
    with pytest.raises(PictureError, match=kind):
        read(raw)


def test_transparent_pixels_show_the_background_and_not_what_is_hidden() -> None:
    image = Image.new("RGBA", (1, 2), (255, 0, 0, 255))
    image.putpixel((0, 1), (255, 0, 0, 0))
    assert read(encoded(image))[:, :, 0].T.tolist() == [[255, 0, 0], [255, 255, 255]]
    black = Form(3, background=(0, 0, 0))
    assert read(encoded(image), black)[:, 1, 0].tolist() == [0, 0, 0]


def test_half_transparent_pixels_are_mixed_with_the_background() -> None:
    raw = encoded(Image.new("RGBA", (1, 1), (0, 0, 0, 51)))
    assert read(raw)[:, 0, 0].tolist() == [204, 204, 204]


def test_grey_with_alpha_stays_grey() -> None:
    image = Image.new("LA", (1, 2), (7, 255))
    image.putpixel((0, 1), (7, 0))
    raw = encoded(image)
    assert look(raw).channels == 1
    assert read(raw, GREY)[0, :, 0].tolist() == [7, 255]


def test_a_palette_with_a_transparent_colour() -> None:
    image = Image.new("P", (1, 2), 0)
    image.putpalette([9, 0, 0, 200, 0, 0])
    image.putpixel((0, 1), 1)
    image.info["transparency"] = 1
    raw = encoded(image)
    assert read(raw)[:, :, 0].T.tolist() == [[9, 0, 0], [255, 255, 255]]


@pytest.mark.parametrize(
    ("mode", "value", "channels"),
    [("1", 1, 1), ("L", 9, 1), ("RGB", (9, 9, 9), 3), ("CMYK", (0, 9, 0, 0), 3)],
)
def test_a_picture_is_grey_by_its_mode(mode: str, value: object, channels: int) -> None:
    raw = encoded(Image.new(mode, (2, 2), value), "TIFF")  # type: ignore[arg-type]
    assert look(raw).channels == channels


def test_a_palette_of_greys_is_grey_and_one_of_colours_is_not() -> None:
    for second, channels in (([8, 8, 8], 1), ([8, 0, 8], 3)):
        image = Image.new("P", (2, 1), 0)
        image.putpalette([3, 3, 3, *second])
        image.putpixel((1, 0), 1)
        assert look(encoded(image)).channels == channels


def test_grey_becomes_rgb_and_rgb_grey_as_the_form_asks() -> None:
    assert read(png(7), RGB)[:, 0, 0].tolist() == [7, 7, 7]
    assert read(png((7, 7, 7), mode="RGB"), GREY)[:, 0, 0].tolist() == [7]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_camera_says(orientation: int) -> None:
    upright = Image.fromarray(ramp(2, 3))
    # What a camera stores so that the orientation undoes it
    stored = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw = encoded(upright if stored is None else upright.transpose(stored), exif=exif)
    assert look(raw).size == (2, 3)
    np.testing.assert_array_equal(read(raw, GREY)[0], ramp(2, 3))


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("L", (2, 2), value) for value in (5, 200)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert look(buffer.getvalue()).has_frames
    assert read(buffer.getvalue(), GREY).max() == 5
    assert not look(png()).has_frames


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


def header(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds a few bytes."""
    fields = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", fields), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


@pytest.mark.parametrize("size", [(100_000, 100_000), (0, 5), (9460, 9460)])
def test_a_picture_too_large_or_empty_is_refused_by_its_header(size: tuple[int, int]) -> None:
    for refuse in (look, read):
        with pytest.raises(PictureError):
            refuse(header(*size))


def test_a_picture_of_one_pixel_is_one() -> None:
    assert read(png(3, (1, 1)), GREY).tolist() == [[[3]]]


def test_damaged_files_are_refused_whatever_pillow_makes_of_them() -> None:
    draw = random.Random(0)
    whole = [
        encoded(Image.fromarray(ramp(8, 8)), format)
        for format in ("PNG", "GIF", "TIFF", "BMP", "JPEG", "WEBP", "PPM")
    ]
    refused = 0
    for _ in range(700):
        raw = bytearray(draw.choice(whole))
        for _ in range(draw.randint(1, 6)):
            raw[draw.randrange(len(raw))] = draw.randrange(256)
        try:
            look(bytes(raw))
            assert read(bytes(raw)).dtype == np.uint8
        except PictureError as error:
            refused += 1
            assert "\n" not in str(error)
    assert 100 < refused < 700
    with pytest.raises(PictureError, match="not an image of a format that is known"):
        read(b"")


def test_colours_are_written_as_in_css() -> None:
    assert colour("white") == colour("#fff") == colour("rgb(255, 255, 255)") == (255, 255, 255)
    with pytest.raises(ValueError, match="wite"):
        colour("wite")
