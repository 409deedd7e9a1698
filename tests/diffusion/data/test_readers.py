"""Readers: IDX, .npz, folders and zips of images; damage is named."""

import gzip
import io
import logging
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion.data.datasets import load
from diffusion.data.readers import DataError, read_idx, read_npz

PIXELS = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)
LABELS = np.array([2, 0, 1], np.uint8)


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


def png(value: int, size: int = 4, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (size, size), value if mode == "L" else (value, 0, 255)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
def test_mnist_files_are_read_compressed_or_not(compressed: bool, tmp_path: Path) -> None:
    for prefix in ("train", "t10k"):
        for name, array in (("images-idx3-ubyte", PIXELS), ("labels-idx1-ubyte", LABELS)):
            content = idx(array)
            path = tmp_path / f"{prefix}-{name}{'.gz' if compressed else ''}"
            path.write_bytes(gzip.compress(content) if compressed else content)
    for split in ("train", "test"):
        images = load(str(tmp_path), split)  # type: ignore[arg-type]
        np.testing.assert_array_equal(images.pixels[:, 0], PIXELS)
        assert images.labels is not None and images.labels.tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0", b"\1\2\3\4" * 9, idx(PIXELS)[:-1], idx(PIXELS) + b"x"],
    ids=["empty", "header", "magic", "short", "long"],
)
def test_a_damaged_idx_file_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError, match=str(path)):
        read_idx(path)


@pytest.mark.parametrize("name", ["labels", "label"])
def test_npz_with_channels_last_or_grey(name: str, tmp_path: Path) -> None:
    colour = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    np.savez(tmp_path / "a.npz", images=colour, **{name: np.array([1, 0])})  # type: ignore[arg-type]
    images = load(str(tmp_path / "a.npz"))
    np.testing.assert_array_equal(images.pixels, colour.transpose(0, 3, 1, 2))
    assert images.labels is not None and images.labels.tolist() == [1, 0]
    assert images.classes == ("0", "1")
    np.savez(tmp_path / "b.npz", images=PIXELS)
    grey = load(str(tmp_path / "b.npz"))
    assert grey.pixels.shape == (3, 1, 4, 4) and grey.labels is None


def test_npz_of_the_wrong_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for arrays, message in (
        ({"pictures": PIXELS}, "needs `images`"),
        ({"images": PIXELS.astype(float)}, "needs `images`, uint8"),
        ({"images": PIXELS, "labels": np.array([1])}, r"labels \(1,\), but 3 images"),
        ({"images": np.array([{}], dtype=object)}, "not an .npz without pickles"),
    ):
        np.savez(path, **arrays, allow_pickle=True)  # type: ignore[arg-type]
        with pytest.raises(DataError, match=message):
            read_npz(path)


def test_sub_folders_are_classes_and_splits_are_kept_apart(tmp_path: Path) -> None:
    for name, value in (
        ("train/cat/1", 1),
        ("train/dog/1", 2),
        ("train/cat/2", 3),
        ("test/cat/1", 9),
    ):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(value))
    images = load(str(tmp_path))
    assert images.classes == ("cat", "dog")
    assert images.labels is not None and images.labels.tolist() == [0, 0, 1]
    assert images.pixels[:, 0, 0, 0].tolist() == [1, 3, 2]
    assert len(load(str(tmp_path), "test")) == 1


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(png(i, mode="L"))
    images = load(str(tmp_path))
    assert images.pixels.shape == (3, 1, 4, 4) and images.labels is None


def test_a_zip_is_read_like_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("train/a/0.png", "train/b/0.png", "test/a/0.png", "readme.txt"):
            archive.writestr(name, png(len(name)) if name.endswith("png") else b"hello")
    assert load(str(path)).classes == ("a", "b")
    assert len(load(str(path), "test")) == 1


def test_a_corrupt_image_is_named_and_left_out_unless_asked_not_to(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / "b.png").write_bytes(png(2)[:40])
    (tmp_path / "c.png").write_bytes(b"not an image")
    with caplog.at_level(logging.WARNING):
        assert len(load(str(tmp_path))) == 1
    assert "left out b.png" in caplog.text and "left out c.png" in caplog.text
    with pytest.raises(DataError, match="b.png: not a readable image"):
        load(str(tmp_path), strict=True)


def test_images_of_different_sizes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / "b.png").write_bytes(png(1, size=5))
    with pytest.raises(DataError, match=r"one shape \(C,H,W\); found \(3, 4, 4\), \(3, 5, 5\)"):
        load(str(tmp_path))


def test_what_is_neither_name_nor_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'nothing' is neither a built-in data set .mnist, fashion"):
        load("nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="found no images"):
        load(str(tmp_path / "empty"))
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match="is not a folder, a .zip of images or an .npz"):
        load(str(tmp_path / "a.txt"))
