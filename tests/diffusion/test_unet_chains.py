"""Whole chains with networks of any kind, beside diffusers' with its `trailing` timesteps."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler

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
    theirs = DDIMScheduler(**told)
    theirs.set_timesteps(STEPS)
    x_t = states[0].x_t
    for t in theirs.timesteps:
        made = network(x_t, t, label).sample
        x_t = theirs.step(made, t, x_t, use_clipped_model_output=True).prev_sample
    torch.testing.assert_close(states[-1].x_t, x_t, atol=TOLERANCE, rtol=0)
