"""What a run may not go on with, and what is only told."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from diffusion.config import Config, TrainingConfig
from diffusion.data.images import Images
from diffusion.fields import to_dict
from diffusion.training.errors import TrainingError
from diffusion.training.same_run import check_same_run, check_same_start, fingerprint

IMAGES = Images(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), torch.arange(5) % 2, ("a", "c"))


def saved(config: Config) -> dict[str, Any]:
    """A configuration as a state.json has it."""
    return json.loads(json.dumps(to_dict(config)))


def test_a_run_of_another_configuration_is_told_by_the_field(tmp_path: Path) -> None:
    config = Config(training=TrainingConfig(batch_size=8))
    facts = {"config": saved(config)}
    check_same_run(tmp_path, facts, config, IMAGES)
    facts["config"]["training"]["num_steps"] = 9  # this may change
    check_same_run(tmp_path, facts, config, IMAGES)
    facts["config"]["training"]["batch_size"] = 4
    with pytest.raises(TrainingError, match=r"a run with training\.batch_size = 4, not 8; give"):
        check_same_run(tmp_path, facts, config, IMAGES)


def test_classes_that_mean_something_else_are_refused(tmp_path: Path) -> None:
    config = Config()
    facts = {"config": saved(config), "classes": ["a", "b"]}
    check_same_run(tmp_path, {**facts, "classes": ["a", "c"]}, config, IMAGES)
    with pytest.raises(TrainingError, match="a run with the classes a, b, not a, c; give another"):
        check_same_run(tmp_path, facts, config, IMAGES)


def test_another_number_of_images_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    facts = {"config": saved(Config()), "images": 7}
    check_same_run(tmp_path, facts, Config(), IMAGES)
    assert "data: 5 images; up to here the run had 7" in caplog.text


def test_other_images_of_the_same_number_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    facts = {"config": saved(Config()), "images": 5, "fingerprint": fingerprint(IMAGES)}
    check_same_run(tmp_path, facts, Config(), IMAGES)
    assert not caplog.text
    check_same_run(tmp_path, facts, Config(), dataclasses.replace(IMAGES, pixels=IMAGES.pixels + 1))
    assert "data: as many images as up to here, but not the same ones" in caplog.text


def test_other_labels_make_another_fingerprint() -> None:
    other = dataclasses.replace(IMAGES, labels=torch.ones(5, dtype=torch.int64))
    assert fingerprint(other) != fingerprint(IMAGES)
    assert fingerprint(dataclasses.replace(IMAGES, labels=None)) != fingerprint(IMAGES)


def test_a_fingerprint_reads_few_of_many_images() -> None:
    class Counted(torch.Tensor):
        rows = 0

        def __getitem__(self, index: Any) -> Any:
            Counted.rows += len(index)
            return super().__getitem__(index)

    pixels = torch.zeros(1000, 1, 2, 2, dtype=torch.uint8).as_subclass(Counted)
    fingerprint(Images(pixels, None))
    assert Counted.rows == 100


def test_a_run_goes_on_with_its_own_start_alone(tmp_path: Path) -> None:
    facts = {"start": {"sha256": "abc"}}
    check_same_start(tmp_path, facts, None)
    check_same_start(tmp_path, facts, {"sha256": "abc"})
    with pytest.raises(TrainingError, match="began with weights of SHA-256 abc, not with .* def;"):
        check_same_start(tmp_path, facts, {"sha256": "def"})
    with pytest.raises(TrainingError, match="began with random weights, not with those of def;"):
        check_same_start(tmp_path, {"start": None}, {"sha256": "def"})
    check_same_start(tmp_path, {}, {"sha256": "def"})  # older than the fact
