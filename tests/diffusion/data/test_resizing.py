"""Pictures of another size."""

import numpy as np
from PIL import Image

from diffusion.data.resizing import resized


def test_a_smaller_picture_has_the_mean_of_each_area() -> None:
    image = Image.fromarray(np.array([[0, 100], [50, 250]], np.uint8))
    assert np.asarray(resized(image, (1, 1), (0, 0, 1, 1))).tolist() == [[100]]


def test_only_the_part_that_is_wanted_is_made() -> None:
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    whole = np.asarray(resized(image, (16, 16), (0, 0, 16, 16)))
    part = np.asarray(resized(image, (16, 16), (4, 2, 10, 12)))
    np.testing.assert_allclose(part.astype(int), whole[2:12, 4:10], atol=1)
