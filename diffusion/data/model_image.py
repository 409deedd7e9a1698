"""A picture that somebody gives, as an image of a model. No torch here, as in `picture`."""

from diffusion.data.picture import (
    EVERYTHING,
    Accepted,
    PictureError,
    decode,
    look,
    only_bombs_warned_of,
)
from diffusion.data.shaping import Array, Form

BLACK = (0, 0, 0)
"""Behind transparent pixels."""


class WrongSize(PictureError):
    """A picture is not of the model's size, and nobody has said that it may be scaled."""


def model_image(
    raw: bytes,
    image_shape: tuple[int, int, int],
    *,
    resize: bool,
    name: str = "",
    accepted: Accepted = EVERYTHING,
) -> Array:
    """Convert an image file to an image of a model, uint8 (C,H,W).

    It has the model's size, or is scaled to it with `resize`, and cut in the middle. Raises
    PictureError where it cannot be used; WrongSize where it only has another size.
    """
    C, H, W = image_shape
    with only_bombs_warned_of():
        size = look(raw, accepted).size
        if size != (H, W) and not resize:
            raise WrongSize(f"it is {size[1]} x {size[0]} pixels, and the model's images {W} x {H}")
        form = Form(C, (H, W), "center", BLACK)
        return decode(raw, form, name, accepted).copy()  # Pillow's own cannot be written to
