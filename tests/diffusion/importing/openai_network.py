"""OpenAI's network under the module names of improved-diffusion and guided-diffusion.

Written afresh from the papers (Nichol & Dhariwal 2021; Dhariwal & Nichol 2021, appendix) and the
public names: an oracle for the import. Where it can, it computes what it means in another way than
ours does.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.diffusion.importing.paper_network import act


@dataclass(frozen=True)
class Shape:
    """What such a network is made of; `attends` are the sides of feature maps."""

    size: int = 16
    width: int = 32
    mult: tuple[float, ...] = (1, 2)
    blocks: int = 1
    attends: tuple[int, ...] = (8,)
    heads: int = 1
    head_channels: int | None = None
    new_order: bool = False
    updown: bool = False
    scale_shift: bool = True
    classes: int | None = None
    learn_sigma: bool = False
    channels: int = 3

    def heads_of(self, channels: int) -> int:
        return channels // self.head_channels if self.head_channels else self.heads

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(int(self.width * factor) for factor in self.mult)


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels)


def double(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def sinusoids(t: Tensor, dim: int) -> Tensor:
    """Cosines, then sines, of frequencies from 1 to just above 1/10000."""
    frequency = torch.tensor([10000 ** (-i / (dim // 2)) for i in range(dim // 2)])
    angle = torch.outer(t.float(), frequency)
    return torch.cat([angle.cos(), angle.sin()], dim=1)


class Residual(nn.Module):
    def __init__(self, shape: Shape, before: int, after: int, resize: str = "") -> None:
        super().__init__()
        self.resize, self.scale_shift = resize, shape.scale_shift
        self.in_layers = nn.Sequential(
            norm(before), nn.SiLU(), nn.Conv2d(before, after, 3, padding=1)
        )
        told = 2 * after if shape.scale_shift else after
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(4 * shape.width, told))
        self.out_layers = nn.Sequential(
            norm(after), nn.SiLU(), nn.Dropout(0.1), nn.Conv2d(after, after, 3, padding=1)
        )
        self.skip_connection = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def resized(self, x: Tensor) -> Tensor:
        if self.resize == "down":  # the mean of each 2 x 2 pixels
            return x.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(4, 5))
        return double(x) if self.resize == "up" else x

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.in_layers[2](self.resized(act(self.in_layers[0](x))))
        told = self.emb_layers(emb)[..., None, None]
        if self.scale_shift:
            scale, shift = told[:, : h.shape[1]], told[:, h.shape[1] :]
            h = self.out_layers[0](h) * (1 + scale) + shift
            h = self.out_layers[3](act(h))
        else:
            h = self.out_layers(h + told)
        return h + self.skip_connection(self.resized(x))


class Attend(nn.Module):
    def __init__(self, shape: Shape, channels: int) -> None:
        super().__init__()
        self.heads, self.new_order = shape.heads_of(channels), shape.new_order
        self.norm = norm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        qkv = self.qkv(self.norm(x).flatten(2))  # (B,3C,HW)
        if self.new_order:  # all q, all k, all v, each by head
            q, k, v = qkv.reshape(B, 3, self.heads, C // self.heads, H * W).unbind(1)
        else:  # by head, each with its q, k and v
            q, k, v = qkv.reshape(B, self.heads, 3, C // self.heads, H * W).unbind(2)
        weight = (q.transpose(2, 3) @ k / math.sqrt(C // self.heads)).softmax(dim=3)
        h = (v @ weight.transpose(2, 3)).reshape(B, C, H * W)
        return x + self.proj_out(h).reshape(B, C, H, W)


class Shrink(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Grow(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(double(x))


class OpenAINetwork(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        width, dim = shape.width, 4 * shape.width
        self.time_embed = nn.Sequential(nn.Linear(width, dim), nn.SiLU(), nn.Linear(dim, dim))
        if shape.classes:
            self.label_emb = nn.Embedding(shape.classes, dim)
        now = shape.widths[0]
        first = nn.Conv2d(shape.channels, now, 3, padding=1)
        self.input_blocks = nn.ModuleList([nn.ModuleList([first])])
        self.output_blocks = nn.ModuleList()
        side, skips = shape.size, [now]
        for level, after in enumerate(shape.widths):
            for _ in range(shape.blocks):
                self.input_blocks.append(self.layer(now, after, side))
                now = after
                skips.append(now)
            if level < len(shape.mult) - 1:
                smaller = Residual(shape, now, now, "down") if shape.updown else Shrink(now)
                self.input_blocks.append(nn.ModuleList([smaller]))
                skips.append(now)
                side //= 2
        self.middle_block = nn.ModuleList(
            [Residual(shape, now, now), Attend(shape, now), Residual(shape, now, now)]
        )
        for level in reversed(range(len(shape.mult))):
            for i in range(shape.blocks + 1):
                block = self.layer(now + skips.pop(), shape.widths[level], side)
                now = shape.widths[level]
                if level > 0 and i == shape.blocks:
                    block.append(Residual(shape, now, now, "up") if shape.updown else Grow(now))
                    side *= 2
                self.output_blocks.append(block)
        made = shape.channels * (2 if shape.learn_sigma else 1)
        self.out = nn.Sequential(norm(now), nn.SiLU(), nn.Conv2d(now, made, 3, padding=1))

    def layer(self, before: int, after: int, side: int) -> nn.ModuleList:
        block = nn.ModuleList([Residual(self.shape, before, after)])
        if side in self.shape.attends:
            block.append(Attend(self.shape, after))
        return block

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        emb = self.time_embed(sinusoids(t, self.shape.width))
        if y is not None:
            emb = emb + F.one_hot(y, len(self.label_emb.weight)).float() @ self.label_emb.weight
        skips = []
        for block in self.input_blocks:
            x = self.through(block, x, emb)
            skips.append(x)
        x = self.through(self.middle_block, x, emb)
        for block in self.output_blocks:
            x = self.through(block, torch.cat([x, skips.pop()], dim=1), emb)
        return self.out(x)

    @staticmethod
    def through(block: nn.Module, x: Tensor, emb: Tensor) -> Tensor:
        for module in block.children():
            x = module(x, emb) if isinstance(module, Residual) else module(x)
        return x
