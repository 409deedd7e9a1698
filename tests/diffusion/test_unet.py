"""The U-Net against diffusers' UNet2DModel: loaded from there, and loaded there."""

import dataclasses
import itertools
from pathlib import Path

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler
from torch import Tensor

from diffusion.checkpoint import open_checkpoint, save_checkpoint
from diffusion.config import Config, ProcessConfig
from diffusion.fields import ConfigError
from diffusion.model_card import ModelCard
from diffusion.unet import UNet, initialise
from diffusion.unet_config import UNetConfig
from tests.unet_configs import (
    EQUAL,
    ROUNDED,
    Theirs,
    agrees,
    draws,
    here,
    in_diffusers,
    inputs,
    network_fields,
)

ROOT = Path(__file__).parents[2]
PLAIN, SKIP, K = range(3)
"""Families of blocks."""
SMALL = UNetConfig(
    sample_size=8,
    block_out_channels=(8, 16),
    down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    layers_per_block=1,
    norm_num_groups=4,
)


@torch.no_grad()
def outputs_of(model: UNet) -> Tensor:
    made: Tensor = model.eval()(*inputs(model.config))
    return made


@pytest.mark.parametrize("seed", range(30))
def test_a_network_of_diffusers_gives_equal_outputs_here(seed: int, tmp_path: Path) -> None:
    theirs = in_diffusers(network_fields(seed))
    assert isinstance(theirs, Theirs), theirs
    outcome = here(theirs, tmp_path)
    assert outcome.startswith((EQUAL, ROUNDED)), outcome


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1008))
def test_what_diffusers_can_build_is_equal_here_and_the_rest_is_refused(seed: int) -> None:
    for draw in itertools.islice(draws(seed), 100):
        assert draw.agrees, f"{draw.outcome}: {draw.fields}"


@pytest.mark.parametrize("seed", range(100, 112))
def test_a_network_made_here_gives_equal_outputs_in_diffusers(seed: int, tmp_path: Path) -> None:
    torch.manual_seed(seed)
    ours = UNet(UNetConfig(**network_fields(seed)))
    save_checkpoint(tmp_path / "m", ours, ProcessConfig(), ModelCard())
    theirs = DDPMPipeline.from_pretrained(tmp_path / "m").unet
    assert theirs.state_dict().keys() == ours.state_dict().keys()
    with torch.no_grad():
        assert agrees(outputs_of(ours), theirs(*inputs(theirs.config)).sample)


def test_a_model_of_diffusers_that_learned_its_variance_loads_here_and_goes_back(
    tmp_path: Path,
) -> None:
    theirs = in_diffusers({**vars(SMALL), "out_channels": 6})
    assert isinstance(theirs, Theirs), theirs
    scheduler = DDPMScheduler(variance_type="learned_range")
    DDPMPipeline(theirs.network, scheduler).save_pretrained(tmp_path / "theirs")
    checkpoint = open_checkpoint(tmp_path / "theirs")
    ours = checkpoint.eps_model()(*inputs(checkpoint.unet))
    assert ours.shape[1] == 6
    assert agrees(ours, theirs.outputs)
    save_checkpoint(tmp_path / "ours", checkpoint.load(), checkpoint.process, ModelCard())
    back = DDPMPipeline.from_pretrained(tmp_path / "ours")
    assert back.scheduler.config.variance_type == "learned_range"
    assert back.unet.config.out_channels == 6


def test_the_papers_cifar10_model_has_its_number_of_parameters() -> None:
    config = Config.read(ROOT / "configs" / "cifar10.toml").unet
    with torch.device("meta"):
        assert sum(p.numel() for p in UNet(config).parameters()) == 35_746_307


@pytest.mark.parametrize("family", [PLAIN, SKIP, K])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_starts_as_the_papers_does(family: int, seed: int) -> None:
    torch.manual_seed(0)
    model = UNet(UNetConfig(**network_fields(seed, family)))
    initialise(model)
    for name, parameter in model.named_parameters():
        last = name.endswith(("conv2.weight", "to_out.0.weight")) or name == "conv_out.weight"
        if last or (name.startswith("up") and name.endswith("skip_conv.weight")):
            assert 0 < parameter.abs().max() < 1e-4, name
        elif name.endswith("bias"):
            assert not parameter.any(), name
        elif parameter.ndim > 1 and "embedding" not in name and "time_proj" not in name:
            fan = parameter[0].numel() + parameter[:, 0].numel()  # fan-in + fan-out
            bound = (6 / fan) ** 0.5
            assert 0.5 * bound < parameter.abs().max() <= bound, name
    assert outputs_of(model).abs().max() < 1e-3, "eps_hat starts near zero"


@pytest.mark.parametrize("classes", [None, 5])
def test_labels_are_needed_by_and_only_by_class_conditional_models(classes: int | None) -> None:
    model = UNet(dataclasses.replace(SMALL, num_class_embeds=classes))
    x_t, t, label = inputs(model.config)
    wrong = torch.tensor([0, 0, 0]) if label is None else None
    with pytest.raises(ValueError, match="label: needed by, and only by"):
        model(x_t, t, wrong)


def test_a_size_that_the_downsampling_does_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match="sample_size: 30 is not allowed; it must be a multiple"):
        UNetConfig(sample_size=30)


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    model = UNet(dataclasses.replace(SMALL, dropout=0.5))
    columns = inputs(model.config)
    first, second = (model.train()(*columns) for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (model.eval()(*columns) for _ in range(2))
    assert torch.equal(first, second)
