"""The bound of given pictures, against that of a data set's images."""

import math
import re

import pytest
import torch

from diffusion.bound import Reverse, bound
from diffusion.bound_sum import PictureBound, Terms, standard_error
from diffusion.picture_bound import measure, summed
from diffusion.process import Process
from tests.diffusion.test_bound import images, network

SHORT = Process.from_beta(torch.linspace(1e-3, 0.45, 30, dtype=torch.float64))


@pytest.fixture
def reverse() -> Reverse:
    return Reverse(network, SHORT, "fixed_small")


def bounds(reverse: Reverse, terms: Terms, seed: int = 3) -> list[PictureBound]:
    x_0 = images(2)
    return summed(reverse, x_0, terms, list(measure(reverse, x_0, None, terms, seed=seed)))


@pytest.mark.parametrize("count", [30, 8])
def test_it_is_the_bound_that_evaluate_measures_of_the_same_images(
    reverse: Reverse, count: int
) -> None:
    expected = bound(reverse, images(2), seed=3, num_terms=count).bits_per_dim()
    for b, found in enumerate(bounds(reverse, Terms.of(count, None, 30))):
        assert found.bits_per_dim == pytest.approx(expected.total[b].item(), rel=1e-12)
        assert found.L_T == pytest.approx(expected.prior[b].item(), rel=1e-12)
        assert found.L_0 == pytest.approx(expected.decoder[b].item(), rel=1e-12)
        assert len(found.terms) == count and sum(term.weight for term in found.terms) == 30
        for term in found.terms:
            column = expected.per_step[b, term.t - 1].item()
            assert term.weight * term.bits_per_dim == pytest.approx(column, rel=1e-12)


def test_the_terms_at_some_timesteps_are_those_of_the_whole_chain(reverse: Reverse) -> None:
    whole = bounds(reverse, Terms.of(30, None, 30))
    some = bounds(reverse, Terms.of(None, [20, 1, 7], 30))
    for all_terms, few in zip(whole, some, strict=True):
        at = {term.t: term.bits_per_dim for term in all_terms.terms}
        assert [term.t for term in few.terms] == [1, 7, 20]
        for term in few.terms:
            assert term.bits_per_dim == pytest.approx(at[term.t], rel=1e-12) and term.weight == 1
        assert few.bits_per_dim is None and few.standard_error is None, "they are not all"
        assert few.L_0 == all_terms.L_0 and few.L_T == all_terms.L_T
    every = bounds(reverse, Terms.of(None, list(range(1, 31)), 30))
    assert [b.bits_per_dim for b in every] == pytest.approx([b.bits_per_dim for b in whole])
    without = bounds(reverse, Terms.of(None, [5], 30))
    assert without[0].L_0 is None


def test_the_standard_error_is_that_of_other_seeds_or_larger(reverse: Reverse) -> None:
    terms = Terms.of(8, None, 30)
    found = [bounds(reverse, terms, seed)[0] for seed in range(100)]
    rest = [b.bits_per_dim - b.L_0 for b in found if b.bits_per_dim and b.L_0]
    true = torch.tensor(rest).std().item()
    told = math.sqrt(sum(b.standard_error**2 for b in found if b.standard_error) / len(found))
    assert 0.9 * true < told < 4 * true


def test_the_error_of_a_sum_of_equal_parts_is_known() -> None:
    noise = torch.randn(2000, 20, generator=torch.Generator().manual_seed(0)).tolist()
    told = [standard_error(parts) for parts in noise]
    mean_square = sum(error**2 for error in told if error) / len(told)
    assert mean_square == pytest.approx(20, rel=0.05), "the variance of a sum of 20 is 20"
    assert standard_error([1.0]) is None


@pytest.mark.parametrize(
    ("count", "timesteps", "message"),
    [
        (1, None, "terms: 1 is not allowed: it must be 2..30, all of the terms"),
        (31, None, "terms: 31 is not allowed: it must be 2..30"),
        (8, [1], "terms: 8 is not allowed: timesteps says which they are"),
        (None, [0], "timesteps: 0 is not allowed: it must be 1..30"),
        (None, [1, 31], "timesteps: 31 is not allowed: it must be 1..30"),
    ],
)
def test_terms_that_the_chain_does_not_have_are_refused(
    count: int | None, timesteps: list[int] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Terms.of(count, timesteps, 30)


def test_without_a_number_there_are_forty_terms_or_all() -> None:
    assert Terms.of(None, None, 1000).count == 40
    assert Terms.of(None, None, 30).count == 30
