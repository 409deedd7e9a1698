"""The classifier that judges samples, and what it was measured on."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from diffusion.data.images import DataError, Images
from diffusion.evaluation import classifier, judge
from diffusion.evaluation.classifier import Classifier, load_classifier, save_classifier
from diffusion.evaluation.judge import Judge, find_judge
from tests.diffusion.evaluation.test_classifier import SHIPPED, stripes

UNLABELLED = Images(stripes(40).pixels, None)


def saved(folder: Path, channels: int = 1) -> Path:
    save_classifier(Classifier(channels, 2), folder, {})
    return folder


def test_without_a_test_split_it_is_measured_on_images_that_were_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[int] = []

    def counted(images: Images, epochs: int, among: torch.Tensor) -> Classifier:
        learned.extend(among.tolist())
        return classifier.train(images, epochs, among=among)

    monkeypatch.setattr(judge, "train", counted)
    found = find_judge(None, "mine", stripes(512), None, tmp_path)
    assert len(learned) == len(set(learned)) == 461
    assert found.accuracy_on(None) == {"accuracy": 1.0, "images": 51, "of": "train, held out"}
    again = find_judge(None, "mine", stripes(512), None, tmp_path)
    assert again.card == found.card and len(learned) == 461, "trained once"


def test_with_a_test_split_it_is_measured_on_that(tmp_path: Path) -> None:
    found = find_judge(None, "mine", stripes(512), stripes(40), tmp_path)
    assert found.accuracy_on(stripes(40)) == {"accuracy": 1.0, "images": 40, "of": "test"}
    assert found.accuracy_on(None) is None, "nothing was held out"


def test_otherwise_its_card_tells_of_it() -> None:
    card = json.loads((SHIPPED / "classifier.json").read_text())
    found = Judge(load_classifier(SHIPPED), card, "")
    expected = {"accuracy": card["test_accuracy"], "images": None, "of": "its own card"}
    assert found.accuracy_on(None) == found.accuracy_on(UNLABELLED) == expected
    many = Images(stripes(40).pixels, torch.arange(40))
    assert found.accuracy_on(many) == expected, "labels that it does not know"


def test_the_one_given_comes_before_the_one_that_is_built_in(tmp_path: Path) -> None:
    given = saved(tmp_path / "given")
    grey = Images(torch.zeros(9, 1, 28, 28, dtype=torch.uint8), None)
    built_in, mine = (find_judge(path, "mnist", grey, None, tmp_path) for path in (None, given))
    assert built_in.card["data"] == "mnist"
    assert mine.sha256 != built_in.sha256 and mine.card == {}


def test_one_for_other_channels_is_refused_or_if_it_is_built_in_not_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is for images of 3 channels, and the data have 1"):
        find_judge(saved(tmp_path / "rgb", 3), "mine", UNLABELLED, None, tmp_path)
    colour = Images(UNLABELLED.pixels.expand(-1, 3, -1, -1), None)
    assert find_judge(None, "mnist", colour, None, tmp_path) is None


def test_data_without_labels_or_with_tiny_images_have_none(tmp_path: Path) -> None:
    assert find_judge(None, "mine", UNLABELLED, None, tmp_path) is None
    small = Images(stripes(40).pixels[:, :, :7, :7], stripes(40).labels)
    assert find_judge(None, "mine", small, None, tmp_path) is None
    assert not (tmp_path / "classifier").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("classifier.json", b""),
        ("classifier.json", b"[]"),
        ("classifier.safetensors", b""),
        ("classifier.safetensors", None),
    ],
)
def test_a_damaged_one_of_an_earlier_run_is_trained_again(
    name: str, content: bytes | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved(tmp_path / "classifier")
    path = tmp_path / "classifier" / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    found = find_judge(None, "mine", stripes(64), stripes(8), tmp_path)
    assert found.card == {"data": "mine"}
    assert "classifier" in caplog.text and "another is trained" in caplog.text


def test_the_one_given_is_never_trained_again(tmp_path: Path) -> None:
    card = saved(tmp_path / "given") / "classifier.json"
    for content in ("", "[]"):
        card.write_text(content)
        with pytest.raises(DataError, match=f"{card}: not a classifier's card"):
            find_judge(tmp_path / "given", "mine", stripes(64), None, tmp_path)


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(classifier, "save_file", full)
    with pytest.raises(DataError, match="the classifier cannot be written: No space left"):
        saved(tmp_path / "classifier")
    assert not list(tmp_path.iterdir())
