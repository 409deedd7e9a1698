"""One picture: its mode, depth, transparency, orientation and size, each by one rule."""

import io
import random
import struct
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from diffusion.data import picture
from diffusion.data.picture import PictureError, decode, look, only_bombs_warned_of
from diffusion.data.shaping import Form
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


UPRIGHT = Image.fromarray(np.add.outer(np.arange(16) * 10, np.arange(24) * 4).astype(np.uint8))
"""16 x 24, and darkest at the top left."""


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_camera_says(orientation: int, format: str) -> None:
    # What a camera stores so that the orientation undoes it
    stored = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw = encoded(UPRIGHT if stored is None else UPRIGHT.transpose(stored), format, exif)
    assert look(raw).size == (16, 24)
    np.testing.assert_allclose(read(raw, GREY)[0].astype(int), np.asarray(UPRIGHT), atol=25)


def test_damaged_exif_data_leave_the_picture_as_it_is() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = bytearray(encoded(UPRIGHT, "JPEG", exif))
    start = raw.index(b"Exif\0\0") + 6
    raw[start : start + 4] = b"????"
    assert look(bytes(raw)).size == (16, 24)
    assert read(bytes(raw)).shape == (3, 16, 24)


def test_a_png_may_tell_its_orientation_after_its_pixels() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = encoded(UPRIGHT)
    note = b"eXIf" + exif.tobytes()[6:]
    chunk = struct.pack(">I", len(note) - 4) + note + struct.pack(">I", zlib.crc32(note))
    late = raw[:-12] + chunk + raw[-12:]
    assert look(late).size == (24, 16) == read(late).shape[1:]


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("L", (2, 2), value) for value in (5, 200)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert look(buffer.getvalue()).has_frames
    assert read(buffer.getvalue(), GREY).max() == 5
    assert not look(png()).has_frames


def test_16_bits_are_converted_in_strips_with_few_bytes_a_pixel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(picture, "STRIP_PIXELS", 1000)
    deep = np.arange(300 * 400, dtype=np.uint32).reshape(300, 400).astype(np.uint16)
    raw = encoded(Image.fromarray(deep))
    tracemalloc.start()
    made = read(raw, GREY)[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(made, np.round(deep / 257))
    assert peak < 5 * deep.size + len(raw)


def png_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def one_row(bits: int, kind: int, width: int, row: bytes, key: bytes) -> bytes:
    """A PNG of one row of pixels, of which those of a colour are transparent (tRNS)."""
    fields = struct.pack(">IIBBBBB", width, 1, bits, kind, 0, 0, 0)
    pixels = zlib.compress(b"\0" + row)
    return png_chunks((b"IHDR", fields), (b"tRNS", key), (b"IDAT", pixels), (b"IEND", b""))


@pytest.mark.parametrize(
    ("bits", "row", "key", "levels"),
    [
        (1, b"\x40", 0, [255, 255]),
        (2, b"\x18", 1, [0, 255, 170, 0]),
        (4, b"\x5a", 5, [255, 170]),
        (8, b"\x05\x0a", 5, [255, 10]),
        (16, struct.pack(">HH", 300, 40_000), 300, [255, 156]),
        (16, struct.pack(">HH", 300, 301), 300, [255, 1]),
    ],
)
def test_a_grey_level_may_be_transparent(
    bits: int, row: bytes, key: int, levels: list[int]
) -> None:
    raw = one_row(bits, 0, len(levels), row, struct.pack(">H", key))
    assert look(raw).channels == 1
    assert read(raw, GREY)[0, 0].tolist() == levels


@pytest.mark.parametrize(("bits", "scale"), [(8, 1), (16, 257)])
def test_a_colour_may_be_transparent(bits: int, scale: int) -> None:
    kind = ">6B" if bits == 8 else ">6H"
    row = struct.pack(kind, *(scale * level for level in (1, 2, 3, 4, 5, 6)))
    raw = one_row(bits, 2, 2, row, struct.pack(">3H", *(scale * level for level in (1, 2, 3))))
    assert read(raw)[:, 0].T.tolist() == [[255, 255, 255], [4, 5, 6]]


def test_16_bit_grey_with_alpha_is_grey() -> None:
    fields = struct.pack(">IIBBBBB", 2, 1, 16, 4, 0, 0, 0)
    row = zlib.compress(b"\0" + struct.pack(">4H", 40_000, 65_535, 40_000, 0))
    raw = png_chunks((b"IHDR", fields), (b"IDAT", row), (b"IEND", b""))
    assert look(raw).channels == 1
    assert read(raw, GREY)[0, 0].tolist() == [156, 255]


def tiff(bits: int, photometric: int, sample_format: int, row: bytes, width: int) -> bytes:
    """A TIFF of one row of grey."""
    tags = [(256, width), (257, 1), (258, bits), (259, 1), (262, photometric), (273, 200),
            (277, 1), (278, 1), (279, len(row)), (339, sample_format)]  # fmt: skip
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4
    return head.ljust(200, b"\0") + row


def test_12_bits_of_a_tiff_go_from_black_to_white() -> None:
    raw = tiff(12, 1, 1, b"\x00\x0f\xff\x80\x00\x00", 4)  # 0, 4095, 2048, 0
    assert read(raw, GREY)[0, 0].tolist() == [0, 255, 128, 0]


@pytest.mark.parametrize(("bits", "white"), [(8, 255), (16, 65_535)])
def test_zero_may_be_white_in_a_tiff(bits: int, white: int) -> None:
    row = struct.pack("<3B" if bits == 8 else "<3H", 0, white // 5, white)
    assert read(tiff(bits, 0, 1, row, 3), GREY)[0, 0].tolist() == [255, 204, 0]


@pytest.mark.parametrize("bits", [8, 16])
def test_signed_pixels_are_refused(bits: int) -> None:
    with pytest.raises(PictureError, match="its pixels are signed numbers"):
        look(tiff(bits, 1, 2, bytes(8), 2))


@pytest.mark.parametrize("format", ["TGA", "EPS", "ICO", "PCX"])
def test_other_formats_are_not_opened_whatever_the_name(format: str) -> None:
    for use in (look, read):
        with pytest.raises(PictureError, match="not an image of a format that is known"):
            use(encoded(Image.new("RGB", (16, 16)), format))


def test_colours_of_a_palette_that_are_not_used_do_not_count() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([3, 3, 3, 200, 0, 0])
    assert look(encoded(image)).channels == 1
    image.putpixel((1, 0), 1)
    assert look(encoded(image)).channels == 3


def test_only_the_first_of_several_pages_is_read_and_a_cameras_preview_is_no_page() -> None:
    pages = [Image.new("L", (2, 2), value) for value in (5, 200)]
    for format, several in (("TIFF", True), ("MPO", False)):
        buffer = io.BytesIO()
        pages[0].save(buffer, format, save_all=True, append_images=pages[1:])
        assert look(buffer.getvalue()).has_frames == several
        assert read(buffer.getvalue(), GREY).max() == 5


def header(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds a few bytes."""
    fields = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return png_chunks((b"IHDR", fields), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b""))


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


def test_only_the_warning_of_a_bomb_is_an_error() -> None:
    with only_bombs_warned_of():
        warnings.warn("Corrupt EXIF data", stacklevel=1)
        with pytest.raises(Image.DecompressionBombWarning):
            warnings.warn("", Image.DecompressionBombWarning, stacklevel=1)
