"""Snapshots of two averages of a run's weights, from which one of any length is made afterwards.

After Karras et al. 2024, "Analyzing and Improving the Training Dynamics of Diffusion Models"
(EDM2), section 3.2 and appendix C.

snapshots/step-00001000.safetensors    both averages after that step, as they are trained with:
                                       float32, named <sigma_rel>.<parameter>

float32, because what is made of them then has the training's precision: lengths outside of the two
are differences of snapshots, whose rounding errors add up to 6 times (sigma_rel 0.03) and 20 times
(0.02) those of one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from diffusion.atomic import PARTIAL, atomic_file
from diffusion.config import TrainingConfig
from diffusion.fields import require
from diffusion.training.ema import exponent
from diffusion.training.errors import TrainingError
from diffusion.training.states import Tensors, check_shapes

FOLDER = "snapshots"
SNAPSHOT = re.compile(r"step-(\d+)\.safetensors")
SIGMA_RELS = (0.05, 0.1)
"""The lengths of the averages that are kept."""
SHORTEST, LONGEST = 0.01, 0.28
"""The lengths that are made of them; 0.289 would be the mean of all steps."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Average:
    """A power-function average of a run's weights after `step` steps."""

    step: int
    sigma_rel: float
    weights: Tensors
    misfit: float  # how far its weights of the steps are from the power function's, as a share


def num_due(training: TrainingConfig, first: int, last: int) -> int:
    """Count the steps from `first` to `last` after which a snapshot is due: each of a multiple of
    snapshot_every, and the run's last step."""
    every = training.snapshot_every
    if every == 0:
        return 0
    is_end_between = first <= training.num_steps <= last and training.num_steps % every != 0
    return last // every - (first - 1) // every + is_end_between


def write(run: Path, step: int, averages: Tensors) -> None:
    """Write a snapshot, whole or not at all. Raises TrainingError where it cannot be written."""
    whole = {name: tensor.contiguous() for name, tensor in averages.items()}
    try:
        with atomic_file(run / FOLDER / f"step-{step:08d}.safetensors") as file:
            file.write(save(whole))
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"the snapshot of step {step} cannot be written to {run}: {error}; once that is "
            "mended, the same command goes on from the last state"
        ) from error


def saved_snapshots(run: Path) -> dict[int, Path]:
    """List the snapshots in a run's folder by their steps, in the order of these."""
    named = [(SNAPSHOT.fullmatch(path.name), path) for path in (run / FOLDER).glob("step-*")]
    return dict(sorted((int(name[1]), path) for name, path in named if name))


def cut_back(run: Path, step: int) -> None:
    """Remove the snapshots after a step, because the run goes on from there, and what a killed
    process left unfinished."""
    later = [path for at, path in saved_snapshots(run).items() if at > step]
    for path in (*later, *(run / FOLDER).glob(f"{PARTIAL}*")):
        path.unlink()


def average(run: Path, sigma_rel: float, step: int | None = None) -> Average:
    """Make the average of a length, as of one of the steps with a snapshot (None: the last).

    Raises ConfigError for a length that cannot be made, TrainingError where there is no snapshot
    of that step, or one is damaged.
    """
    fits = SHORTEST <= sigma_rel <= LONGEST
    require(fits, "--sigma-rel", sigma_rel, f"{SHORTEST}..{LONGEST}, as 0.1")
    paths = saved_snapshots(run)
    if not paths:
        raise TrainingError(
            f"{run} has no snapshots to make an average of; a run keeps them with snapshot_every "
            "in [training], from its first step on"
        )
    end = max(paths) if step is None else step
    if end not in paths:
        nearest = sorted(sorted(paths, key=lambda at: abs(at - end))[:2])
        raise TrainingError(
            f"--step: {end} is not allowed; {run} has no snapshot of that step, and the nearest "
            f"are of {' and '.join(map(str, nearest))}"
        )
    steps = [at for at in paths if at <= end]
    shares, misfit = mixture(steps, SIGMA_RELS, sigma_rel)
    total: Tensors = {}
    for at, row in zip(steps, shares, strict=True):
        _add(total, paths[at], row)
    return Average(end, sigma_rel, {name: sum_.float() for name, sum_ in total.items()}, misfit)


def _add(total: Tensors, path: Path, shares: Floats) -> None:
    """Add a snapshot's averages to the total, in float64, each times its share."""
    prefixes = [f"{sigma_rel}." for sigma_rel in SIGMA_RELS]
    try:
        averages = load_file(path)
        own = {
            name.removeprefix(prefixes[0]): tensor.shape
            for name, tensor in averages.items()
            if name.startswith(prefixes[0])
        }
        known = {name: tensor.shape for name, tensor in total.items()} or own
        wanted = {prefix + name: shape for name, shape in known.items() for prefix in prefixes}
        check_shapes(path.name, averages, wanted)
    except (OSError, ValueError, SafetensorError) as error:
        raise TrainingError(
            f"{path} is damaged: {error}; remove it, and the others give the average, less exactly"
        ) from error
    for name in known:
        for share, prefix in zip(shares, prefixes, strict=True):
            part = averages[prefix + name].double() * float(share)
            total[name] = total[name] + part if name in total else part


def mixture(
    steps: Sequence[int], sigma_rels: Sequence[float], sigma_rel: float
) -> tuple[Floats, float]:
    """Return what share each snapshot has in the average of `sigma_rel` as of the last of `steps`,
    (steps, sigma_rels), and the misfit.

    The shares add up to 1, and with that give the steps weights as near as possible to the power
    function's (least squares; EDM2, Algorithm 3, which leaves the sum free: with few snapshots it
    would be down to 0.9, and all weights of the network too small by as much). The misfit is the
    distance that is left, as a share of the power function's own norm.
    """
    t = np.repeat(np.array(steps, np.float64), len(sigma_rels))
    gamma = np.tile([exponent(each) for each in sigma_rels], len(steps))
    last, wanted = t[-1:], np.array([exponent(sigma_rel)])
    A = _inner(t[:, None], gamma[:, None], t, gamma)
    b = _inner(t, gamma, last, wanted)
    norm = _inner(last, wanted, last, wanted).item()
    # The multiplier of the sum's condition shifts b by a constant
    free, ones = np.linalg.solve(A, np.stack([b, np.ones_like(b)], axis=1)).T
    x = free + ones * (1 - free.sum()) / ones.sum()
    squared = (x @ A @ x - 2 * x @ b + norm) / norm
    return x.reshape(len(steps), len(sigma_rels)), float(np.sqrt(max(squared, 0.0)))


def _inner(t_a: Floats, gamma_a: Floats, t_b: Floats, gamma_b: Floats) -> Floats:
    """Return the integral of the product of two densities (gamma + 1) s^gamma / t^(gamma + 1), each
    on 0 < s < t."""
    t = np.minimum(t_a, t_b)
    powers = (t / t_a) ** gamma_a * (t / t_b) ** gamma_b
    scale: Floats = t / (t_a * t_b) * (gamma_a + 1) * (gamma_b + 1) / (gamma_a + gamma_b + 1)
    return scale * powers
