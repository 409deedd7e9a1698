"""Small checkpoints of the networks that diffusers has no class for."""

from pathlib import Path

import pytest
import torch

from diffusion.checkpoint import Checkpoint, open_checkpoint, save_checkpoint
from diffusion.config import ProcessConfig
from diffusion.importing.edm import edm_chain
from diffusion.model_card import ModelCard
from diffusion.networks.adm_config import ADMConfig
from diffusion.networks.config import NetworkConfig
from diffusion.networks.lucidrains_config import LucidrainsUnetConfig
from diffusion.networks.registry import make_network
from diffusion.networks.song_config import SongUNetConfig
from tests.diffusion.importing.conftest import with_random_weights

T = 50
CONFIGS: dict[str, NetworkConfig] = {
    "LucidrainsUnet": LucidrainsUnetConfig(
        sample_size=8, in_channels=3, out_channels=3, dim=16, widths=(16, 16, 32),
        full_attention=(False, True), heads=(4, 2), head_dim=(8, 16),
    ),
    "SongUNet": SongUNetConfig(
        sample_size=8, in_channels=3, out_channels=3, model_channels=16, channel_mult=(1, 2),
        num_blocks=1, attn_resolutions=(4,), label_dim=3, num_train_timesteps=T,
    ),
    "ADMUNet": ADMConfig(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("AttnDownBlock2D",) * 2, up_block_types=("AttnUpBlock2D",) * 2,
        num_attention_heads=2, time_proj_width=16, num_class_embeds=3,
    ),
}  # fmt: skip
"""By the `_class_name` of its kind."""


@pytest.fixture(params=CONFIGS)
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Checkpoint:
    """A checkpoint of each kind, with random weights."""
    model = make_network(CONFIGS[request.param])
    with_random_weights(model)
    chain = edm_chain(T, 0.01, 40.0, 0.5)
    if request.param == "SongUNet":
        for name, table in chain.tables.items():
            model.get_buffer(name).copy_(table)
    process = ProcessConfig(T, schedule="table", beta_table=tuple(chain.beta.tolist()))
    save_checkpoint(tmp_path / "there", model, process, ModelCard(name=request.param))
    return open_checkpoint(tmp_path / "there")


@pytest.fixture
def images(checkpoint: Checkpoint) -> torch.Tensor:
    """Noise as x_t, (4,C,H,W)."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, *checkpoint.unet.image_shape, generator=generator)
