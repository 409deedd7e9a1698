"""The data sets known by name, from a server on this machine in place of the public ones."""

import gzip
import io
import tarfile

import numpy as np
import pytest

from diffusion.config import DataConfig
from diffusion.data import built_in
from diffusion.data.datasets import load
from tests.diffusion.data.samples import LABELS, PIXELS, idx
from tests.diffusion.data.site import Site

SMALLER = 2


def test_mnist_and_fashion_mnist_come_as_published_files(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = {}
    for prefix in ("train", "t10k"):
        for kind, dims, array in (("images", 3, PIXELS), ("labels", 1, LABELS)):
            name = f"{prefix}-{kind}-idx{dims}-ubyte.gz"
            hashes[f"{prefix}-{kind}"] = site.put(name, gzip.compress(idx(array))).sha256
    monkeypatch.setattr(built_in, "IDX_SHA256", {site.url: hashes})
    for name, constant in (("mnist", "MNIST_URL"), ("fashion-mnist", "FASHION_URL")):
        monkeypatch.setattr(built_in, constant, site.url)
        for split in ("test", "train"):
            images = load(name, split)  # type: ignore[arg-type]
            np.testing.assert_array_equal(images.pixels[:, 0], PIXELS)
            assert len(images.classes) == 10
            # a model of smaller images is evaluated on either split, whichever is read first
            smaller = load(DataConfig(name, size=SMALLER), split)  # type: ignore[arg-type]
            assert smaller.pixels.shape == (len(PIXELS), 1, SMALLER, SMALLER)


def test_cifar10_comes_from_its_binary_archive(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3072), np.uint8)
    labels = np.array([3, 1, 4, 1, 5, 9], np.uint8)
    records = np.concatenate([labels[:, None], pixels], axis=1)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, part in (("data_batch_2", records[2:4]), ("data_batch_1", records[:2]),
                           ("test_batch", records[4:])):  # fmt: skip
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            info.size = part.nbytes
            tar.addfile(info, io.BytesIO(part.tobytes()))
    monkeypatch.setattr(built_in, "CIFAR10", site.put("cifar-10-binary.tar.gz", buffer.getvalue()))
    train, test = load("cifar10"), load("cifar10", "test")
    np.testing.assert_array_equal(train.pixels.flatten(1), pixels[:4])
    assert train.labels is not None and train.labels.tolist() == [3, 1, 4, 1]
    assert test.labels is not None and test.labels.tolist() == [5, 9]
    assert train.classes[3] == "cat"
