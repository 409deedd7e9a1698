"""The process in diffusers' words and back; checkpoint/test_saving.py compares with diffusers."""

from typing import Any

import pytest
import torch

from diffusion.config import ProcessConfig
from diffusion.fields import ConfigError
from diffusion.scheduler_json import read_scheduler, scheduler_json
from diffusion.schedules import make_beta


@pytest.mark.parametrize(
    "process",
    [
        ProcessConfig(),
        ProcessConfig(50, "linear"),
        ProcessConfig(20, "cosine", variance="fixed_large", clip=None),
        ProcessConfig(20, "log_snr", prediction="v"),
        ProcessConfig(50, "sigmoid"),
        ProcessConfig(20, "laplace"),
        ProcessConfig(100, "linear", zero_terminal_snr=True, prediction="v"),
        ProcessConfig(20, "log_snr", zero_terminal_snr=True, prediction="x_0"),
        ProcessConfig(3, "table", beta_table=(0.1, 0.2, 0.9999), clip=2.0),
    ],
    ids=lambda process: f"{process.schedule}-{process.prediction}",
)
def test_a_process_comes_back_as_it_was_written(process: ProcessConfig) -> None:
    back = read_scheduler(scheduler_json(process))
    assert torch.equal(make_beta(back), make_beta(process))
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
        ({"beta_schedule": "exp"}, "beta_schedule: 'exp' is not one of linear"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr: True .* predicts eps"),
        ({"rescale_betas_zero_snr": "yes"}, "rescale_betas_zero_snr: 'yes' .* true or false"),
        ({"variance_type": "fixed_small_log"}, "variance_type: 'fixed_small_log': write 'fixed_sm"),
        ({"variance_type": "fixed_large_log"}, "variance_type: 'fixed_large_log': write 'fixed_la"),
        ({"variance_type": "learned"}, "variance_type: 'learned': .* learned_range is"),
        ({"variance_type": ["fixed_small"]}, r"variance_type: \['fixed_small'\] is not one of"),
        ({"thresholding": True}, "thresholding: dynamic thresholding"),
        ({"use_flow_sigmas": True}, "use_flow_sigmas: the noise levels of flow matching"),
        (
            {"timestep_type": "continuous"},
            "timestep_type: 'continuous': the network is",
        ),
        ({"snr_shift_scale": 3.0}, "snr_shift_scale: not a field of schedulers over betas"),
        ({"clip_sample": "no"}, "clip_sample: 'no' is not allowed; it must be true or false"),
        ({"trained_betas": [0.5, 1.0], "num_train_timesteps": 2}, "prediction_type: 'eps' is not"),
        (
            {"trained_betas": [0.5, 2.0], "num_train_timesteps": 2},
            "beta: 2 at t = 2 is not",
        ),
        ({"trained_betas": [0.5], "num_train_timesteps": 2}, "trained_betas: '1 values'"),
        ({"num_train_timesteps": 0}, "num_train_timesteps: 0 is not allowed"),
    ],
)
def test_a_process_that_we_cannot_reverse_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_scheduler(values)


def test_null_is_as_good_as_left_out() -> None:
    names = (
        "num_train_timesteps", "beta_schedule", "beta_start", "beta_end", "trained_betas",
        "prediction_type", "variance_type", "clip_sample", "rescale_betas_zero_snr", "unheard_of",
    )  # fmt: skip
    assert read_scheduler(dict.fromkeys(names)) == read_scheduler({})


def test_the_first_releases_say_otherwise_what_the_network_predicts() -> None:
    assert read_scheduler({"predict_epsilon": False, "tensor_format": "pt"}).prediction == "x_0"
    assert read_scheduler({"predict_epsilon": True}).prediction == "eps"
