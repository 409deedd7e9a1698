"""Files and folders that are written whole or not at all, even if the process is killed
meanwhile."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PARTIAL = ".partial-"
"""What the name of a file that is not finished begins with."""


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A block with an empty folder to fill, which takes the place of `folder` when the block ends.

    When the block raises, or the process is killed, `folder` stays as it was. Only a kill between
    two renames, an instant, leaves neither: the old folder is then beside it, as `.<name>.old`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield partial
        # On disk first, then in place: a power cut must not leave empty files under the final name.
        for path in sorted(partial.rglob("*"), reverse=True):
            path.chmod(0o755 if path.is_dir() else 0o644)  # safetensors writes for its user alone
            sync(path)
        partial.chmod(0o755)
        sync(partial)
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
        sync(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A block with an empty file to fill, which takes the place of `path` when the block ends.

    When the block raises, or the process is killed, `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=PARTIAL, dir=path.parent)
    partial = Path(name)
    try:
        with open(descriptor, "wb") as file:
            yield file
        partial.chmod(0o644)  # mkstemp writes for its user alone
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Make a file's content, or the names in a folder, survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
