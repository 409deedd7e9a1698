"""Data sets by name, which are downloaded once and verified, or by path.

`load("mnist")` fetches from the public address into the cache; `load("./path")` reads a folder of
images or of IDX files, a zip of images, or an .npz.
"""

import hashlib
import logging
import os
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import torch
from tqdm import tqdm

from diffusion.data.readers import (
    DataError,
    Images,
    Split,
    folder_files,
    read_idx_folder,
    read_images,
    read_npz,
    zip_files,
)
from diffusion.folders import cache_folder

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


MNIST_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
IDX_SHA256 = {
    MNIST_URL: {
        "train-images": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    FASHION_URL: {
        "train-images": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
}
CIFAR10 = RemoteFile(
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",  # not the pickled version
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
DIGITS = tuple("0123456789")
FASHION_CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"
)  # fmt: skip
CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"
)  # fmt: skip


def load(source: str, split: Split = "train", *, strict: bool = False) -> Images:
    """Read a split of a data set: of a built-in name, or of what is at the path `source`.

    Raises DataError where that is missing or damaged. An image file that cannot be decoded is
    reported and left out, or raises DataError too if `strict`.
    """
    if source in BUILT_IN:
        return BUILT_IN[source](cache_folder(), split)
    path = Path(source)
    if path.is_dir():
        subfolder = path / split
        if any(path.glob("*idx3-ubyte*")):
            return read_idx_folder(path, split)
        return read_images(folder_files(subfolder if subfolder.is_dir() else path), strict)
    if not path.is_file():
        names = ", ".join(BUILT_IN)
        raise DataError(f"data: {source!r} is neither a built-in data set ({names}) nor a path")
    if path.suffix == ".npz":
        return read_npz(path)
    if path.suffix == ".zip":
        return read_images(zip_files(path, split), strict)
    raise DataError(f"data: {path} is not a folder, a .zip of images or an .npz")


def _mnist(cache: Path, split: Split) -> Images:
    return _idx_set(cache / "mnist", MNIST_URL, split, DIGITS)


def _fashion_mnist(cache: Path, split: Split) -> Images:
    return _idx_set(cache / "fashion-mnist", FASHION_URL, split, FASHION_CLASSES)


def _idx_set(folder: Path, url: str, split: Split, classes: tuple[str, ...]) -> Images:
    prefix = "train" if split == "train" else "t10k"
    for kind, suffix in (("images", "idx3-ubyte.gz"), ("labels", "idx1-ubyte.gz")):
        sha256 = IDX_SHA256[url][f"{prefix}-{kind}"]
        fetch(RemoteFile(f"{url}{prefix}-{kind}-{suffix}", sha256), folder)
    images = read_idx_folder(folder, split)
    return Images(images.pixels, images.labels, classes)


def _cifar10(cache: Path, split: Split) -> Images:
    archive = fetch(CIFAR10, cache / "cifar10")
    prefix = "data_batch_" if split == "train" else "test_batch"
    records = []
    with tarfile.open(archive) as tar:
        members = sorted(tar.getmembers(), key=lambda member: member.name)
        for member in members:
            file = tar.extractfile(member) if prefix in member.name else None
            if file is not None:  # label byte, then 3 x 32 x 32 pixels
                records.append(np.frombuffer(file.read(), np.uint8).reshape(-1, 1 + 3072))
    data = torch.from_numpy(np.concatenate(records))
    return Images(data[:, 1:].reshape(-1, 3, 32, 32), data[:, 0].long(), CIFAR10_CLASSES)


BUILT_IN: dict[str, Callable[[Path, Split], Images]] = {
    "mnist": _mnist,
    "fashion-mnist": _fashion_mnist,
    "cifar10": _cifar10,
}


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
