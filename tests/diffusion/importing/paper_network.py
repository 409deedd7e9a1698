"""The paper's network under the module names of its own code, as pesser/pytorch_diffusion has it.

Written afresh from the paper's appendix B and the public names: an oracle for the import. Where it
can, it computes what it means in another way than ours does.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """What such a network is made of."""

    size: int = 16
    width: int = 32
    mult: tuple[int, ...] = (1, 2)
    blocks: int = 1
    attends: tuple[bool, ...] = (False, True)
    channels: int = 3


def act(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


def sinusoids(t: Tensor, dim: int) -> Tensor:
    """Sines, then cosines, of frequencies from 1 to 1/10000, both ends among them."""
    half = dim // 2
    frequency = torch.logspace(0, -4, half)
    angle = torch.outer(t.float(), frequency)
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class Embedding(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.ModuleList([nn.Linear(width, 4 * width), nn.Linear(4 * width, 4 * width)])

    def forward(self, x: Tensor) -> Tensor:
        return self.dense[1](act(self.dense[0](x)))


class Residual(nn.Module):
    def __init__(self, before: int, after: int, temb: int) -> None:
        super().__init__()
        self.norm1 = norm(before)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.temb_proj = nn.Linear(temb, after)
        self.norm2 = norm(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        if before != after:
            self.nin_shortcut = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        h = self.conv1(act(self.norm1(x))) + self.temb_proj(act(temb))[..., None, None]
        h = self.conv2(act(self.norm2(h)))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class Attend(nn.Module):
    """One head, as 1x1 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        for name in ("q", "k", "v", "proj_out"):
            setattr(self, name, nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2) for layer in (self.q, self.k, self.v))  # (B,C,HW)
        weight = torch.einsum("bci,bcj->bij", q, k).div(math.sqrt(x.shape[1])).softmax(dim=2)
        return x + self.proj_out(torch.einsum("bij,bcj->bci", weight, v).reshape(x.shape))


class Resample(nn.Module):
    def __init__(self, channels: int, *, down: bool) -> None:
        super().__init__()
        self.down = down
        self.conv = nn.Conv2d(
            channels, channels, 3, stride=2 if down else 1, padding=0 if down else 1
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.down:  # as "SAME" is of TensorFlow, at a stride of 2
            return self.conv(nn.ZeroPad2d((0, 1, 0, 1))(x))
        return self.conv(x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))


class Level(nn.Module):
    def __init__(self, pairs: list[tuple[int, int]], temb: int, attends: bool) -> None:
        super().__init__()
        self.block = nn.ModuleList([Residual(before, after, temb) for before, after in pairs])
        self.attn = nn.ModuleList([Attend(after) for _, after in pairs] if attends else [])

    def layer(self, i: int, x: Tensor, temb: Tensor) -> Tensor:
        x = self.block[i](x, temb)
        return self.attn[i](x) if len(self.attn) else x


class Middle(nn.Module):
    def __init__(self, channels: int, temb: int) -> None:
        super().__init__()
        self.block_1 = Residual(channels, channels, temb)
        self.attn_1 = Attend(channels)
        self.block_2 = Residual(channels, channels, temb)

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x, temb)), temb)


class PaperNetwork(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        widths = [shape.width * mult for mult in shape.mult]
        temb, last = 4 * shape.width, len(widths) - 1
        self.temb = Embedding(shape.width)
        self.conv_in = nn.Conv2d(shape.channels, shape.width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, now = [shape.width], shape.width
        for i, width in enumerate(widths):
            pairs = [(now, width)] + [(width, width)] * (shape.blocks - 1)
            level = Level(pairs, temb, shape.attends[i])
            skips += [width] * shape.blocks
            now = width
            if i < last:
                level.downsample = Resample(width, down=True)
                skips.append(width)
            self.down.append(level)
        self.mid = Middle(now, temb)
        for i in reversed(range(len(widths))):
            pairs = []
            for _ in range(shape.blocks + 1):
                pairs.append((now + skips.pop(), widths[i]))
                now = widths[i]
            level = Level(pairs, temb, shape.attends[i])
            if i > 0:
                level.upsample = Resample(now, down=False)
            self.up.insert(0, level)
        self.norm_out = norm(now)
        self.conv_out = nn.Conv2d(now, shape.channels, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        temb = self.temb(sinusoids(t, self.shape.width))
        skips = [self.conv_in(x)]
        for level in self.down:
            for i in range(self.shape.blocks):
                skips.append(level.layer(i, skips[-1], temb))
            if hasattr(level, "downsample"):
                skips.append(level.downsample(skips[-1]))
        h = self.mid(skips[-1], temb)
        for level in reversed(self.up):
            for i in range(self.shape.blocks + 1):
                h = level.layer(i, torch.cat([h, skips.pop()], dim=1), temb)
            if hasattr(level, "upsample"):
                h = level.upsample(h)
        return self.conv_out(act(self.norm_out(h)))
