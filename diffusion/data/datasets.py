"""A data set by name or by path, as `[data]` of a configuration describes it.

`load("mnist")` fetches from the public address into the cache. A path leads to a folder or zip of
images, a folder of IDX files, an .npz, or a data set of the Hub's (Parquet or Arrow).
"""

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from diffusion.config import DataConfig
from diffusion.data import tables
from diffusion.data.arrangement import Place, number, number_labels
from diffusion.data.arrays import MAX_IN_MEMORY, ArraySet, is_idx_folder, read_idx_folder, read_npz
from diffusion.data.built_in import BUILT_IN
from diffusion.data.decoding import Survey, hold_out, look_through, read_pictures
from diffusion.data.files import HIDDEN
from diffusion.data.images import DataError, DataSet, Images, Split, as_tensor
from diffusion.data.shaping import colour
from diffusion.data.sources import Source, arrays_source, folder_source, labels_of, zip_source
from diffusion.folders import cache_folder

log = logging.getLogger(__name__)

SHOWN = 10
"""How many of the files that were left out are logged, each with its reason."""


def load(
    data: DataConfig | str,
    split: Split = "train",
    *,
    channels: int | None = None,
    strict: bool = False,
) -> Images:
    """Read one split of a data set, and log what was left out of it.

    `channels` is what the network takes; None: what the images have. Raises DataError where the
    data set is missing or damaged, or, if `strict`, where any file could not be read; NoSplitError
    where it has no such split.
    """
    config = DataConfig(data) if isinstance(data, str) else data
    found = read(config, channels, only=split if config.path in BUILT_IN else None)
    unreadable = [each for each in found.left_out if each.why != HIDDEN]
    if strict and unreadable:
        raise DataError(str(unreadable[0]))
    for each in unreadable[:SHOWN]:
        log.warning("left out %s", each)
    if len(unreadable) > SHOWN:
        log.warning("left out %d more; `ddpm data` lists them", len(unreadable) - SHOWN)
    return found.split(split)


def read(config: DataConfig, channels: int | None = None, only: Split | None = None) -> DataSet:
    """Read all splits of a data set, or one of a built-in one. Raises DataError."""
    _check_background(config)
    arrays = _arrays(config, only)
    if arrays is not None and _is_final(arrays, config, channels):
        return _of_arrays(arrays, config)
    if only is not None:  # pictures are made with all splits at once
        arrays = _arrays(config, None)
    source = hold_out(_source(config, arrays), config.holdout)
    return read_pictures(source, config, channels)


def survey(config: DataConfig) -> Survey:
    """Find out how many images there are, and of which sizes, without decoding them.

    Raises DataError.
    """
    _check_background(config)
    arrays = _arrays(config, None)
    if arrays is None:
        return look_through(_source(config, None))
    sizes, images = Counter[tuple[int, int]](), Counter[Split]()
    for split, part in arrays.splits.items():
        N, _, H, W = part.pixels.shape
        sizes[H, W] += N
        images[split] = N
    return Survey(sizes, images)


def _check_background(config: DataConfig) -> None:
    try:
        colour(config.background)
    except (ValueError, OverflowError):
        raise DataError(
            f"[data] background: {config.background!r} is not allowed; it is an opaque colour such "
            "as white, #ffffff or rgb(255, 255, 255)"
        ) from None


def _arrays(config: DataConfig, only: Split | None) -> ArraySet | None:
    """The splits of a data set that is arrays already."""
    path = Path(config.path)
    if config.path in BUILT_IN:
        _check_unnamed(config, "this data set has")
        built_in = BUILT_IN[config.path]
        splits: tuple[Split, ...] = ("train", "test") if only is None else (only,)
        read = {s: built_in.read(cache_folder(), s) for s in splits}
        return ArraySet(read, (config.path, *built_in.stamp()), built_in.classes)
    if path.is_dir() and is_idx_folder(path):
        _check_unnamed(config, "MNIST's files have")
        return read_idx_folder(path)
    if path.is_file() and path.suffix.lower() == ".npz":
        return read_npz(path, None if config.labels in ("auto", "none") else config.labels)
    return None


def _source(config: DataConfig, arrays: ArraySet | None) -> Source:
    """The pictures of a data set, without their labels where none are wanted."""
    source = _files(config) if arrays is None else arrays_source(arrays)
    if config.labels != "none":
        return source
    bare = [replace(e, place=Place(e.place.split, None)) for e in source.entries]
    return replace(source, entries=bare, classes=())


def _files(config: DataConfig) -> Source:
    """The pictures of a data set that is files or tables."""
    path = Path(config.path)
    if not path.exists():
        names = ", ".join(BUILT_IN)
        raise DataError(
            f"data: {config.path!r} is neither a built-in data set ({names}) nor a path"
        )
    if tables.is_tables(path):
        return tables.source(path, config.labels)
    _check_unnamed(config, "image files have")
    if path.is_dir():
        return folder_source(path)
    if path.is_file() and path.suffix.lower() == ".zip":
        return zip_source(path)
    raise DataError(
        f"data: {path} is not a folder, a .zip of images, an .npz or a .parquet; unpack another "
        "archive first"
    )


def _check_unnamed(config: DataConfig, who: str) -> None:
    """Raise DataError where a name of labels is set for data in which nothing could have it."""
    if config.labels not in ("auto", "none"):
        raise DataError(
            f"[data] labels: {config.labels!r} is not allowed; {who} `auto` or `none`: a name is "
            "that of a table's column or of an .npz's array"
        )


def _is_final(arrays: ArraySet, config: DataConfig, channels: int | None) -> bool:
    """Are the arrays already as they are to be?"""
    parts = list(arrays.splits.values())
    C, *size = parts[0].pixels.shape[1:]
    return (
        not config.holdout
        and config.size_hw in (None, tuple(size))
        and (config.channels or channels) in (None, C)
        and C in (1, 3)
        and len({part.pixels.shape[1:] for part in parts}) == 1
        and all(
            part.pixels.flags.c_contiguous or part.pixels.nbytes <= MAX_IN_MEMORY for part in parts
        )
    )


def _of_arrays(arrays: ArraySet, config: DataConfig) -> DataSet:
    given = {split: labels_of(part) for split, part in arrays.splits.items()}
    classes = () if config.labels == "none" else arrays.classes or number_labels(given)
    splits, sizes = {}, Counter[tuple[int, int]]()
    for split, part in arrays.splits.items():
        numbers = number(given[split], classes)
        labels = None if numbers is None else torch.tensor(numbers, dtype=torch.int64)
        pixels = as_tensor(np.ascontiguousarray(part.pixels))
        splits[split] = Images(pixels, labels, classes)
        sizes[pixels.shape[2], pixels.shape[3]] += len(pixels)
    return DataSet(splits, dict(sizes), warnings=arrays.warnings)
