"""Pictures of one form: found sizes and channels, what is left out, and the copy for next time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffusion.config import DataConfig
from diffusion.data import decoding
from diffusion.data.decoding import hold_out, in_threads, look_through, read_pictures
from diffusion.data.images import DataError, DataSet, HoldoutError
from diffusion.data.sources import folder_source
from tests.diffusion.data.samples import encoded, png, put, ramp


def read(folder: Path, channels: int | None = None, **options: Any) -> DataSet:
    return read_pictures(folder_source(folder), DataConfig(str(folder), **options), channels)


def test_pictures_come_in_the_order_of_their_paths_with_labels(tmp_path: Path) -> None:
    files = {"train/a/0.png": png(0), "train/a/1.png": png(1), "train/b/0.png": png(10)}
    data = read(put(tmp_path / "a", files | {"val/b/0.png": png(99), "test/a/0.png": png(77)}))
    train = data.split("train")
    assert train.pixels.shape == (3, 1, 4, 4) and train.classes == ("a", "b")
    assert train.pixels[:, 0, 0, 0].tolist() == [0, 1, 10]
    assert train.labels is not None and train.labels.tolist() == [0, 0, 1]
    for split, value, label in (("val", 99, 1), ("test", 77, 0)):
        images = data.split(split)  # type: ignore[arg-type]
        assert images.pixels.unique().tolist() == [value]
        assert images.labels is not None and images.labels.tolist() == [label]


def test_grey_and_colour_together_are_rgb_or_what_the_network_takes(tmp_path: Path) -> None:
    folder = put(tmp_path / "a", {"0.png": png(7), "1.png": png((1, 2, 3), mode="RGB")})
    data = read(folder)
    assert data.split("train").pixels[:, :, 0, 0].tolist() == [[7, 7, 7], [1, 2, 3]]
    assert data.warnings == ("1 grey image is converted to RGB",)
    grey = read(folder, channels=1)
    assert grey.split("train").pixels.shape[1] == 1
    assert grey.warnings == ("1 colour image is converted to grey",)


def test_the_configurations_channels_win(tmp_path: Path) -> None:
    folder = put(tmp_path / "a", {"0.png": png(7)})
    assert read_pictures(
        folder_source(folder), DataConfig(str(folder), channels=3), 1
    ).split("train").pixels.shape[1] == 3  # fmt: skip


def test_different_sizes_are_refused_in_short_with_three_files(tmp_path: Path) -> None:
    files = {f"{i:03}.png": png(size=(4 + i, 4)) for i in range(300)}
    with pytest.raises(DataError) as refusal:
        read(put(tmp_path / "a", files))
    assert str(refusal.value) == (
        "data: the images have 300 different sizes (000.png 4x4, 001.png 5x4, 002.png 6x4); set "
        "[data] size, and crop if they are not to be cut in the middle"
    )


def test_different_sizes_become_one_by_the_size_that_is_set(tmp_path: Path) -> None:
    folder = put(tmp_path / "a", {"0.png": png(size=(8, 4)), "1.png": png(size=(4, 8))})
    data = read(folder, size=4)
    assert data.split("train").pixels.shape == (2, 1, 4, 4)
    assert data.sizes == {(4, 8): 1, (8, 4): 1}
    assert read(folder, size=(6, 2), crop="pad").split("train").pixels.shape == (2, 1, 6, 2)


def test_a_picture_that_cannot_be_decoded_is_left_out_and_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    truncated = encoded(Image.fromarray(noise))[:-2000]
    good = {"0.png": png(1, (64, 64)), "3.png": png(3, (64, 64))}
    data = read(put(tmp_path / "a", good | {"1.png": b"hello", "2.png": truncated}))
    assert data.split("train").pixels[:, 0, 0, 0].tolist() == [1, 3]
    assert sorted(each.path for each in data.left_out) == ["1.png", "2.png"]
    assert all(each.why.startswith("not a") for each in data.left_out)


def test_no_image_at_all_is_refused_with_the_first_reason(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="no images that can be read: 0.png: not an image of .*, and 1 more"
    ):
        read(put(tmp_path / "a", {"0.png": b"x", "1.png": b"y"}))
    with pytest.raises(DataError, match="found no images; 1 file is not images"):
        read(put(tmp_path / "b", {"a.txt": b"x"}))
    with pytest.raises(DataError, match="found no images$"):
        read(put(tmp_path / "c", {"x/.keep": b""}))


def test_an_animation_is_told_of(tmp_path: Path) -> None:
    frames = [Image.new("L", (4, 4), value) for value in (5, 200)]
    (tmp_path / "a").mkdir()
    frames[0].save(tmp_path / "a" / "0.gif", save_all=True, append_images=frames[1:])
    assert read(tmp_path / "a").warnings == (
        "1 image is read as the first of several frames or pages",
    )


def test_a_class_that_only_the_test_split_has_is_refused_before_decoding(tmp_path: Path) -> None:
    files = {"train/a/0.png": png(), "train/b/0.png": png(), "test/c/0.png": png()}
    with pytest.raises(DataError, match="the test split has the class 'c'"):
        read(put(tmp_path / "a", files))


# Held out


def test_training_images_are_set_aside_as_the_test_split(tmp_path: Path) -> None:
    files = {f"{c}/{i}.png": png(i) for c in "ab" for i in range(10)}
    folder = put(tmp_path / "a", files)
    data = read_pictures(hold_out(folder_source(folder), 5), DataConfig(str(folder)), None)
    assert len(data.split("train")) == 15 and len(data.split("test")) == 5
    assert data.split("test").classes == ("a", "b")
    source = folder_source(folder)
    assert hold_out(source, 0) is source


def test_a_test_split_of_its_own_leaves_nothing_to_hold_out(tmp_path: Path) -> None:
    folder = put(tmp_path / "a", {"train/0.png": png(), "test/0.png": png()})
    with pytest.raises(HoldoutError, match="holdout: 0.1 is not allowed; .* has a test split"):
        hold_out(folder_source(folder), 0.1)


def test_a_look_through_decodes_nothing(tmp_path: Path, decoded: list[str]) -> None:
    files = {"train/0.png": png(), "train/1.png": png(size=(8, 2)), "test/0.png": png()}
    found = look_through(folder_source(put(tmp_path / "a", files | {"train/2.png": b"x"})))
    assert found.sizes == {(4, 4): 2, (2, 8): 1} and found.images == {"train": 2, "test": 1}
    assert decoded == []
    with pytest.raises(DataError, match="no images that can be read: 0.png"):
        look_through(folder_source(put(tmp_path / "b", {"0.png": b"x"})))


# The copy for next time


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of pictures that were decoded."""
    names: list[str] = []

    def decode(_: bytes, form: Any, name: str) -> Any:
        names.append(name)
        return ramp()[None].repeat(form.channels, 0)

    monkeypatch.setattr(decoding, "decode", decode)
    return names


def test_the_next_start_decodes_nothing(tmp_path: Path, decoded: list[str]) -> None:
    folder = put(tmp_path / "a", {"x/0.png": png(), "y/1.png": png(), "y/2.png": b"x"})
    first, count = read(folder), len(decoded)
    second = read(folder)
    assert count == 2 == len(decoded)
    assert first.left_out == second.left_out and first.sizes == second.sizes
    assert first.split("train").classes == second.split("train").classes == ("x", "y")
    np.testing.assert_array_equal(first.split("train").pixels, second.split("train").pixels)


def test_what_was_read_for_a_look_does_for_the_network_too(
    tmp_path: Path, decoded: list[str]
) -> None:
    folder = put(tmp_path / "a", {"0.png": png()})
    read(folder)
    read(folder, channels=1)
    assert len(decoded) == 1
    assert read(folder, channels=3).split("train").pixels.shape[1] == 3
    assert len(decoded) == 2
    read(folder, channels=3)
    assert len(decoded) == 2


@pytest.mark.parametrize("change", ["content", "more", "fewer", "size", "crop", "background"])
def test_what_changed_is_read_anew(change: str, tmp_path: Path, decoded: list[str]) -> None:
    folder = put(tmp_path / "a", {"0.png": png(), "1.png": png()})
    read(folder)
    before = len(decoded)
    choices: dict[str, dict[str, Any]] = {
        "size": {"size": 4}, "crop": {"crop": "pad"}, "background": {"background": "black"},
    }  # fmt: skip
    if change in ("content", "more"):
        put(folder, {"1.png" if change == "content" else "2.png": png(9)})
    elif change == "fewer":
        (folder / "1.png").unlink()
    read(folder, **choices.get(change, {}))
    assert len(decoded) > before


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux tells what is mapped")
def test_images_are_mapped_and_not_held_in_memory(tmp_path: Path, cache: Path) -> None:
    data = read(put(tmp_path / "a", {"0.png": png(3)}))
    assert data.split("train").pixels.max() == 3
    assert str(cache / "packed") in Path("/proc/self/maps").read_text()


def test_threads_keep_the_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(decoding, "WINDOW", 3)
    entries = folder_source(put(tmp_path / "a", {f"{i}.png": png() for i in range(8)})).entries
    assert list(in_threads(lambda e: e.name, entries, "")) == [f"{i}.png" for i in range(8)]
