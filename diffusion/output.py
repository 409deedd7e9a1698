"""Where images go: checked before they are made, and written whole or not at all."""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np

from diffusion import pixels
from diffusion.atomic import atomic_file
from diffusion.pixels import PICTURE_CHANNELS, Array

KINDS: dict[str, Literal["array", "grid", "folder"]] = {
    ".npz": "array",
    ".png": "grid",
    "": "folder",
}
"""What is written, by the ending of the path."""
ALLOWED = ".png for a grid, .npz for an array, or no ending for a folder of PNGs"
OUR_PICTURE = re.compile(r"\d{6,}\.png")
"""The names of the pictures in a folder: 000000.png and so on."""


class OutputError(ValueError):
    """Nothing can be written to a path; the message names it, and says what to do."""

    def __init__(self, path: Path, reason: str, name: str = "out") -> None:
        super().__init__(f"{name}: {str(path)!r} is not allowed: {reason}")


@dataclass(frozen=True)
class Output:
    """A path that images can be written to, as an array, as a grid, or as a folder of PNGs."""

    path: Path
    kind: Literal["array", "grid", "folder"]

    @classmethod
    def at(cls, path: Path, *, force: bool) -> Self:
        """The output at `path`, whose ending says of which kind it is.

        A file that exists, and a folder that holds pictures, are replaced with `force` alone.
        Raises OutputError where nothing can be written. Nothing is made yet.
        """
        try:
            kind = _kind(path)
            check_writable(path)
            if kind == "folder":
                _check_folder(path, force=force)
            elif path.exists() and not path.is_file():
                raise OutputError(path, "it is not a file")
            elif path.exists() and not force:
                raise OutputError(path, "the file exists; --force replaces it")
        except OSError as error:
            raise OutputError(path, error.strerror or str(error)) from error
        return cls(path, kind)

    def check_channels(self, channels: int) -> None:
        """Raise OutputError where images of so many channels are no pictures."""
        if self.kind != "array" and channels not in PICTURE_CHANNELS:
            reason = f"the model's images have {channels} channels; an array, .npz, holds these"
            raise OutputError(self.path, reason)

    def write(self, images: Array) -> None:
        """Write images uint8 (n,H,W,C), and make the folders that are missing.

        When it fails there is no part of them, and what was there before still is. Raises
        OutputError.
        """
        try:
            if self.kind == "folder":
                _write_folder(self.path, images)
                return
            with atomic_file(self.path.resolve()) as file:  # a link stays a link
                if self.kind == "array":
                    np.savez_compressed(file, images=images)
                else:
                    pixels.picture(pixels.tile(images)).save(file, "PNG")
        except OSError as error:
            raise OutputError(self.path, error.strerror or str(error)) from error


def check_file(path: Path, name: str) -> None:
    """Raise OutputError, naming the flag `name`, unless a file can be written to `path`."""
    if path.exists() and not path.is_file():
        raise OutputError(path, "it is not a file", name)
    check_writable(path, name)


def check_writable(path: Path, name: str = "out") -> None:
    """Raise OutputError unless `path` is, or lies in, a folder that may be written to, or made."""
    whole = path.absolute()
    above = whole if whole.is_dir() else next(at for at in whole.parents if at.exists())
    if not above.is_dir():
        raise OutputError(path, f"{above} is a file, not a folder", name)
    try:
        tempfile.TemporaryFile(dir=above).close()  # only this proves it
    except OSError as error:
        reason = f"the folder {above} cannot be written to: {error.strerror}"
        raise OutputError(path, reason, name) from error


def _kind(path: Path) -> Literal["array", "grid", "folder"]:
    kind = KINDS.get(path.suffix.lower())
    if kind is None and not path.is_dir():
        # A folder of that name is more often a slip of the fingers.
        raise OutputError(path, f"the ending must be {ALLOWED}")
    return kind or "folder"


def _check_folder(folder: Path, *, force: bool) -> None:
    """Raise OutputError where pictures would be lost, or mixed with other files."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(folder, f"it is a file; the ending must be {ALLOWED}")
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    others = [name for name in names if not OUR_PICTURE.fullmatch(name)]
    if others:
        raise OutputError(folder, f"the folder holds other files, such as {others[0]}")
    if names and not force:
        reason = f"the folder holds pictures, such as {names[0]}; --force replaces them"
        raise OutputError(folder, reason)


def _write_folder(folder: Path, images: Array) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # Inside the folder, which may be a file system of its own, so that files can be moved.
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as partial:
        for i, image in enumerate(images):
            pixels.picture(image).save(Path(partial) / f"{i:06d}.png")
        for old in folder.iterdir():
            if OUR_PICTURE.fullmatch(old.name):
                old.unlink()
        for new in Path(partial).iterdir():
            new.rename(folder / new.name)
