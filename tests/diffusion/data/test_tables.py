"""Data sets of the Hub: Parquet files, and what `datasets` wrote with `save_to_disk`."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diffusion.config import DataConfig
from diffusion.data import tables
from diffusion.data.datasets import read
from diffusion.data.images import DataError
from tests.diffusion.data.samples import png

CLASSES = ["cat", "dog"]


def table(rows: int, features: dict[str, Any] | None = None, **columns: list[Any]) -> pa.Table:
    """Pictures, each of the grey level of its row, as records of bytes and path."""
    pictures = [{"bytes": png(i), "path": f"{i}.png"} for i in range(rows)]
    made = pa.table({"image": pictures} | columns)
    if features is None:
        return made
    return made.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )


FEATURES = {
    "image": {"_type": "Image"},
    "label": {"_type": "ClassLabel", "names": CLASSES},
}


def labels(folder: Path, **options: Any) -> dict[str, Any]:
    """Each split's labels, and the grey levels of its images."""
    data = read(DataConfig(str(folder), **options))
    return {
        split: (
            None if images.labels is None else [images.classes[k] for k in images.labels],
            images.pixels[:, 0, 0, 0].tolist(),
        )
        for split, images in data.splits.items()
    }


def test_files_named_by_split_with_the_names_of_classes(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name, given in (("train-00000-of-00002", [1, 0]), ("train-00001-of-00002", [1]),
                        ("test-00000-of-00001", [0])):  # fmt: skip
        made = table(len(given), FEATURES, label=given)
        pq.write_table(made, tmp_path / "data" / f"{name}.parquet")
    assert labels(tmp_path) == {
        "train": (["dog", "cat", "dog"], [0, 1, 0]),
        "test": (["cat"], [0]),
    }


def test_a_file_alone_is_training_data(tmp_path: Path) -> None:
    pq.write_table(table(3, label=["b", "a", "b"]), tmp_path / "mine.parquet")
    assert labels(tmp_path / "mine.parquet") == {"train": (["b", "a", "b"], [0, 1, 2])}


def test_folders_may_be_splits(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        (tmp_path / split).mkdir()
        pq.write_table(table(1), tmp_path / split / "0000.parquet")
    assert labels(tmp_path) == {"train": (None, [0]), "val": (None, [0])}


def test_what_datasets_saved_to_disk(tmp_path: Path) -> None:
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        made = table(2, FEATURES, label=[1, 0])
        with pa.OSFile(str(tmp_path / split / "data-00000-of-00001.arrow"), "wb") as file:
            with pa.ipc.new_stream(file, made.schema) as writer:
                writer.write_table(made)
        (tmp_path / split / "cache-1234.arrow").write_bytes(b"of another run")
    assert labels(tmp_path) == dict.fromkeys(("train", "test"), (["dog", "cat"], [0, 1]))


def test_rows_of_many_groups_are_found(tmp_path: Path) -> None:
    pq.write_table(table(50), tmp_path / "a.parquet", row_group_size=3)
    assert labels(tmp_path / "a.parquet") == {"train": (None, list(range(50)))}


def test_pictures_may_be_plain_bytes(tmp_path: Path) -> None:
    pq.write_table(pa.table({"img": [png(4), png(5)]}), tmp_path / "a.parquet")
    assert labels(tmp_path / "a.parquet") == {"train": (None, [4, 5])}


def test_several_columns_of_labels_need_a_choice(tmp_path: Path) -> None:
    label = {"_type": "ClassLabel", "names": CLASSES}
    features = {"image": {"_type": "Image"}, "fine": label, "coarse": label}
    pq.write_table(table(2, features, fine=[0, 1], coarse=[1, 1]), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"several columns of labels \(fine, coarse\); set"):
        labels(tmp_path / "a.parquet")
    assert labels(tmp_path / "a.parquet", labels="coarse")["train"][0] == ["dog", "dog"]
    assert labels(tmp_path / "a.parquet", labels="none")["train"][0] is None
    with pytest.raises(DataError, match="'other' is not a column of a.parquet; it has image, fine"):
        labels(tmp_path / "a.parquet", labels="other")


def test_minus_one_is_the_hubs_lack_of_a_label(tmp_path: Path) -> None:
    for split, given in (("train", [0, 1]), ("test", [-1, -1])):
        pq.write_table(table(2, FEATURES, label=given), tmp_path / f"{split}.parquet")
    assert labels(tmp_path)["test"] == (None, [0, 1])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([0, 7], "the label 7 is not one of the 2 classes"),
        ([0.5, 1.0], "0.5 is not a whole number"),
    ],
)
def test_labels_that_are_none_are_refused(given: list[Any], message: str, tmp_path: Path) -> None:
    pq.write_table(table(2, FEATURES, label=given), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=message):
        labels(tmp_path / "a.parquet")


def test_a_picture_that_is_not_in_the_table_is_left_out(tmp_path: Path) -> None:
    pictures = [{"bytes": png(1), "path": "0.png"}, {"bytes": None, "path": "/elsewhere/1.png"}]
    pq.write_table(pa.table({"image": pictures}), tmp_path / "a.parquet")
    data = read(DataConfig(str(tmp_path / "a.parquet")))
    assert [(each.path, each.why) for each in data.left_out] == [
        ("a.parquet/1", "the table holds no image file there")
    ]


def test_tables_without_pictures_or_damaged_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="a.parquet: no column of images among text"):
        labels(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"hello")
    with pytest.raises(DataError, match="b.parquet: cannot be read"):
        labels(tmp_path / "b.parquet")


def test_without_pyarrow_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.parquet").write_bytes(b"")
    monkeypatch.setattr(tables, "find_spec", lambda _: None)
    with pytest.raises(DataError, match="needs pyarrow.*install the extra `parquet`"):
        labels(tmp_path / "a.parquet")


def test_a_folder_of_pictures_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(png())
    assert not tables.is_tables(tmp_path)
    assert not tables.is_tables(tmp_path / "nothing")
