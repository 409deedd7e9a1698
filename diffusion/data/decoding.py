"""A source's pictures: decoded in threads, all in one form, and kept on disk for the next time."""

import json
import math
import warnings
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
from PIL import Image
from tqdm import tqdm

from diffusion.config import DataConfig
from diffusion.data.arrangement import Place, held_out, number, number_labels
from diffusion.data.files import UnreadableError
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
from diffusion.data.packed import Rows, pack, packed_folder
from diffusion.data.picture import Form, Look, PictureError, colour, convert, decode, look
from diffusion.data.sources import Entry, Source

VERSION = 1
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
    _, good = _usable(source)
    sizes = Counter(seen.size for _, seen in good)
    return Survey(sizes, Counter(entry.place.split for entry, _ in good))


def _usable(source: Source) -> tuple[Source, list[tuple[Entry, Look]]]:
    """Tell the pictures that can be used from the others, which are left out of the source.

    Raises DataError where there are none to train on.
    """
    pairs = list(zip(source.entries, _look_at_all(source.entries), strict=True))
    unusable = [LeftOut(entry.name, seen) for entry, seen in pairs if isinstance(seen, str)]
    source = replace(source, left_out=[*source.left_out, *unusable])
    good = [(entry, seen) for entry, seen in pairs if isinstance(seen, Look)]
    if not any(entry.place.split == "train" for entry, _ in good):
        raise DataError(_no_images(source))
    return source, good


def read_pictures(source: Source, config: DataConfig, channels: int | None) -> DataSet:
    """Decode all pictures of a source, or find the packed copy of an earlier time.

    `channels` is what the network takes; None: what the pictures have. Raises DataError.
    """
    wanted = config.channels or channels
    entries = sorted(source.entries, key=lambda entry: SPLITS.index(entry.place.split))
    # A copy with the pictures' own number of channels does for a network that takes as many
    own, asked = (packed_folder(_key(entries, config, c)) for c in (config.channels, wanted))
    for folder in (own, asked):
        if (folder / FACTS).is_file() and wanted in (None, _channels(found := _read(folder))):
            return found
    source, good = _usable(replace(source, entries=entries))
    natural = max(seen.channels for _, seen in good)
    size = config.size_hw or _one_size(good)
    form = Form(wanted or natural, size, config.crop, colour(config.background))
    return _decode_all(source, good, form, own if form.channels == natural else asked)


def _key(entries: Sequence[Entry], config: DataConfig, channels: int | None) -> dict[str, Any]:
    return {
        "version": [VERSION, PIL.__version__],
        "form": [channels, config.size_hw, config.crop, config.background],
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
        tqdm(total=len(entries), desc=title, unit="image", leave=False) as bar,
        # Pillow's warnings (of a decompression bomb, above all) become errors of their picture
        warnings.catch_warnings(action="error"),
    ):
        while chosen := list(islice(rest, window)):
            for result in pool.map(work, chosen):
                yield result
                bar.update()


def _look_at_all(entries: Sequence[Entry]) -> list[Look | str]:
    """What is known of each picture, or the reason why it cannot be used."""

    def look_at(entry: Entry) -> Look | str:
        try:
            raw = entry.read()
            if isinstance(raw, bytes):
                return look(raw)
            return Look(raw.shape[1:], 1 if len(raw) == 1 else 3, False)
        except (PictureError, UnreadableError) as error:
            return str(error)

    return list(in_threads(look_at, entries, "looking at images"))


def _no_images(source: Source) -> str:
    """Say why there is nothing to read, by the first of what was left out."""
    if not source.left_out:
        others = f"; {source.warnings[0]}" if source.warnings else ""
        return f"data: found no images{others}"
    first, count = source.left_out[0], len(source.left_out)
    more = f", and {count - 1} more" if count > 1 else ""
    return f"data: found no images that can be read: {first.path}: {first.why}{more}"


def _one_size(good: Sequence[tuple[Entry, Look]]) -> tuple[int, int]:
    """Return the size of all pictures. Raises DataError, with examples, where they differ."""
    examples: dict[tuple[int, int], str] = {}
    for entry, seen in good:
        examples.setdefault(seen.size, entry.name)
    if len(examples) > 1:
        shown = ", ".join(f"{name} {W}x{H}" for (H, W), name in list(examples.items())[:3])
        raise DataError(
            f"data: the images have {len(examples)} different sizes ({shown}); set [data] size, "
            "and crop if they are not to be cut in the middle"
        )
    return next(iter(examples))


def _decode_all(
    source: Source, good: Sequence[tuple[Entry, Look]], form: Form, target: Path
) -> DataSet:
    """Write the packed copy: the images of each split, their labels, and what reading told."""
    assert form.size is not None
    shape = (form.channels, *form.size)
    splits = _by_split([entry for entry, _ in good])
    classes = source.classes or number_labels(
        {split: [entry.place.label for entry in own] for split, own in splits.items()}
    )

    def write(folder: Path) -> None:
        left_out = list(source.left_out)
        labels: dict[Split, list[int] | None] = {}
        for split, entries in splits.items():
            with Rows(folder / f"{split}.npy", shape) as rows:
                kept = list(_write_rows(rows, entries, form, left_out))
            labels[split] = number([entry.place.label for entry in kept], classes)
        facts = {
            "classes": classes,
            "labels": labels,
            "sizes": [[*size, count] for size, count in Counter(s.size for _, s in good).items()],
            "left_out": [[each.path, each.why] for each in left_out],
            "warnings": [*source.warnings, *_converted(good, form)],
        }
        (folder / FACTS).write_text(json.dumps(facts))

    return pack(target, len(good) * math.prod(shape), write, _read)


def _by_split(entries: Sequence[Entry]) -> dict[Split, list[Entry]]:
    splits: dict[Split, list[Entry]] = {}
    for entry in entries:
        splits.setdefault(entry.place.split, []).append(entry)
    return splits


def _write_rows(
    rows: Rows, entries: Sequence[Entry], form: Form, left_out: list[LeftOut]
) -> Iterator[Entry]:
    """Write the pictures of a split, and yield those that could be decoded."""
    size = math.prod((form.channels, *(form.size or ())))
    decoded = in_threads(lambda entry: _decode(entry, form), entries, "reading images", size)
    for entry, pixels in zip(entries, decoded, strict=True):
        if isinstance(pixels, str):
            left_out.append(LeftOut(entry.name, pixels))
        else:
            rows.append(pixels)
            yield entry


def _decode(entry: Entry, form: Form) -> Array | str:
    """The pixels, uint8 (C,H,W), or the reason why there are none."""
    try:
        raw = entry.read()
        if isinstance(raw, bytes):
            return decode(raw, form, entry.name)
        channels_last = raw[0] if len(raw) == 1 else np.moveaxis(raw, 0, -1)
        return convert(Image.fromarray(np.ascontiguousarray(channels_last)), form, entry.name)
    except (PictureError, UnreadableError) as error:
        return str(error)


def _converted(good: Sequence[tuple[Entry, Look]], form: Form) -> list[str]:
    """Say what became of pictures that did not look like what they are now."""
    told = []
    other = sum(seen.channels != form.channels for _, seen in good)
    if other and form.channels == 1:
        told.append(f"{_count(other, 'colour image')} converted to grey")
    elif other:
        told.append(f"{_count(other, 'grey image')} converted to RGB")
    animated = sum(seen.is_animated for _, seen in good)
    if animated:
        told.append(f"{_count(animated, 'image')} read as the first of several frames or pages")
    return told


def _count(number: int, name: str) -> str:
    return f"{number} {name} is" if number == 1 else f"{number} {name}s are"


def _read(folder: Path) -> DataSet:
    """Map the images of a packed copy into memory."""
    facts = json.loads((folder / FACTS).read_text())
    splits: dict[Split, Images] = {}
    for split in SPLITS:
        if split not in facts["labels"]:
            continue
        pixels = as_tensor(np.load(folder / f"{split}.npy", mmap_mode="r"))
        labels = facts["labels"][split]
        splits[split] = Images(
            pixels,
            None if labels is None else torch.tensor(labels, dtype=torch.int64),
            tuple(facts["classes"]),
        )
    return DataSet(
        splits,
        {(H, W): count for H, W, count in facts["sizes"]},
        tuple(LeftOut(path, why) for path, why in facts["left_out"]),
        tuple(facts["warnings"]),
    )
