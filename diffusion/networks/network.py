"""What the rest of the package asks of a network, whatever its layers are."""

import re
from abc import abstractmethod

from torch import Tensor, nn

from diffusion.networks.config import NetworkConfig


class Network(nn.Module):
    """The network epsilon_theta(x_t, t, label), or one that predicts x_0 or v instead of eps."""

    config: NetworkConfig
    exact_layers: re.Pattern[str]
    """The names of the convolutions and dense layers that stay float32 in bfloat16: the first two
    convolutions, and those that embed t, which cost next to nothing."""

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """Predict eps, x_0 or v (B,C,H,W) of x_t (B,C,H,W), t (B,) int64 and label (B,) or None.

        With twice as many output channels a learned variance's v follows.
        """
