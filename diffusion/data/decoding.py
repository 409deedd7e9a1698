"""A source's pictures: decoded in threads, all in one form, and kept on disk for the next time."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import PIL
import torch
from tqdm import tqdm

from diffusion.config import DataConfig
from diffusion.data.arrangement import Place, held_out, number, number_labels
from diffusion.data.forms import Seen, converted, decode_entry, look_at, most_channels, one_size
from diffusion.data.images import (
    SPLITS,
    DataError,
    DataSet,
    HoldoutError,
    Images,
    LeftOut,
    Split,
    as_tensor,
)
from diffusion.data.packed import Rows, kept, pack, packed_folder
from diffusion.data.picture import Look, only_bombs_warned_of
from diffusion.data.shaping import Form, colour
from diffusion.data.sources import Entry, Source

VERSION = 2
"""Of the rules by which pictures are read. A new one makes the packed copies of old ones void."""
FACTS = "facts.json"
WINDOW = 1024
"""Pictures that are handed to the threads together, at most."""
WINDOW_BYTES = 256 << 20
"""Bytes of decoded pictures that wait to be written, at most."""

Array = np.ndarray
R = TypeVar("R")


def hold_out(source: Source, holdout: int | float) -> Source:
    """Set training images aside as the test split.

    Raises HoldoutError where there is one already, or where none can be set aside.
    """
    if not holdout:
        return source
    splits = {entry.place.split for entry in source.entries}
    if "test" in splits:
        raise HoldoutError(
            f"[data] holdout: {holdout} is not allowed; the data set has a test split already"
        )
    training = [i for i, entry in enumerate(source.entries) if entry.place.split == "train"]
    chosen = held_out(
        [source.entries[i].name for i in training],
        [source.entries[i].place.label for i in training],
        holdout,
    )
    entries = list(source.entries)
    for i in (training[k] for k in chosen):
        entries[i] = replace(entries[i], place=Place("test", entries[i].place.label))
    return replace(source, entries=entries)


@dataclass(frozen=True)
class Survey:
    """What is known of a data set before its pictures are decoded."""

    sizes: Counter[tuple[int, int]]  # images of each (H, W)
    images: Counter[Split]


def look_through(source: Source) -> Survey:
    """Read the headers of all pictures of a source. Raises DataError where none can be used."""
    good, _ = _usable(source)
    sizes = Counter(seen.size for _, seen in good)
    return Survey(sizes, Counter(entry.place.split for entry, _ in good))


def read_pictures(source: Source, config: DataConfig, channels: int | None) -> DataSet:
    """Decode all pictures of a source, or find the packed copy of an earlier time.

    `channels` is what the network takes; None: what the pictures have. Raises DataError.
    """
    wanted = config.channels or channels
    if wanted not in (None, 1, 3):
        raise DataError(
            f"[unet] in_channels: {wanted} is not allowed; images have 1 channel (grey) or 3 (RGB)"
        )
    entries = sorted(source.entries, key=lambda entry: SPLITS.index(entry.place.split))
    # A copy with the pictures' own number of channels does for a network that takes as many
    own, asked = (
        packed_folder(_key(entries, source.classes, config, c)) for c in (config.channels, wanted)
    )
    for folder in dict.fromkeys((own, asked)):
        found = kept(folder, _read)
        if found is not None and wanted in (None, _channels(found)):
            break
    else:
        found = _read_anew(replace(source, entries=entries), config, wanted, own, asked)
    return replace(
        found,
        left_out=(*source.left_out, *found.left_out),
        warnings=(*source.warnings, *found.warnings),
    )


def _read_anew(
    source: Source, config: DataConfig, wanted: int | None, own: Path, asked: Path
) -> DataSet:
    """Decode all pictures into a packed copy: `own` if it has as many channels as they have."""
    good, unusable = _usable(source)
    with only_bombs_warned_of():
        natural = most_channels(good)
        size = config.size_hw or one_size(good)
    form = Form(wanted or natural, size, config.crop, colour(config.background))
    target = own if form.channels == natural else asked
    return _decode_all(source, good, unusable, form, target)


def _usable(source: Source) -> tuple[list[Seen], list[LeftOut]]:
    """Tell the pictures that can be used from the others, by their headers.

    Raises DataError where there are none to train on.
    """
    looks = in_threads(look_at, source.entries, "looking at images")
    pairs = list(zip(source.entries, looks, strict=True))
    unusable = [LeftOut(entry.name, seen) for entry, seen in pairs if isinstance(seen, str)]
    good = [(entry, seen) for entry, seen in pairs if isinstance(seen, Look)]
    if not any(entry.place.split == "train" for entry, _ in good):
        raise DataError(_no_images(source, unusable))
    return good, unusable


def _key(
    entries: Sequence[Entry],
    classes: tuple[str, ...] | None,
    config: DataConfig,
    channels: int | None,
) -> dict[str, Any]:
    return {
        "version": [VERSION, PIL.__version__],
        "form": [channels, config.size_hw, config.crop, config.background],
        "classes": classes,
        "entries": [[e.name, e.place.split, e.place.label, *e.stamp] for e in entries],
    }


def _channels(data: DataSet) -> int:
    return next(iter(data.splits.values())).pixels.shape[1]


def in_threads(
    work: Callable[[Entry], R], entries: Sequence[Entry], title: str, size: int = 1
) -> Iterator[R]:
    """Yield what `work` returns for each entry, in order, from as many threads as PyTorch has.

    `size` is that of one result in bytes, so that not too many wait.
    """
    rest = iter(entries)
    window = min(WINDOW, max(WINDOW_BYTES // size, torch.get_num_threads()))
    with (
        ThreadPoolExecutor(torch.get_num_threads()) as pool,
        # None: not where nobody sees it, as in a log
        tqdm(total=len(entries), desc=title, unit="image", leave=False, disable=None) as bar,
        only_bombs_warned_of(),
    ):
        while chosen := list(islice(rest, window)):
            for result in pool.map(work, chosen):
                yield result
                bar.update()


def _no_images(source: Source, unusable: Sequence[LeftOut]) -> str:
    """Say why there is nothing to train on, by the first of what was left out."""
    left_out = [*source.left_out, *unusable]
    splits = {entry.place.split for entry in source.entries}
    if splits and "train" not in splits:
        return f"data: found no training images, only {', '.join(sorted(splits))}"
    if not left_out:
        others = f"; {source.warnings[0]}" if source.warnings else ""
        return f"data: found no images{others}"
    more = f", and {len(left_out) - 1} more" if len(left_out) > 1 else ""
    return f"data: found no images that can be read: {left_out[0]}{more}"


def _decode_all(
    source: Source,
    good: Sequence[Seen],
    unusable: Sequence[LeftOut],
    form: Form,
    target: Path,
) -> DataSet:
    """Write the packed copy: the images of each split, their labels, and what decoding told.

    What only the listing told is no part of it: that may change while the images stay.
    """
    assert form.size is not None
    shape = (form.channels, *form.size)
    splits = _by_split(good)
    classes = source.classes or number_labels(
        {split: [entry.place.label for entry, _ in own] for split, own in splits.items()}
    )

    def write(folder: Path) -> None:
        left_out = list(unusable)
        labels: dict[Split, list[int] | None] = {}
        decoded: list[Look] = []
        for split, own in splits.items():
            with Rows(folder / f"{split}.npy", shape) as rows:
                written = list(_write_rows(rows, own, form, left_out))
            if written:
                labels[split] = number([entry.place.label for entry, _ in written], classes)
            decoded += [seen for _, seen in written]
        if "train" not in labels:
            raise DataError(_no_images(source, left_out))
        facts = {
            "classes": classes,
            "labels": labels,
            "sizes": [[*size, count] for size, count in Counter(s.size for s in decoded).items()],
            "left_out": [[each.path, each.why] for each in left_out],
            "warnings": converted(decoded, form),
        }
        (folder / FACTS).write_text(json.dumps(facts))

    return pack(target, len(good) * math.prod(shape), write, _read)


def _by_split(good: Sequence[Seen]) -> dict[Split, list[Seen]]:
    splits: dict[Split, list[Seen]] = {}
    for entry, seen in good:
        splits.setdefault(entry.place.split, []).append((entry, seen))
    return splits


def _write_rows(
    rows: Rows, good: Sequence[Seen], form: Form, left_out: list[LeftOut]
) -> Iterator[Seen]:
    """Write the pictures of a split, and yield those that could be decoded."""
    size = math.prod((form.channels, *(form.size or ())))
    entries = [entry for entry, _ in good]
    decoded = in_threads(lambda entry: decode_entry(entry, form), entries, "reading images", size)
    for (entry, seen), pixels in zip(good, decoded, strict=True):
        if isinstance(pixels, str):
            left_out.append(LeftOut(entry.name, pixels))
        else:
            rows.append(pixels)
            yield entry, seen


def _read(folder: Path) -> DataSet:
    """Map the images of a packed copy into memory. What is damaged in it raises anything."""
    facts = json.loads((folder / FACTS).read_text())
    splits = {
        split: _read_split(folder / f"{split}.npy", facts["labels"][split], tuple(facts["classes"]))
        for split in SPLITS
        if split == "train" or split in facts["labels"]
    }
    return DataSet(
        splits,
        {(H, W): count for H, W, count in facts["sizes"]},
        tuple(LeftOut(path, why) for path, why in facts["left_out"]),
        tuple(facts["warnings"]),
    )


def _read_split(path: Path, labels: list[int] | None, classes: tuple[str, ...]) -> Images:
    array = np.load(path, mmap_mode="r")
    if array.dtype != np.uint8 or array.ndim != 4:
        raise ValueError(f"{path.name} holds {array.dtype} {array.shape}")
    numbers = None if labels is None else torch.tensor(labels, dtype=torch.int64)
    if numbers is not None and (
        numbers.shape != array.shape[:1] or not set(numbers.tolist()) <= set(range(len(classes)))
    ):
        raise ValueError(f"the labels of {path.name} do not fit")
    return Images(as_tensor(array), numbers, classes)
