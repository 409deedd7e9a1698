"""What the tests of imports share: weights that no initialisation made, files, and the command."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch import nn

from app.cli import main
from diffusion.checkpoint import Checkpoint, open_checkpoint

Network = TypeVar("Network", bound=nn.Module)
Import = Callable[..., Checkpoint]
"""Takes a project, a network in its layout, and flags, to the checkpoint that is written."""
Refusal = Callable[..., str]
"""Takes the same to the reason why nothing is written."""


@torch.no_grad()
def with_random_weights(network: Network, seed: int = 0) -> Network:
    """Draw all weights, so that none is 0 and no branch is the identity."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        fan_in = parameter[0].numel() if parameter.dim() > 1 else 1
        drawn = torch.randn(parameter.shape, generator=generator) * fan_in**-0.5
        parameter.copy_(drawn if parameter.dim() > 1 else 0.3 * drawn + 0.5)
    return network.eval()


@pytest.fixture
def import_network(tmp_path: Path) -> Import:
    """Saves a network as its project does, imports that, and opens what is written."""

    def run(project: str, network: nn.Module, *flags: str) -> Checkpoint:
        assert run_import(tmp_path, project, network, flags) == 0
        return open_checkpoint(tmp_path / "ours")

    return run


@pytest.fixture
def refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Saves a network as its project does, and imports that in vain; nothing is written."""

    def run(project: str, network: nn.Module, *flags: str) -> str:
        assert run_import(tmp_path, project, network, flags) == 2
        assert not (tmp_path / "ours").exists()
        (line,) = capsys.readouterr().err.splitlines()
        return line.removeprefix(f"ddpm: {tmp_path / 'theirs.pt'}: ")

    return run


def run_import(folder: Path, project: str, network: nn.Module, flags: Sequence[str]) -> int:
    """Import a network by way of the folder's `theirs.pt` to `ours`; return the exit status."""
    torch.save(network.state_dict(), folder / "theirs.pt")
    where = [str(folder / "theirs.pt"), "--out", str(folder / "ours"), "--force"]
    return main(["import", project, *where, *flags])
