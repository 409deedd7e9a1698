"""Finding image files in a folder or a zip, without decoding them.

Hidden files and the litter of operating systems and notebooks are left out, as is what is not a
regular file. Links are followed; a loop of them is noticed.
"""

import os
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from diffusion.data.images import DataError, LeftOut

IMAGE_SUFFIXES = {
    ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".pnm",
    ".ppm", ".tif", ".tiff", ".webp",
}  # fmt: skip
LITTER = {"__macosx", "@eadir", "thumbs.db", "desktop.ini", "$recycle.bin", "lost+found"}
"""Names, in small letters, that are hidden like those that begin with a dot."""
HIDDEN = "hidden"
"""Why a file or folder is left out that nobody expects to be read."""
MAX_BYTES = 512 << 20
"""Bytes of one image file, at most."""


class UnreadableError(Exception):
    """A file's bytes cannot be had; the message is the reason, without its name."""


@dataclass(frozen=True)
class File:
    """An image file, not read yet."""

    path: PurePosixPath  # in the folder or archive
    stamp: tuple[int, ...]  # changes when the file does: size, and times or checksum
    read: Callable[[], bytes]  # raises UnreadableError


@dataclass(frozen=True)
class Listing:
    """The image files of a folder or zip in the order of their paths, and what is none of them."""

    files: list[File]
    left_out: list[LeftOut] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)  # files of each suffix, not images

    def warnings(self) -> list[str]:
        """Say which files are not images: nobody wants a line for each of them."""
        others = +self.others
        if not others:
            return []
        kinds = ", ".join(f"{n} {kind or 'without a suffix'}" for kind, n in others.most_common())
        total = others.total()
        return [f"{total} {'file is' if total == 1 else 'files are'} not images ({kinds})"]


def is_hidden(name: str) -> bool:
    """Is a file or folder of this name hidden, or litter?"""
    return name.startswith(".") or name.lower() in LITTER


def is_image(path: PurePosixPath) -> bool:
    """Has the path the suffix of an image file?"""
    return path.suffix.lower() in IMAGE_SUFFIXES


def list_folder(folder: Path) -> Listing:
    """List the image files below a folder. Raises DataError where it cannot be read."""
    listing = Listing([])
    if not os.access(folder, os.R_OK | os.X_OK):
        raise DataError(f"data: {folder} cannot be read: permission denied")
    for inner, path in _walk(folder, PurePosixPath(), [], listing.left_out):
        why = _why_not(path)
        if not is_image(inner):
            listing.others[inner.suffix.lower()] += 1
        elif why:
            listing.left_out.append(LeftOut(str(inner), why))
        else:
            status = path.stat()
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            listing.files.append(File(inner, stamp, partial(_read, path)))
    listing.files.sort(key=lambda file: file.path.parts)
    return listing


def _walk(
    folder: Path, inner: PurePosixPath, above: Sequence[Path], left_out: list[LeftOut]
) -> Iterator[tuple[PurePosixPath, Path]]:
    """Yield all files below `folder`, links followed: their path inside, and on disk."""
    real = folder.resolve()
    if real in above:
        left_out.append(LeftOut(str(inner), "a link to a folder that it lies in"))
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        left_out.append(LeftOut(str(inner), f"cannot be read: {error.strerror}"))
        return
    for entry in entries:
        path, name = Path(entry.path), inner / entry.name
        is_folder = entry.is_dir()
        if is_hidden(entry.name):
            if is_folder or is_image(name):
                left_out.append(LeftOut(str(name), HIDDEN))
        elif is_folder and is_image(name):
            left_out.append(LeftOut(str(name), "a folder with the name of an image"))
        elif is_folder:
            yield from _walk(path, name, [*above, real], left_out)
        else:
            yield name, path


def _why_not(path: Path) -> str:
    """Return why a file is not to be opened, or ""."""
    try:
        status = path.stat()
    except OSError as error:
        broken = path.is_symlink() and isinstance(error, FileNotFoundError)
        return "a link to nothing" if broken else f"cannot be read: {error.strerror}"
    if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for its writer for ever
        return "not a regular file"
    return _too_large(status.st_size)


def _too_large(size: int) -> str:
    return f"{size} bytes; at most {MAX_BYTES} are allowed" if size > MAX_BYTES else ""


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror}") from error


class Zip:
    """An open zip. Several threads may read from it."""

    def __init__(self, path: Path) -> None:
        """Raises DataError for a file that is not a whole zip."""
        try:
            self._archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise DataError(f"{path}: not a whole zip: {error}") from error

    def listing(self) -> Listing:
        """List the image files, by paths as they would have after unpacking."""
        listing, seen = Listing([]), set()
        for info in self._archive.infolist():
            path = PurePosixPath(info.filename.replace("\\", "/"))  # as some Windows programs write
            hidden = any(is_hidden(part) for part in path.parts if part != "..")
            if info.is_dir() or (hidden and not is_image(path)):
                continue
            why = self._why_not(info, path, hidden) or ("twice in it" if path in seen else "")
            seen.add(path)
            if not is_image(path):
                listing.others[path.suffix.lower()] += 1
            elif why:
                listing.left_out.append(LeftOut(str(path), why))
            else:
                stamp = (info.file_size, info.CRC)
                listing.files.append(File(path, stamp, partial(self.read, info)))
        listing.files.sort(key=lambda file: file.path.parts)
        return listing

    def _why_not(self, info: zipfile.ZipInfo, path: PurePosixPath, hidden: bool) -> str:
        if hidden:
            return HIDDEN
        if path.is_absolute() or ".." in path.parts:
            return "its path leads out of the archive"
        if info.flag_bits & 0x1:
            return "encrypted"
        return _too_large(info.file_size)

    def names(self) -> list[str]:
        """List the paths of all members, as they are written in the archive."""
        return self._archive.namelist()

    def read(self, member: str | zipfile.ZipInfo) -> bytes:
        """Return the bytes of a member. Raises UnreadableError where it is damaged or packed by an
        unknown method."""
        try:
            return self._archive.read(member)
        # Damaged members make zipfile and the decompressors raise more than BadZipFile
        except Exception as error:
            raise UnreadableError(f"cannot be unpacked: {error}") from error
