"""The one form of all pictures of a source: the channels and the size that they have.

What cannot be decoded has no say in it.
"""

from collections.abc import Sequence
from itertools import islice

import numpy as np
from PIL import Image

from diffusion.data.files import UnreadableError
from diffusion.data.images import DataError
from diffusion.data.picture import Look, PictureError, decode, look
from diffusion.data.shaping import Form, convert
from diffusion.data.sources import Entry

Array = np.ndarray
Seen = tuple[Entry, Look]
"""A picture, and what its header tells."""


def look_at(entry: Entry) -> Look | str:
    """Return what is known of a picture before it is decoded, or why it cannot be used."""
    try:
        raw = entry.read()
        if isinstance(raw, bytes):
            return look(raw)
        return Look(raw.shape[1:], 1 if len(raw) == 1 else 3, False)
    except (PictureError, UnreadableError) as error:
        return str(error)


def decode_entry(entry: Entry, form: Form) -> Array | str:
    """Return the pixels, uint8 (C,H,W), or why there are none."""
    try:
        raw = entry.read()
        if isinstance(raw, bytes):
            return decode(raw, form, entry.name)
        channels_last = raw[0] if len(raw) == 1 else np.moveaxis(raw, 0, -1)
        return convert(Image.fromarray(np.ascontiguousarray(channels_last)), form, entry.name)
    except (PictureError, UnreadableError) as error:
        return str(error)


def most_channels(good: Sequence[Seen]) -> int:
    """Return 3 if any picture is coloured. One that cannot be decoded has no say."""
    coloured = [entry for entry, seen in good if seen.channels == 3]
    return 3 if any(map(_can_be_decoded, coloured)) else 1


def one_size(good: Sequence[Seen]) -> tuple[int, int]:
    """Return the size of all pictures that can be decoded. Raises DataError, with examples, where
    they differ."""
    by_size: dict[tuple[int, int], list[Entry]] = {}
    for entry, seen in good:
        by_size.setdefault(seen.size, []).append(entry)
    real = (size for size, entries in by_size.items() if any(map(_can_be_decoded, entries)))
    found = list(islice(real, 2)) if len(by_size) > 1 else list(by_size)
    if len(found) > 1:
        shown = ", ".join(
            f"{entries[0].name} {W}x{H}" for (H, W), entries in list(by_size.items())[:3]
        )
        raise DataError(
            f"data: the images have {len(by_size)} different sizes ({shown}); set [data] size, "
            "and crop if they are not to be cut in the middle"
        )
    return found[0] if found else good[0][1].size


def _can_be_decoded(entry: Entry) -> bool:
    return not isinstance(decode_entry(entry, Form(1, (1, 1), "none")), str)


def converted(decoded: Sequence[Look], form: Form) -> list[str]:
    """Say what became of pictures that did not look like what they are now."""
    told = []
    other = sum(seen.channels != form.channels for seen in decoded)
    if other and form.channels == 1:
        told.append(f"{_count(other, 'colour image')} converted to grey")
    elif other:
        told.append(f"{_count(other, 'grey image')} converted to RGB")
    several = sum(seen.has_frames for seen in decoded)
    if several:
        told.append(f"{_count(several, 'image')} read as the first of several frames or pages")
    return told


def _count(number: int, name: str) -> str:
    return f"{number} {name} is" if number == 1 else f"{number} {name}s are"
