"""Which timesteps a chain of few steps should keep: GITS (Chen et al. 2024, "On the trajectory
regularity of ODE-based diffusion sampling").

Chains of many steps, the teacher's, show how samples move from noise to images. From each of their
states a step of first order (DDIM) is tried to every later one: how far from the teacher's state it
ends is the cost of that jump. The list of S steps is the path of S jumps that costs least.

The paper measures distances in x_t / sqrt(alpha_bar_t) and lets later errors count more (its gamma
is 1.15 and less). Distances in x_t itself and a gamma of 1 give better lists, and one list suits
all samplers: benchmarks/tuning.py measures that.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffusion.guidance import Conditioning
from diffusion.process import Process
from diffusion.reverse import sample
from diffusion.samplers import make_table
from diffusion.sampling import Source
from diffusion.spacing import SamplerName, Spacing

Array = np.ndarray
TEACHER_STEPS = 60
GAMMA = 1.0
"""How much an error counts in comparison with one a step earlier."""
TUNED_STEPS = range(4, 21)
"""The numbers of steps for which a list is found."""
TUNED_SAMPLERS: tuple[SamplerName, ...] = ("ddim", "dpmpp", "unipc", "ipndm")
"""Those that follow the same path without noise, as the teacher does."""


class Path(NamedTuple):
    """What a batch of the teacher's chains passed through: the K + 1 states, from noise to images,
    and what the network made of the first K of them, each (B,C,H,W)."""

    x_t: Sequence[Tensor]
    x_0_hat: Sequence[Tensor]


def teacher_spacing(process: Process) -> Spacing:
    """Return the timesteps among which to choose: even in log SNR, so that there are some at every
    level of noise."""
    steps = min(TEACHER_STEPS, process.num_timesteps)
    return Spacing.by_name("log_snr", steps, process.alpha_bar.tolist())


def follow_teacher(
    source: Source,
    spacing: Spacing,
    seed: int,
    indices: Tensor,
    condition: Conditioning,
    on_rows: Callable[[int], object],
) -> Path:
    """Take DDIM's steps over `spacing` with the samples `indices` (B,) of a seed.

    After each step `on_rows` is told how many rows of the network it took, for a progress bar.
    """
    table = make_table(source.process, "ddim", spacing)
    checkpoint = source.checkpoint
    states = sample(
        source.model, table, torch.full_like(indices, seed), indices, checkpoint.unet.image_shape,
        condition, checkpoint.process.clip,
    )  # fmt: skip
    x_t, x_0_hat = [], []
    with source.at_work():
        for state in states:
            x_t.append(state.x_t)
            x_0_hat.append(state.x_0_hat)
            on_rows(len(indices) * (state.t > 0))
    return Path(x_t, x_0_hat[:-1])  # of the image itself nothing is made


def jump_costs(path: Path, alpha_bar: Sequence[float]) -> Array:
    """Return the cost of a jump from state i to state j, (K+1, K+1) float64: the mean over samples
    of the root mean square of the difference to the teacher's state j; infinite unless i < j.

    `alpha_bar` is that of each of the K + 1 states, rising to 1.
    """
    x = torch.stack([state.flatten(1) for state in path.x_t])  # (K+1, B, D)
    a = torch.tensor(alpha_bar, dtype=torch.float64).sqrt()
    b = (1 - a**2).sqrt()
    costs = np.full((len(x), len(x)), np.inf)
    for i, x_0_hat in enumerate(path.x_0_hat):
        # DDIM to every later state: a_j x_0_hat + b_j eps_hat, with the eps_hat of x_i
        c_x = b[i + 1 :] / b[i]
        c_0 = a[i + 1 :] - c_x * a[i]
        scale = [c.float()[:, None, None].to(x.device) for c in (c_x, c_0)]
        ends = scale[0] * x[i] + scale[1] * x_0_hat.flatten(1)  # (K-i, B, D)
        costs[i, i + 1 :] = (ends - x[i + 1 :]).square().mean(2).sqrt().mean(1).cpu().numpy()
    return costs


def best_paths(costs: Array, counts: Iterable[int], gamma: float = GAMMA) -> dict[int, list[int]]:
    """Return, for each number of jumps, the states from which the jumps of the cheapest path start,
    0 among them.

    `costs` (K+1, K+1) has the cost of each jump, infinite unless it leads forward; all counts are
    1..K. A path's cost is that of its first jump plus `gamma` times that of the rest: an error a
    step later counts `gamma` times as much.
    """
    K, most = len(costs) - 1, max(counts := list(counts))
    # Least cost from each state to the last in exactly so many jumps, and where the first one leads
    least, leads_to = np.where(np.arange(K + 1) == K, 0.0, np.inf), [np.zeros(K + 1, dtype=int)]
    for _ in range(most):
        total = costs + gamma * least
        leads_to.append(total.argmin(axis=1))
        least = total.min(axis=1)
    paths = {}
    for count in counts:
        path = [0]
        for left in range(count, 1, -1):
            path.append(int(leads_to[left][path[-1]]))
        paths[count] = path
    return paths


def tune(
    source: Source,
    trajectories: int,
    seed: int,
    labels: Sequence[int] | None,
    guidance: float,
    batch_size: int,
    on_rows: Callable[[int], object],
) -> dict[int, list[int]]:
    """Return for each of TUNED_STEPS, as far as the chain has as many, the list of the paper's t.

    The same arguments give the same lists on the same kind of machine. `labels` has one for each
    trajectory, None for an unconditional model.
    """
    spacing = teacher_spacing(source.process)
    at = source.process.alpha_bar.tolist()
    alpha_bar = [at[t] for t in spacing.network_t] + [1.0]
    costs = np.zeros(())
    for indices in torch.arange(trajectories, device=source.device).split(batch_size):
        told = None if labels is None else torch.tensor(labels, device=source.device)[indices]
        condition = Conditioning(told, guidance, source.checkpoint.card.null_label)
        path = follow_teacher(source, spacing, seed, indices, condition, on_rows)
        costs = costs + jump_costs(path, alpha_bar) * (len(indices) / trajectories)
    counts = [steps for steps in TUNED_STEPS if steps <= len(spacing)]
    return {
        steps: [spacing.paper_t[k] for k in path]
        for steps, path in best_paths(costs, counts).items()
    }
