"""What `ddpm data` tells: in JSON types, as text, and as a contact sheet."""

import numpy as np
import pytest
import torch

from diffusion.data import summary as module
from diffusion.data.images import DataSet, Images, LeftOut
from diffusion.data.summary import as_text, contact_sheet, statistics, summary


def images(levels: list[int], labels: list[int] | None = None, channels: int = 1) -> Images:
    pixels = torch.tensor(levels, dtype=torch.uint8)[:, None, None, None].expand(-1, channels, 4, 6)
    numbers = None if labels is None else torch.tensor(labels)
    return Images(pixels, numbers, () if labels is None else ("cat", "dog"))


def test_a_summary_has_splits_form_and_statistics() -> None:
    data = DataSet(
        {"train": images([0, 255, 255, 0], [0, 0, 1, 1]), "test": images([9], [1])},
        {(4, 6): 3, (8, 9): 2},
        (LeftOut("x.png", "hidden"),),
        ("1 grey image is converted to RGB",),
    )
    assert summary(data) == {
        "splits": {
            "train": {"images": 4, "classes": {"cat": 2, "dog": 2}},
            "test": {"images": 1, "classes": {"cat": 0, "dog": 1}},
        },
        "size": [4, 6],
        "channels": 1,
        "mean": [0.0],
        "std": [1.0],
        "sizes_found": [[4, 6, 3], [8, 9, 2]],
        "left_out": [{"path": "x.png", "why": "hidden"}],
        "warnings": ["1 grey image is converted to RGB"],
    }


def test_what_a_user_may_miss_is_told() -> None:
    told = summary(DataSet({"train": images([0])}))["warnings"]
    assert "no test split" in told[0] and "holdout" in told[0]
    assert "no labels" in told[1]
    told = summary(DataSet({"train": images([0], [1]), "test": images([0], [1])}))["warnings"]
    assert told == ["1 classes have no training image: cat"]


def test_statistics_are_those_of_numpy_for_each_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 3 * 3 * 4 * 5)  # three of them together
    pixels = np.random.default_rng(0).integers(0, 256, (10, 3, 4, 5), np.uint8)
    mean, std = statistics(Images(torch.from_numpy(pixels), None))
    x = pixels / 127.5 - 1
    np.testing.assert_allclose(mean, x.mean(axis=(0, 2, 3)), atol=1e-4)
    np.testing.assert_allclose(std, x.std(axis=(0, 2, 3)), atol=1e-4)


def test_the_text_is_short_however_much_there_is() -> None:
    data = DataSet(
        {"train": images([0, 1], [0, 1])},
        {(h, 4): 1 for h in range(100)},
        tuple(LeftOut(f"{i}.png", "damaged") for i in range(100)),
    )
    text = as_text("photos/", summary(data))
    assert text.startswith("photos/: 2 images, 6 x 4 pixels, grey")
    assert "cat: 1, dog: 1" in text and "0.png: damaged" in text
    assert "and 90 more; --json lists all" in text and ", and 95 more" in text
    assert len(text.splitlines()) < 30


def test_one_image_is_counted_as_one() -> None:
    alone = images([0], [0])
    text = as_text("photos/", summary(DataSet({"train": alone}, {(4, 6): 1}, ())))
    assert text.startswith("photos/: 1 image, 6 x 4 pixels, grey")


def test_names_cannot_command_the_terminal_and_stay_on_one_line() -> None:
    pixels = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    labelled = Images(pixels, torch.tensor([0, 1]), ("a\nb", "\x1b[31mred\udce9"))
    data = DataSet({"train": labelled}, {(4, 4): 2}, (LeftOut("x\n.png", "y\x07"),), ("z\r",))
    text = as_text("p\n", summary(data))
    assert r"a\nb: 1, \x1b[31mred\udce9: 1" in text and r"x\n.png: y\x07" in text
    assert text.startswith(r"p\n: 2 images") and r"z\r" in text
    assert text.replace("\n", "").isprintable()
    assert summary(data)["left_out"] == [{"path": "x\n.png", "why": "y\x07"}]


def test_a_sheet_has_room_for_any_name() -> None:
    labelled = images([0, 1], [0, 1])
    for name in ("a\nb", "\udce9", "x" * 100_000):
        sheet = contact_sheet(Images(labelled.pixels, labelled.labels, ("cat", name)))
        assert sheet.width < 1000


def test_a_sheet_has_a_row_for_each_class() -> None:
    sheet = np.asarray(contact_sheet(images([10, 20, 30, 200], [0, 0, 0, 1], channels=3)))
    H = sheet.shape[0] // 2
    shown = [set(np.unique(row[:, -3 * 48 :])) for row in (sheet[:H], sheet[H:])]
    assert shown == [{10, 20, 30}, {200, 255}]


def test_a_sheet_without_labels_is_a_square() -> None:
    assert contact_sheet(images(list(range(200)))).size == (8 * 48, 8 * 32)


def test_large_images_are_made_smaller() -> None:
    pixels = torch.zeros(1, 3, 1000, 1000, dtype=torch.uint8)
    assert max(contact_sheet(Images(pixels, None)).size) <= module.LARGEST_SIDE
