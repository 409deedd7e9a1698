"""`ddpm import`: what is checked first, what is written, and what the card says of it."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from app.cli import main
from diffusion.checkpoint import open_checkpoint
from tests.diffusion.importing.paper_network import PaperNetwork, Shape
from tests.full_disk import no_room_for_more_than

PROJECT = "pytorch-diffusion"


@pytest.fixture(scope="module")
def network() -> PaperNetwork:
    torch.manual_seed(0)
    return PaperNetwork(Shape())


@pytest.fixture
def file(network: PaperNetwork, tmp_path: Path) -> Path:
    torch.save(network.state_dict(), tmp_path / "theirs.ckpt")
    return tmp_path / "theirs.ckpt"


def test_the_card_says_where_the_weights_came_from(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "no" / "such" / "ours"
    flags = ["--name=mine", "--data=photos", "--image-size=64"]
    assert main(["import", PROJECT, str(file), "--out", str(out), *flags]) == 0
    card = open_checkpoint(out).card
    assert (card.name, card.data) == ("mine", "photos")
    assert card.source["project"] == "https://github.com/pesser/pytorch_diffusion"
    assert card.source["file"] == "theirs.ckpt"
    assert card.source["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert card.source["flags"] == {
        "part": None,
        "image_size": 64,
        "timesteps": 1000,
        "schedule": "linear",
        "beta_start": 1e-4,
        "beta_end": 0.02,
        "variance": None,
    }


def test_a_safetensors_file_gives_the_same(
    file: Path, network: PaperNetwork, tmp_path: Path
) -> None:
    save_file(network.state_dict(), tmp_path / "theirs.safetensors")
    hashes = set()
    for source in (file, tmp_path / "theirs.safetensors"):
        out = tmp_path / source.suffix[1:]
        assert main(["import", PROJECT, str(source), "--out", str(out)]) == 0
        hashes.add(open_checkpoint(out).sha256)
    assert len(hashes) == 1


def test_half_precision_is_stored_as_float32(network: PaperNetwork, tmp_path: Path) -> None:
    halves = {name: tensor.half() for name, tensor in network.state_dict().items()}
    torch.save(halves, tmp_path / "half.pt")
    assert main(["import", PROJECT, str(tmp_path / "half.pt"), "--out", str(tmp_path / "o")]) == 0
    loaded = open_checkpoint(tmp_path / "o").load().state_dict()
    assert torch.equal(loaded["conv_in.weight"], halves["conv_in.weight"].float())


def test_a_checkpoint_that_is_there_is_replaced_with_force_alone(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["import", PROJECT, str(file), "--out", str(tmp_path / "ours")]
    assert main([*command, "--name=first"]) == 0
    assert main([*command, "--name=second"]) == 2
    assert "the checkpoint exists; --force replaces it" in capsys.readouterr().err
    assert open_checkpoint(tmp_path / "ours").name == "first"
    assert main([*command, "--name=second", "--force"]) == 0
    assert open_checkpoint(tmp_path / "ours").name == "second"


def test_the_folder_is_checked_before_the_file_is_read(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", PROJECT, "nowhere.pt", "--out", str(tmp_path), "--force"]) == 2
    assert "it exists, and is not a checkpoint" in capsys.readouterr().err
    assert file.exists()


def test_a_full_disk_leaves_nothing(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with no_room_for_more_than(100_000):
        assert main(["import", PROJECT, str(file), "--out", str(tmp_path / "ours")]) == 2
    assert "the checkpoint cannot be written" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["theirs.ckpt"]
