"""Data sets of the Hugging Face Hub, as people have them on disk: Parquet files, or a folder that
`datasets` wrote with `save_to_disk`. pyarrow, the extra `parquet`, reads them.

    data/train-00000-of-00002.parquet      a split's name begins the file's, or is its folder's
    dataset_dict.json, train/data-00000-of-00001.arrow
"""

import json
import reprlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from diffusion.data.arrangement import SPLIT_NAMES, Label, Place
from diffusion.data.arrays import file_stamp
from diffusion.data.files import is_hidden, is_image
from diffusion.data.images import DataError, Split
from diffusion.data.sources import Entry, Source
from diffusion.data.table_files import open_table, refusing

IMAGE_NAMES = ("image", "img", "images", "picture")
LABEL_NAMES = ("label", "labels", "class", "target")
SUFFIXES = (".parquet", ".arrow")


@dataclass(frozen=True)
class _Part:
    """The rows of one file."""

    name: str
    entries: list[Entry]
    classes: tuple[str, ...] | None  # the names of its classes, if it has them


def is_tables(path: Path) -> bool:
    """Is this a Parquet file, or a folder of Parquet or Arrow files? Tables beside images are what
    somebody noted about these."""
    if path.is_file():
        return path.suffix.lower() == ".parquet"
    return path.is_dir() and next(_files(path), None) is not None and not _has_images(path)


def source(path: Path, labels: str) -> Source:
    """List the pictures of tables. `labels` names their column, or is `auto` or `none`.

    Raises DataError where pyarrow is missing, or the columns cannot be told.
    """
    if find_spec("pyarrow") is None:
        raise DataError(
            f"data: {path} needs pyarrow, which is not installed; install the extra `parquet`"
        )
    parts = []
    for file in [path] if path.is_file() else sorted(_files(path)):
        name = file.name if file == path else str(file.relative_to(path))
        with refusing(file):
            parts.append(_read(file, name, labels))
    entries = [entry for part in parts for entry in part.entries]
    told = _unlabelled(entries)
    return Source(entries, None if told else _classes(parts), warnings=told)


def _files(folder: Path) -> Iterator[Path]:
    for pattern in ("*", "*/*"):
        for path in folder.glob(pattern):
            is_table = path.suffix.lower() in SUFFIXES and not path.name.startswith((".", "cache-"))
            if is_table and path.is_file():  # to open a pipe would wait for its writer for ever
                yield path


def _has_images(folder: Path) -> bool:
    inner = (PurePosixPath(path.relative_to(folder)) for path in folder.rglob("*"))
    return any(is_image(path) and not any(map(is_hidden, path.parts)) for path in inner)


def _unlabelled(entries: Sequence[Entry]) -> list[str]:
    """Say so where some training rows have labels and others have none: then nothing has."""
    training = [entry for entry in entries if entry.place.split == "train"]
    bare = [entry.name for entry in training if entry.place.label is None]
    if len(bare) in (0, len(training)):
        return []
    return [
        f"{len(bare)} of {len(training)} training rows have no label, {bare[0]} the first, and so "
        "the labels of the others are not used"
    ]


def _classes(parts: Sequence[_Part]) -> tuple[str, ...] | None:
    """The names of the classes in the order of the files; None where some file has only labels."""
    labelled = [part for part in parts if any(e.place.label is not None for e in part.entries)]
    if not labelled or any(part.classes is None for part in labelled):
        return None
    return tuple(dict.fromkeys(name for part in labelled for name in part.classes or ()))


def _read(file: Path, name: str, labels: str) -> _Part:
    table = open_table(file)
    features = _features(table.metadata)
    image = _image_column(name, table.columns, features)
    column = _label_column(name, table.columns, features, labels)
    for chosen in (image, column):
        if table.columns.count(chosen or "") > 1:
            raise DataError(f"{name}: the column {chosen!r} is there twice")
    split, stamp = _split(name), file_stamp(file)
    classes, places = None, [Place(split, None)] * table.num_rows
    if column is not None:
        where = f"{name}: {column}"
        classes = _class_names(where, features.get(column, {}))
        places = [Place(split, label) for label in _labels(where, table.column(column), classes)]
    entries = [
        Entry(f"{name}/{i}", place, (*stamp, i), partial(table.picture, image, i))
        for i, place in enumerate(places)
    ]
    return _Part(name, entries, classes)


def _split(name: str) -> Split:
    """The split that a file's name begins with, or that its folder is called."""
    stem = Path(name).stem.lower()
    for part in (stem.split("-")[0].split(".")[0], *map(str.lower, Path(name).parent.parts)):
        if part in SPLIT_NAMES:
            return SPLIT_NAMES[part]
    return "train"


def _features(metadata: Mapping[bytes, bytes] | None) -> dict[str, dict[str, Any]]:
    """What `datasets` knows of the columns: {"label": {"_type": "ClassLabel", "names": […]}, …}."""
    try:
        found = json.loads((metadata or {}).get(b"huggingface", b"{}"))
        features = found.get("info", {}).get("features", {})
        return {name: value for name, value in features.items() if isinstance(value, dict)}
    except (ValueError, AttributeError, RecursionError):
        return {}


def _image_column(name: str, columns: Sequence[str], features: Mapping[str, Any]) -> str:
    typed = [c for c in columns if features.get(c, {}).get("_type") == "Image"]
    named = [c for c in IMAGE_NAMES if c in columns]
    if not typed and not named:
        raise DataError(f"{name}: no column of images among {', '.join(columns)}")
    return (typed or named)[0]


def _label_column(
    name: str, columns: Sequence[str], features: Mapping[str, Any], labels: str
) -> str | None:
    if labels == "none":
        return None
    if labels != "auto":
        if labels not in columns:
            raise DataError(
                f"[data] labels: {labels!r} is not a column of {name}; it has {', '.join(columns)}"
            )
        return labels
    typed = [c for c in columns if features.get(c, {}).get("_type") == "ClassLabel"]
    named = [c for c in LABEL_NAMES if c in columns]
    if len(typed) > 1 and not named:
        raise DataError(
            f"{name}: several columns of labels ({', '.join(typed)}); set [data] labels to one"
        )
    return next(iter(named or typed), None)


def _class_names(where: str, feature: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names of a column of class labels, if it has them."""
    names = feature.get("names")
    if feature.get("_type") != "ClassLabel" or names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{where}: the names of its classes, {reprlib.repr(names)}, are no texts")
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise DataError(f"{where}: {twice!r} is the name of two classes")
    return tuple(names)


def _labels(
    where: str, values: Sequence[object], classes: tuple[str, ...] | None
) -> list[Label | None]:
    """The labels of rows, by name where the classes have names; the Hub's -1 is the lack of one."""
    known: dict[object, str] = {}
    if classes is not None:
        known = {**dict(enumerate(classes)), **{name: name for name in classes}}
    allowed = f"one of the {len(classes or ())} classes" if known else "a whole number or a text"
    found: list[Label | None] = []
    for row, value in enumerate(values):
        label = _plain(value)
        if label is None or (known and label == -1):
            found.append(None)
        elif isinstance(label, int | str) and (not known or label in known):
            found.append(known.get(label, label))
        else:
            raise DataError(f"{where}: row {row}: the label {_shown(value)} is not {allowed}")
    return found


def _plain(value: object) -> object:
    """A whole number as an int: pandas writes it as a float where other rows are empty."""
    whole = isinstance(value, bool) or (isinstance(value, float) and value.is_integer())
    return int(value) if whole else value  # type: ignore[call-overload]


def _shown(value: object) -> str:
    """A value in an error: a picture's bytes would fill the screen."""
    plain = isinstance(value, int | float | str)
    return reprlib.repr(value) if plain else f"of type {type(value).__name__}"
