"""How long a run is, and its learning rate on the way."""

import dataclasses
from dataclasses import dataclass

import torch

from diffusion.config import Config, TrainingConfig
from diffusion.training.errors import TrainingError


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Return the learning rate of a step: a linear warm-up, then constant, as in the paper, or a
    cosine down to 0 at `num_steps`."""
    # Appendix B: 2e-4, constant. Its code warms up over 5000 steps; the cosine is not the paper's.
    warmup = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    if config.decay == "none":
        return config.learning_rate * warmup
    progress = torch.tensor(step / config.num_steps * torch.pi)
    return config.learning_rate * warmup * 0.5 * (1 + torch.cos(progress).item())


@dataclass(frozen=True)
class Reached:
    """How far a run has come: the step of its last state, and the `num_steps` that it has."""

    step: int
    num_steps: int


def settle_length(
    config: Config, reached: Reached | None, asked: int | None
) -> tuple[Config, str | None]:
    """Return the configuration with the run's own `num_steps`, and what a user should know of it.

    A run begins with the configuration's number, and keeps it until another one is asked for, which
    may be more or fewer, whether it was finished or not. Raises TrainingError for fewer steps than
    were `reached`, and ConfigError for a number below 1.
    """
    if reached is None:
        return (config if asked is None else _with_steps(config, asked)), None
    if asked is None:
        return _with_steps(config, reached.num_steps), _other_number(config, reached)
    if asked < reached.step:
        raise TrainingError(
            f"--num-steps: {asked} is not allowed; the run has reached step {reached.step} already"
        )
    settled = _with_steps(config, asked)
    if asked == reached.num_steps:
        return settled, None
    return settled, _change(_with_steps(config, reached.num_steps), settled, reached.step)


def _with_steps(config: Config, num_steps: int) -> Config:
    training = dataclasses.replace(config.training, num_steps=num_steps)
    return dataclasses.replace(config, training=training)


def _other_number(config: Config, reached: Reached) -> str | None:
    in_file = config.training.num_steps
    if in_file == reached.num_steps:
        return None
    told = f"the run keeps its {reached.num_steps:,} steps; the configuration says {in_file:,}"
    return told if in_file <= reached.step else f"{told}: --num-steps {in_file} would change it"


def _change(before: Config, after: Config, step: int) -> str:
    """What another number of steps does to the learning rate of the steps still to be taken."""
    old, new = before.training, after.training
    told = f"{new.num_steps:,} steps instead of {old.num_steps:,}"
    if new.decay == "none":
        return f"{told}; the learning rate does not depend on their number"
    return (
        f"{told}; the cosine of the learning rate now ends at step {new.num_steps:,}, so at step "
        f"{step:,} it goes from {learning_rate(old, step):.2g} to {learning_rate(new, step):.2g}"
    )
