"""The network as samplers call it: with or without a label, and with classifier-free guidance.

Guidance is Ho & Salimans 2022: eps_hat is moved away from what the network says without the label.
In only some of the steps (Kynkäänniemi et al. 2024) it costs less, and images vary more.
"""

from collections.abc import Callable, Container
from typing import NamedTuple

import torch
from torch import Tensor

Model = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""The network as samplers call it: (x_t (B,C,H,W), t (B,) int64, label (B,) int64 or None) to
eps_hat (B,C,H,W); to eps_hat and v, (B,2C,H,W), where it learned its variance."""


class Conditioning(NamedTuple):
    """The label of each sample, and the strength of guidance towards it."""

    label: Tensor | None  # (B,) int64
    guidance: float = 0.0  # the strength w; 0: none
    null_label: int | None = None  # the label that means "no label"; guidance needs it
    steps: Container[int] | None = None  # the positions of the guided steps of a chain; None: all

    def at(self, position: int) -> "Conditioning":
        """What holds for the step of a chain at this position."""
        is_guided = self.steps is None or position in self.steps
        return self if is_guided else self._replace(guidance=0.0)


def guided(model: Model, x_t: Tensor, t: Tensor, condition: Conditioning) -> Tensor:
    """Call the model at x_t with classifier-free guidance (Ho & Salimans 2022, eq. 6).

    Raises ValueError for guidance without a label or a null label.
    """
    label, w, null_label, _ = condition
    out = model(x_t, t, label)
    if w == 0:
        return out
    if label is None or null_label is None:
        raise ValueError("guidance: needs a label and a model trained with label dropout")
    # a second call at the same x_t, with the null label
    out_null = model(x_t, t, torch.full_like(label, null_label))
    w_rows = torch.full((len(x_t),), w, dtype=torch.float64, device=x_t.device)
    return combine_guided(out, out_null, w_rows, num_channels=x_t.shape[1])


def combine_guided(out: Tensor, out_null: Tensor, w: Tensor, num_channels: int) -> Tensor:
    """Return (1 + w) eps_hat(x_t, t, label) - w eps_hat(x_t, t), with w (B,) float64 (Ho &
    Salimans 2022, eq. 6).

    `out` and `out_null` are the model's with the label and without one. A learned variance, in the
    channels after the first `num_channels`, is taken from `out` as it is.
    """
    scale = w[:, None, None, None]  # (B,1,1,1)
    eps_label, eps_null = out[:, :num_channels], out_null[:, :num_channels]
    # 1 + w is made in float64 and rounded once, to the images' dtype
    eps_hat = (1 + scale).to(out.dtype) * eps_label - scale.to(out.dtype) * eps_null
    return torch.cat([eps_hat, out[:, num_channels:]], dim=1)
