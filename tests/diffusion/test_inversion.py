"""DDIM backwards against diffusers and a known answer, and there and back again."""

import pytest
import torch
from diffusers import DDIMInverseScheduler
from torch import Tensor

from diffusion.guidance import Conditioning
from diffusion.inversion import inversion
from diffusion.process import Process
from diffusion.reverse import sample, step
from diffusion.samplers import make_table
from diffusion.schedules import cosine_beta
from diffusion.spacing import Spacing
from tests.diffusion.affine import Gaussian, network
from tests.diffusion.chain import SHAPE, T, draw

SQUARE = (1, 2, 2)


def test_steps_equal_those_of_diffusers(process: Process) -> None:
    theirs = DDIMInverseScheduler(T, 1e-4, 0.02, clip_sample=False)
    theirs.set_timesteps(10)
    table = inversion(process, Spacing(tuple(theirs.timesteps.tolist())))
    assert table.t.tolist() == theirs.timesteps.tolist(), "rising"
    assert table.paper_t == (0, *(t + 1 for t in table.t.tolist()))
    x, eps = 2 * draw(1, *SHAPE).float(), draw(1, *SHAPE, seed=5).float()
    for k, t in enumerate(table.t.tolist()):
        expected = theirs.step(eps, t, x).prev_sample
        found = step(x, eps, (), None, table.rows[[k]], clip=None).x_prev
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def data() -> Gaussian:
    """Numbers of other scales that depend on each other."""
    root = torch.diag(torch.tensor([0.2, 0.5, 0.3, 0.1], dtype=torch.float64))
    root = root + 0.2 * draw(4, 4, seed=3)
    return Gaussian(torch.tensor([0.5, -0.1, 0.0, -0.6], dtype=torch.float64), root @ root.T)


def up(data: Gaussian, q: Process, spacing: Spacing, x_0: Tensor) -> Tensor:
    one = torch.zeros(len(x_0), dtype=torch.int64)
    table = inversion(q, spacing)
    condition = Conditioning(None)
    *_, last = sample(network(data, q), table, one, one, SQUARE, condition, None, start=x_0)
    assert last.t == spacing.kept[-1] + 1
    return last.x_t


def down(data: Gaussian, q: Process, spacing: Spacing, x_t: Tensor) -> Tensor:
    one = torch.zeros(len(x_t), dtype=torch.int64)
    table = make_table(q, "ddim", spacing)
    condition = Conditioning(None)
    *_, last = sample(network(data, q), table, one, one, SQUARE, condition, None, start=x_t)
    return last.x_t


def pictures(data: Gaussian) -> Tensor:
    """Five draws of the data."""
    root = torch.linalg.cholesky(data.covariance)
    return (data.mean + draw(5, 4, seed=8) @ root.T).float().view(5, *SQUARE)


def test_it_is_the_solution_of_the_differential_equation(data: Gaussian, process: Process) -> None:
    """Of Gaussian data that is known: each principal part of x_0, less its mean, grows as the
    deviation of x_t does (the probability flow of a Gaussian)."""
    x_0 = pictures(data)
    values, parts = torch.linalg.eigh(data.covariance)
    errors = []
    for t in (1000, 400):
        alpha_bar = process.alpha_bar[t - 1]
        growth = ((alpha_bar * values + 1 - alpha_bar) / values).sqrt()
        centred = (x_0.double().flatten(1) - data.mean) @ parts
        expected = alpha_bar.sqrt() * data.mean + (growth * centred) @ parts.T
        for steps in (50, 200, 1000):
            found = up(data, process, Spacing.even(T, steps).up_to(t), x_0).double().flatten(1)
            errors.append((found - expected).square().mean().sqrt().item())
    assert errors[0] > 2 * errors[1] > 4 * errors[2] and errors[2] < 0.02
    assert errors[3] > 2 * errors[4] > 4 * errors[5] and errors[5] < 0.02


def test_there_and_back_is_the_identity_to_an_error_that_falls_with_the_steps(
    data: Gaussian, process: Process
) -> None:
    x_0 = pictures(data)
    errors = []
    for steps in (20, 100, 500):
        spacing = Spacing.even(T, steps)
        back = down(data, process, spacing, up(data, process, spacing, x_0))
        errors.append((back - x_0).square().mean().sqrt().item())
    assert errors[0] > 3 * errors[1] > 9 * errors[2] and errors[2] < 0.01


def test_what_a_network_says_beyond_the_clip_is_not_taken_for_noise(process: Process) -> None:
    """A network that learned under the clip may overshoot it: by two deviations of the noise, here,
    wherever the picture is black."""
    q = process
    x_0 = torch.where(draw(5, *SQUARE, seed=2) > 0, 1.0, -1.0).float()
    sigma, alpha = (1 - q.alpha_bar).sqrt().float(), q.alpha_bar.sqrt().float()

    def overshooting(x_t: Tensor, t: Tensor, _: Tensor | None) -> Tensor:
        a, b = alpha[t].view(-1, 1, 1, 1), sigma[t].view(-1, 1, 1, 1)
        return (x_t - a * x_0) / b - 2 * x_0

    nothing, condition = torch.zeros(5, dtype=torch.int64), Conditioning(None)
    for steps, most in ((50, 0.25), (500, 0.05)):
        ways = inversion(q, Spacing.even(T, steps)), make_table(q, "ddim", steps)
        *_, noised = sample(overshooting, ways[0], nothing, nothing, SQUARE, condition, 1.0, x_0)
        noise = (noised.x_t - alpha[-1] * x_0) / sigma[-1]
        assert noise.abs().max() < most, "there is none in the picture"
        *_, back = sample(
            overshooting, ways[1], nothing, nothing, SQUARE, condition, 1.0, noised.x_t
        )
        torch.testing.assert_close(back.x_t, x_0, rtol=0, atol=1e-5)


def test_where_nothing_is_left_of_the_picture_there_is_no_way_up() -> None:
    process = Process.from_beta(torch.cat([cosine_beta(50)[:-1], torch.ones(1).double()]))
    spacing = Spacing.even(50, 10)
    with pytest.raises(ValueError, match="t: 50 is not allowed: nothing of the picture is left"):
        inversion(process, spacing)
    assert inversion(process, spacing.up_to(49)).paper_t[-1] == 45
