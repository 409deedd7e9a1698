"""The cache of huggingface_hub on disk, which programs such as diffusers share with this one.

    models--OWNER--NAME/refs/BRANCH               the commit that the branch was at
    models--OWNER--NAME/blobs/DIGEST              a file, by what is in it
    models--OWNER--NAME/snapshots/COMMIT/FILE     a link to the file's blob

A blob has its name only when it is whole, and a branch's file is written when all else is there.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from diffusion.atomic import atomic_file, sync
from diffusion.fields import ConfigError
from diffusion.json_file import read_object
from diffusion.model_card import CARD
from diffusion.sources.errors import CheckpointError
from diffusion.sources.hub_files import choose
from diffusion.sources.hub_id import COMMIT, HubId

START = "models--"
INCOMPLETE = ".incomplete"
"""Ends the name of a blob that is not whole, here as in huggingface_hub."""
ABANDONED_SECONDS = 24 * 3600
"""After which nobody writes a blob any more that has not grown."""
MAX_TOLD = 8
"""Models that a message names."""


@dataclass(frozen=True)
class Cache:
    """The folder of the cache: HF_HUB_CACHE, or `hub` in HF_HOME."""

    folder: Path

    def snapshot(self, pinned: HubId) -> Path:
        """The folder of a commit's files."""
        return self._repository(pinned) / "snapshots" / pinned.branch

    def find(self, hub_id: HubId) -> str | None:
        """The commit that is meant, as far as the cache knows, where all files of the checkpoint
        are there; else None."""
        commit = hub_id.revision if hub_id.is_pinned else self._branch(hub_id)
        if commit is None:
            return None
        sizes = sizes_in(self.snapshot(HubId(hub_id.repository, commit)))
        try:
            choose(sizes)
        except CheckpointError:
            return None
        return None if CARD in self._listed(hub_id, commit) - sizes.keys() else commit

    def has(self, pinned: HubId, name: str, size: int) -> bool:
        """Is this file of a commit there, with so many bytes?"""
        path = self.snapshot(pinned) / name
        return path.is_file() and path.stat().st_size == size

    @contextmanager
    def new_file(self, pinned: HubId, name: str, digest: str) -> Iterator[BinaryIO]:
        """A block with a file of a commit to fill; it is in the cache when the block ends without
        an error."""
        blobs = self._repository(pinned) / "blobs"
        blobs.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(blobs)
        descriptor, partial = tempfile.mkstemp(suffix=INCOMPLETE, dir=blobs)
        try:
            with open(descriptor, "w+b") as file:
                yield file
            Path(partial).chmod(0o644)
            sync(Path(partial))
            os.replace(partial, blobs / digest)
        finally:
            Path(partial).unlink(missing_ok=True)
        self._link(blobs / digest, self.snapshot(pinned) / name)

    def set_branch(self, hub_id: HubId, commit: str) -> None:
        """Remember the commit that a branch or tag is at; a cache that cannot be written to stays
        as it is."""
        path = self._repository(hub_id) / "refs" / hub_id.branch
        if hub_id.is_pinned or self._branch(hub_id) == commit:
            return
        with contextlib.suppress(OSError), atomic_file(path) as file:
            file.write(commit.encode())

    def models(self) -> list[str]:
        """The models that are there, as `owner/name@commit`, at any rate partly."""
        found = []
        for path in sorted(self.folder.glob(f"{START}*/snapshots/*")):
            location = repository_of(path)
            if location:
                found.append("@".join(location))
        return found

    def free_bytes(self) -> int:
        """The bytes that the disk of the cache has room for."""
        folder = self.folder
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def _repository(self, hub_id: HubId) -> Path:
        return self.folder / (START + hub_id.repository.replace("/", "--"))

    def _listed(self, hub_id: HubId, commit: str) -> set[str]:
        """The names of a commit's files, where huggingface_hub has kept its list of them.

        diffusers leaves a model card out, without which labels would have other meanings.
        """
        with contextlib.suppress(OSError, ConfigError):
            files = read_object(self._repository(hub_id) / "trees" / f"{commit}.json").get("files")
            return set(files) if isinstance(files, dict) else set()
        return set()

    def _branch(self, hub_id: HubId) -> str | None:
        path = self._repository(hub_id) / "refs" / hub_id.branch
        with contextlib.suppress(OSError, UnicodeDecodeError):
            commit = path.read_text().strip()
            if COMMIT.fullmatch(commit):
                return commit
        return None

    @staticmethod
    def _link(blob: Path, path: Path) -> None:
        """Put a blob in its place, where there are no links as the file itself."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        try:
            path.symlink_to(os.path.relpath(blob, path.parent))
        except FileExistsError:  # another process was faster
            return
        except OSError:
            os.replace(blob, path)


def _remove_abandoned(blobs: Path) -> None:
    """Remove what processes began that were killed."""
    for path in blobs.glob(f"*{INCOMPLETE}"):
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                path.unlink()


def sizes_in(folder: Path) -> dict[str, int]:
    """The files of a snapshot in its folder, `unet` and `scheduler`, with their bytes."""
    paths = [path for place in (".", "unet", "scheduler") for path in folder.glob(f"{place}/*")]
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size for path in paths if path.is_file()
    }


def repository_of(folder: Path) -> tuple[str, str] | None:
    """The repository and the commit of a snapshot, by where its folder is; None for others."""
    absolute = Path(os.path.abspath(folder))
    name = absolute.parent.parent.name
    if absolute.parent.name != "snapshots" or not COMMIT.fullmatch(absolute.name):
        return None
    hub_id = HubId.parse(name.removeprefix(START).replace("--", "/", 1))
    if not name.startswith(START) or hub_id is None:
        return None
    return hub_id.repository, absolute.name


def told(models: list[str]) -> str:
    """The cached models in words."""
    if not models:
        return "no models"
    more = f" and {len(models) - MAX_TOLD} more" if len(models) > MAX_TOLD else ""
    return ", ".join(models[:MAX_TOLD]) + more
