"""Which lists `ddpm tune` should make: by what distance, and how much a later error counts.

    pip install -e '.[openvino]'
    python -m benchmarks.tuning mnist-linear

Prints, for each choice, the root mean square difference between samples of few steps and those of
the teacher's 60, from the same noise: how closely the list follows the teacher. The paper measures
distances in x_t / sqrt(alpha_bar_t), `ddpm tune` in x_t. A few minutes on two cores.
"""

import argparse
from collections.abc import Sequence

import numpy as np
import torch

from benchmarks.tables import Cell, markdown
from diffusion import tuning
from diffusion.guidance import Conditioning
from diffusion.sampling import Request, Source, generate
from diffusion.spacing import SamplerName

GAMMAS = (1.0, 1.15, 1.3)
SEED = 1
"""Of the samples that are compared; the lists are found with those of seed 0."""


def lists(source: Source, trajectories: int, steps: int) -> dict[tuple[float, str], list[int]]:
    """The list of so many steps by gamma and distance."""
    spacing = tuning.teacher_spacing(source.process)
    alpha_bar = [source.process.alpha_bar[t].item() for t in spacing.network_t] + [1.0]
    indices = torch.arange(trajectories)
    condition = Conditioning(torch.tensor(labels(source, trajectories)))
    path = tuning.follow_teacher(source, spacing, 0, indices, condition, lambda _: None)
    costs = tuning.jump_costs(path, alpha_bar)
    scaled = {"x_t": costs, "x_t / sqrt(alpha_bar_t)": costs / np.sqrt(alpha_bar)}
    return {
        (gamma, name): [spacing.paper_t[k] for k in tuning.best_paths(of, [steps], gamma)[steps]]
        for name, of in scaled.items()
        for gamma in GAMMAS
    }


def labels(source: Source, count: int) -> list[int]:
    """One label after the other."""
    return [i % len(source.checkpoint.classes) for i in range(count)]


def rms_difference(
    source: Source, sampler: SamplerName, kept: Sequence[int], teacher: torch.Tensor
) -> float:
    """How far the samples of a sampler with this list are from the teacher's."""
    n = len(teacher)
    request = Request(SEED, n, labels=labels(source, n), sampler=sampler, spacing=tuple(kept))
    return float((generate(source, request) - teacher).square().mean().sqrt())


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="a class-conditional checkpoint")
    parser.add_argument("--steps", type=int, default=8, help="(default: %(default)s)")
    parser.add_argument("--samples", type=int, default=64, help="(default: %(default)s)")
    args = parser.parse_args()
    source = Source.open(args.checkpoint, "cpu")
    teacher = generate(
        source,
        Request(
            SEED, args.samples, labels=labels(source, args.samples), sampler="ddim",
            spacing=tuning.teacher_spacing(source.process).paper_t[:-1],
        ),
    )  # fmt: skip
    rows: list[list[Cell]] = []
    for (gamma, distance), kept in lists(source, args.samples, args.steps).items():
        found = [rms_difference(source, s, kept, teacher) for s in tuning.TUNED_SAMPLERS]
        rows.append([str(gamma), distance, *found])
    print(markdown(["gamma", "distances in", *tuning.TUNED_SAMPLERS], rows))


if __name__ == "__main__":
    main()
