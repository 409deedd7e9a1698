"""The chain as a progressive code: rates, errors, and the images that go with them."""

import pytest
import torch

from diffusion.bound import Reverse, bound
from diffusion.evaluation.rate_distortion import rate_distortion, reconstructions
from diffusion.process import Process
from diffusion.schedules import linear_beta
from tests.diffusion.test_bound import (
    best_network,
    gaussian_images,
    images,
    network,
    posterior_variance,
)


def test_the_rate_grows_from_the_prior_to_all_but_the_decoder() -> None:
    process = Process.from_beta(linear_beta(100))
    terms = bound(Reverse(best_network(process), process, "fixed_small", None), gaussian_images(8))
    code, bits = rate_distortion(terms), terms.bits_per_dim()
    assert code.rate[-1].item() == pytest.approx(bits.prior.mean().item())
    assert code.rate[0].item() == pytest.approx((bits.prior + bits.denoising).mean().item())
    assert (code.rate.diff() < 0).all()
    # what is known of a pixel at code t: its best estimate is off by the posterior's deviation
    posterior = posterior_variance(process)
    torch.testing.assert_close(code.rmse, 127.5 * posterior.sqrt(), rtol=0.05, atol=0.05)


def test_the_reconstructions_are_those_whose_error_the_bound_tells() -> None:
    reverse = Reverse(network, Process.from_beta(linear_beta(100)), "fixed_large")
    x_0, times = images(3), [99, 40, 3, 0]
    terms = bound(reverse, x_0, seed=6, first_index=2)
    made = reconstructions(reverse, x_0, times, seed=6, first_index=2)
    assert made.shape == (4, *x_0.shape)
    errors = (made - x_0).square().mean(dim=(2, 3, 4)).T
    torch.testing.assert_close(errors, terms.x_0_mse[:, times])
