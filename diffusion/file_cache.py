"""Files that can be made again, kept for the next start.

A file is the SHA-256 of its name and its content, and the content: one that was renamed is not
taken for another. It is there whole or not at all, whoever else reads and writes the same folder.
Its name has a hash of all that the content depends on, so it is never out of date. Whatever goes
wrong with a file or the folder, the caller works as without it.
"""

import contextlib
import hashlib
import logging
import os
import shutil
import time
from pathlib import Path
from typing import Self

from diffusion.atomic import PARTIAL, atomic_file
from diffusion.folders import cache_folder

log = logging.getLogger("ddpm.cache")

MAX_FILES = 256
MAX_BYTES = 4 << 30
"""What one folder may hold; the files used least recently are removed."""
PARTIAL_SECONDS = 3600
"""Age from which a file that was never finished is nobody's: its process was killed."""
DIGEST_BYTES = 64
"""Before the content: the SHA-256 in hexadecimal digits."""
NOT_KEPT = (
    "what belongs into the cache's folder %s is not kept, so the next start takes as long as this "
    "one: %s; --cache can name another place"
)


class FileCache:
    """The files in one folder, by name. It says once, in the log, if it cannot keep anything."""

    def __init__(self, folder: Path | None, kind: str = "") -> None:
        """The files of a kind are in the folder; None: nothing is kept."""
        self.folder = folder
        self._kind = kind or (folder.name if folder else "")
        self._has_warned = False

    @classmethod
    def at(cls, cache: str | None, kind: str) -> Self:
        """The files of a kind in the folder `cache` that a user names. None: in the user's cache
        folder; empty: nothing is kept."""
        if cache == "":
            return cls(None)
        try:
            return cls((cache_folder() if cache is None else Path(cache)) / kind)
        except RuntimeError as error:  # of a user in no list of users, without $HOME
            nowhere = cls(None, kind)
            nowhere.not_kept(error)
            return nowhere

    def read(self, name: str) -> memoryview | None:
        """The content of a file, which is now the one used last, in memory of the caller's own.
        None where there is none that is whole."""
        if self.folder is None:
            return None
        path = self.folder / name
        try:
            if path.stat().st_size > MAX_BYTES:
                self.damaged(name, "it is larger than the whole cache may be")
                return None
            content = memoryview(bytearray(path.read_bytes()))
        except FileNotFoundError:
            return None
        except OSError as error:
            self.not_kept(error)
            return None
        digest, body = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        if bytes(digest) != _digest(name, body):
            self.damaged(name, "its SHA-256 is another")
            return None
        with contextlib.suppress(OSError):  # of another user, or on a disk that is read-only
            os.utime(path)
        return body

    def damaged(self, name: str, reason: object) -> None:
        """Say that a file is of no use, and is made anew."""
        path = name if self.folder is None else self.folder / name
        log.warning("%s is damaged, and is made anew: %s", path, reason)

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Keep a file under this name, in the place of one that is there."""
        if self.folder is None:
            return
        try:
            with atomic_file(self.folder / name) as file:
                file.write(_digest(name, content))
                file.write(content)
            self._make_room(self.folder)
        except OSError as error:  # no such folder, a full disk
            self.not_kept(error)

    def not_kept(self, error: Exception) -> None:
        """Say, the first time, that something cannot be kept."""
        if not self._has_warned:
            log.warning(NOT_KEPT, self._kind, error)
        self._has_warned = True

    @staticmethod
    def _make_room(folder: Path) -> None:
        """Remove the files used least recently, down to what the folder may hold, and what was
        never finished."""
        files = []
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process removed it
                files.append((path.stat(), path))
        files.sort(key=lambda entry: entry[0].st_mtime_ns, reverse=True)
        size = count = 0
        for found, path in files:
            if path.name.startswith(PARTIAL):
                if time.time() - found.st_mtime > PARTIAL_SECONDS:
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
                continue
            size, count = size + found.st_size, count + 1
            if count > MAX_FILES or size > MAX_BYTES:
                path.unlink(missing_ok=True)


def _digest(name: str, content: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(f"{name}\0".encode())
    digest.update(content)
    return digest.hexdigest().encode()
