"""Splits and classes, from paths alone; and images that are held out."""

import zlib
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion.data.arrangement import Place, arrange, held_out, number, number_labels, wrapping
from diffusion.data.images import DataError, HoldoutError


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


def test_numbers_beside_names_are_refused() -> None:
    for labels in ({"train": [0, "a"]}, {"train": ["0", "1"], "test": [1]}):
        with pytest.raises(DataError, match=r"both numbers and names \(.* in train, .* in t.*\)"):
            number_labels(labels)  # type: ignore[arg-type]
    assert number_labels({"train": ["a", "b"], "test": [None, "a"]}) == ("a", "b")


@pytest.mark.parametrize("label", [-1, 100_000, 10**8])
def test_a_label_out_of_range_is_refused(label: int) -> None:
    with pytest.raises(DataError, match=f"label {label} is not allowed; labels are 0..99999"):
        number_labels({"train": [0, label]})


def test_without_labels_there_are_no_classes() -> None:
    assert number_labels({"train": [None, "a"]}) == ()
    assert number_labels({}) == ()
    assert number([None, "a"], ("a",)) is None
    assert number(["a"], ()) is None


def chosen(names: list[str], holdout: float, classes: int = 0) -> set[str]:
    """The names that are held out. An image's class follows from its name."""
    labels = [zlib.crc32(name.encode()) % classes if classes else None for name in names]
    return {names[i] for i in held_out(names, labels, holdout)}


@pytest.mark.parametrize("classes", [0, 10])
def test_a_share_holds_out_about_as_many_and_the_same_ones_when_images_are_added(
    classes: int,
) -> None:
    names = [f"{i}.png" for i in range(2000)]
    first = chosen(names, 0.1, classes)
    assert 150 < len(first) < 250
    more = [f"new{i}.png" for i in range(500)] + names
    assert chosen(more, 0.1, classes) & set(names) == first


def test_a_count_holds_out_exactly_as_many_whatever_their_order() -> None:
    names = [f"{i}.png" for i in range(50)]
    assert len(chosen(names, 7, 5)) == 7
    assert chosen(names[::-1], 7, 5) == chosen(names, 7, 5)


def test_names_that_are_not_utf_8_can_be_held_out() -> None:
    assert len(held_out(["\udce9.png", "\udce8.png", "é.png"], [None] * 3, 1)) == 1


@settings(derandomize=True)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=40),
    st.one_of(st.integers(1, 40), st.floats(0.01, 0.99)),
)
def test_training_keeps_an_image_of_each_class(labels: list[int], holdout: float) -> None:
    names = [f"{i}.png" for i in range(len(labels))]
    try:
        test = held_out(names, labels, holdout)
    except HoldoutError:
        return
    assert test and {labels[i] for i in set(range(len(labels))) - test} == set(labels)


@pytest.mark.parametrize(("holdout", "count"), [(1e-9, "none"), (3, "2"), (5, "2")])
def test_what_cannot_be_set_aside_is_refused(holdout: float, count: str) -> None:
    message = f"holdout: {holdout} is not allowed; of 3 training images 2 can .* takes {count}"
    with pytest.raises(HoldoutError, match=message):
        held_out(["a", "b", "c"], [None] * 3, holdout)


def test_a_class_of_one_image_stays_in_training() -> None:
    with pytest.raises(HoldoutError, match="of 3 training images 0 can be set aside"):
        held_out(["a", "b", "c"], ["x", "y", "z"], 0.9)


def test_a_place_tells_split_and_label() -> None:
    assert arrange(paths("train/a/0.png", "train/b/0.png"))[0] == Place("train", "a")
