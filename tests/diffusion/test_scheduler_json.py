"""The process in diffusers' words and back; test_checkpoint holds it against diffusers itself."""

from typing import Any

import pytest
import torch

from diffusion.config import ProcessConfig
from diffusion.fields import ConfigError
from diffusion.process import Process
from diffusion.scheduler_json import read_scheduler, scheduler_json


@pytest.mark.parametrize(
    "process",
    [
        ProcessConfig(),
        ProcessConfig(50, "linear"),
        ProcessConfig(20, "cosine", variance="fixed_large", clip=None),
        ProcessConfig(20, "log_snr", prediction="v"),
        ProcessConfig(3, "table", beta_table=(0.1, 0.2, 0.9999), clip=2.0),
    ],
    ids=lambda process: process.schedule,
)
def test_a_process_comes_back_as_it_was_written(process: ProcessConfig) -> None:
    back = read_scheduler(scheduler_json(process))
    assert torch.equal(Process.from_config(back).beta, Process.from_config(process).beta)
    for field in ("num_timesteps", "variance", "clip", "prediction"):
        assert getattr(back, field) == getattr(process, field)


def test_what_is_left_out_has_diffusers_defaults() -> None:
    assert read_scheduler({}) == ProcessConfig(1000, "linear", 1e-4, 0.02)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prediction_type": ["sample"]}, r"prediction_type: \['sample'\] is not one of epsilon"),
        ({"beta_schedule": {}}, "beta_schedule: {} is not one of linear"),
        ({"prediction_type": "flow"}, "prediction_type: 'flow' is not one of epsilon, sample"),
        ({"beta_schedule": "laplace"}, "beta_schedule: 'laplace' is not one of linear"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr: is not supported"),
    ],
)
def test_a_process_that_we_cannot_reverse_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_scheduler(values)
