"""The process as diffusers writes it, in scheduler_config.json, and back.

The betas and what the network predicts are the process. All else in the file says how one of
diffusers' samplers walks back through it, and is not read: a request says that here.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from diffusion.config import Prediction, ProcessConfig
from diffusion.fields import ConfigError, from_dict, require
from diffusion.schedules import make_beta

SCHEDULES = {
    "linear": "linear",
    "scaled_linear": "scaled_linear",
    "squaredcos_cap_v2": "cosine",
    "sigmoid": "sigmoid",
    "laplace": "laplace",
}
"""Our schedule for each beta_schedule of diffusers."""
PREDICTIONS: dict[str, Prediction] = {"epsilon": "eps", "sample": "x_0", "v_prediction": "v"}
"""Our prediction for each prediction_type of diffusers."""
VARIANCES = ("fixed_small", "fixed_large", "learned_range")
SAME_VARIANCES = {"fixed_small_log": "fixed_small", "fixed_large_log": "fixed_large"}
"""The same variances by another way of computing; in diffusers the second is not a number."""
LATENT_BETAS = 0.00085, 0.012
"""The first and last beta that some schedulers of diffusers have where the file says none."""
BETAS = {
    "HeunDiscreteScheduler": LATENT_BETAS,
    "KDPM2DiscreteScheduler": LATENT_BETAS,
    "KDPM2AncestralDiscreteScheduler": LATENT_BETAS,
    "DPMSolverSDEScheduler": LATENT_BETAS,
}
"""By class; all others have the paper's."""
UNCLIPPED = ("HeunDiscreteScheduler",)
"""Classes of which clip_sample is false where the file does not say."""
PROCESS_FIELDS = {
    "num_train_timesteps", "beta_schedule", "beta_start", "beta_end", "trained_betas",
    "rescale_betas_zero_snr", "prediction_type", "predict_epsilon", "variance_type", "clip_sample",
    "clip_sample_range",
}  # fmt: skip
"""What is read."""
SAMPLER_FIELDS = {
    "algorithm_type", "disable_corrector", "dynamic_thresholding_ratio", "eta", "euler_at_final",
    "final_sigmas_type", "flow_shift", "interpolation_type", "lambda_min_clipped",
    "lower_order_final", "corrector_order", "noise_sampler_seed", "predict_x0", "predictor_order",
    "sample_max_value", "set_alpha_to_one", "shift_terminal", "sigma_max", "sigma_min",
    "skip_prk_steps", "solver_order", "solver_p", "solver_type", "steps_offset", "tau_func",
    "tensor_format", "time_shift_type", "timestep_spacing", "timestep_values", "use_beta_sigmas",
    "use_dynamic_shifting", "use_exponential_sigmas", "use_karras_sigmas", "use_lu_lambdas",
}  # fmt: skip
"""What says how diffusers' samplers walk back: no matter here."""
THEIR_NAMES = {
    "num_timesteps": "num_train_timesteps",
    "beta_table": "trained_betas",
    "zero_terminal_snr": "rescale_betas_zero_snr",
    "prediction": "prediction_type",
    "clip": "clip_sample_range",
}
"""For messages, the names in the file of fields that ProcessConfig names otherwise."""
MUST_BE_OFF = {
    "thresholding": "dynamic thresholding, by which x_0_hat depends on all pixels of the image, is "
    "not supported; with false x_0_hat is clipped to clip_sample_range",
    "use_flow_sigmas": "the noise levels of flow matching are not those of the betas; it must be "
    "false",
}
"""Flags that change the process, and what to do."""


def read_scheduler(values: Mapping[str, Any]) -> ProcessConfig:
    """Make a ProcessConfig of the fields of a scheduler_config.json, which may be of any scheduler
    over a chain of betas.

    What the file leaves out is as in diffusers' DDPMScheduler, x_0_hat clipped to [-1, 1] with it.
    Raises ConfigError for a kind of process that this package cannot sample from.
    """
    _check_fields(values)
    try:
        process = _process(values)
        make_beta(process)
    except ConfigError as error:
        name, colon, rest = str(error).partition(":")
        raise ConfigError(f"{THEIR_NAMES.get(name, name)}{colon}{rest}") from error
    return process


def _process(values: Mapping[str, Any]) -> ProcessConfig:
    name = values.get("_class_name")
    clips = _flag(values, "clip_sample", name not in UNCLIPPED)
    return from_dict(
        ProcessConfig,
        {
            **_betas(values, BETAS.get(str(name), (1e-4, 0.02))),
            "zero_terminal_snr": _flag(values, "rescale_betas_zero_snr", False),
            "variance": _variance(values),
            "clip": _given(values, "clip_sample_range", 1.0) if clips else None,
            "prediction": _prediction(values),
        },
    )


def _given(values: Mapping[str, Any], name: str, default: Any) -> Any:
    """A field's value; null is as good as none."""
    value = values.get(name)
    return default if value is None else value


def _flag(values: Mapping[str, Any], name: str, default: bool) -> bool:
    value = _given(values, name, default)
    require(isinstance(value, bool), name, value, "true or false")
    return bool(value)


def _check_fields(values: Mapping[str, Any]) -> None:
    """Raise ConfigError for a field that changes the process, or might."""
    for name, reason in MUST_BE_OFF.items():
        if _flag(values, name, False):
            raise ConfigError(f"{name}: {reason}")
    kind = _given(values, "timestep_type", "discrete")
    if kind != "discrete":
        raise ConfigError(
            f"timestep_type: {kind!r}: the network is told a noise level, not a step, which is not "
            "supported; discrete is"
        )
    known = PROCESS_FIELDS | SAMPLER_FIELDS | MUST_BE_OFF.keys() | {"timestep_type"}
    for name in sorted(values.keys() - known):
        if not name.startswith("_") and values[name] is not None:
            raise ConfigError(
                f"{name}: not a field of schedulers over betas that is known, so it may change the "
                "process; if it only says how to sample, take it out"
            )


def _prediction(values: Mapping[str, Any]) -> Prediction:
    old = {True: "epsilon", False: "sample"}[_flag(values, "predict_epsilon", True)]
    prediction = _given(values, "prediction_type", old)
    if prediction not in tuple(PREDICTIONS):
        known = ", ".join(PREDICTIONS)
        raise ConfigError(f"prediction_type: {prediction!r} is not one of {known}")
    return PREDICTIONS[prediction]


def _variance(values: Mapping[str, Any]) -> str:
    variance = _given(values, "variance_type", "fixed_small")
    if variance in tuple(SAME_VARIANCES):
        same = SAME_VARIANCES[variance]
        raise ConfigError(f"variance_type: {variance!r}: write {same!r}, the same variance")
    if variance == "learned":
        raise ConfigError(
            "variance_type: 'learned': a variance that the network gives as it is, not as a place "
            "in a range, is not supported; learned_range is"
        )
    if variance not in VARIANCES:
        raise ConfigError(f"variance_type: {variance!r} is not one of {', '.join(VARIANCES)}")
    return str(variance)


def _betas(values: Mapping[str, Any], ends: tuple[float, float]) -> dict[str, Any]:
    """The fields of a ProcessConfig that say its betas, from the first of `ends` to the last where
    the file says none; a table wins over a schedule's name."""
    T = _given(values, "num_train_timesteps", 1000)
    table = values.get("trained_betas")
    if table is not None:
        return {"num_timesteps": T, "schedule": "table", "beta_table": table}
    schedule = _given(values, "beta_schedule", "linear")
    if schedule not in tuple(SCHEDULES):
        known = ", ".join(SCHEDULES)
        raise ConfigError(f"beta_schedule: {schedule!r} is not one of {known}")
    return {
        "num_timesteps": T,
        "schedule": SCHEDULES[schedule],
        # diffusers' defaults, whatever T is; ours are scaled by 1000 / T
        "beta_start": _given(values, "beta_start", ends[0]),
        "beta_end": _given(values, "beta_end", ends[1]),
    }


def scheduler_json(process: ProcessConfig) -> dict[str, Any]:
    """Return the fields of scheduler_config.json with which diffusers reverses `process`."""
    names = {ours: theirs for theirs, ours in SCHEDULES.items()}
    predictions = {ours: theirs for theirs, ours in PREDICTIONS.items()}
    # As `linear_beta` and `sigmoid_beta` scale their defaults
    scale = 1000 / process.num_timesteps if process.schedule in ("linear", "sigmoid") else 1.0
    table: Sequence[float] | None = process.beta_table
    if process.schedule == "log_snr":  # diffusers has no name for it, but takes a table
        base = dataclasses.replace(process, zero_terminal_snr=False)
        table = make_beta(base).tolist()
    return {
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": process.num_timesteps,
        "beta_schedule": names.get(process.schedule, "linear"),
        "beta_start": 1e-4 * scale if process.beta_start is None else process.beta_start,
        "beta_end": 0.02 * scale if process.beta_end is None else process.beta_end,
        "trained_betas": table,
        "rescale_betas_zero_snr": process.zero_terminal_snr,
        "prediction_type": predictions[process.prediction],
        "variance_type": process.variance,
        "clip_sample": process.clip is not None,
        "clip_sample_range": process.clip or 1.0,
    }
