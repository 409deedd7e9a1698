"""Files of tables, as pyarrow reads them: whole columns, and the picture in a cell."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from diffusion.data.files import UnreadableError
from diffusion.data.images import DataError

GROUPS_IN_MEMORY = 4
"""Row groups of one Parquet file that are kept, since pictures are read in order."""


@contextmanager
def refusing(file: Path) -> Iterator[None]:
    """A block whose errors are DataErrors: what a damaged file makes pyarrow raise has no class in
    common."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{file}: cannot be read: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def open_table(path: Path) -> "ArrowFile | ParquetFile":
    """Open a file by its suffix. Raises what pyarrow does for one that is damaged."""
    return ArrowFile(path) if path.suffix.lower() == ".arrow" else ParquetFile(path)


class ArrowFile:
    """A file that `save_to_disk` wrote. It is memory-mapped."""

    def __init__(self, path: Path) -> None:
        """Raises what pyarrow does for a file that is damaged."""
        import pyarrow as pa

        self._table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
        # Places in a damaged file may lead anywhere in memory: to follow them ends the process
        self._table.validate(full=True)
        self.metadata = self._table.schema.metadata
        self.columns: list[str] = self._table.column_names
        self.num_rows: int = self._table.num_rows

    def column(self, name: str) -> list[Any]:
        """Return all values of a column."""
        values: list[Any] = self._table.column(name).to_pylist()
        return values

    def picture(self, column: str, row: int) -> bytes:
        """Return the bytes of an image file. Raises UnreadableError."""
        return _bytes(self._table.column(column)[row])


class ParquetFile:
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
        if isinstance(values, UnreadableError):
            raise values
        if row >= len(values):
            raise UnreadableError("the table has fewer rows than it says")
        return _bytes(values[row])

    def _read_group(self, column: str, group: int) -> Any:
        """The pictures of a group, or why there are none: it is read once for all its rows."""
        try:
            return self._file.read_row_group(group, columns=[column]).column(column)
        except Exception as error:  # as in refusing
            return UnreadableError(f"its rows cannot be read: {_reason(error)}")


def _bytes(cell: Any) -> bytes:
    """The image file in a cell: its bytes, or a record of bytes and path."""
    value = cell.as_py()
    raw = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(raw, bytes):
        raise UnreadableError("the table holds no image file there")
    return raw
