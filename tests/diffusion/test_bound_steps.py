"""The terms of the bound by steps of a table equal those of `diffusion.bound`."""

import pytest
import torch
from torch import Tensor

from diffusion import noise
from diffusion.bound import Reverse, draws
from diffusion.bound_steps import bound_table, nats_of_steps
from diffusion.config import Variance
from diffusion.process import Process
from diffusion.reverse import step
from tests.diffusion.test_bound import images

PROCESS = Process.from_beta(torch.linspace(1e-3, 0.45, 30, dtype=torch.float64))
VARIANCES: tuple[Variance, ...] = ("fixed_small", "fixed_large", "learned_range")


def network(x_t: Tensor, t: Tensor, _label: Tensor | None) -> Tensor:
    """eps_hat, and a v that differs from pixel to pixel."""
    eps_hat = 0.5 * x_t * (1 + t[:, None, None, None] / 30)
    return torch.cat([eps_hat, torch.tanh(x_t)], dim=1)


@pytest.mark.parametrize("clip", [1.0, None])
@pytest.mark.parametrize("variance", VARIANCES)
def test_a_term_by_a_step_is_that_of_the_bound(variance: Variance, clip: float | None) -> None:
    x_0 = images(2)
    B, C, H, W = x_0.shape
    channels = 2 * C if variance == "learned_range" else C

    def model(x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        return network(x_t, t, label)[:, :channels]

    reverse = Reverse(model, PROCESS, variance, clip)
    table = bound_table(PROCESS, variance)
    chosen = [(torch.full((B,), t), 1) for t in (0, 1, 2, 15, 29)]
    for draw in draws(reverse, x_0, None, chosen, seed=4):
        x_t = draw.term.x_t.float()
        z = noise.normal(torch.tensor([7, 7]), torch.arange(2), torch.tensor([1, 1]), (C, H, W))
        x_next, x_0_hat = step(
            x_t, model(x_t, draw.t, None), [], z if variance == "learned_range" else None,
            table.rows[draw.t], clip,
        )  # fmt: skip
        found = nats_of_steps(PROCESS, variance, x_0, draw.t, x_0_hat, x_next, z)
        assert found.dtype == torch.float64
        assert torch.allclose(found, draw.term.nats, rtol=2e-5, atol=1e-5)
        assert torch.allclose(x_0_hat.double(), draw.term.x_0_hat, atol=1e-5)


def test_the_table_has_a_row_for_each_t_and_asks_for_noise_only_where_it_tells_sigma() -> None:
    for variance in VARIANCES:
        table = bound_table(PROCESS, variance)
        assert table.t.tolist() == list(range(30)) and len(table.paper_t) == 31
        assert all(table.is_noisy) == (variance == "learned_range") == any(table.is_noisy)
        assert table.depth == 0 and not table.remembers_mix


def test_a_z_of_exactly_zero_tells_nothing_and_breaks_nothing() -> None:
    x_0, z = images(1), torch.zeros_like(images(1))
    t = torch.tensor([3])
    found = nats_of_steps(PROCESS, "learned_range", x_0, t, x_0, torch.zeros_like(z), z)
    assert torch.isfinite(found).all()
