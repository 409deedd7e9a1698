"""The U-Net against diffusers' UNet2DModel: loaded from there, and loaded there."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from diffusion.checkpoint import open_checkpoint, save_checkpoint
from diffusion.config import Config, ProcessConfig
from diffusion.fields import ConfigError
from diffusion.model_card import ModelCard
from diffusion.networks.config import NetworkConfig
from diffusion.unet import UNet, initialise
from diffusion.unet_blocks import time_dim
from diffusion.unet_config import UNetConfig

ROOT = Path(__file__).parents[2]


def random_config(seed: int) -> dict[str, Any]:
    """Fields that diffusers and we take, drawn at random."""
    draw = random.Random(seed)
    levels = draw.choice([1, 2, 3])
    attends = [draw.random() < 0.4 for _ in range(levels)]
    factor = 2 ** (levels - 1)
    learned = draw.random() < 0.2
    return {
        "sample_size": (factor * draw.choice([2, 4]), factor * draw.choice([3, 4])),
        "in_channels": (channels := draw.choice([1, 3])),
        "out_channels": channels,
        "center_input_sample": draw.random() < 0.2,
        "time_embedding_type": "learned" if learned else "positional",
        "num_train_timesteps": 1000 if learned else None,
        "freq_shift": draw.choice([0, 1]),
        "flip_sin_to_cos": draw.random() < 0.5,
        "down_block_types": tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        "up_block_types": tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
        "mid_block_type": draw.choice(["UNetMidBlock2D"] * 4 + [None]),
        "block_out_channels": tuple(draw.choice([8, 16, 24]) for _ in range(levels)),
        "layers_per_block": draw.choice([1, 2]),
        "mid_block_scale_factor": draw.choice([1.0, 1.4]),
        "downsample_padding": draw.choice([0, 1]),
        "downsample_type": draw.choice(["conv", "resnet"]),
        "upsample_type": draw.choice(["conv", "resnet"]),
        "act_fn": draw.choice(["silu", "mish", "gelu", "relu"]),
        "attention_head_dim": draw.choice([None, 4, 8]),
        "norm_num_groups": draw.choice([2, 4, 8]),
        "attn_norm_num_groups": draw.choice([None, 2]),
        "norm_eps": draw.choice([1e-5, 1e-6]),
        "resnet_time_scale_shift": draw.choice(["default", "scale_shift"]),
        "add_attention": draw.random() < 0.8,
        "num_class_embeds": draw.choice([None, 5]),
    }


def inputs(config: NetworkConfig) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    assert isinstance(config, UNetConfig)
    generator = torch.Generator().manual_seed(1)
    x_t = torch.randn(3, *config.image_shape, generator=generator)
    unconditional = config.class_embed_type is None and config.num_class_embeds is None
    label = None if unconditional else torch.tensor([0, 4, 2])
    if config.class_embed_type == "identity":
        label = torch.randn(3, time_dim(config), generator=generator)
    return x_t, torch.tensor([0, 17, 999]), label


@torch.no_grad()
def outputs_of(theirs: UNet2DModel, config: NetworkConfig) -> torch.Tensor:
    made: torch.Tensor = theirs.eval()(*inputs(config)).sample
    return made


@pytest.mark.parametrize("seed", range(24))
def test_a_model_saved_by_diffusers_gives_equal_outputs_here(seed: int, tmp_path: Path) -> None:
    torch.manual_seed(seed)
    theirs = UNet2DModel(**random_config(seed))
    DDPMPipeline(theirs, DDPMScheduler()).save_pretrained(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    ours = checkpoint.load()(*inputs(checkpoint.unet))
    torch.testing.assert_close(ours, outputs_of(theirs, checkpoint.unet), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("seed", range(24, 36))
def test_a_model_saved_here_gives_equal_outputs_in_diffusers(seed: int, tmp_path: Path) -> None:
    torch.manual_seed(seed)
    config = UNetConfig(**random_config(seed))
    ours = UNet(config).eval()
    save_checkpoint(tmp_path / "m", ours, ProcessConfig(), ModelCard())
    theirs = DDPMPipeline.from_pretrained(tmp_path / "m").unet
    with torch.no_grad():
        made = ours(*inputs(config))
    torch.testing.assert_close(made, outputs_of(theirs, config), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "fields",
    [
        {
            "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
            "up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
        },
        {
            "down_block_types": ("ResnetDownsampleBlock2D", "DownBlock2D"),
            "up_block_types": ("ResnetUpsampleBlock2D", "UpBlock2D"),
            "resnet_time_scale_shift": "scale_shift",
        },
        {"class_embed_type": "timestep", "num_class_embeds": 5},
        {"class_embed_type": "timestep", "time_embedding_type": "learned"},
        {"class_embed_type": "identity"},
    ],
)
def test_other_blocks_and_labels_give_equal_outputs(fields: dict[str, Any]) -> None:
    torch.manual_seed(0)
    two_levels = {
        **random_config(4),
        "sample_size": 8,
        "block_out_channels": (8, 16),
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "num_train_timesteps": 1000,
        "num_class_embeds": None,
    }
    theirs = UNet2DModel(**{**two_levels, **fields})
    config = UNetConfig(**{**two_levels, **fields})
    ours = UNet(config).eval()
    ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        made = ours(*inputs(config))
    torch.testing.assert_close(made, outputs_of(theirs, config), atol=1e-5, rtol=1e-5)


def test_a_model_of_diffusers_that_learned_its_variance_loads_here_and_goes_back(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    theirs = UNet2DModel(**{**random_config(0), "in_channels": 3, "out_channels": 6})
    scheduler = DDPMScheduler(variance_type="learned_range")
    DDPMPipeline(theirs, scheduler).save_pretrained(tmp_path / "theirs")
    checkpoint = open_checkpoint(tmp_path / "theirs")
    ours = checkpoint.eps_model()(*inputs(checkpoint.unet))
    assert ours.shape[1] == 6
    torch.testing.assert_close(ours, outputs_of(theirs, checkpoint.unet), atol=1e-5, rtol=1e-5)
    save_checkpoint(tmp_path / "ours", checkpoint.load(), checkpoint.process, ModelCard())
    back = DDPMPipeline.from_pretrained(tmp_path / "ours")
    assert back.scheduler.config.variance_type == "learned_range"
    assert back.unet.config.out_channels == 6


def test_the_papers_cifar10_model_has_its_number_of_parameters() -> None:
    config = Config.read(ROOT / "configs" / "cifar10.toml").unet
    with torch.device("meta"):
        assert sum(p.numel() for p in UNet(config).parameters()) == 35_746_307


def test_it_starts_as_the_papers_does() -> None:
    torch.manual_seed(0)
    config = UNetConfig(**{**random_config(1), "num_class_embeds": 5, "dropout": 0.0})
    model = UNet(config)
    initialise(model)
    state = dict(model.named_parameters())
    for name, parameter in state.items():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif name.endswith(("conv2.weight", "to_out.0.weight")) or name == "conv_out.weight":
            assert 0 < parameter.abs().max() < 1e-4, name
        elif "conv" in name and "norm" not in name:
            fan = parameter[0].numel() + parameter[:, 0].numel()  # fan-in + fan-out
            bound = (6 / fan) ** 0.5
            assert 0.5 * bound < parameter.abs().max() <= bound, name
    with torch.no_grad():
        assert model(*inputs(config)).abs().max() < 1e-3, "eps_hat starts near zero"


def test_labels_are_needed_by_and_only_by_class_conditional_models() -> None:
    for classes in (None, 5):
        config = UNetConfig(**{**random_config(2), "num_class_embeds": classes})
        x_t, t, label = inputs(config)
        wrong = torch.tensor([0, 0, 0]) if label is None else None
        with pytest.raises(ValueError, match="label: needed by, and only by"):
            UNet(config)(x_t, t, wrong)


def test_a_size_that_the_downsampling_does_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match="sample_size: 30 is not allowed; it must be a multiple"):
        UNetConfig(sample_size=30)


def test_dropout_acts_in_training_only() -> None:
    config = UNetConfig(**{**random_config(3), "dropout": 0.5})
    torch.manual_seed(0)
    model = UNet(config)
    first, second = (model.train()(*inputs(config)) for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (model.eval()(*inputs(config)) for _ in range(2))
    assert torch.equal(first, second)
