"""Arrays: MNIST's own files, and .npz as people and libraries write them."""

import gzip
import io
import os
import shutil
import struct
import zipfile
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from diffusion.data import arrays
from diffusion.data.arrays import file_stamp, is_idx_folder, read_idx, read_idx_folder, read_npz
from diffusion.data.images import DataError
from tests.diffusion.data.samples import LABELS, PIXELS, idx, put


@pytest.mark.parametrize("compressed", [False, True])
def test_mnist_files_are_read_compressed_or_not(compressed: bool, tmp_path: Path) -> None:
    for prefix in ("train", "t10k"):
        for name, array in (("images-idx3-ubyte", PIXELS), ("labels-idx1-ubyte", LABELS)):
            content = idx(array)
            path = tmp_path / f"{prefix}-{name}{'.gz' if compressed else ''}"
            path.write_bytes(gzip.compress(content) if compressed else content)
    assert is_idx_folder(tmp_path)
    found = read_idx_folder(tmp_path).splits
    assert list(found) == ["train", "test"]
    for part in found.values():
        np.testing.assert_array_equal(part.pixels[:, 0], PIXELS)
        assert part.labels is not None and part.labels.tolist() == [2, 0, 1]


def test_mnist_files_may_lack_labels_and_the_test_split(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(PIXELS))
    found = read_idx_folder(tmp_path).splits
    assert list(found) == ["train"] and found["train"].labels is None


def test_the_training_images_are_missed_by_name(tmp_path: Path) -> None:
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(PIXELS))
    with pytest.raises(DataError, match="train-images-idx3-ubyte.*no such file"):
        read_idx_folder(tmp_path)


@pytest.mark.parametrize("shape", [(0, 28, 28), (3, 0, 28)])
def test_mnist_files_without_pixels_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(np.zeros(shape, np.uint8)))
    with pytest.raises(DataError, match="train-images-idx3-ubyte: .* holds no pixels"):
        read_idx_folder(tmp_path)


def test_a_damaged_gz_is_refused_wherever_the_damage_is(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 4, (20, 16, 16), np.uint8)
    whole, path = gzip.compress(idx(noise)), tmp_path / "train-images-idx3-ubyte.gz"
    refused = 0
    for at in range(0, len(whole), 29):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            read_idx(path)
        except DataError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 10


def test_a_stamp_changes_with_the_files_of_mnist(tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(idx(PIXELS))
    before = read_idx_folder(tmp_path).stamp
    assert read_idx_folder(tmp_path).stamp == before
    path.write_bytes(idx(PIXELS[::-1]))
    assert read_idx_folder(tmp_path).stamp != before


def test_a_stamp_tells_files_of_equal_name_size_and_time_apart(tmp_path: Path) -> None:
    for name in "ab":
        put(tmp_path / name, {"x": name.encode()})
        os.utime(tmp_path / name / "x", (0, 0))
    assert file_stamp(tmp_path / "a" / "x") != file_stamp(tmp_path / "b" / "x")


def test_other_labels_than_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(PIXELS))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS[:2]))
    with pytest.raises(DataError, match=r"images \(3, 4, 4\) and labels \(2,\) do not match"):
        read_idx_folder(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\0\0", b"\1\2\3\4" * 9, idx(PIXELS)[:-1], idx(PIXELS) + b"x",
        struct.pack(">HBB3I", 0, 8, 3, *[2**32 - 1] * 3), b"\0\0\x08\xff" + b"\xff" * 1020,
    ],
    ids=["empty", "header", "magic", "short", "long", "huge", "infinite"],
)  # fmt: skip
@pytest.mark.parametrize("compressed", [False, True])
def test_a_damaged_idx_file_is_named(content: bytes, compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / f"images-idx3-ubyte{'.gz' if compressed else ''}"
    path.write_bytes(gzip.compress(content) if compressed else content)
    with pytest.raises(DataError, match=str(path)):
        read_idx(path)


COLOUR = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    return tmp_path / "a.npz"


@pytest.mark.parametrize("key", ["labels", "label"])
def test_colour_has_its_channels_last_and_grey_may_have_none(key: str, npz: Path) -> None:
    found = read_npz(saved(npz, images=COLOUR, **{key: np.array([1, 0])})).splits["train"]
    np.testing.assert_array_equal(found.pixels, COLOUR.transpose(0, 3, 1, 2))
    assert found.labels is not None and found.labels.tolist() == [1, 0]
    grey = read_npz(saved(npz, images=PIXELS)).splits["train"]
    assert grey.pixels.shape == (3, 1, 4, 4) and grey.labels is None


@pytest.mark.parametrize(
    ("shape", "read_as"),
    [
        ((2, 1, 8, 8), (2, 1, 8, 8)), ((2, 3, 8, 8), (2, 3, 8, 8)), ((2, 8, 8, 1), (2, 1, 8, 8)),
        ((2, 8, 8, 4), (2, 4, 8, 8)),
    ],
)  # fmt: skip
def test_the_axis_of_channels_is_found_where_it_is_unmistakable(
    shape: tuple[int, ...], read_as: tuple[int, ...], npz: Path
) -> None:
    assert (
        read_npz(saved(npz, images=np.zeros(shape, np.uint8))).splits["train"].pixels.shape
        == read_as
    )


@pytest.mark.parametrize("shape", [(2, 3, 8, 3), (2, 1, 8, 1), (2, 8, 8, 8), (2, 8, 8, 2)])
def test_an_axis_of_channels_that_could_be_another_is_refused(
    shape: tuple[int, ...], npz: Path
) -> None:
    with pytest.raises(DataError, match=r"does not tell which axis .*save \(N,H,W,C\)"):
        read_npz(saved(npz, images=np.zeros(shape, np.uint8)))


def test_medmnist_and_keras_and_guided_diffusion_have_keys_of_their_own(npz: Path) -> None:
    found = read_npz(
        saved(npz, train_images=PIXELS, train_labels=LABELS[:, None], val_images=PIXELS[:1],
              val_labels=LABELS[:1, None], test_images=PIXELS[:2], test_labels=LABELS[:2, None])
    ).splits  # fmt: skip
    assert {split: len(part.pixels) for split, part in found.items()} == {
        "train": 3, "val": 1, "test": 2,
    }  # fmt: skip
    assert found["test"].labels is not None and found["test"].labels.tolist() == [2, 0]
    found = read_npz(saved(npz, x_train=PIXELS, y_train=LABELS, x_test=PIXELS, y_test=LABELS,
                           x_val=PIXELS, y_val=LABELS)).splits  # fmt: skip
    assert list(found) == ["train", "val", "test"]
    found = read_npz(saved(npz, images=PIXELS, test_images=PIXELS[:1])).splits
    assert [len(part.pixels) for part in found.values()] == [3, 1]
    assert (
        len(read_npz(saved(npz, arr_0=COLOUR, arr_1=np.array([0, 1]))).splits["train"].pixels) == 2
    )


def test_strings_are_classes(npz: Path) -> None:
    for names in (np.array(["b", "a", "b"]), np.array([b"b", b"a", b"b"])):
        found = read_npz(saved(npz, images=PIXELS, labels=names)).splits["train"].labels
        assert found is not None and found.tolist() == ["b", "a", "b"]


def test_labels_may_have_another_key(npz: Path) -> None:
    path = saved(npz, images=PIXELS, labels=LABELS, fine=LABELS[::-1])
    found = read_npz(path, "fine").splits["train"].labels
    assert found is not None and found.tolist() == [1, 0, 2]
    with pytest.raises(
        DataError, match=r"\[data\] labels: 'coarse' is not an array of .*; it has fine, im"
    ):
        read_npz(path, "coarse")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pictures": PIXELS, "y": LABELS}, "no images among its keys pictures, y"),
        ({"images": PIXELS.astype(float)}, r"images: float64 \(3, 4, 4\) is not allowed.*uint8"),
        ({"images": PIXELS[0]}, r"images: uint8 \(4, 4\) is not allowed"),
        ({"images": PIXELS[:, :0]}, "images: .* holds no pixels"),
        ({"images": PIXELS[:0]}, "images: .* holds no pixels"),
        (
            {"images": PIXELS, "labels": np.array([1])},
            r"labels: \(1,\) is not allowed; the labels of 3 images are \(3,\) or \(3, 1\)",
        ),
        ({"images": PIXELS, "labels": np.eye(3)}, r"labels: \(3, 3\) is not allowed; the labels"),
        ({"images": PIXELS, "labels": np.array([0.5, 1, 2])}, "labels: 0.5 is not allowed; labels"),
        ({"images": PIXELS, "labels": np.array([0, np.nan, 2])}, "labels: nan is not allowed"),
        ({"images": PIXELS, "labels": np.array([0, np.inf, 2])}, "labels: inf is not allowed"),
        (
            {"images": PIXELS, "labels": np.array([b"a", b"\xe9", b"b"])},
            "labels: not text in UTF-8",
        ),
        (
            {"images": PIXELS, "labels": np.array([1, 0x110000, 3], "<u4").view("<U1")},
            "labels: not text in UTF-8",
        ),
        ({"images": PIXELS, "labels": np.array(["a", "\ud800", "b"])}, "labels: not text in UTF-8"),
        ({"images": PIXELS, "labels": np.array([1j, 1, 2])}, "labels: complex128 is not allowed"),
        ({"images": np.array([{}], dtype=object)}, r"images holds Python objects \(pickles\)"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(
    given: dict[str, np.ndarray], message: str, npz: Path
) -> None:
    with pytest.raises(DataError, match=f"^{npz}: {message}"):
        read_npz(saved(npz, **given))


def test_fortrans_order_is_read(npz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(npz, images=np.asfortranarray(COLOUR))
    for limit in (arrays.MAX_IN_MEMORY, 10):
        monkeypatch.setattr(arrays, "MAX_IN_MEMORY", limit)
        found = read_npz(path).splits["train"].pixels
        np.testing.assert_array_equal(found, COLOUR.transpose(0, 3, 1, 2))


def test_named_labels_are_the_training_splits_and_others_have_that_name_with_their_own(
    npz: Path,
) -> None:
    given = {"train_images": PIXELS, "train_labels": LABELS, "train_fine": LABELS[::-1]}
    given |= {"test_images": PIXELS, "test_labels": LABELS, "test_fine": LABELS}
    path = saved(npz, **given, val_images=PIXELS, extra=LABELS)
    found = read_npz(path, "train_fine").splits
    lists = {s: None if p.labels is None else p.labels.tolist() for s, p in found.items()}
    assert lists == {"train": [1, 0, 2], "val": None, "test": [2, 0, 1]}
    alone = read_npz(path, "extra").splits
    assert [part.labels is None for part in alone.values()] == [False, True, True]


def test_arrays_that_are_not_read_are_told(npz: Path) -> None:
    assert read_npz(saved(npz, images=PIXELS, labels=LABELS)).warnings == ()
    found = read_npz(saved(npz, images=PIXELS, masks=PIXELS, x_train=PIXELS))
    assert found.warnings == ("not read: masks, x_train in the .npz",)


def test_a_damaged_member_is_refused_wherever_the_damage_is(npz: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 16, 16), np.uint8)
    np.savez_compressed(npz, images=noise // 64)
    whole = npz.read_bytes()
    refused = 0
    for at in range(0, len(whole), 29):
        npz.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            read_npz(npz)
        except DataError as error:
            assert str(npz) in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 10


def test_a_file_that_is_no_npz_is_refused(npz: Path) -> None:
    whole = saved(npz, images=PIXELS).read_bytes()
    for content in (b"", b"hello", whole[:-30], whole[:60] + b"xxxx" + whole[64:]):
        npz.write_bytes(content)
        with pytest.raises(DataError, match=str(npz)):
            read_npz(npz)


def lying(path: Path, shape: tuple[int, ...]) -> Path:
    """An .npz whose header promises more than is in it."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", header.getvalue() + bytes(100))
    return path


@pytest.mark.parametrize(
    "shape",
    [
        (10, 10, 11), (10**6, 10**4, 10**4), (2**62, 2**62, 2**62), (-1, 10, 10), (-1, 10, -10),
        (1, 9, 9),  # less than is in it
    ],
)  # fmt: skip
@pytest.mark.parametrize("limit", [arrays.MAX_IN_MEMORY, 10])
def test_neither_memory_nor_disk_is_taken_for_what_a_header_promises(
    shape: tuple[int, ...], limit: int, npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "MAX_IN_MEMORY", limit)
    monkeypatch.setattr(arrays, "_mapped", None)  # what is unpacked to disk goes through it
    with pytest.raises(DataError, match=f"{npz}: images: not a whole array: .*uint8.* 100"):
        read_npz(lying(npz, shape))


def test_a_disk_without_room_is_told_with_both_sizes(
    npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "MAX_IN_MEMORY", 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Mock(free=7))
    with pytest.raises(DataError, match=f"{npz}: images takes 48 bytes unpacked, .* has 7 left"):
        read_npz(saved(npz, images=PIXELS))


def test_an_array_too_large_for_memory_is_mapped(
    npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "MAX_IN_MEMORY", 10)
    found = read_npz(saved(npz, images=COLOUR)).splits["train"].pixels
    np.testing.assert_array_equal(found, COLOUR.transpose(0, 3, 1, 2))
    base = found
    while not isinstance(base, np.memmap):
        base = base.base  # type: ignore[assignment]
    assert isinstance(base, np.memmap)
