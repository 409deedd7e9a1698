"""What training minimises: L_simple (eq. 14), the bound (eq. 5), or both.

IDDPM is Nichol & Dhariwal 2021; both together are the hybrid objective of its section 3.1.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from diffusion.bound import Reverse, compare
from diffusion.config import Config, Prediction
from diffusion.guidance import Model
from diffusion.parameterization import EpsModel, min_snr_weight, target
from diffusion.process import Process
from diffusion.training.batches import Batch
from diffusion.unet import UNet


class Losses(NamedTuple):
    """The losses of a batch, one for each image."""

    total: Tensor  # (B,), minimised after weighting by how t was drawn
    simple: Tensor  # (B,), the squared error of eq. 14, without weights


class Objective:
    """The loss of a network on a batch, as `config.training.loss` names it.

    - `simple`: L_simple, weighted by min-SNR-gamma if that is set.
    - `bound`: T L_t in bits/dim. Its mean over uniform t is the bound without L_T, which has no
      parameters.
    - `hybrid`: L_simple plus `bound_weight` times the bound, which moves the learned variance only.
    """

    def __init__(
        self, config: Config, process: Process, unet: UNet, network: Model | None = None
    ) -> None:
        """`network` is `unet` as it is to be called: wrapped for several workers, or compiled."""
        self.config = config.training
        self.prediction = config.process.prediction
        self.process = process
        self.network = unet if network is None else network
        self.model = EpsModel(unet, process, self.prediction).to(next(unet.parameters()).device)
        self.reverse = Reverse(self.model, process, config.process.variance, config.process.clip)
        # The weight of L_simple at each t; eq. 14 has none
        self.weight = torch.ones(process.num_timesteps, dtype=torch.float64)
        if self.config.min_snr_gamma is not None:
            self.weight = min_snr_weight(self.prediction, process, self.config.min_snr_gamma)

    def __call__(self, batch: Batch) -> Losses:
        """Compute the losses of a batch, differentiable in the network's parameters."""
        # Algorithm 1, line 5: x_t by eq. 4, and what the network says of it. Under autocast that is
        # bfloat16, in which the mean of squares would lose small errors.
        x_t = self.process.q_sample(batch.x_0, batch.t, batch.eps)
        out = self.network(x_t, batch.t, batch.label).float()
        simple = squared_error(out, self.process, batch, self.prediction)
        weighted = simple * self.weight.to(batch.t.device)[batch.t].to(simple)
        match self.config.loss:
            case "simple":
                return Losses(weighted, simple)
            case "bound":
                return Losses(self._bound(batch, x_t, out), simple)
            case "hybrid":
                # IDDPM, section 3.1: L_simple moves eps_hat, the bound v alone.
                C = x_t.shape[1]
                out = torch.cat([out[:, :C].detach(), out[:, C:]], dim=1)
                bound = self._bound(batch, x_t, out)
                return Losses(weighted + self.config.bound_weight * bound, simple)

    def _bound(self, batch: Batch, x_t: Tensor, out: Tensor) -> Tensor:
        """T L_t of each image, (B,) in bits/dim."""
        # One random term of eq. 5 for each image; T times it estimates the sum over uniform t.
        out = self.model.to_eps(out, x_t, batch.t)
        nats = compare(self.reverse, batch.x_0, x_t, batch.t, out).nats
        # Nats to bits per dimension, of which an image has C H W
        scale = self.process.num_timesteps / (math.log(2) * batch.x_0[0].numel())
        return (nats * scale).to(out.dtype)


def squared_error(out: Tensor, process: Process, batch: Batch, prediction: Prediction) -> Tensor:
    """Compute || eps - eps_theta(x_t, t) ||^2 (eq. 14), as a mean over each image's elements, (B,).

    A network that predicts x_0 or v is compared with those. Channels of `out` beyond those of x_0,
    a learned variance, are left out.
    """
    # A mean over C, H and W, not eq. 14's sum, as in the paper's code: one learning rate then suits
    # images of any size.
    wanted = target(prediction, process, batch.x_0, batch.t, batch.eps)
    return (wanted - out[:, : wanted.shape[1]]).square().mean(dim=(1, 2, 3))
