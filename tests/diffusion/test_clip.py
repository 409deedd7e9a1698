"""The limit of x_0_hat: its values are clipped, and its gradient finds a way back."""

import torch

from diffusion.clip import clipped

X = torch.tensor([-3.0, -2.0, -0.5, 0.0, 2.0, 5.0])


def gradient(of: float) -> list[float]:
    """The gradient at X of `of` times the sum of the clipped values."""
    x = X.clone().requires_grad_()
    (of * clipped(x, 2.0)).sum().backward()
    assert x.grad is not None
    return x.grad.tolist()


def test_values_beyond_the_limit_become_the_limit() -> None:
    assert clipped(X, 2.0).tolist() == [-2.0, -2.0, -0.5, 0.0, 2.0, 2.0]


def test_a_value_beyond_is_pulled_back_and_never_pushed_further_out() -> None:
    """A step of gradient descent goes against the gradient."""
    assert gradient(1.0) == [0.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert gradient(-1.0) == [-1.0, -1.0, -1.0, -1.0, -1.0, 0.0]


def test_within_the_limit_it_changes_nothing() -> None:
    x = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: clipped(x, 3.0).square(), x)
