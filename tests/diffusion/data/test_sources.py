"""A source's pictures: their places, by folders or by a file of labels."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from diffusion.data import sources
from diffusion.data.arrays import Arrays, ArraySet
from diffusion.data.images import DataError, Split
from diffusion.data.sources import Source, arrays_source, folder_source, labels_of, zip_source
from tests.diffusion.data.samples import LABELS, PIXELS, png, put, zipped

FILES = {"train/cat/0.png": png(1), "train/dog/0.png": png(2), "test/cat/0.png": png(3)}


def labels(source: Source) -> list[tuple[str, str, object]]:
    return [(entry.name, entry.place.split, entry.place.label) for entry in source.entries]


def test_a_zip_is_read_like_a_folder(tmp_path: Path) -> None:
    folder, archive = put(tmp_path / "a", FILES), zipped(tmp_path / "a.zip", FILES)
    assert labels(folder_source(folder)) == labels(zip_source(archive)) == [
        ("test/cat/0.png", "test", "cat"),
        ("train/cat/0.png", "train", "cat"),
        ("train/dog/0.png", "train", "dog"),
    ]  # fmt: skip
    assert [entry.read() for entry in folder_source(folder).entries] == [png(3), png(1), png(2)]


def test_what_is_outside_the_splits_is_left_out(tmp_path: Path) -> None:
    source = folder_source(put(tmp_path, FILES | {"extra/0.png": png()}))
    assert [each.path for each in source.left_out] == ["extra/0.png"]
    assert "in no split's folder" in source.left_out[0].why


SHARDS = {"00000/0.png": png(1), "00001/1.png": png(2)}


def stylegan(labels: object) -> dict[str, bytes]:
    return {"dataset.json": json.dumps({"labels": labels}).encode()}


@pytest.mark.parametrize("wrapping", ["", "mine/"])
def test_stylegan_has_its_labels_in_a_file_and_its_folders_are_none(
    wrapping: str, tmp_path: Path
) -> None:
    content = SHARDS | stylegan([["00000/0.png", 4], ["00001/1.png", 0]])
    source = zip_source(
        zipped(tmp_path / "a.zip", {wrapping + name: raw for name, raw in content.items()})
    )
    assert [entry.place.label for entry in source.entries] == [4, 0]
    assert source.warnings == []


@pytest.mark.parametrize("prefix", ["./", "top\\", "top//"])
def test_stylegans_file_is_found_by_the_path_that_unpacking_would_give_it(
    prefix: str, tmp_path: Path
) -> None:
    content = SHARDS | stylegan([["00000/0.png", 4], ["00001\\1.png", 0]])
    source = zip_source(
        zipped(tmp_path / "a.zip", {prefix + name: raw for name, raw in content.items()})
    )
    assert [entry.place.label for entry in source.entries] == [4, 0]
    assert source.warnings == []


def test_stylegans_file_is_not_read_where_it_is_too_large_or_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = put(tmp_path / "large", SHARDS | {"dataset.json": b"{}"})
    os.truncate(large / "dataset.json", 1 << 40)  # sparse
    with pytest.raises(DataError, match="dataset.json: 1099511627776 bytes; at most"):
        folder_source(large)
    piped = put(tmp_path / "piped", SHARDS)
    os.mkfifo(piped / "dataset.json")
    with pytest.raises(DataError, match="dataset.json: not a regular file"):
        folder_source(piped)
    monkeypatch.setattr(sources, "MAX_LABELS_BYTES", 10)
    with pytest.raises(DataError, match="dataset.json: 52 bytes; at most 10 are allowed"):
        content = SHARDS | stylegan([["00000/0.png", 1], ["00001/1.png", 0]])
        zip_source(zipped(tmp_path / "a.zip", content))


def test_a_single_shard_of_stylegan_is_no_wrapping(tmp_path: Path) -> None:
    content = {"00000/0.png": png(), "00000/1.png": png()}
    source = folder_source(
        put(tmp_path, content | stylegan([["00000/0.png", 1], ["00000/1.png", 0]]))
    )
    assert [entry.place.label for entry in source.entries] == [1, 0]


def test_stylegan_without_labels_has_none(tmp_path: Path) -> None:
    source = folder_source(put(tmp_path, SHARDS | stylegan(None)))
    assert [entry.place.label for entry in source.entries] == [None, None]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello", "not {.*labels"),
        (b"[" * 100_000, "not {.*labels"),
        (b"{}", "not {.*labels"),
        (b'{"labels": 3}', "not {.*labels"),
        (b'{"labels": [["00000/0.png", 0]]}', "no label for 00001/1.png"),
        (b'{"labels": [["00000/0.png", [0, 1]]]}', r"the label \[0, 1\] is not a whole number"),
        (b'{"labels": [["00000/0.png", 0.5]]}', "the label 0.5 is not a whole number"),
    ],
)
def test_a_file_of_labels_of_another_format_is_refused(
    content: bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=f"dataset.json: .*{message}"):
        folder_source(put(tmp_path, SHARDS | {"dataset.json": content}))


def test_arrays_have_numbers_for_names() -> None:
    arrays: dict[Split, Arrays] = {"train": Arrays(PIXELS[:, None], LABELS)}
    source = arrays_source(ArraySet(arrays, ("a", 1), ("x", "y", "z"), ("not read: m",)))
    assert labels(source) == [(f"train/{i}", "train", label) for i, label in enumerate(LABELS)]
    assert source.classes == ("x", "y", "z") and source.warnings == ["not read: m"]
    np.testing.assert_array_equal(source.entries[1].read(), PIXELS[1:2])
    assert source.entries[0].stamp == ("a", 1, "train/0")


def test_labels_of_arrays_are_plain_numbers_or_strings() -> None:
    assert labels_of(Arrays(PIXELS, None)) == [None, None, None]
    assert labels_of(Arrays(PIXELS, np.array([True, False, True]))) == [1, 0, 1]
    assert labels_of(Arrays(PIXELS, np.array([2.0, 0.0, 1.0]))) == [2, 0, 1]
    assert labels_of(Arrays(PIXELS, np.array(["b", "a", "c"]))) == ["b", "a", "c"]
