"""What the tests of imports share: weights that no initialisation made, files, and the command."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from app.cli import main
from diffusion.checkpoint import Checkpoint, open_checkpoint

Import = Callable[..., Checkpoint]
"""Takes a project, a network in its layout, and flags, to the checkpoint that is written."""


@torch.no_grad()
def with_random_weights(network: nn.Module, seed: int = 0) -> nn.Module:
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
        file, out = tmp_path / "theirs.pt", tmp_path / "ours"
        torch.save(network.state_dict(), file)
        assert main(["import", project, str(file), "--out", str(out), "--force", *flags]) == 0
        return open_checkpoint(out)

    return run
