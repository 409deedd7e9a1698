"""Finding image files in a folder or a zip, without decoding them.

Hidden files and the litter of operating systems and notebooks are left out, as is what is not a
regular file. Links are followed; a loop of them is noticed, and so is a folder that is met again
and again.
"""

import os
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
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
MAX_VISITS = 20
"""How many paths may lead to one folder: as links, each of which doubles them, they never end."""

Identity = tuple[int, int]
"""A folder's device and inode: the same by whatever path."""


class UnreadableError(Exception):
    """A file's bytes cannot be had; the message is the reason, without its name."""


@dataclass(frozen=True)
class File:
    """An image file, not read yet."""

    path: PurePosixPath  # in the folder or archive
    size: int  # in bytes
    stamp: tuple[int, ...]  # changes when the file does
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
        return [
            f"{total} {'file is not an image' if total == 1 else 'files are not images'} ({kinds})"
        ]


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
    for inner in _walk(folder, listing.left_out):
        if not is_image(inner):
            listing.others[inner.suffix.lower()] += 1
            continue
        found = file_in(folder, inner)
        if isinstance(found, File):
            listing.files.append(found)
        else:
            listing.left_out.append(LeftOut(str(inner), found))
    listing.files.sort(key=lambda file: file.path.parts)
    listing.left_out.sort(key=lambda each: each.path)
    return listing


def _walk(top: Path, left_out: list[LeftOut]) -> Iterator[PurePosixPath]:
    """Yield the paths inside `top` of all files below it, links followed."""
    visits: Counter[Identity] = Counter()
    # A folder to be listed, and those that it lies in
    waiting: list[tuple[PurePosixPath, tuple[Identity, ...]]] = [(PurePosixPath(), ())]
    while waiting:
        inner, above = waiting.pop()
        try:
            status = os.stat(top / inner)
            identity = (status.st_dev, status.st_ino)
            visits[identity] += 1
            why = _why_no_further(identity, above, visits)
            entries = [] if why else _in_reverse(top / inner)
        except OSError as error:
            why, entries = f"cannot be read: {error.strerror}", []
        if why:
            left_out.append(LeftOut(str(inner), why))
        for entry in entries:
            name = inner / entry.name
            kind = _kind(entry)
            if kind == "file":
                yield name
            elif kind == "folder":
                waiting.append((name, (*above, identity)))
            elif kind:
                left_out.append(LeftOut(str(name), kind))


def _in_reverse(folder: Path) -> list[os.DirEntry[str]]:
    """List a folder so that its first subfolder waits last, and comes next."""
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name, reverse=True)


def _why_no_further(
    folder: Identity, above: tuple[Identity, ...], visits: Mapping[Identity, int]
) -> str:
    if folder in above:
        return "a link to a folder that it lies in"
    if visits[folder] > MAX_VISITS:
        return f"a folder to which {MAX_VISITS} other paths lead already"
    return ""


def _kind(entry: os.DirEntry[str]) -> str:
    """Return "file", "folder", why the entry is left out, or "" for what nobody misses."""
    is_folder = os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()
    has_suffix = is_image(PurePosixPath(entry.name))
    if is_hidden(entry.name):
        return HIDDEN if is_folder or has_suffix else ""
    if is_folder and has_suffix:
        return "a folder with the name of an image"
    return "folder" if is_folder else "file"


def file_in(folder: Path, inner: PurePosixPath) -> File | str:
    """Return the file at a path inside a folder, or why it is not to be opened."""
    path = folder / inner
    try:
        status = path.stat()
    except OSError as error:
        broken = path.is_symlink() and isinstance(error, FileNotFoundError)
        return "a link to nothing" if broken else f"cannot be read: {error.strerror}"
    if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for its writer for ever
        return "not a regular file"
    too_large = _too_large(status.st_size)
    return too_large or File(inner, status.st_size, _stamp(status), partial(_read, path))


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


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
            self._stamp = _stamp(path.stat())
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise DataError(f"{path}: not a whole zip: {error}") from error

    def listing(self) -> Listing:
        """List the image files, by paths as they would have after unpacking."""
        listing, seen = Listing([]), set()
        for info in self._archive.infolist():
            path = _unpacked(info)
            hidden = any(is_hidden(part) for part in path.parts if part != "..")
            if _is_folder(info) or (hidden and not is_image(path)):
                continue
            why = self._why_not(info, path, hidden) or ("twice in it" if path in seen else "")
            seen.add(path)
            if not is_image(path):
                listing.others[path.suffix.lower()] += 1
            elif why:
                listing.left_out.append(LeftOut(str(path), why))
            else:
                listing.files.append(self._file(info))
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

    def find(self, path: PurePosixPath) -> File | str | None:
        """Return the member that unpacking would write to a path, or why it cannot be read; None
        where there is none."""
        for info in self._archive.infolist():
            if _unpacked(info) == path and not _is_folder(info):
                return self._why_not(info, path, hidden=False) or self._file(info)
        return None

    def _file(self, info: zipfile.ZipInfo) -> File:
        stamp = (*self._stamp, info.file_size, info.CRC)
        return File(_unpacked(info), info.file_size, stamp, partial(self._read, info))

    def _read(self, info: zipfile.ZipInfo) -> bytes:
        """Raises UnreadableError where the member is damaged, or packed by an unknown method."""
        try:
            with self._archive.open(info) as member:
                # No more than was promised, and checked: a bomb would unpack to anything
                return member.read(info.file_size)
        # Damaged members make zipfile and the decompressors raise more than BadZipFile
        except Exception as error:
            raise UnreadableError(f"cannot be unpacked: {error}") from error


def _unpacked(info: zipfile.ZipInfo) -> PurePosixPath:
    """The path that unpacking makes of a member's name, as some Windows programs write it too."""
    return PurePosixPath(info.filename.replace("\\", "/"))


def _is_folder(info: zipfile.ZipInfo) -> bool:
    """Is the member a folder? zipfile's own answer is an error where the name is empty."""
    return info.filename.endswith("/")
