"""What is said before the first step."""

import dataclasses
from pathlib import Path

import pytest
import torch

from diffusion.config import Config
from diffusion.data.images import Images
from diffusion.training import summary as module
from diffusion.training.summary import activation_bytes, parameters, summary
from diffusion.training.trainer import Trainer
from tests.diffusion.training.test_trainer import CONFIG, images, with_training


def lines(trainer: Trainer) -> dict[str, str]:
    """The lines of a summary by their names."""
    return {line[:10].strip(): line[11:] for line in summary(trainer).splitlines()}


def unconditional() -> Config:
    unet = dataclasses.replace(CONFIG.unet, num_class_embeds=None)
    return dataclasses.replace(with_training(label_dropout=0.0), unet=unet)


def test_it_names_network_data_length_precision_memory_and_place(tmp_path: Path) -> None:
    trainer = Trainer(
        with_training(num_steps=100, precision="bfloat16"), images(), tmp_path / "run"
    )
    told = lines(trainer)
    count = sum(tensor.numel() for tensor in trainer.model.state_dict().values())
    assert told["network"] == f"{count:,} parameters, in levels of 8, 16 channels"
    assert told["data"] == "20 images of 8x8 pixels, 1 channel, 3 classes"
    assert told["training"] == (
        "100 steps of 8 images: 40 epochs, which is how often each image is seen"
    )
    assert told["precision"].startswith("bfloat16, on cpu (")
    assert told["memory"].startswith("about ") and "an estimate" in told["memory"]
    assert told["run"] == f"{tmp_path / 'run'}, begins at step 0"


def test_it_says_where_a_run_goes_on(tmp_path: Path) -> None:
    trainer = Trainer(CONFIG, images(), tmp_path)
    trainer.train_step()
    trainer.save()
    told = lines(Trainer(CONFIG, images(), tmp_path))
    assert told["run"] == f"{tmp_path}, goes on after step 1"


@pytest.mark.parametrize(
    ("config", "labels", "told"),
    [
        (unconditional(), None, "1 channel, without labels"),
        (unconditional(), torch.arange(20) % 3, "3 classes, which the network is not told"),
    ],
)
def test_it_says_whether_there_are_labels_and_the_network_is_told_them(
    config: Config, labels: torch.Tensor | None, told: str, tmp_path: Path
) -> None:
    data = Images(images().pixels, labels, () if labels is None else ("a", "b", "c"))
    assert lines(Trainer(config, data, tmp_path))["data"].endswith(told)


def test_a_batch_larger_than_the_data_is_remarked_on(tmp_path: Path) -> None:
    remark = "(the batch is larger than the data: it has some images more than once)"
    assert remark in summary(Trainer(with_training(batch_size=24), images(), tmp_path))
    assert remark not in summary(Trainer(with_training(batch_size=20), images(), tmp_path))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_activations_are_what_autograd_keeps_of_a_whole_batch(
    precision: str, tmp_path: Path
) -> None:
    trainer = Trainer(with_training(precision=precision, batch_size=16), images(), tmp_path)
    whole = module._kept_bytes(trainer, 16)
    assert activation_bytes(trainer) == pytest.approx(whole, rel=0.02)
    assert whole > 16 * 8 * 8 * 8 * 4, "more than one activation of the first level"


def test_parts_of_a_batch_take_less_memory(tmp_path: Path) -> None:
    whole = activation_bytes(Trainer(with_training(batch_size=16), images(), tmp_path / "a"))
    parts = Trainer(with_training(batch_size=16, accumulate=4), images(), tmp_path / "b")
    assert activation_bytes(parts) < 0.4 * whole


def test_the_estimate_changes_nothing_of_the_run(tmp_path: Path) -> None:
    weights = []
    for asked in (False, True):
        trainer = Trainer(CONFIG, images(), tmp_path / str(asked))
        if asked:
            summary(trainer)
        trainer.train_step()
        weights.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))
    assert torch.equal(*weights)


def test_more_than_the_device_has_is_remarked_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(CONFIG, images(), tmp_path)
    monkeypatch.setattr(module, "total_memory", lambda _: 5 * 4 * parameters(trainer))
    assert "of the device: set a larger accumulate" in lines(trainer)["memory"]
    monkeypatch.setattr(module, "total_memory", lambda _: None)
    assert "of the device" not in lines(trainer)["memory"]
