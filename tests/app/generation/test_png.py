"""Images as PNG."""

import io

import numpy as np
import pytest
from PIL import Image

from app.generation.png import png


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_comes_back_and_the_same_gives_the_same_bytes(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
    content = png(image)
    assert content == png(image)
    with Image.open(io.BytesIO(content)) as opened:
        np.testing.assert_array_equal(np.asarray(opened).reshape(image.shape), image)
