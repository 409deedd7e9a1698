"""Files from public addresses, downloaded once and verified."""

import hashlib
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import httpx
from tqdm import tqdm

from diffusion.data.images import DataError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemoteFile:
    """A file at a public address, and the SHA-256 that its bytes must have."""

    url: str
    sha256: str

    @property
    def name(self) -> str:
        """The last part of the address: its name in the cache."""
        return self.url.rsplit("/", 1)[1]


def fetch(file: RemoteFile, folder: Path) -> Path:
    """Return the file's path in `folder`, downloaded and verified if it is not there already.

    Raises DataError on a failed download or a wrong SHA-256.
    """
    path = folder / file.name
    if path.exists():
        if _sha256(path) == file.sha256:
            return path
        log.warning("%s is damaged; it is downloaded again", path)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as partial:
        try:
            _download(file.url, partial)
            actual = _sha256(Path(partial.name))
            if actual != file.sha256:
                raise DataError(f"{file.url}: SHA-256 is {actual}, not {file.sha256} as published")
            os.replace(partial.name, path)
        except httpx.HTTPError as error:
            raise DataError(f"{file.url}: download failed: {error}") from error
        finally:
            Path(partial.name).unlink(missing_ok=True)
    return path


def _download(url: str, out: "tempfile._TemporaryFileWrapper[bytes]") -> None:
    with httpx.stream("GET", url, follow_redirects=True, timeout=60) as response:
        response.raise_for_status()
        total = int(response.headers.get("content-length", 0)) or None
        with tqdm(total=total, unit="B", unit_scale=True, desc=url.rsplit("/", 1)[1]) as bar:
            for chunk in response.iter_raw():
                out.write(chunk)
                bar.update(len(chunk))
    out.flush()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
