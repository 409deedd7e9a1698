"""Pictures of another size: smaller by the mean over areas, larger by Lanczos' filter."""

from PIL import Image


def resized(
    image: Image.Image, size: tuple[int, int], part: tuple[int, int, int, int]
) -> Image.Image:
    """Scale a picture to a size (width, height), and make of the result only the part that is
    wanted (left, top, right, bottom): the rest of a long and thin one would have no room in
    memory."""
    smaller = size[0] * size[1] < image.width * image.height
    x, y = image.width / size[0], image.height / size[1]
    left, top, right, bottom = part
    return image.resize(
        (right - left, bottom - top),
        Image.Resampling.BOX if smaller else Image.Resampling.LANCZOS,
        (left * x, top * y, min(right * x, image.width), min(bottom * y, image.height)),
    )
