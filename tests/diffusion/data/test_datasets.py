"""Downloads, for real, from a server on this machine: verified, cached, and never half done."""

import gzip
import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from diffusion.data import datasets
from diffusion.data.datasets import RemoteFile, fetch, load
from diffusion.data.readers import DataError
from tests.diffusion.data.test_readers import LABELS, PIXELS, idx


class Site:
    """A folder served over HTTP, and the paths that were asked for."""

    def __init__(self, folder: Path, url: str, asked: list[str]) -> None:
        self.folder, self.url, self.asked = folder, url, asked

    def put(self, name: str, content: bytes) -> RemoteFile:
        (self.folder / name).write_bytes(content)
        return RemoteFile(self.url + name, hashlib.sha256(content).hexdigest())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "site"
    folder.mkdir()
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=str(folder))
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Site(folder, f"http://127.0.0.1:{server.server_port}/", asked)
        server.shutdown()
        thread.join()


def test_a_file_is_fetched_once_and_then_taken_from_the_cache(site: Site, tmp_path: Path) -> None:
    file = site.put("data.bin", b"hello")
    for _ in range(2):
        assert fetch(file, tmp_path / "cache").read_bytes() == b"hello"
    assert site.asked == ["/data.bin"]


def test_a_damaged_cached_file_is_fetched_again(site: Site, tmp_path: Path) -> None:
    file = site.put("data.bin", b"hello")
    fetch(file, tmp_path / "cache").write_bytes(b"hel")
    assert fetch(file, tmp_path / "cache").read_bytes() == b"hello"


def test_other_bytes_than_published_are_refused_and_not_kept(site: Site, tmp_path: Path) -> None:
    file = site.put("data.bin", b"hello")
    (site.folder / "data.bin").write_bytes(b"evil!")
    with pytest.raises(DataError, match="data.bin: SHA-256 is .* as published"):
        fetch(file, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_failed_download_names_the_address_and_leaves_nothing(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing.bin: download failed: .*404"):
        fetch(RemoteFile(site.url + "missing.bin", "0"), tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_mnist_and_fashion_mnist_come_as_published_files(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    hashes = {}
    for prefix in ("train", "t10k"):
        for kind, dims, array in (("images", 3, PIXELS), ("labels", 1, LABELS)):
            name = f"{prefix}-{kind}-idx{dims}-ubyte.gz"
            hashes[f"{prefix}-{kind}"] = site.put(name, gzip.compress(idx(array))).sha256
    monkeypatch.setattr(datasets, "IDX_SHA256", {site.url: hashes})
    for name, constant in (("mnist", "MNIST_URL"), ("fashion-mnist", "FASHION_URL")):
        monkeypatch.setattr(datasets, constant, site.url)
        for split in ("train", "test"):
            images = load(name, split)  # type: ignore[arg-type]
            np.testing.assert_array_equal(images.pixels[:, 0], PIXELS)
            assert len(images.classes) == 10


def test_cifar10_comes_from_its_binary_archive(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
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
    monkeypatch.setattr(datasets, "CIFAR10", site.put("cifar-10-binary.tar.gz", buffer.getvalue()))
    train, test = load("cifar10"), load("cifar10", "test")
    np.testing.assert_array_equal(train.pixels.flatten(1), pixels[:4])
    assert train.labels is not None and train.labels.tolist() == [3, 1, 4, 1]
    assert test.labels is not None and test.labels.tolist() == [5, 9]
    assert train.classes[3] == "cat"
