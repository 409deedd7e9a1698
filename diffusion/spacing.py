"""What a reverse chain is, short of running it: samplers, defaults, kept and shown timesteps.

Integers only; torch is not imported, so that a server process can plan a chain without it.
"""

from collections.abc import Sequence
from typing import Literal

from diffusion.config import Variance

SamplerName = Literal["ddpm", "ddim", "dpmpp"]
"""Algorithm 2; DDIM; DPM-Solver++(2M)."""


def default_steps(sampler: SamplerName, num_timesteps: int) -> int:
    """Kept timesteps where none are named: all T for Algorithm 2, 50 and 20 for the fast ones."""
    match sampler:
        case "ddpm":
            return num_timesteps
        case "ddim":
            return min(50, num_timesteps)
        case "dpmpp":
            return min(20, num_timesteps)


def default_variance(trained: Variance, num_steps: int, num_timesteps: int) -> Variance:
    """The checkpoint's for the full chain; `fixed_small` for a shorter one, where `fixed_large`
    ruins images (FID 133 instead of 18 at 20 steps on CIFAR-10, DDIM paper, Table 1)."""
    return trained if num_steps == num_timesteps else "fixed_small"


def evenly_spaced(num_timesteps: int, num_steps: int) -> list[int]:
    """`num_steps` of 0..T-1, increasing, evenly spaced, T-1 always among them: x_T is pure noise.

    Raises ValueError unless 1 <= num_steps <= T.
    """
    if not 1 <= num_steps <= num_timesteps:
        raise ValueError(f"steps: {num_steps} is not allowed; it must be 1..{num_timesteps}")
    return [round(k * num_timesteps / num_steps) - 1 for k in range(1, num_steps + 1)]


def chain_times(kept: Sequence[int]) -> list[int]:
    """The states of a chain over `kept` in the paper's t, from noise to 0, the image."""
    return [t + 1 for t in reversed(kept)] + [0]


def evenly_shown(num_states: int, frames: int) -> list[int]:
    """Positions of `frames` states, evenly spaced, the first and the last among them.

    Fewer when the chain has fewer states.
    """
    last = num_states - 1
    return sorted({round(k * last / (frames - 1)) for k in range(frames)})


def nearest_shown(times: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """Positions of the states whose time is nearest to each wanted one, each once, in order."""
    return sorted({min(range(len(times)), key=lambda i: abs(times[i] - t)) for t in wanted})
