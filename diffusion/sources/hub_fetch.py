"""From a model's name on the Hub to a folder of the cache that has its checkpoint."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from tqdm import tqdm

from diffusion.sources.errors import CheckpointError, Unreachable
from diffusion.sources.hub_cache import Cache, told
from diffusion.sources.hub_client import TRIES, Client, HubFile
from diffusion.sources.hub_files import MAX_WEIGHTS_BYTES, check_sizes, choose
from diffusion.sources.hub_id import HubId

SPARE_BYTES = 64 << 20
"""Of the disk, which a download leaves free."""
log = logging.getLogger("ddpm.hub")


@dataclass(frozen=True)
class Hub:
    """The Hub, and the cache of what was fetched from it."""

    client: Client
    cache: Cache

    @classmethod
    def of_user(cls) -> Self:
        """The Hub and the cache that HF_ENDPOINT, HF_HUB_CACHE and HF_HOME name. Raises
        CheckpointError where huggingface_hub is not installed."""
        if find_spec("huggingface_hub") is None:
            raise CheckpointError(
                "models of the Hugging Face Hub need the extra 'hub': pip install "
                "'ddpm-service[hub]'"
            )
        from huggingface_hub import constants

        return cls(Client(constants.ENDPOINT), Cache(Path(constants.HF_HUB_CACHE)))

    def fetch(self, hub_id: HubId, max_bytes: int = MAX_WEIGHTS_BYTES) -> tuple[Path, str]:
        """Return the folder of a checkpoint in the cache, and its commit; what is missing there is
        fetched. The Hub is not asked for a commit that is there.

        Raises CheckpointError where there is no such checkpoint, its weights have more than
        `max_bytes`, or the Hub cannot be reached and the cache does not have it.
        """
        cached = self.cache.find(hub_id)
        commit = cached
        if cached is None or not hub_id.is_pinned:
            try:
                commit = self._update(hub_id, max_bytes, tries=TRIES if cached is None else 1)
            except Unreachable as error:
                self._check_cached(hub_id, cached, error)
        assert commit is not None
        return self.cache.snapshot(HubId(hub_id.repository, commit)), commit

    def _check_cached(self, hub_id: HubId, cached: str | None, error: Unreachable) -> None:
        if cached is None:
            raise CheckpointError(
                f"{hub_id}: {error}, and it is not in the cache {self.cache.folder}, which has, "
                f"whole or in part, {told(self.cache.models())}"
            ) from error
        log.warning("%s: %s; the cached revision %s is used", hub_id, error, cached)

    def _update(self, hub_id: HubId, max_bytes: int, tries: int) -> str:
        """Fetch what the cache lacks, and return the commit."""
        commit, listed = self.client.list(hub_id, tries)
        sizes = {name: file.size for name, file in listed.items()}
        try:
            files = choose(sizes)
            check_sizes(files, sizes, max_bytes)
        except CheckpointError as error:
            raise CheckpointError(f"{hub_id}: {error.reason}", error.remedy) from error
        pinned = HubId(hub_id.repository, commit)
        missing = {
            name: listed[name]
            for name in files.all
            if not self.cache.has(pinned, name, sizes[name])
        }
        if missing:
            self._download(pinned, missing)
        self.cache.set_branch(hub_id, commit)
        return commit

    def _download(self, pinned: HubId, missing: Mapping[str, HubFile]) -> None:
        total = sum(file.size for file in missing.values())
        folder = self.cache.folder
        try:
            if total + SPARE_BYTES > self.cache.free_bytes():
                raise CheckpointError(f"{pinned}: no room for its {total} bytes in {folder}")
            log.info("fetching %s: %d files, %.1f MB", pinned, len(missing), total / 1e6)
            name = pinned.repository
            with tqdm(total=total, desc=name, unit="B", unit_scale=True, disable=None) as bar:
                for path, file in missing.items():
                    with self.cache.new_file(pinned, path, file.digest) as target:
                        self.client.fetch(pinned, path, file, target, bar.update)
        except OSError as error:
            raise CheckpointError(
                f"{pinned}: it cannot be kept in {folder}, which HF_HOME or HF_HUB_CACHE can move: "
                f"{error.strerror or os.strerror(error.errno or 0)}"
            ) from error
        log.info("fetched %s", pinned)
