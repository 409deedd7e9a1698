"""Splits and classes, from paths alone; and images that are held out."""

from pathlib import PurePosixPath

import pytest

from diffusion.data.arrangement import Place, arrange, held_out, number, number_labels, wrapping
from diffusion.data.images import DataError


def paths(*names: str) -> list[PurePosixPath]:
    return [PurePosixPath(name) for name in names]


def places(*names: str) -> list[str | None]:
    """Each image's place in short: split:label."""
    return [f"{place.split}:{place.label}" if place else None for place in arrange(paths(*names))]


def test_folders_are_classes_of_the_training_split() -> None:
    assert places("cat/0.png", "dog/0.png") == ["train:cat", "train:dog"]
    assert places("a/b/0.png", "a/c/0.png", "d/0.png") == ["train:a/b", "train:a/c", "train:d"]


def test_images_without_folders_have_no_labels() -> None:
    assert places("0.png", "1.png") == ["train:None", "train:None"]
    assert places("cat/0.png", "1.png") == ["train:None", "train:None"]


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("train", "train"), ("Training", "train"), ("val", "val"), ("valid", "val"),
        ("validation", "val"), ("TEST", "test"), ("testing", "test"),
    ],
)  # fmt: skip
def test_the_folders_of_splits_have_many_names(folder: str, split: str) -> None:
    found = places("train/cat/0.png", "train/dog/0.png", f"{folder}/cat/1.png")
    assert found == ["train:cat", "train:dog", f"{split}:cat"]


def test_a_single_wrapping_folder_is_looked_through() -> None:
    assert places("mine/train/a/0.png", "mine/test/a/0.png") == ["train:a", "test:a"]
    assert places("mine/v2/a/0.png", "mine/v2/b/0.png") == ["train:a", "train:b"]
    assert places("mine/0.png", "mine/1.png") == ["train:None", "train:None"]
    assert wrapping(paths("a/b/0.png", "a/b/1.png")) == 2
    assert wrapping(paths("train/0.png")) == 0
    assert wrapping([]) == 0


def test_a_split_alone_is_a_split() -> None:
    assert places("train/a/0.png", "train/b/0.png") == ["train:a", "train:b"]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["test/cat/0.png"], "folder test"),
        (["test/cat/0.png", "0.png"], "folder test"),
        (["Val/cat/0.png", "test/cat/0.png"], "folders Val, test"),
        (["mine/valid/0.png", "mine/testing/0.png"], "folders testing, valid"),
        (["val/0.png", "test/0.png", "extra/0.png"], "folders test, val"),
    ],
)
def test_splits_without_one_to_train_on_are_refused(names: list[str], found: str) -> None:
    with pytest.raises(DataError, match=f"found the {found}, and no folder train; rename"):
        places(*names)


def test_images_outside_the_splits_are_left_out() -> None:
    assert places("train/a/0.png", "test/a/0.png", "extra/0.png", "1.png") == [
        "train:a", "test:a", None, None,
    ]  # fmt: skip


def test_a_class_may_be_called_train() -> None:
    found = places("bus/0.png", "car/0.png", "train/0.png")
    assert found == ["train:bus", "train:car", "train:train"]
    assert places("bus/0.png", "test/0.png") == ["train:bus", "train:test"]


def test_an_unlabelled_test_split_beside_a_labelled_training_split() -> None:
    assert places("train/a/0.png", "train/b/0.png", "test/0.png") == [
        "train:a", "train:b", "test:None",
    ]  # fmt: skip


def test_classes_are_those_of_the_training_split_in_order() -> None:
    assert number_labels({"train": ["b", "a", "c"], "test": ["c", "b"]}) == ("a", "b", "c")
    assert number(["c", "b"], ("a", "b", "c")) == [2, 1]


def test_names_that_are_all_numbers_are_in_the_order_of_numbers() -> None:
    names = [str(k) for k in range(12)]
    assert number_labels({"train": sorted(names)}) == tuple(names)
    assert number_labels({"train": ["10", "9", "x"]}) == ("10", "9", "x")


def test_whole_numbers_stay_what_they_are() -> None:
    assert number_labels({"train": [3, 1]}) == ("0", "1", "2", "3")
    assert number([3, 1], ("0", "1", "2", "3")) == [3, 1]


def test_a_class_that_training_lacks_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="test split has the class 'd'.* training .*lacks.* a, b"):
        number_labels({"train": ["a", "b"], "test": ["d"]})
    with pytest.raises(DataError, match="the class '7'"):
        number_labels({"train": [0, 1], "test": [7]})


@pytest.mark.parametrize("label", [-1, 100_000, 10**8])
def test_a_label_out_of_range_is_refused(label: int) -> None:
    with pytest.raises(DataError, match=f"label {label} is not allowed; labels are 0..99999"):
        number_labels({"train": [0, label]})


def test_without_labels_there_are_no_classes() -> None:
    assert number_labels({"train": [None, "a"]}) == ()
    assert number_labels({}) == ()
    assert number([None, "a"], ("a",)) is None
    assert number(["a"], ()) is None


def test_a_share_holds_out_about_as_many_and_the_same_ones_when_images_are_added() -> None:
    names = [f"{i}.png" for i in range(2000)]
    chosen = {names[i] for i in held_out(names, 0.1)}
    assert 150 < len(chosen) < 250
    more = [f"new{i}.png" for i in range(500)] + names
    assert {more[i] for i in held_out(more, 0.1)} & set(names) == chosen


def test_a_count_holds_out_exactly_as_many_whatever_their_order() -> None:
    names = [f"{i}.png" for i in range(50)]
    chosen = {names[i] for i in held_out(names, 7)}
    backwards = names[::-1]
    assert len(chosen) == 7
    assert {backwards[i] for i in held_out(backwards, 7)} == chosen


def test_names_that_are_not_utf_8_can_be_held_out() -> None:
    assert len(held_out(["\udce9.png", "\udce8.png", "é.png"], 1)) == 1


@pytest.mark.parametrize(("holdout", "word"), [(1e-9, "none"), (3, "all of them"), (5, "all")])
def test_both_sides_need_images(holdout: float, word: str) -> None:
    with pytest.raises(DataError, match=rf"holdout: {holdout} of 3 training images sets {word}"):
        held_out(["a", "b", "c"], holdout)


def test_a_place_tells_split_and_label() -> None:
    assert arrange(paths("train/a/0.png", "train/b/0.png"))[0] == Place("train", "a")
