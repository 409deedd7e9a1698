"""A data set by its path, whatever is there, and what is said of it."""

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffusion.config import DataConfig
from diffusion.data import datasets
from diffusion.data.datasets import SHOWN, load, read, survey
from diffusion.data.images import DataError, NoSplitError
from tests.diffusion.data.samples import LABELS, PIXELS, idx, png, put, zipped


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {f"train/{name}/{i}.png": png(i) for name in ("cat", "dog") for i in range(2)}
    return put(tmp_path / "images", files | {"test/cat/0.png": png(9)})


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    np.savez(tmp_path / "a.npz", images=PIXELS, labels=LABELS)
    return tmp_path / "a.npz"


def test_a_folder_of_images(folder: Path) -> None:
    assert load(str(folder)).classes == ("cat", "dog")
    assert len(load(str(folder), "test")) == 1


@pytest.mark.parametrize("name", ["a.zip", "a.ZIP"])
def test_a_zip_of_images(name: str, tmp_path: Path) -> None:
    path = zipped(tmp_path / name, {"a/0.png": png(), "b/0.png": png()})
    assert load(str(path)).classes == ("a", "b")


def test_a_folder_of_idx_files(tmp_path: Path) -> None:
    files = {"train-images-idx3-ubyte": idx(PIXELS), "train-labels-idx1-ubyte": idx(LABELS)}
    images = load(str(put(tmp_path / "m", files)))
    np.testing.assert_array_equal(images.pixels[:, 0], PIXELS)
    assert images.classes == ("0", "1", "2")


def test_a_set_may_be_an_npz(npz: Path) -> None:
    images = load(str(npz))
    np.testing.assert_array_equal(images.pixels[:, 0], PIXELS)
    assert images.labels is not None and images.labels.tolist() == [2, 0, 1]


def test_the_labels_of_an_npz_may_be_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=PIXELS, labels=np.array(["b", "a", "b"]))
    images = load(str(tmp_path / "a.npz"))
    assert images.classes == ("a", "b")
    assert images.labels is not None and images.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize("label", [-1, 10**8])
def test_labels_out_of_range_are_refused(label: int, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=PIXELS, labels=np.array([0, 1, label]))
    with pytest.raises(DataError, match=f"the label {label} is not allowed"):
        load(str(tmp_path / "a.npz"))


@pytest.mark.parametrize(
    ("options", "shape"),
    [({"size": 8}, (3, 1, 8, 8)), ({"channels": 3}, (3, 3, 4, 4)), ({}, (3, 1, 4, 4))],
)
def test_arrays_are_scaled_and_converted_like_files(
    options: dict[str, Any], shape: tuple[int, ...], npz: Path
) -> None:
    assert read(DataConfig(str(npz), **options)).split("train").pixels.shape == shape


def test_arrays_become_what_the_network_takes(npz: Path) -> None:
    images = load(str(npz), channels=3)
    assert images.pixels.shape == (3, 3, 4, 4)
    np.testing.assert_array_equal(images.pixels[:, 1], PIXELS)


def test_images_of_arrays_can_be_held_out(npz: Path) -> None:
    data = read(DataConfig(str(npz), holdout=1, labels="none"))
    assert (len(data.split("train")), len(data.split("test"))) == (2, 1)


def test_labels_can_be_left_out(folder: Path, npz: Path) -> None:
    for path in (folder, npz):
        images = load(DataConfig(str(path), labels="none"))
        assert images.labels is None and images.classes == ()


def test_files_have_no_named_labels(folder: Path) -> None:
    with pytest.raises(DataError, match=r"\[data\] labels: 'fine' is not allowed; image files"):
        load(DataConfig(str(folder), labels="fine"))


@pytest.mark.parametrize("path", ["mnist", "{tmp}/m"])
def test_arrays_without_names_have_no_named_labels(path: str, tmp_path: Path) -> None:
    put(tmp_path / "m", {"train-images-idx3-ubyte": idx(PIXELS)})
    with pytest.raises(DataError, match=r"\[data\] labels: 'fine' is not allowed; .* `auto` or"):
        read(DataConfig(path.format(tmp=tmp_path), labels="fine"))


def test_a_file_of_arrays_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = put(tmp_path / "m", {"train-images-idx3-ubyte": idx(PIXELS)}) / "train-images-idx3-ubyte"
    config = DataConfig(str(tmp_path / "m"), size=2)
    assert read(config).split("train").pixels.max() > 0
    with path.open("r+b") as file:  # in place: the folder stays as it is
        file.write(idx(np.zeros_like(PIXELS)))
    assert read(config).split("train").pixels.max() == 0


@pytest.mark.parametrize("options", [{}, {"size": 2}])
def test_arrays_that_are_not_read_are_warned_of(options: dict[str, Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=PIXELS, masks=PIXELS)
    data = read(DataConfig(str(tmp_path / "a.npz"), **options))
    assert data.warnings == ("not read: masks in the .npz",)


def test_a_survey_counts_images_and_sizes(folder: Path, npz: Path) -> None:
    assert survey(DataConfig(str(folder))).images == {"train": 4, "test": 1}
    found = survey(DataConfig(str(npz)))
    assert found.sizes == {(4, 4): 3} and found.images == {"train": 3}


def test_a_missing_split_is_never_another_one(tmp_path: Path) -> None:
    for name in ("train", "val"):
        put(tmp_path / "a", {f"{name}/x/0.png": png(), f"{name}/y/0.png": png()})
    assert load(str(tmp_path / "a"), "val").classes == ("x", "y")
    with pytest.raises(NoSplitError, match="no test split, only train, val"):
        load(str(tmp_path / "a"), "test")
    flat = put(tmp_path / "b", {"0.png": png()})
    with pytest.raises(NoSplitError):
        load(str(flat), "test")


def test_what_was_left_out_is_logged_or_refused_if_strict(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(folder, {f"train/cat/x{i:02}.png": b"x" for i in range(SHOWN + 3)} | {".hidden.png": b""})
    with caplog.at_level(logging.WARNING):
        assert len(load(str(folder))) == 4
    assert caplog.text.count("left out train/cat/x") == SHOWN
    assert "left out 3 more" in caplog.text and "hidden" not in caplog.text
    with pytest.raises(DataError, match="train/cat/x00.png: not an image"):
        load(str(folder), strict=True)


def test_what_is_neither_name_nor_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'nothing' is neither a built-in data set .mnist, fashion"):
        load("nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="found no images"):
        load(str(tmp_path / "empty"))
    put(tmp_path, {"a.tar": b""})
    with pytest.raises(DataError, match="a.tar is not a folder, a .zip of images, an .npz or"):
        load(str(tmp_path / "a.tar"))


def test_a_background_that_is_no_colour_is_refused_before_reading() -> None:
    for colour in ("wite", "rgb(300,0,0)", f"rgb({'9' * 30},0,0)", "#12345678", "hsl(0,100%,999%)"):
        message = rf"\[data\] background: {re.escape(repr(colour))} is not allowed; .* white"
        with pytest.raises(DataError, match=message):
            read(DataConfig("nothing", background=colour))


def test_an_array_larger_than_memory_is_packed_and_not_turned_in_memory(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    colour = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    np.savez(tmp_path / "a.npz", images=colour)
    load(str(tmp_path / "a.npz"))
    assert not cache.exists()
    monkeypatch.setattr(datasets, "MAX_IN_MEMORY", 10)
    np.testing.assert_array_equal(
        load(str(tmp_path / "a.npz")).pixels, colour.transpose(0, 3, 1, 2)
    )
    assert len(list((cache / "packed").iterdir())) == 1
