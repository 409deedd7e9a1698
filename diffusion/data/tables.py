"""Data sets of the Hugging Face Hub, as people have them on disk: Parquet files, or a folder that
`datasets` wrote with `save_to_disk`. pyarrow, the extra `parquet`, reads them.

    data/train-00000-of-00002.parquet      a split's name begins the file's, or is its folder's
    dataset_dict.json, train/data-00000-of-00001.arrow
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from diffusion.data.arrangement import SPLIT_NAMES, Label, Place
from diffusion.data.files import UnreadableError
from diffusion.data.images import DataError, Split
from diffusion.data.sources import Entry, Source

IMAGE_NAMES = ("image", "img", "images", "picture")
LABEL_NAMES = ("label", "labels", "class", "target")
SUFFIXES = (".parquet", ".arrow")
GROUPS_IN_MEMORY = 4
"""Row groups of one Parquet file that are kept, since pictures are read in order."""


def is_tables(path: Path) -> bool:
    """Is this a Parquet file, or a folder of Parquet or Arrow files?"""
    if path.is_file():
        return path.suffix.lower() == ".parquet"
    return path.is_dir() and next(_files(path), None) is not None


def source(path: Path, labels: str) -> Source:
    """List the pictures of tables. `labels` names their column, or is `auto` or `none`.

    Raises DataError where pyarrow is missing, or the columns cannot be told.
    """
    if find_spec("pyarrow") is None:
        raise DataError(
            f"data: {path} needs pyarrow, which is not installed; install the extra `parquet`"
        )
    entries: list[Entry] = []
    classes: tuple[str, ...] | None = None
    for file in [path] if path.is_file() else sorted(_files(path)):
        try:
            found, classes = _entries(
                file, file.name if file == path else str(file.relative_to(path)), labels
            )
        except (OSError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{file}: cannot be read: {error}") from error
        entries += found
    return Source(entries, classes)


def _files(folder: Path) -> Iterator[Path]:
    for pattern in ("*", "*/*"):
        for path in folder.glob(pattern):
            if path.suffix.lower() in SUFFIXES and not path.name.startswith((".", "cache-")):
                yield path


def _entries(file: Path, name: str, labels: str) -> tuple[list[Entry], tuple[str, ...] | None]:
    """The rows of one file, and the names of its classes, if it has them."""
    table = _Arrow(file) if file.suffix.lower() == ".arrow" else _Parquet(file)
    features = _features(table.metadata)
    image = _image_column(name, table.columns, features)
    label = _label_column(name, table.columns, features, labels)
    classes = tuple(features.get(label or "", {}).get("names", ())) or None
    values = [None] * table.num_rows if label is None else table.column(label)
    split, status = _split(name), file.stat()
    stamp = (name, status.st_size, status.st_mtime_ns)
    return [
        Entry(
            f"{name}/{i}",
            Place(split, _label(name, value, classes)),
            (*stamp, i),
            partial(table.picture, image, i),
        )
        for i, value in enumerate(values)
    ], classes


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
    except (ValueError, AttributeError):
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


def _label(name: str, value: object, classes: Sequence[str] | None) -> Label | None:
    """A label as it is stored; the Hub's -1 is the lack of one."""
    if value is None or (classes and value == -1):
        return None
    if not isinstance(value, (int, str)):
        raise DataError(f"{name}: the label {value!r} is not a whole number or a string")
    if classes and isinstance(value, int) and not 0 <= value < len(classes):
        raise DataError(f"{name}: the label {value} is not one of the {len(classes)} classes")
    return value


class _Arrow:
    """A file that `save_to_disk` wrote. It is memory-mapped."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self._table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
        self.metadata = self._table.schema.metadata
        self.columns: list[str] = self._table.column_names
        self.num_rows: int = self._table.num_rows

    def column(self, name: str) -> list[Any]:
        """Return all values of a column."""
        values: list[Any] = self._table.column(name).to_pylist()
        return values

    def picture(self, column: str, row: int) -> bytes:
        """Return the bytes of an image file. Raises UnreadableError."""
        return _bytes(self._table.column(column)[row].as_py())


class _Parquet:
    """A Parquet file, of which some groups of rows are in memory."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self._file = pq.ParquetFile(path)
        self._lock = threading.Lock()
        self._group: Callable[[str, int], Any] = lru_cache(GROUPS_IN_MEMORY)(self._read_group)
        groups = (self._file.metadata.row_group(i) for i in range(self._file.num_row_groups))
        self._sizes = [group.num_rows for group in groups]
        self.metadata = self._file.schema_arrow.metadata
        self.columns: list[str] = self._file.schema_arrow.names
        self.num_rows = sum(self._sizes)

    def column(self, name: str) -> list[Any]:
        """Return all values of a column."""
        values: list[Any] = self._file.read(columns=[name]).column(name).to_pylist()
        return values

    def picture(self, column: str, row: int) -> bytes:
        """Return the bytes of an image file. Raises UnreadableError."""
        group = 0
        while row >= self._sizes[group]:
            row -= self._sizes[group]
            group += 1
        with self._lock:
            values = self._group(column, group)
        return _bytes(values[row].as_py())

    def _read_group(self, column: str, group: int) -> Any:
        return self._file.read_row_group(group, columns=[column]).column(column)


def _bytes(value: Any) -> bytes:
    """The image file in a cell: its bytes, or a record of bytes and path."""
    raw = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(raw, bytes):
        raise UnreadableError("the table holds no image file there")
    return raw
