"""What a network may predict, and its conversion to eps_hat, which is all that others see of it.

With x_t = a x_0 + b eps, a = sqrt(alpha_bar_t), b = sqrt(1 - alpha_bar_t) (eq. 4), a network may be
trained to predict eps (the paper), x_0, or v = a eps - b x_0 (Salimans & Ho 2022).

Where a is 0, eps_hat stands for x_t - x_0_hat, as `Process.x_0_divisor` says: with 1 for a, as that
has it there, the formulas below give it of x_0 and of v.
"""

import torch
from torch import Tensor, nn

from diffusion.config import Prediction
from diffusion.networks.config import NetworkConfig
from diffusion.networks.network import Network
from diffusion.process import Process


class EpsModel(nn.Module):
    """A network that gives eps_hat (B,C,H,W), whatever it was trained to predict.

    It takes x_t (B,C,H,W), t (B,), and label (B,) or None. Where the network learned its
    variance, the v of that follows eps_hat: (B,2C,H,W) in all.
    """

    a: Tensor  # sqrt(alpha_bar), (T,) float32; 1 where that is 0
    b: Tensor  # sqrt(1 - alpha_bar), (T,) float32

    def __init__(self, unet: Network, process: Process, prediction: Prediction) -> None:
        super().__init__()
        self.unet = unet
        self.prediction = prediction
        # Made in float64 and rounded once. Not saved with the weights: the process gives them.
        self.register_buffer("a", process.x_0_divisor.float(), persistent=False)
        self.register_buffer("b", (1 - process.alpha_bar).sqrt().float(), persistent=False)

    @property
    def config(self) -> NetworkConfig:
        """The configuration of the network."""
        return self.unet.config

    @property
    def num_timesteps(self) -> int:
        """T, the number of steps of the full chain."""
        return len(self.a)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        return self.to_eps(self.unet(x_t, t, label), x_t, t)

    def to_eps(self, out: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Convert the network's output at x_t to eps_hat; channels of a learned variance stay."""
        if self.prediction == "eps":
            return out
        C = x_t.shape[1]
        made, v = out[:, :C], out[:, C:]  # the prediction; a learned variance, or no channels
        # x_0: eq. 4 solved for eps. v: a v + b x_t = (a^2 + b^2) eps = eps, since a^2 + b^2 = 1.
        a, b = (table[t][:, None, None, None] for table in (self.a, self.b))
        eps_hat = (x_t - a * made) / b if self.prediction == "x_0" else a * made + b * x_t
        return torch.cat([eps_hat, v], dim=1)


def target(prediction: Prediction, process: Process, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """Return what the network is trained to predict at x_t, of the shape of x_0."""
    match prediction:
        case "eps":  # eq. 14
            return eps
        case "x_0":
            return x_0
        case "v":
            return process.v(x_0, t, eps)


def min_snr_weight(prediction: Prediction, process: Process, gamma: float) -> Tensor:
    """Return the weights (T,) float64 of the squared error at each t (Hang et al. 2023).

    The error of x_0 is weighted by min(SNR, gamma); errors of eps and v so that it is the same.
    """
    # x_0_hat - x_0 is -b / a times the error of eps (eq. 4), and -b times that of v, since x_0 is
    # a x_t - b v. So the squared error of eps is a^2 / b^2 = SNR times that of x_0, and the squared
    # error of v is 1 / b^2 = SNR + 1 times that of x_0.
    clipped = process.snr.clamp(max=gamma)
    match prediction:
        case "eps":
            return clipped / process.snr
        case "x_0":
            return clipped
        case "v":
            return clipped / (process.snr + 1)
