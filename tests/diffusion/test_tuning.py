"""Which timesteps few steps keep: costs by their definition, paths against all that there are."""

from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path as Folder

import numpy as np
import pytest
import torch
from torch import Tensor

from diffusion.checkpoint import open_checkpoint, save_checkpoint
from diffusion.guidance import Conditioning
from diffusion.model_card import ModelCard
from diffusion.process import Process
from diffusion.sampling import Request, Source, generate
from diffusion.spacing import Spacing
from diffusion.tuning import (
    Path,
    best_paths,
    follow_teacher,
    jump_costs,
    teacher_spacing,
    tune,
)
from tests.tiny import save_tiny

GAMMAS = pytest.mark.parametrize("gamma", [0.7, 1.0, 1.3])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("tuning") / "tiny"
    return Source.open(save_tiny(folder, num_classes=2, null_label=True), "cpu", "eager")


def ignored(_: int) -> None:
    """Takes no note of the rows."""


def random_costs(num_jumps: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).random((num_jumps + 1, num_jumps + 1))
    forward = np.triu(np.ones_like(drawn), k=1) > 0
    return np.where(forward, drawn, np.inf)


def path_cost(costs: np.ndarray, path: list[int], gamma: float) -> float:
    jumps = pairwise([*path, len(costs) - 1])
    return sum(gamma**i * costs[start, end] for i, (start, end) in enumerate(jumps))


@GAMMAS
@pytest.mark.parametrize("seed", range(5))
def test_the_best_path_is_the_cheapest_of_all_paths(gamma: float, seed: int) -> None:
    costs = random_costs(7, seed)
    found = best_paths(costs, range(1, 8), gamma)
    for count in range(1, 8):
        every = [[0, *rest] for rest in combinations(range(1, 7), count - 1)]
        cheapest = min(every, key=lambda path: path_cost(costs, path, gamma))
        assert found[count] == cheapest


def one_jump(x_i: Tensor, x_0_hat: Tensor, a_i: float, a_j: float) -> Tensor:
    """DDIM as its paper writes it (eq. 12, sigma = 0)."""
    eps_hat = (x_i - a_i**0.5 * x_0_hat) / (1 - a_i) ** 0.5
    return a_j**0.5 * x_0_hat + (1 - a_j) ** 0.5 * eps_hat


def test_a_cost_is_how_far_a_ddim_step_ends_from_the_teachers_state() -> None:
    generator = torch.Generator().manual_seed(0)
    x = [torch.randn(3, 1, 4, 4, generator=generator) for _ in range(4)]
    x_0_hat = [torch.randn(3, 1, 4, 4, generator=generator) for _ in range(3)]
    alpha_bar = [0.01, 0.3, 0.8, 1.0]
    costs = jump_costs(Path(x, x_0_hat), alpha_bar)
    for i in range(4):
        for j in range(4):
            if i >= j:
                assert np.isinf(costs[i, j])
                continue
            off = one_jump(x[i], x_0_hat[i], alpha_bar[i], alpha_bar[j]) - x[j]
            rms = off.square().mean(dim=(1, 2, 3)).sqrt()
            assert costs[i, j] == pytest.approx(rms.mean().item(), rel=1e-5)


def test_the_teachers_own_steps_cost_nothing(source: Source) -> None:
    spacing = teacher_spacing(source.process)
    indices = torch.arange(2)
    condition = Conditioning(torch.tensor([0, 1]))
    path = follow_teacher(source, spacing, 3, indices, condition, ignored)
    alpha_bar = [source.process.alpha_bar[t].item() for t in spacing.network_t] + [1.0]
    costs = jump_costs(path, alpha_bar)
    assert np.diag(costs, k=1).max() < 1e-5
    request = Request(3, 2, labels=[0, 1], sampler="ddim", spacing=spacing.paper_t[:-1])
    torch.testing.assert_close(path.x_t[-1], generate(source, request))


def test_the_teacher_has_60_steps_or_as_many_as_there_are(source: Source) -> None:
    long = Process.from_beta(torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64))
    assert len(teacher_spacing(long)) == 60
    assert teacher_spacing(source.process) == Spacing(tuple(range(50))), "this chain has T = 50"


def test_lists_of_4_to_20_steps_are_found_and_the_same_again(source: Source) -> None:
    told: list[int] = []
    lists = tune(source, 5, 1, [0, 1, 0, 1, 0], 0.0, 2, told.append)
    assert sum(told) == 5 * 50
    assert list(lists) == list(range(4, 21))
    for steps, paper_t in lists.items():
        assert len(Spacing.of_paper_t(paper_t, 50)) == steps
    assert tune(source, 5, 1, [0, 1, 0, 1, 0], 0.0, 5, ignored) == lists


def test_a_short_chain_is_tuned_as_far_as_it_goes(tmp_path: Folder) -> None:
    folder = save_tiny(tmp_path / "short", num_timesteps=25)
    short = replace(open_checkpoint(folder).process, num_timesteps=10, beta_end=0.9)
    save_checkpoint(folder, open_checkpoint(folder).load(), short, ModelCard())
    lists = tune(Source.open(folder, "cpu", "eager"), 1, 0, None, 0.0, 1, ignored)
    assert list(lists) == [4, 5, 6, 7, 8, 9, 10]
    assert lists[10] == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]
