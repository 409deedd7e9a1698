"""The data sets that are known by name: downloaded once, verified, and read from the cache; or made
of what is installed."""

import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffusion.data import emoji
from diffusion.data.arrays import IDX_PREFIXES, Arrays, Stamp, read_idx_split
from diffusion.data.downloads import RemoteFile, fetch
from diffusion.data.images import Split

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


def _mnist(cache: Path, split: Split) -> Arrays:
    return _idx_set(cache / "mnist", MNIST_URL, split)


def _fashion_mnist(cache: Path, split: Split) -> Arrays:
    return _idx_set(cache / "fashion-mnist", FASHION_URL, split)


def _idx_set(folder: Path, url: str, split: Split) -> Arrays:
    prefix = IDX_PREFIXES[split]
    for kind, suffix in (("images", "idx3-ubyte.gz"), ("labels", "idx1-ubyte.gz")):
        sha256 = IDX_SHA256[url][f"{prefix}-{kind}"]
        fetch(RemoteFile(f"{url}{prefix}-{kind}-{suffix}", sha256), folder)
    return read_idx_split(folder, split)


def _cifar10(cache: Path, split: Split) -> Arrays:
    archive = fetch(CIFAR10, cache / "cifar10")
    prefix = "data_batch_" if split == "train" else "test_batch"
    records = []
    with tarfile.open(archive) as tar:
        members = sorted(tar.getmembers(), key=lambda member: member.name)
        for member in members:
            file = tar.extractfile(member) if prefix in member.name else None
            if file is not None:  # label byte, then 3 x 32 x 32 pixels
                records.append(np.frombuffer(file.read(), np.uint8).reshape(-1, 1 + 3072))
    data = np.concatenate(records)
    return Arrays(data[:, 1:].reshape(-1, 3, 32, 32), data[:, 0])


@dataclass(frozen=True)
class BuiltIn:
    """A data set known by name. `read` takes the cache's folder and a split: train or test; `stamp`
    tells what changes when the data set does; `mirrored` names the classes that a mirror does not
    change, as it does letters and digits; `license` is what those who made it state, if they do."""

    classes: tuple[str, ...]
    read: Callable[[Path, Split], Arrays]
    stamp: Callable[[], Stamp] = tuple
    mirrored: tuple[str, ...] = ()
    license: str | None = None


BUILT_IN = {
    "mnist": BuiltIn(DIGITS, _mnist),
    "fashion-mnist": BuiltIn(
        FASHION_CLASSES, _fashion_mnist, tuple, FASHION_CLASSES, "MIT, Zalando SE"
    ),
    "cifar10": BuiltIn(CIFAR10_CLASSES, _cifar10, tuple, CIFAR10_CLASSES),
    "emoji": BuiltIn(emoji.CLASSES, emoji.read, emoji.stamp, emoji.WITHOUT_LETTERS, emoji.LICENSE),
}


def is_here(data: str) -> bool:
    """Is this a data set's name, or a path at which there is something?"""
    return data in BUILT_IN or Path(data).exists()
