"""A picture as an image of a model."""

import numpy as np
import pytest
from PIL import Image

from diffusion.data.model_image import WrongSize, model_image
from diffusion.data.picture import Accepted, PictureError
from tests.diffusion.data.samples import encoded, ramp

GREY = (1, 8, 8)


def test_a_picture_of_the_models_size_is_taken_as_it_is() -> None:
    image = model_image(encoded(Image.fromarray(ramp(8, 8))), GREY, resize=False)
    assert image.shape == GREY
    image[0, 0, 0] = 1  # and can be written to


def test_another_size_is_refused_unless_it_may_be_scaled() -> None:
    raw = encoded(Image.new("L", (16, 32), 7))
    with pytest.raises(WrongSize, match="it is 16 x 32 pixels, and the model's images 8 x 8"):
        model_image(raw, GREY, resize=False)
    np.testing.assert_array_equal(model_image(raw, GREY, resize=True), np.full(GREY, 7))


def test_transparent_pixels_are_black() -> None:
    assert not model_image(encoded(Image.new("RGBA", (8, 8))), (3, 8, 8), resize=False).any()


def test_formats_and_sizes_may_be_restricted() -> None:
    few = Accepted(("PNG",), max_side=8)
    with pytest.raises(PictureError, match="not an image of a format that is known"):
        model_image(encoded(Image.new("L", (8, 8)), "GIF"), GREY, resize=True, accepted=few)
    with pytest.raises(PictureError, match="9 x 8 pixels; at most 8 x 8 are allowed"):
        model_image(encoded(Image.new("L", (9, 8))), GREY, resize=True, accepted=few)
