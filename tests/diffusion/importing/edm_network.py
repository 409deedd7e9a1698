"""NVlabs/edm's SongUNet (DDPM++), its preconditionings and its Euler sampler, written from the
paper's tables and that project's public layout: tensors by name, and functions of them in float64.
No module of ours."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = dict[str, Tensor]
Sizes = Iterator[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True)
class Shape:
    """The arguments of their SongUNet."""

    side: int = 8
    channels: int = 3
    width: int = 16
    mults: tuple[int, ...] = (1, 2)
    blocks: int = 1
    attends: tuple[int, ...] = (4,)
    classes: int = 0
    augment: int = 9


@dataclass
class Layer:
    """A layer of theirs: what it takes and gives, and how it changes the size."""

    name: str
    old: int
    new: int
    attends: bool = False
    resized: str = ""  # up or down


@dataclass
class Plan:
    """All layers in their order."""

    enc: list[Layer] = field(default_factory=list)
    dec: list[Layer] = field(default_factory=list)


def plan(shape: Shape) -> Plan:
    made, width, kept = Plan(), shape.width, [shape.width]
    for level, mult in enumerate(shape.mults):
        name = f"{shape.side >> level}x{shape.side >> level}"
        if level:
            made.enc.append(Layer(f"enc.{name}_down", width, width, resized="down"))
            kept.append(width)
        for i in range(shape.blocks):
            attends = shape.side >> level in shape.attends
            made.enc.append(Layer(f"enc.{name}_block{i}", width, mult * shape.width, attends))
            kept.append(width := mult * shape.width)
    for level in range(len(shape.mults) - 1, -1, -1):
        name = f"{shape.side >> level}x{shape.side >> level}"
        if level == len(shape.mults) - 1:
            made.dec.append(Layer(f"dec.{name}_in0", width, width, attends=True))
            made.dec.append(Layer(f"dec.{name}_in1", width, width))
        else:
            made.dec.append(Layer(f"dec.{name}_up", width, width, resized="up"))
        for i in range(shape.blocks + 1):
            attends = i == shape.blocks and shape.side >> level in shape.attends
            new = shape.mults[level] * shape.width
            made.dec.append(Layer(f"dec.{name}_block{i}", width + kept.pop(), new, attends))
            width = new
    return made


def layout(shape: Shape) -> Sizes:
    """Every tensor's name, without the preconditioning's prefix, and shape."""
    top, width = f"{shape.side}x{shape.side}", shape.width
    yield "map_augment.weight", (width, shape.augment)
    if shape.classes:
        yield from matrix("map_label", shape.classes, width)
    yield from matrix("map_layer0", width, 4 * width)
    yield from matrix("map_layer1", 4 * width, 4 * width)
    yield from conv(f"enc.{top}_conv", shape.channels, width, 3)
    layers = plan(shape)
    for layer in layers.enc + layers.dec:
        yield from block(layer, 4 * width)
    yield from pair(f"dec.{top}_aux_norm", shape.mults[0] * width)
    yield from conv(f"dec.{top}_aux_conv", shape.mults[0] * width, shape.channels, 3)


def pair(name: str, width: int) -> Sizes:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def matrix(name: str, old: int, new: int) -> Sizes:
    yield f"{name}.weight", (new, old)
    yield f"{name}.bias", (new,)


def conv(name: str, old: int, new: int, kernel: int) -> Sizes:
    yield f"{name}.weight", (new, old, kernel, kernel)
    yield f"{name}.bias", (new,)


def block(layer: Layer, told: int) -> Sizes:
    name, old, new = layer.name, layer.old, layer.new
    yield from pair(f"{name}.norm0", old)
    yield from conv(f"{name}.conv0", old, new, 3)
    yield from matrix(f"{name}.affine", told, new)
    yield from pair(f"{name}.norm1", new)
    yield from conv(f"{name}.conv1", new, new, 3)
    if old != new or layer.resized:
        yield from conv(f"{name}.skip", old, new, 1)
    if layer.resized:
        yield f"{name}.conv0.resample_filter", (1, 1, 2, 2)
        yield f"{name}.skip.resample_filter", (1, 1, 2, 2)
    if layer.attends:
        yield from pair(f"{name}.norm2", new)
        yield from conv(f"{name}.qkv", new, 3 * new, 1)
        yield from conv(f"{name}.proj", new, new, 1)


def drawn(shape: Shape, seed: int = 0) -> Weights:
    """Random weights, none of which makes a branch the identity; the filter is [1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, size in layout(shape):
        if name.endswith("resample_filter"):
            made[name] = torch.full(size, 0.25)
            continue
        is_matrix = len(size) > 1
        spread = math.prod(size[1:]) ** -0.5 if is_matrix else 0.3
        centre = 1.0 if not is_matrix and ".norm" in name and name.endswith("weight") else 0.0
        made[name] = centre + spread * torch.randn(size, generator=generator)
    return made


def state_dict(weights: Weights) -> Weights:
    """That of the preconditioning around the network."""
    return {f"model.{name}": tensor for name, tensor in weights.items()}


@dataclass(frozen=True)
class Denoiser:
    """D(x, sigma), in float64, with one of the two preconditionings."""

    shape: Shape
    weights: Weights
    precond: str
    sigma_data: float = 0.5

    def __call__(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        """x (B,C,H,W) with noise of standard deviation sigma (B,)."""
        s, x = sigma.double()[:, None, None, None], x.double()
        if self.precond == "vp":
            u = ((0.1**2 + 2 * 19.9 * (1 + s**2).log()).sqrt() - 0.1) / 19.9
            return x - s * self.raw(x / (s**2 + 1).sqrt(), 999 * u.flatten(), label)
        both = s**2 + self.sigma_data**2
        made = self.raw(x / both.sqrt(), s.log().flatten() / 4, label)
        return self.sigma_data**2 / both * x + s * self.sigma_data / both.sqrt() * made

    def raw(self, x: Tensor, noise: Tensor, label: Tensor | None) -> Tensor:
        """The network F_theta."""
        half = self.shape.width // 2
        angles = noise.outer(10_000 ** -(torch.arange(half).double() / (half - 1)))
        told = torch.cat([angles.sin(), angles.cos()], 1)
        if label is not None:
            one_hot = torch.eye(self.shape.classes).double()[label] * self.shape.classes**0.5
            told = told + self.matrix("map_label", one_hot)
        told = F.silu(self.matrix("map_layer1", F.silu(self.matrix("map_layer0", told))))
        layers, top = plan(self.shape), f"{self.shape.side}x{self.shape.side}"
        kept = [x := self.conv(f"enc.{top}_conv", x)]
        for layer in layers.enc:
            kept.append(x := self.block(layer, x, told))
        for layer in layers.dec:
            joined = torch.cat([x, kept.pop()], 1) if layer.old != x.shape[1] else x
            x = self.block(layer, joined, told)
        return self.conv(f"dec.{top}_aux_conv", F.silu(self.norm(f"dec.{top}_aux_norm", x)))

    def get(self, name: str) -> Tensor:
        return self.weights[name].double()

    def matrix(self, name: str, x: Tensor) -> Tensor:
        return torch.einsum("oi,bi->bo", self.get(f"{name}.weight"), x) + self.get(f"{name}.bias")

    def conv(self, name: str, x: Tensor) -> Tensor:
        kernel = self.get(f"{name}.weight")
        return F.conv2d(x, kernel, self.get(f"{name}.bias"), padding=kernel.shape[-1] // 2)

    def norm(self, name: str, x: Tensor) -> Tensor:
        groups = min(32, x.shape[1] // 4)
        grouped = x.unflatten(1, (groups, -1)).flatten(2)
        spread = (grouped.var(2, unbiased=False, keepdim=True) + 1e-6).sqrt()
        normal = ((grouped - grouped.mean(2, keepdim=True)) / spread).view_as(x)
        weight, bias = (self.get(f"{name}.{part}")[:, None, None] for part in ("weight", "bias"))
        return normal * weight + bias

    def block(self, layer: Layer, x: Tensor, told: Tensor) -> Tensor:
        name, sized = layer.name, RESIZE[layer.resized]
        y = self.conv(f"{name}.conv0", sized(F.silu(self.norm(f"{name}.norm0", x))))
        y = y + self.matrix(f"{name}.affine", told)[:, :, None, None]
        y = self.conv(f"{name}.conv1", F.silu(self.norm(f"{name}.norm1", y)))
        if f"{name}.skip.weight" in self.weights:
            x = self.conv(f"{name}.skip", sized(x))
        y = (y + x) / 2**0.5
        if not layer.attends:
            return y
        mixed = self.conv(f"{name}.qkv", self.norm(f"{name}.norm2", y)).flatten(2)
        q, k, v = mixed[:, 0::3], mixed[:, 1::3], mixed[:, 2::3]
        share = torch.einsum("bcq,bck->bqk", q, k).div(q.shape[1] ** 0.5).softmax(2)
        seen = torch.einsum("bqk,bck->bcq", share, v).view_as(y)
        return (self.conv(f"{name}.proj", seen) + y) / 2**0.5


RESIZE: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda x: x,
    "down": lambda x: x.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).mean((3, 5)),
    "up": lambda x: x.repeat_interleave(2, 2).repeat_interleave(2, 3),
}


def euler(denoise: Denoiser, x: Tensor, sigmas: Tensor, label: Tensor | None) -> Tensor:
    """Follow the paper's eq. 1 by Euler's method from noise x of the first sigma down to 0."""
    for now, then in zip(sigmas, [*sigmas[1:], torch.tensor(0.0)], strict=True):
        slope = (x - denoise(x, now.repeat(len(x)), label)) / now
        x = x + (then - now) * slope
    return x
