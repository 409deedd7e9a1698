"""The process as diffusers writes it, in scheduler_config.json, and back."""

from collections.abc import Sequence
from typing import Any

from diffusion.config import Prediction, ProcessConfig
from diffusion.fields import ConfigError, from_dict
from diffusion.process import Process

SCHEDULES = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine"}
"""Our schedule for each beta_schedule of diffusers."""
PREDICTIONS: dict[str, Prediction] = {"epsilon": "eps", "sample": "x_0", "v_prediction": "v"}
"""Our prediction for each prediction_type of diffusers."""
UNSUPPORTED = ("thresholding", "rescale_betas_zero_snr")
"""Flags of diffusers that change the process in ways that we do not know."""


def read_scheduler(values: dict[str, Any]) -> ProcessConfig:
    """Make a ProcessConfig of the fields of a scheduler_config.json, those of DDPMScheduler.

    Raises ConfigError for a kind of process that this package cannot sample from.
    """
    prediction = values.get("prediction_type", "epsilon")
    if prediction not in tuple(PREDICTIONS):
        known = ", ".join(PREDICTIONS)
        raise ConfigError(f"prediction_type: {prediction!r} is not one of {known}")
    for unsupported in UNSUPPORTED:
        if values.get(unsupported):
            raise ConfigError(f"{unsupported}: is not supported")
    # fixed_small_log and fixed_large_log are the same variances, computed by another way
    variance = str(values.get("variance_type", "fixed_small")).removesuffix("_log")
    clip = values.get("clip_sample_range", 1.0) if values.get("clip_sample", True) else None
    return from_dict(
        ProcessConfig,
        {
            **_betas(values),
            "variance": variance,
            "clip": clip,
            "prediction": PREDICTIONS[prediction],
        },
    )


def _betas(values: dict[str, Any]) -> dict[str, Any]:
    """The fields of a ProcessConfig that say its betas; a table wins over a schedule's name."""
    T = values.get("num_train_timesteps", 1000)
    table = values.get("trained_betas")
    if table is not None:
        return {"num_timesteps": T, "schedule": "table", "beta_table": table}
    schedule = values.get("beta_schedule", "linear")
    if schedule not in tuple(SCHEDULES):
        known = ", ".join(SCHEDULES)
        raise ConfigError(f"beta_schedule: {schedule!r} is not one of {known}")
    return {
        "num_timesteps": T,
        "schedule": SCHEDULES[schedule],
        # diffusers' defaults, whatever T is; ours are scaled by 1000 / T
        "beta_start": values.get("beta_start", 1e-4),
        "beta_end": values.get("beta_end", 0.02),
    }


def scheduler_json(process: ProcessConfig) -> dict[str, Any]:
    """Return the fields of scheduler_config.json with which diffusers reverses `process`."""
    names = {ours: theirs for theirs, ours in SCHEDULES.items()}
    predictions = {ours: theirs for theirs, ours in PREDICTIONS.items()}
    # As `linear_beta` scales its defaults
    scale = 1000 / process.num_timesteps if process.schedule == "linear" else 1.0
    table: Sequence[float] | None = process.beta_table
    if process.schedule == "log_snr":  # diffusers has no name for it, but takes a table
        table = Process.from_config(process).beta.tolist()
    return {
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": process.num_timesteps,
        "beta_schedule": names.get(process.schedule, "linear"),
        "beta_start": 1e-4 * scale if process.beta_start is None else process.beta_start,
        "beta_end": 0.02 * scale if process.beta_end is None else process.beta_end,
        "trained_betas": table,
        "prediction_type": predictions[process.prediction],
        "variance_type": process.variance,
        "clip_sample": process.clip is not None,
        "clip_sample_range": process.clip or 1.0,
    }
