"""Pictures and states that a client sends, as text."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.client.pictures import base64_of, each, states
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
    ("picture", "reason"),
    [
        (3, "it must be a PIL image, an array, bytes or a path"),
        (GREY.astype(float), "it must be uint8"),
        (GREY.ravel(), "it must be uint8"),
        (np.zeros((4, 4, 2), np.uint8), "1, 3 or 4 channels"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(picture: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^start.image\[1\]: .*" + reason):
        each("start.image", [GREY, picture])


def test_what_is_no_state_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^start.x_t: uint8 of shape \(4, 4\) is not allowed"):
        states("start.x_t", GREY)


def test_a_file_that_is_not_there_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        base64_of("mask", "no/such/file.png")
