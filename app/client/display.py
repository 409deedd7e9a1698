"""How results look in a notebook and at the prompt: pictures, HTML, and times in words.

Sizes are bounded: a notebook keeps what it has shown. Whatever a server says is escaped.
"""

import base64
import html
import io
from collections.abc import Iterable

import numpy as np
from PIL import Image

MAX_IMAGES = 100
"""Images that a grid shows, at most."""
MAX_ROWS, MAX_COLUMNS = 8, 11
"""Samples and states that a film strip shows, at most."""
WIDE = 640
"""Pixels that the longer side of a small picture is enlarged to, about."""
MAX_FACTOR = 8
MAX_SIDE = 1024
"""Pixels of the longer side of a picture, at most."""


def size_shown(image: Image.Image) -> tuple[int, int]:
    """The width and height at which a picture is shown: enlarged by a whole number, so that its
    pixels stay squares, or reduced to MAX_SIDE."""
    longest = max(image.size)
    if longest > MAX_SIDE:
        width, height = (max(1, round(side * MAX_SIDE / longest)) for side in image.size)
        return width, height
    factor = min(MAX_FACTOR, max(1, WIDE // longest))
    return image.width * factor, image.height * factor


def png(image: Image.Image) -> bytes:
    """A picture as PNG, at the size at which it is shown."""
    size = size_shown(image)
    grows = size[0] >= image.width
    buffer = io.BytesIO()
    shown = image.resize(size, Image.Resampling.NEAREST if grows else Image.Resampling.BOX)
    shown.save(buffer, "PNG")
    return buffer.getvalue()


def picture(image: Image.Image, alt: str) -> str:
    """A picture as an HTML element. A small one is sent as it is, and enlarged by the browser."""
    width, height = size_shown(image)
    if image.width > width:
        image = image.resize((width, height), Image.Resampling.BOX)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}" width="{width}" '
        f'height="{height}" style="image-rendering: pixelated; max-width: 100%; height: auto">'
    )


def figure(pictures: str, caption: str) -> str:
    """Pictures in HTML with a caption, which is text."""
    return (
        f'<figure style="margin: 0">{pictures}<figcaption>{escape(caption)}</figcaption></figure>'
    )


def table(rows: Iterable[tuple[str, object]]) -> str:
    """Names and values as an HTML table."""
    cells = (
        f'<tr><th style="text-align: left">{escape(name)}</th>'
        f'<td style="text-align: left">{escape(str(value))}</td></tr>'
        for name, value in rows
    )
    return f"<table>{''.join(cells)}</table>"


def progress(done: int, total: int) -> str:
    """A bar in HTML."""
    return f'<progress max="{total}" value="{done}"></progress>'


def escape(text: str) -> str:
    """Text as HTML, in which it is no markup."""
    return html.escape(text, quote=True)


def spread(count: int, limit: int) -> list[int]:
    """Places of at most `limit` of `count` things, evenly spaced, with the first and the last."""
    return [round(place) for place in np.linspace(0, count - 1, min(count, limit))]


def number_of(count: int, thing: str) -> str:
    """A number with its noun: "1 image", "2 images"."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def duration(seconds: float) -> str:
    """A time in words, about: "8 s", "3 min", "1 h 47 min"."""
    if seconds < 100:
        return f"{max(0, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
