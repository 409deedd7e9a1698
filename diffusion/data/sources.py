"""What a data set's path leads to: a list of pictures that are still to be decoded.

A source is a folder or zip of image files, arrays, or tables of a Hub data set.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from diffusion.data.arrangement import Label, Place, arrange, wrapping
from diffusion.data.arrays import Arrays, ArraySet
from diffusion.data.files import File, Listing, UnreadableError, Zip, file_in, list_folder
from diffusion.data.images import DataError, LeftOut

Array = np.ndarray
STYLEGAN_LABELS = "dataset.json"
"""StyleGAN's data sets have their labels in this file: {"labels": [["00000/img0.png", 6], …]}."""
MAX_LABELS_BYTES = 64 << 20
"""Bytes of it, at most: labels for two million images. JSON takes many times as much in memory."""

Find = Callable[[PurePosixPath], File | str | None]
"""Returns the file at a path inside a folder or zip; why it cannot be read; None: there is none."""


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

    def find(inner: PurePosixPath) -> File | str | None:
        return file_in(folder, inner) if os.path.lexists(folder / inner) else None

    return _of_listing(folder, list_folder(folder), find)


def zip_source(path: Path) -> Source:
    """List the image files of a zip. Raises DataError."""
    archive = Zip(path)
    return _of_listing(path, archive.listing(), archive.find)


def _of_listing(data: Path, listing: Listing, find: Find) -> Source:
    """Give every file its place, by its path or by StyleGAN's file of labels."""
    paths = [file.path for file in listing.files]
    top = PurePosixPath(*paths[0].parts[: wrapping(paths)]) if paths else PurePosixPath()
    left_out, entries = list(listing.left_out), []
    places = arrange(paths)
    for folder in (top, *top.parents):
        found = find(folder / STYLEGAN_LABELS)
        if found is not None:
            listing.others[".json"] -= 1
            inner = [path.relative_to(folder) for path in paths]
            places = _stylegan_places(data / folder / STYLEGAN_LABELS, found, inner, places)
            break
    for file, place in zip(listing.files, places, strict=True):
        if place is None:
            left_out.append(LeftOut(str(file.path), "in no split's folder, although others are"))
        else:
            entries.append(Entry(str(file.path), place, file.stamp, file.read))
    return Source(entries, None, left_out, listing.warnings())


def _stylegan_places(
    name: Path, file: File | str, paths: Sequence[PurePosixPath], places: Sequence[Place | None]
) -> list[Place | None]:
    """Replace the labels that the folders' names gave. Raises DataError for another format."""
    labels = _stylegan_labels(name, _small(name, file))
    missing = next((path for path in paths if labels and path not in labels), None)
    if missing is not None:
        raise DataError(f"{name}: it has no label for {missing}")
    return [
        place and Place(place.split, labels.get(path))
        for path, place in zip(paths, places, strict=True)
    ]


def _small(name: Path, file: File | str) -> bytes:
    """Read a file of labels. Raises DataError, also where it would take too much memory."""
    if isinstance(file, str):
        raise DataError(f"{name}: {file}")
    if file.size > MAX_LABELS_BYTES:
        raise DataError(f"{name}: {file.size} bytes; at most {MAX_LABELS_BYTES} are allowed")
    try:
        return file.read()
    except UnreadableError as error:
        raise DataError(f"{name}: {error}") from error


def _stylegan_labels(name: Path, raw: bytes) -> dict[PurePosixPath, int]:
    """Read {"labels": [["00000/img0.png", 6], …]}, or null for none. Raises DataError."""
    try:
        listed = json.loads(raw)["labels"]
        labels = {PurePosixPath(path.replace("\\", "/")): label for path, label in listed or ()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f'{name}: not {{"labels": [[path, number], …]}}') from error
    wrong = next((label for label in labels.values() if type(label) is not int), None)
    if wrong is not None:
        raise DataError(f"{name}: the label {wrong!r} is not a whole number")
    return labels


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
