"""Which terms of the bound are computed: at which t of each image, and how much each counts."""

import pytest
import torch
from torch import Tensor

from diffusion.bound_spread import spread, spread_over_chain

MANY = torch.arange(4000)


@pytest.mark.parametrize(("S", "count"), [(10, 2), (30, 8), (100, 12), (1000, 40), (1000, 999)])
def test_each_image_gets_the_decoders_term_and_one_from_each_part_of_the_chain(
    S: int, count: int
) -> None:
    t, weights = spread(torch.arange(50), S, count, seed=3)
    assert t.shape == (count, 50) and sum(weights) == S
    start = 0
    for row, size in zip(t, weights, strict=True):  # the parts follow each other without a gap
        assert size >= 1 and ((row >= start) & (row < start + size)).all()
        start += size
    assert weights[0] == 1 and max(weights[1:]) - min(weights[1:]) <= 2, "about equal parts"


def test_all_terms_are_every_t_once_in_order() -> None:
    t, weights = spread(torch.arange(3), 30, 30, seed=3)
    assert t.tolist() == [[k] * 3 for k in range(30)] and weights == [1] * 30


def test_within_a_part_every_t_is_as_likely() -> None:
    t, weights = spread(MANY, 41, 5, seed=1)
    assert weights == [1, 10, 10, 10, 10]
    shares = torch.stack([row.bincount(minlength=41) for row in t[1:]]).sum(dim=0) / len(MANY)
    assert shares[0] == 0 and (shares[1:] - 0.1).abs().max() < 0.025, "five standard deviations"


def test_the_parts_are_drawn_one_apart_from_another() -> None:
    t = spread(MANY, 41, 5, seed=1).t[1:].double()
    correlations = torch.corrcoef(t) - torch.eye(4)
    assert correlations.abs().max() < 0.08, "five standard deviations"


def test_the_choice_depends_on_the_image_and_the_seed_but_not_on_the_batch() -> None:
    def chosen(indices: list[int], seed: int) -> Tensor:
        return spread(torch.tensor(indices), 1000, 12, seed).t

    together = chosen([7, 8, 9], seed=5)
    assert torch.equal(chosen([9], seed=5), together[:, 2:])
    assert torch.equal(chosen([9, 7], seed=5), together[:, [2, 0]])
    assert not torch.equal(together[:, 0], together[:, 1])
    assert not torch.equal(chosen([9], seed=6), together[:, 2:])


def test_over_the_chain_they_come_with_how_much_they_count() -> None:
    indices = torch.arange(4)
    whole = spread(indices, 100, 6, seed=2)
    found = list(spread_over_chain(indices, 100, 6, seed=2))
    assert [weight for _, weight in found] == whole.weights
    assert torch.equal(torch.stack([t for t, _ in found]), whole.t)
