"""A data set as training will see it: a summary in JSON types, as text, and as a contact sheet."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from diffusion import pixels
from diffusion.data.images import DataSet, Images
from diffusion.data.names import printable

CHUNK_BYTES = 64 << 20
"""Bytes of the images that are in memory together, since all of them may not fit."""
SHOWN = 10
"""Lines of one kind that are printed; the JSON has all of them."""
SIZES = 5
"""Sizes that are printed."""
SHEET_CLASSES = 20
SHEET_COLUMNS = 10
LEAST_SIDE, LARGEST_SIDE = 48, 160
"""Pixels of an image on the contact sheet: others are enlarged, or made smaller."""
NAME_LENGTH = 40
"""Characters of a class's name on the contact sheet."""
WHITE = 255

Array = np.ndarray


def summary(data: DataSet) -> dict[str, Any]:
    """Sum up a data set in JSON types. Mean and deviation are those of the training images, for
    each channel, in the network's range [-1, 1]."""
    train = data.split("train")
    mean, std = statistics(train)
    _, C, H, W = train.pixels.shape
    return {
        "splits": {
            name: {"images": len(images), "classes": class_counts(images)}
            for name, images in data.splits.items()
        },
        "size": [H, W],
        "channels": C,
        "mean": mean,
        "std": std,
        "sizes_found": [[*size, n] for size, n in sorted(data.sizes.items(), key=lambda s: -s[1])],
        "left_out": [{"path": each.path, "why": each.why} for each in data.left_out],
        "warnings": [*data.warnings, *_lacks(data)],
    }


def class_counts(images: Images) -> dict[str, int]:
    """Count the images of each class, in the order of the labels; {} where there are none."""
    if images.labels is None:
        return {}
    counts = torch.bincount(images.labels, minlength=len(images.classes)).tolist()
    return dict(zip(images.classes, counts, strict=True))


def statistics(images: Images) -> tuple[list[float], list[float]]:
    """Compute mean and standard deviation of each channel, of pixels in [-1, 1]."""
    channels = images.pixels.shape[1]
    counts = torch.zeros(channels, 256, dtype=torch.int64)  # of each level
    for part in images.pixels.split(max(1, CHUNK_BYTES // images.pixels[0].numel())):
        for c in range(channels):
            counts[c] += torch.bincount(part[:, c].flatten(), minlength=256)
    levels = pixels.to_model(torch.arange(256, dtype=torch.uint8)).double()
    share = counts / counts.sum(dim=1, keepdim=True).double()
    mean = share @ levels
    std = (share @ levels.square() - mean.square()).clamp(min=0).sqrt()
    return [round(m, 4) for m in mean.tolist()], [round(s, 4) for s in std.tolist()]


def _lacks(data: DataSet) -> list[str]:
    """What a user may miss, and how to have it."""
    told = []
    train = data.splits["train"]
    if "test" not in data.splits:
        told.append(
            "there is no test split, so what needs one is left out of an evaluation; a folder "
            "test/, or [data] holdout, makes one"
        )
    if train.labels is None:
        told.append("there are no labels: a model of these images is unconditional")
    empty = [name for name, count in class_counts(train).items() if not count]
    if empty:
        told.append(f"{len(empty)} classes have no training image: {', '.join(empty[:SHOWN])}")
    return told


def as_text(name: str, facts: Mapping[str, Any]) -> str:
    """Write a summary for people. What a terminal would obey in a name is written as an escape."""
    H, W = facts["size"]
    total = sum(split["images"] for split in facts["splits"].values())
    C = facts["channels"]
    images = "1 image" if total == 1 else f"{total} images"
    lines = [f"{name}: {images}, {W} x {H} pixels, {'grey' if C == 1 else 'RGB'}", ""]
    for split, found in facts["splits"].items():
        lines.append(f"{split:10} {found['images']:8}  {_listed(found['classes'])}".rstrip())
    found_sizes = [f"{w} x {h} ({n})" for h, w, n in facts["sizes_found"]]
    lines += [
        "",
        f"sizes found  {_shortened(found_sizes[:SIZES], len(found_sizes))}",
        f"mean         {_numbers(facts['mean'])}  (in [-1, 1])",
        f"deviation    {_numbers(facts['std'])}",
    ]
    left_out = [f"{each['path']}: {each['why']}" for each in facts["left_out"]]
    for title, told in (("left out", left_out), ("to note", facts["warnings"])):
        if told:
            lines += ["", f"{title}:", *(f"  {line}" for line in told[:SHOWN])]
            lines += [f"  and {len(told) - SHOWN} more; --json lists all"] * (len(told) > SHOWN)
    return "\n".join(map(printable, lines))


def _listed(classes: Mapping[str, int]) -> str:
    return _shortened([f"{name}: {count}" for name, count in classes.items()])


def _shortened(items: list[str], total: int | None = None) -> str:
    hidden = (total or len(items)) - len(items[:SHOWN])
    return ", ".join(items[:SHOWN]) + (f", and {hidden} more" if hidden else "")


def _numbers(values: list[float]) -> str:
    return " ".join(f"{value:.3f}" for value in values)


def contact_sheet(images: Images) -> Image.Image:
    """Draw a row of images for each of the first classes, with its name; without labels a square.

    The images of a row are spread evenly over those of the class.
    """
    if images.labels is None:
        return pixels.picture(_tiled(images, _spread(torch.arange(len(images)), 64), None))
    names = images.classes[:SHEET_CLASSES]
    chosen = [
        _spread(torch.nonzero(images.labels == k).flatten(), SHEET_COLUMNS)
        for k in range(len(names))
    ]
    columns = max(1, *map(len, chosen))
    rows = [_tiled(images, index, columns) for index in chosen]
    return _with_names(list(zip(map(_short, names), rows, strict=True)))


def _spread(index: torch.Tensor, count: int) -> torch.Tensor:
    """Choose `count` entries, or all if there are fewer, at even distances."""
    if len(index) <= count:
        return index
    return index[torch.linspace(0, len(index) - 1, count).long()]


def _tiled(images: Images, index: torch.Tensor, columns: int | None) -> Array:
    """Lay the chosen images out, uint8 (rows*H,columns*W,C), scaled by whole pixels."""
    chosen = np.moveaxis(images.pixels[index].numpy(), 1, -1)
    if columns and len(chosen) < columns:
        empty = np.full((columns - len(chosen), *chosen.shape[1:]), WHITE, np.uint8)
        chosen = np.concatenate([chosen, empty])
    side = max(chosen.shape[1:3])
    step, factor = -(-side // LARGEST_SIDE), -(-LEAST_SIDE // side)
    scaled = chosen[:, ::step, ::step].repeat(factor, axis=1).repeat(factor, axis=2)
    return pixels.tile(scaled, columns)


def _short(name: str) -> str:
    shown = printable(name)
    return shown if len(shown) <= NAME_LENGTH else f"{shown[: NAME_LENGTH - 3]}..."


def _with_names(rows: list[tuple[str, Array]]) -> Image.Image:
    """Put each row's name to the left of it."""
    font = ImageFont.load_default(size=14)
    left = 16 + max(int(font.getlength(name)) for name, _ in rows)
    H, W = rows[0][1].shape[:2]
    sheet = Image.new("RGB", (left + W, H * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (name, row) in enumerate(rows):
        sheet.paste(pixels.picture(row), (left, i * H))
        draw.text((8, i * H + H // 2), name, fill="black", font=font, anchor="lm")
    return sheet
