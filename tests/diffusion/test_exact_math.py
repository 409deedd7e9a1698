"""Elementary functions: as good as the library's, and the same bytes in any batch."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from diffusion import exact_math


def words(count: int) -> Tensor:
    return torch.randint(2**32, (count,), generator=torch.Generator().manual_seed(0))


def test_log_is_the_librarys() -> None:
    u = (words(20_000).double() + 0.5) * 2.0**-32
    np.testing.assert_allclose(exact_math.log(u), np.log(u.numpy()), rtol=1e-13, atol=1e-13)


def test_exp_is_the_librarys() -> None:
    x = torch.linspace(-700, 700, 20_001, dtype=torch.float64)
    np.testing.assert_allclose(exact_math.exp(x), np.exp(x.numpy()), rtol=1e-13)
    assert exact_math.exp(torch.zeros(1, dtype=torch.float64)).item() == 1.0


def test_exp_stays_finite_beyond_its_range() -> None:
    far = torch.tensor([-1e6, -750.0, 750.0, 1e6], dtype=torch.float64)
    found = exact_math.exp(far)
    assert found.isfinite().all() and (found.diff() >= 0).all() and (found > 0).all()


def test_cos_and_sin_are_the_librarys() -> None:
    word = words(20_000)
    angle = word.double().numpy() * 2 * np.pi / 2**32
    cos, sin = exact_math.cos_sin(word)
    np.testing.assert_allclose(cos, np.cos(angle), rtol=0, atol=1e-13)
    np.testing.assert_allclose(sin, np.sin(angle), rtol=0, atol=1e-13)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("function", [exact_math.exp, exact_math.log], ids=["exp", "log"])
def test_a_value_does_not_depend_on_what_it_is_beside(
    function: Callable[[Tensor], Tensor],
) -> None:
    x = (words(4099).double() + 0.5) * 2.0**-32
    whole = function(x)
    for size in (1, 2, 3, 5, 8, 17, 33, 1000):
        for start in (0, 1, 7, 4099 - size):
            part = slice(start, start + size)
            assert torch.equal(function(x[part].clone()), whole[part])
