"""Arrays: MNIST's own files, and .npz as people and libraries write them."""

import gzip
import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from diffusion.data import arrays
from diffusion.data.arrays import is_idx_folder, read_idx, read_idx_folder, read_npz
from diffusion.data.images import DataError
from tests.diffusion.data.samples import LABELS, PIXELS, idx


@pytest.mark.parametrize("compressed", [False, True])
def test_mnist_files_are_read_compressed_or_not(compressed: bool, tmp_path: Path) -> None:
    for prefix in ("train", "t10k"):
        for name, array in (("images-idx3-ubyte", PIXELS), ("labels-idx1-ubyte", LABELS)):
            content = idx(array)
            path = tmp_path / f"{prefix}-{name}{'.gz' if compressed else ''}"
            path.write_bytes(gzip.compress(content) if compressed else content)
    assert is_idx_folder(tmp_path)
    found = read_idx_folder(tmp_path)
    assert list(found) == ["train", "test"]
    for part in found.values():
        np.testing.assert_array_equal(part.pixels[:, 0], PIXELS)
        assert part.labels is not None and part.labels.tolist() == [2, 0, 1]


def test_mnist_files_may_lack_labels_and_the_test_split(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(PIXELS))
    found = read_idx_folder(tmp_path)
    assert list(found) == ["train"] and found["train"].labels is None


def test_the_training_images_are_missed_by_name(tmp_path: Path) -> None:
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(PIXELS))
    with pytest.raises(DataError, match="train-images-idx3-ubyte.*no such file"):
        read_idx_folder(tmp_path)


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
    found = read_npz(saved(npz, images=COLOUR, **{key: np.array([1, 0])}))["train"]
    np.testing.assert_array_equal(found.pixels, COLOUR.transpose(0, 3, 1, 2))
    assert found.labels is not None and found.labels.tolist() == [1, 0]
    grey = read_npz(saved(npz, images=PIXELS))["train"]
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
    assert read_npz(saved(npz, images=np.zeros(shape, np.uint8)))["train"].pixels.shape == read_as


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
    )  # fmt: skip
    assert {split: len(part.pixels) for split, part in found.items()} == {
        "train": 3, "val": 1, "test": 2,
    }  # fmt: skip
    assert found["test"].labels is not None and found["test"].labels.tolist() == [2, 0]
    found = read_npz(saved(npz, x_train=PIXELS, y_train=LABELS, x_test=PIXELS, y_test=LABELS))
    assert list(found) == ["train", "test"]
    assert len(read_npz(saved(npz, arr_0=COLOUR, arr_1=np.array([0, 1])))["train"].pixels) == 2


def test_strings_are_classes(npz: Path) -> None:
    for names in (np.array(["b", "a", "b"]), np.array([b"b", b"a", b"b"])):
        found = read_npz(saved(npz, images=PIXELS, labels=names))["train"].labels
        assert found is not None and found.tolist() == ["b", "a", "b"]


def test_labels_may_have_another_key(npz: Path) -> None:
    path = saved(npz, images=PIXELS, labels=LABELS, fine=LABELS[::-1])
    found = read_npz(path, "fine")["train"].labels
    assert found is not None and found.tolist() == [1, 0, 2]
    with pytest.raises(DataError, match=r"\[data\] labels: .* has no 'coarse'.*'fine'"):
        read_npz(path, "coarse")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pictures": PIXELS, "y": LABELS}, "no images among its keys pictures, y"),
        ({"images": PIXELS.astype(float)}, r"images: float64 \(3, 4, 4\) is not allowed.*uint8"),
        ({"images": PIXELS[0]}, r"uint8 \(4, 4\) is not allowed"),
        ({"images": PIXELS[:, :0]}, "holds no pixels"),
        ({"images": PIXELS[:0]}, "holds no pixels"),
        ({"images": PIXELS, "labels": np.array([1])}, r"labels \(1,\), but 3 images"),
        ({"images": PIXELS, "labels": np.eye(3)}, r"labels \(3, 3\), but 3 images"),
        ({"images": PIXELS, "labels": np.array([0.5, 1, 2])}, "float64 is not allowed; labels"),
        ({"images": PIXELS, "labels": np.array([0, np.nan, 2])}, "float64 is not allowed"),
        ({"images": PIXELS, "labels": np.array([1j, 1, 2])}, "complex128 is not allowed"),
        ({"images": np.array([{}], dtype=object)}, r"Python objects \(pickles\)"),
        ({"images": np.asfortranarray(COLOUR)}, "in Fortran's order"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(
    given: dict[str, np.ndarray], message: str, npz: Path
) -> None:
    with pytest.raises(DataError, match=message):
        read_npz(saved(npz, **given))


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


@pytest.mark.parametrize("shape", [(10, 10, 11), (10**6, 10**4, 10**4), (2**62, 2**62, 2**62)])
def test_no_memory_is_taken_for_what_a_header_promises(shape: tuple[int, ...], npz: Path) -> None:
    with pytest.raises(DataError, match=str(npz)):
        read_npz(lying(npz, shape))


def test_an_array_too_large_for_memory_is_mapped(
    npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "MAX_IN_MEMORY", 10)
    found = read_npz(saved(npz, images=COLOUR))["train"].pixels
    np.testing.assert_array_equal(found, COLOUR.transpose(0, 3, 1, 2))
    base = found
    while not isinstance(base, np.memmap):
        base = base.base  # type: ignore[assignment]
    assert isinstance(base, np.memmap)
