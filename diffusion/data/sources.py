"""What a data set's path leads to: a list of pictures that are still to be decoded.

A source is a folder or zip of image files, arrays, or tables of a Hub data set.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from diffusion.data.arrangement import Label, Place, arrange, wrapping
from diffusion.data.arrays import Arrays, ArraySet
from diffusion.data.files import Listing, UnreadableError, Zip, list_folder
from diffusion.data.images import DataError, LeftOut

Array = np.ndarray
STYLEGAN_LABELS = "dataset.json"
"""StyleGAN's data sets have their labels in this file: {"labels": [["00000/img0.png", 6], …]}."""


@dataclass(frozen=True)
class Entry:
    """A picture that is not decoded yet."""

    name: str  # its path in the source, or its number
    place: Place
    stamp: tuple[int | str, ...]  # changes when the picture does
    read: Callable[[], bytes | Array]  # a file's bytes, or uint8 (C,H,W); UnreadableError


@dataclass(frozen=True)
class Source:
    """All pictures of a data set, and what is not among them."""

    entries: list[Entry]
    classes: tuple[str, ...] | None = None  # the labels' names, where the source tells them
    left_out: list[LeftOut] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def folder_source(folder: Path) -> Source:
    """List a folder of image files. Raises DataError."""
    listing = list_folder(folder)

    def read_text(inner: PurePosixPath) -> bytes | None:
        path = folder / inner
        return path.read_bytes() if path.is_file() else None

    return _of_listing(listing, read_text)


def zip_source(path: Path) -> Source:
    """List the image files of a zip. Raises DataError."""
    archive = Zip(path)

    def read_text(inner: PurePosixPath) -> bytes | None:
        try:
            return archive.read(str(inner)) if str(inner) in archive.names() else None
        except UnreadableError as error:
            raise DataError(f"{path}: {inner}: {error}") from error

    return _of_listing(archive.listing(), read_text)


def _of_listing(listing: Listing, read_text: Callable[[PurePosixPath], bytes | None]) -> Source:
    """Give every file its place, by its path or by StyleGAN's file of labels."""
    paths = [file.path for file in listing.files]
    places, left_out, entries = arrange(paths), list(listing.left_out), []
    top = PurePosixPath(*paths[0].parts[: wrapping(paths)]) if paths else PurePosixPath()
    for folder in (top, *top.parents):
        raw = read_text(folder / STYLEGAN_LABELS)
        if raw is not None:
            listing.others[".json"] -= 1
            places = _stylegan_places(raw, [path.relative_to(folder) for path in paths], places)
            break
    for file, place in zip(listing.files, places, strict=True):
        if place is None:
            left_out.append(LeftOut(str(file.path), "in no split's folder, although others are"))
        else:
            entries.append(Entry(str(file.path), place, file.stamp, file.read))
    return Source(entries, None, left_out, listing.warnings())


def _stylegan_places(
    raw: bytes, paths: Sequence[PurePosixPath], places: Sequence[Place | None]
) -> list[Place | None]:
    """Replace the labels that the folders' names gave. Raises DataError for another format."""
    try:
        listed = json.loads(raw)["labels"]
        labels: Mapping[str, Label] = dict(listed or {})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(f'{STYLEGAN_LABELS}: not {{"labels": [[path, number], …]}}') from error
    wrong = next((v for v in labels.values() if type(v) is not int), None)
    if wrong is not None:
        raise DataError(f"{STYLEGAN_LABELS}: the label {wrong!r} is not a whole number")
    missing = next((path for path in paths if labels and str(path) not in labels), None)
    if missing is not None:
        raise DataError(f"{STYLEGAN_LABELS}: it has no label for {missing}")
    return [
        place and Place(place.split, labels.get(str(path)))
        for path, place in zip(paths, places, strict=True)
    ]


def arrays_source(found: ArraySet) -> Source:
    """List the images of arrays, named by their numbers."""
    entries = []
    for split, part in found.splits.items():
        labels = labels_of(part)
        for i in range(len(part.pixels)):
            name, read = f"{split}/{i}", partial(part.pixels.__getitem__, i)
            entries.append(Entry(name, Place(split, labels[i]), (*found.stamp, name), read))
    return Source(entries, found.classes, warnings=list(found.warnings))


def labels_of(part: Arrays) -> list[Label | None]:
    """Return one label for each image of a split."""
    if part.labels is None:
        return [None] * len(part.pixels)
    values: list[Any] = part.labels.tolist()
    return [value if isinstance(value, str) else int(value) for value in values]
