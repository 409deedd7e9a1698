"""The limit of x_0_hat, with a gradient to train by."""

from typing import Any

import torch
from torch import Tensor


def clipped(x_0_hat: Tensor, limit: float) -> Tensor:
    """Limit x_0_hat to +-limit, with a gradient that still reaches values beyond.

    The gradient is that of the clipped value, so that a wrong x_0_hat finds its way back. Only what
    would push a value further out is dropped: the decoder would do that without end, since the
    further out the mean, the more of its mass lies in the outermost bin.
    """
    made: Tensor = _Clip.apply(x_0_hat, limit)  # type: ignore[no-untyped-call]
    return made


class _Clip(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, limit: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.limit = limit
        return x.clamp(-limit, limit)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        outwards = ((x > ctx.limit) & (gradient < 0)) | ((x < -ctx.limit) & (gradient > 0))
        return gradient.masked_fill(outwards, 0.0), None
