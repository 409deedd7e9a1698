"""The sum of the terms of one picture."""

import pytest

from diffusion.bound_sum import PictureBound, PictureTerm, Terms, bits_per_dim, standard_error

TERMS = (PictureTerm(1, 2.0, 1.0), PictureTerm(5, 0.1, 10.0), PictureTerm(20, 0.05, 20.0))


def test_each_term_counts_for_its_part_of_the_chain() -> None:
    found = PictureBound.of(0.5, TERMS, is_whole=True)
    assert found.bits_per_dim == pytest.approx(0.5 + 2.0 + 1.0 + 1.0)
    assert (found.L_T, found.L_0, found.terms) == (0.5, 2.0, TERMS)
    assert found.standard_error == standard_error([1.0, 1.0]) == 0.0


def test_a_part_of_the_chain_has_no_total() -> None:
    found = PictureBound.of(0.5, TERMS[1:], is_whole=False)
    assert (found.bits_per_dim, found.standard_error, found.L_0) == (None, None, None)


def test_nats_of_an_image_are_bits_of_a_number() -> None:
    assert bits_per_dim(0.6931471805599453 * 784, 784) == pytest.approx(1.0)


def test_by_default_there_are_forty_or_all() -> None:
    assert Terms.of(None, None, 1000) == Terms(40)
    assert Terms.of(None, None, 10) == Terms(10)
    assert Terms.of(None, [3, 1, 3], 10) == Terms(2, (1, 3))
    assert Terms(40).is_whole(1000) and not Terms(2, (1, 3)).is_whole(10)


@pytest.mark.parametrize(
    ("count", "timesteps", "told"),
    [
        (1, None, r"terms: 1 is not allowed: it must be 2..10"),
        (11, None, r"terms: 11"),
        (None, [0], r"timesteps: 0 is not allowed: it must be 1..10"),
        (None, [11], r"timesteps: 11"),
        (4, [1], r"terms: 4 is not allowed: timesteps says"),
    ],
)
def test_what_is_not_there_is_refused(
    count: int | None, timesteps: list[int] | None, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        Terms.of(count, timesteps, 10)
