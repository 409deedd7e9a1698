"""Pictures of one form: found sizes and channels, what is left out, and the copy for next time."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffusion.config import DataConfig
from diffusion.data import decoding, forms
from diffusion.data.arrangement import Place
from diffusion.data.decoding import hold_out, in_threads, look_through, read_pictures
from diffusion.data.images import DataError, DataSet, HoldoutError
from diffusion.data.sources import Entry, Source, folder_source
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


def truncated(image: Image.Image) -> bytes:
    raw = encoded(image, "JPEG")
    return raw[: len(raw) // 2]


def noise(*shape: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, shape, np.uint8))


def test_what_cannot_be_decoded_decides_neither_channels_nor_size(tmp_path: Path) -> None:
    files = {"0.jpg": truncated(noise(32, 64, 3)), "1.png": png(7, (8, 8)), "2.png": png(9, (8, 8))}
    data = read(put(tmp_path / "a", files))
    assert data.split("train").pixels[:, :, 0, 0].tolist() == [[7], [9]]
    assert data.sizes == {(8, 8): 2} and data.warnings == ()
    assert [each.path for each in data.left_out] == ["0.jpg"]
    assert read(tmp_path / "a", size=4).split("train").pixels.shape == (2, 1, 4, 4)


def test_a_source_of_which_nothing_can_be_decoded_is_refused_and_leaves_no_copy(
    tmp_path: Path, cache: Path
) -> None:
    folder = put(tmp_path / "a", {"train/0.jpg": truncated(noise(32, 32)), "test/0.png": png()})
    for _ in range(2):
        with pytest.raises(DataError, match="no images that can be read: train/0.jpg: not a reada"):
            read(folder, size=4)
    assert list((cache / "packed").iterdir()) == []


def test_a_split_of_which_nothing_can_be_decoded_is_none(tmp_path: Path) -> None:
    files = {"train/0.png": png(), "test/0.jpg": truncated(noise(32, 32))}
    data = read(put(tmp_path / "a", files), size=4)
    assert list(data.splits) == ["train"]
    assert [each.path for each in data.left_out] == ["test/0.jpg"]


def test_what_pillow_only_warns_of_is_read(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = bytearray(encoded(noise(8, 8), "JPEG", exif))
    start = raw.index(b"Exif\0\0") + 6
    damaged = raw[: start + 8] + b"\xff" * 8 + raw[start + 16 :]
    palette = noise(8, 8).quantize(16)
    palette.info["transparency"] = bytes([0, 128] + [255] * 14)
    data = read(put(tmp_path / "a", {"0.jpg": bytes(damaged), "1.png": encoded(palette)}))
    assert len(data.split("train")) == 2 and data.left_out == ()


@pytest.mark.parametrize("channels", [2, 4])
def test_a_network_of_other_channels_is_refused(channels: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"in_channels: {channels} is not allowed; images have 1"):
        read(put(tmp_path / "a", {"0.png": png()}), channels=channels)


def test_a_source_without_training_images_is_refused_by_the_splits_that_it_has() -> None:
    entries = [Entry("0", Place("test", None), (), png)]
    with pytest.raises(DataError, match="found no training images, only test"):
        read_pictures(Source(entries), DataConfig("a"), None)


def test_names_that_are_not_utf_8_are_read(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xe9t\xe9/a.png")
    folder = put(tmp_path / "a", {name: png(3, (8, 4)), "b/b.png": png(4, (4, 8))})
    data = read(folder, size=4, crop="random")
    assert data.split("train").classes == ("b", name.split("/")[0])
    assert data.left_out == ()


def test_no_progress_is_shown_where_there_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read(put(tmp_path / "a", {"0.png": png()}))
    assert capsys.readouterr().err == ""


def test_no_image_at_all_is_refused_with_the_first_reason(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="no images that can be read: 0.png: not an image of .*, and 1 more"
    ):
        read(put(tmp_path / "a", {"0.png": b"x", "1.png": b"y"}))
    with pytest.raises(DataError, match="found no images; 1 file is not an image"):
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

    monkeypatch.setattr(forms, "decode", decode)
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


def test_what_the_listing_tells_is_never_that_of_an_earlier_time(
    tmp_path: Path, decoded: list[str]
) -> None:
    folder = put(tmp_path / "a", {"0.png": png(), "1.png": b"x"})
    read(folder)
    (folder / "broken.png").symlink_to(tmp_path / "nothing")
    put(folder, {"notes.txt": b""})
    data = read(folder)
    assert [each.path for each in data.left_out] == ["broken.png", "1.png"]
    assert data.warnings == ("1 file is not an image (1 .txt)",)
    (folder / "broken.png").unlink()
    assert [each.path for each in read(folder).left_out] == ["1.png"]
    assert len(decoded) == 1


def damage_facts(folder: Path, **changed: Any) -> None:
    facts = json.loads((folder / "facts.json").read_text())
    (folder / "facts.json").write_text(json.dumps(facts | changed))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "facts.json").write_text("{}"),
        lambda folder: (folder / "facts.json").write_text("[]"),
        lambda folder: (folder / "facts.json").write_text("{"),
        lambda folder: (folder / "facts.json").unlink(),
        lambda folder: (folder / "train.npy").unlink(),
        lambda folder: (folder / "train.npy").write_bytes(b""),
        lambda folder: os.truncate(folder / "train.npy", 140),
        lambda folder: np.save(folder / "train.npy", np.zeros((2, 1, 4, 4))),
        lambda folder: damage_facts(folder, labels={}),
        lambda folder: damage_facts(folder, labels={"train": [0]}),
        lambda folder: damage_facts(folder, labels={"train": [0, 2]}),
        lambda folder: damage_facts(folder, sizes=3),
    ],
)
def test_a_damaged_copy_is_made_anew_with_a_warning(
    damage: Callable[[Path], Any], tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = put(tmp_path / "a", {"x/0.png": png(5), "y/0.png": png(6)})
    read(folder)
    (copy,) = (cache / "packed").iterdir()
    damage(copy)
    for _ in range(2):
        train = read(folder).split("train")
        assert train.pixels[:, 0, 0, 0].tolist() == [5, 6]
        assert train.labels is not None and train.labels.tolist() == [0, 1]
    assert caplog.text.count("made anew") == 1


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux tells what is mapped")
def test_images_are_mapped_and_not_held_in_memory(tmp_path: Path, cache: Path) -> None:
    data = read(put(tmp_path / "a", {"0.png": png(3)}))
    assert data.split("train").pixels.max() == 3
    assert str(cache / "packed") in Path("/proc/self/maps").read_text()


def test_threads_keep_the_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(decoding, "WINDOW", 3)
    entries = folder_source(put(tmp_path / "a", {f"{i}.png": png() for i in range(8)})).entries
    assert list(in_threads(lambda e: e.name, entries, "")) == [f"{i}.png" for i in range(8)]
