"""Whole chains with networks of any kind, beside diffusers' with its `trailing` timesteps."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from torch import Tensor

from diffusion.guidance import Conditioning
from diffusion.reverse import sample
from diffusion.samplers import make_table
from diffusion.sampling import Source
from tests.unet_configs import build, network_fields

STEPS, TOLERANCE = 4, 3e-5
PREDICTIONS = ("epsilon", "sample", "v_prediction")


@pytest.mark.parametrize(
    "seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(6, 250))]
)
@torch.no_grad()
def test_short_chains_are_those_of_diffusers(seed: int, tmp_path: Path) -> None:
    fields = network_fields(seed) | {"class_embed_type": None}
    network = build({**fields, "out_channels": fields["in_channels"]})
    told: dict[str, Any] = {
        "prediction_type": PREDICTIONS[seed % 3],
        "timestep_spacing": "trailing",
    }
    DDPMPipeline(network, DDPMScheduler(**told)).save_pretrained(tmp_path)
    ours = Source.open(tmp_path, "cpu", "eager", "float32")
    index = torch.arange(2)
    label = None if fields["num_class_embeds"] is None else torch.tensor([1, 4])
    states = list(
        sample(
            ours.model,
            make_table(ours.process, "ddim", STEPS),
            torch.zeros_like(index),
            index,
            ours.checkpoint.unet.image_shape,
            Conditioning(label),
            ours.checkpoint.process.clip,
        )
    )
    x_T, made = states[0].x_t, states[-1].x_t
    expected = chain(network, x_T, label, told)
    if (made - expected).abs().max() > TOLERANCE:
        # x_0_hat of the first step is eps_hat, and its rounding, times 157. In diffusers too
        exact = chain(network.double(), x_T.double(), label, told)
        ours_off, theirs_off = ((x_0 - exact).abs().max() for x_0 in (made, expected))
        assert ours_off <= 10 * theirs_off


def chain(network: UNet2DModel, x_t: Tensor, label: Tensor | None, told: dict[str, Any]) -> Tensor:
    """Take diffusers' steps of DDIM, with the prediction that is told: x_0."""
    scheduler = DDIMScheduler(**told)
    scheduler.set_timesteps(STEPS)
    for t in scheduler.timesteps:
        made = network(x_t, t, label).sample
        x_t = scheduler.step(made, t, x_t, use_clipped_model_output=True).prev_sample
    return x_t
