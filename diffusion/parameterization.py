"""What a network predicts, turned into eps_hat: samplers, server and bound see that alone.

With x_t = a x_0 + b eps, a = sqrt(alpha_bar_t), b = sqrt(1 - alpha_bar_t) (eq. 4), a network may be
trained towards eps (the paper), x_0, or v = a eps - b x_0 (Salimans & Ho 2022).
"""

import torch
from torch import Tensor, nn

from diffusion.config import Prediction, UNetConfig
from diffusion.process import Process
from diffusion.unet import UNet


class EpsModel(nn.Module):
    """eps_hat (B,C,H,W) from x_t (B,C,H,W), t (B,) zero-based, label (B,) or None; followed by v,
    (B,2C,H,W) in all, where the network learned its variance."""

    a: Tensor  # (T,) float32, as b
    b: Tensor

    def __init__(self, unet: UNet, process: Process, prediction: Prediction) -> None:
        super().__init__()
        self.unet = unet
        self.prediction = prediction
        self.register_buffer("a", process.alpha_bar.sqrt().float(), persistent=False)
        self.register_buffer("b", (1 - process.alpha_bar).sqrt().float(), persistent=False)

    @property
    def config(self) -> UNetConfig:
        """The network's."""
        return self.unet.config

    @property
    def num_timesteps(self) -> int:
        """T."""
        return len(self.a)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        return self.to_eps(self.unet(x_t, t, label), x_t, t)

    def to_eps(self, out: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The network's output at x_t as eps_hat (and v)."""
        if self.prediction == "eps":
            return out
        made, v = out[:, : x_t.shape[1]], out[:, x_t.shape[1] :]
        a, b = (table[t][:, None, None, None] for table in (self.a, self.b))
        eps_hat = (x_t - a * made) / b if self.prediction == "x_0" else a * made + b * x_t
        return torch.cat([eps_hat, v], dim=1)


def target(prediction: Prediction, process: Process, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """What the network is trained to give at x_t, like x_0."""
    match prediction:
        case "eps":
            return eps
        case "x_0":
            return x_0
        case "v":
            return process.v(x_0, t, eps)


def min_snr_weight(prediction: Prediction, process: Process, gamma: float) -> Tensor:
    """Weights (T,) float64 of the squared error at each t (Hang et al. 2023): the loss on x_0 is
    weighted by min(SNR, gamma), and those on eps and v are as strict as that one."""
    clipped = process.snr.clamp(max=gamma)
    match prediction:
        case "eps":
            return clipped / process.snr
        case "x_0":
            return clipped
        case "v":
            return clipped / (process.snr + 1)
