"""Images as PNG: the same image gives the same bytes."""

import io

import numpy as np

from diffusion import pixels

PNG_LEVEL = 6
"""How hard zlib tries."""


def png(image: np.ndarray) -> bytes:
    """Encode a uint8 image (H,W,C) as PNG."""
    buffer = io.BytesIO()
    pixels.picture(image).save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()
