"""What a running server may be told to load."""

from pathlib import Path

import pytest

from app.pool.errors import CannotLoad
from app.pool.sources import Sources, built_in, measured
from app.pool.version import Source
from diffusion.folders import MODELS


def test_the_built_in_models_are_those_that_come_with_the_project() -> None:
    assert {"mnist", "cifar10"} <= set(built_in())


def test_a_model_takes_at_least_the_bytes_of_its_weights(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet/a.safetensors").write_bytes(b"12345")
    assert measured("m", str(tmp_path)) == Source("m", str(tmp_path), 5)
    assert measured("m", "no such folder").least_bytes == 0
    weights = MODELS / "mnist/unet/diffusion_pytorch_model.safetensors"
    assert measured("m", "mnist").least_bytes == weights.stat().st_size


def test_it_is_loaded_from_where_it_was_loaded_last_unless_that_is_said() -> None:
    sources = Sources({"mine": "runs/mine"})
    assert sources.find("mine", None).checkpoint == "runs/mine"
    assert sources.find("mine", "cifar10").checkpoint == "cifar10"
    assert sources.find("mine", None).checkpoint == "cifar10"
    assert sources.find("mine", "runs/mine").checkpoint == "runs/mine"
    assert sources.find("mnist", None) == measured("mnist", "mnist")


@pytest.mark.parametrize("checkpoint", ["/etc", "runs/other", "../mnist", "MNIST", "x" * 900])
def test_no_other_folder_of_the_machine_is_loaded(checkpoint: str) -> None:
    with pytest.raises(CannotLoad, match="none of the checkpoints that this server may load"):
        Sources({"mine": "runs/mine"}).find("mine", checkpoint)


def test_what_can_be_loaded_besides_is_listed() -> None:
    assert "mnist" not in Sources({}).loadable(["mnist"])
    assert "mnist" in Sources({}).loadable(["cifar10"])
