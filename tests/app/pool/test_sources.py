"""What a server is started with, and what it may be told to load."""

from pathlib import Path

import pytest

from app.pool.errors import CannotLoad
from app.pool.sources import Sources
from app.pool.version import Source
from diffusion.folders import MODELS


def weights_of(name: str) -> int:
    return (MODELS / name / "unet/diffusion_pytorch_model.safetensors").stat().st_size


@pytest.fixture
def mine(tmp_path: Path) -> str:
    """A folder with weights of five bytes."""
    (tmp_path / "mine/unet").mkdir(parents=True)
    (tmp_path / "mine/unet/a.safetensors").write_bytes(b"12345")
    return str(tmp_path / "mine")


def test_a_server_starts_with_what_it_names(mine: str) -> None:
    sources = Sources({"digits": "mnist", "own": mine})
    assert sources.at_start() == [
        Source("digits", "mnist", weights_of("mnist"), "mnist", "mnist"),
        Source("own", mine, 5, mine, mine),
    ]


@pytest.mark.parametrize("checkpoint", ["no/such/folder", "x" * 5000])
def test_what_is_nowhere_is_told_with_what_was_asked_for(checkpoint: str, mine: str) -> None:
    with pytest.raises(CannotLoad) as caught:
        Sources({"own": mine, "other": checkpoint}).at_start()
    assert caught.value.checkpoint == checkpoint
    assert not str(caught.value).startswith(checkpoint)


def test_what_was_named_at_the_start_and_what_is_built_in_can_be_loaded(mine: str) -> None:
    sources = Sources({"own": mine})
    assert sources.find("other", mine) == Source("other", mine, 5, mine, mine)
    assert sources.find("own", "cifar10").checkpoint == "cifar10"


@pytest.mark.parametrize("checkpoint", ["/etc", "runs/a/x", "../mnist", "google/ddpm", "nothing"])
def test_no_other_folder_of_the_machine_or_the_hub_is_loaded(checkpoint: str, mine: str) -> None:
    sources = Sources({"own": mine})
    with pytest.raises(CannotLoad, match="not a built-in model|may load these models"):
        sources.find("own", checkpoint)


def test_what_can_be_loaded_besides_is_listed() -> None:
    assert "mnist" not in Sources({}).loadable(["mnist"])
    assert "mnist" in Sources({}).loadable(["cifar10"])
