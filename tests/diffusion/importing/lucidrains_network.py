"""lucidrains' Unet and GaussianDiffusion as their layout and equations, written from the project's
public description: tensors by name, and one function of them in float64. No module of ours."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Shape:
    """The arguments of their Unet."""

    dim: int = 16
    init_dim: int = 16
    mults: tuple[int, ...] = (1, 2)
    channels: int = 3
    out: int = 3
    heads: int = 4
    head_dim: int = 8
    full: tuple[bool, ...] = (False, True)
    memories: int = 4
    groups: int | None = None  # of GroupNorm, as before 2.0.0
    theta: float = 10_000.0

    @property
    def dims(self) -> list[int]:
        return [self.init_dim, *(self.dim * mult for mult in self.mults)]


def layout(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor's name and shape."""
    dims, last = shape.dims, len(shape.mults) - 1
    yield from conv("init_conv", shape.channels, dims[0], 7)
    yield from dense("time_mlp.1", shape.dim, 4 * shape.dim)
    yield from dense("time_mlp.3", 4 * shape.dim, 4 * shape.dim)
    for i, (above, below) in enumerate(zip(dims, dims[1:], strict=False)):
        yield from resnet(shape, f"downs.{i}.0", above, above)
        yield from resnet(shape, f"downs.{i}.1", above, above)
        yield from attention(shape, f"downs.{i}.2", above, full=shape.full[i])
        if i < last:
            yield from conv(f"downs.{i}.3.1", 4 * above, below, 1)
        else:
            yield from conv(f"downs.{i}.3", above, below, 3)
        up = last - i
        yield from resnet(shape, f"ups.{up}.0", above + below, below)
        yield from resnet(shape, f"ups.{up}.1", above + below, below)
        yield from attention(shape, f"ups.{up}.2", below, full=shape.full[i])
        yield from conv(f"ups.{up}.3.1" if i > 0 else f"ups.{up}.3", below, above, 3)
    yield from resnet(shape, "mid_block1", dims[-1], dims[-1])
    yield from attention(shape, "mid_attn", dims[-1], full=True)
    yield from resnet(shape, "mid_block2", dims[-1], dims[-1])
    yield from resnet(shape, "final_res_block", 2 * dims[0], dims[0])
    yield from conv("final_conv", dims[0], shape.out, 1)


def conv(name: str, old: int, new: int, kernel: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (new, old, kernel, kernel)
    yield f"{name}.bias", (new,)


def dense(name: str, old: int, new: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (new, old)
    yield f"{name}.bias", (new,)


def resnet(shape: Shape, name: str, old: int, new: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from dense(f"{name}.mlp.1", 4 * shape.dim, 2 * new)
    for block, width in (("block1", old), ("block2", new)):
        yield from conv(f"{name}.{block}.proj", width, new, 3)
        if shape.groups:
            yield f"{name}.{block}.norm.weight", (new,)
            yield f"{name}.{block}.norm.bias", (new,)
        else:
            yield f"{name}.{block}.norm.g", (1, new, 1, 1)
    if old != new:
        yield from conv(f"{name}.res_conv", old, new, 1)


def attention(
    shape: Shape, name: str, width: int, *, full: bool
) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden = shape.heads * shape.head_dim
    yield f"{name}.norm.g", (1, width, 1, 1)
    if shape.memories:
        pair = (shape.memories, shape.head_dim) if full else (shape.head_dim, shape.memories)
        yield f"{name}.mem_kv", (2, shape.heads, *pair)
    yield f"{name}.to_qkv.weight", (3 * hidden, width, 1, 1)
    yield from conv(f"{name}.to_out" if full else f"{name}.to_out.0", hidden, width, 1)
    if not full:
        yield f"{name}.to_out.1.g", (1, width, 1, 1)


def drawn(shape: Shape, seed: int = 0) -> Weights:
    """Random weights, none of which makes a branch the identity."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, size in layout(shape):
        spread = math.prod(size[1:]) ** -0.5 if name.endswith("weight") and len(size) > 1 else 0.3
        centre = 1.0 if name.endswith((".g", "norm.weight")) else 0.0
        made[name] = centre + spread * torch.randn(size, generator=generator)
    return made


def output(shape: Shape, weights: Weights, x: Tensor, t: Tensor) -> Tensor:
    """The network's output, in float64."""
    return Calculation(shape, {name: w.double() for name, w in weights.items()}).run(x, t)


@dataclass(frozen=True)
class Calculation:
    """One pass through the network, with its weights."""

    shape: Shape
    w: Weights

    def run(self, x: Tensor, t: Tensor) -> Tensor:
        half = self.shape.dim // 2
        periods = self.shape.theta ** (torch.arange(half).double() / (half - 1))
        angles = t.double().outer(1 / periods)
        time = self.dense("time_mlp.1", torch.cat([angles.sin(), angles.cos()], 1))
        time = self.dense("time_mlp.3", 0.5 * time * (1 + torch.erf(time / math.sqrt(2))))
        first = now = self.conv("init_conv", x.double())
        kept, last = [], len(self.shape.mults) - 1
        for i in range(last + 1):
            kept.append(now := self.resnet(f"downs.{i}.0", now, time))
            kept.append(now := self.attend(f"downs.{i}.2", self.resnet(f"downs.{i}.1", now, time)))
            now = self.conv(f"downs.{i}.3", now) if i == last else self.halved(i, now)
        now = self.attend("mid_attn", self.resnet("mid_block1", now, time))
        now = self.resnet("mid_block2", now, time)
        for i in range(last + 1):
            now = self.resnet(f"ups.{i}.0", torch.cat([now, kept.pop()], 1), time)
            now = self.resnet(f"ups.{i}.1", torch.cat([now, kept.pop()], 1), time)
            now = self.attend(f"ups.{i}.2", now)
            if i < last:
                now = now.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            now = self.conv(f"ups.{i}.3" if i == last else f"ups.{i}.3.1", now)
        now = self.resnet("final_res_block", torch.cat([now, first], 1), time)
        return self.conv("final_conv", now)

    def dense(self, name: str, x: Tensor) -> Tensor:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def conv(self, name: str, x: Tensor) -> Tensor:
        kernel = self.w[f"{name}.weight"]
        return F.conv2d(x, kernel, self.w.get(f"{name}.bias"), padding=kernel.shape[-1] // 2)

    def halved(self, i: int, x: Tensor) -> Tensor:
        """Each square of 2 x 2 pixels as 4 channels, then a dense layer a pixel."""
        corners = [x[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)]
        return self.conv(f"downs.{i}.3.1", torch.stack(corners, dim=2).flatten(1, 2))

    def rms(self, name: str, x: Tensor) -> Tensor:
        return x / x.square().mean(dim=1, keepdim=True).sqrt() * self.w[f"{name}.g"]

    def norm(self, name: str, x: Tensor) -> Tensor:
        if self.shape.groups is None:
            return self.rms(name, x)
        weight, bias = self.w[f"{name}.weight"], self.w[f"{name}.bias"]
        return F.group_norm(x, self.shape.groups, weight, bias)

    def resnet(self, name: str, x: Tensor, time: Tensor) -> Tensor:
        told = self.dense(f"{name}.mlp.1", time * torch.sigmoid(time))
        scale, shift = told.unflatten(1, (2, -1, 1, 1)).unbind(1)
        y = self.norm(f"{name}.block1.norm", self.conv(f"{name}.block1.proj", x))
        y = y * scale + y + shift
        y = y * torch.sigmoid(y)
        y = self.norm(f"{name}.block2.norm", self.conv(f"{name}.block2.proj", y))
        y = y * torch.sigmoid(y)
        return y + (self.conv(f"{name}.res_conv", x) if f"{name}.res_conv.weight" in self.w else x)

    def attend(self, name: str, x: Tensor) -> Tensor:
        full = f"{name}.to_out.weight" in self.w
        heads, width = self.shape.heads, self.shape.head_dim
        found = self.conv(f"{name}.to_qkv", self.rms(f"{name}.norm", x))
        q, k, v = found.flatten(2).unflatten(1, (3, heads, width)).unbind(1)  # (B,heads,width,N)
        if self.shape.memories:
            memory = self.w[f"{name}.mem_kv"].mT if full else self.w[f"{name}.mem_kv"]
            k = torch.cat([memory[0].repeat(len(x), 1, 1, 1), k], dim=3)
            v = torch.cat([memory[1].repeat(len(x), 1, 1, 1), v], dim=3)
        if full:
            share = torch.einsum("bhdi,bhdj->bhij", q, k).div(width**0.5).softmax(dim=3)
            seen = torch.einsum("bhij,bhdj->bhdi", share, v).flatten(1, 2).unflatten(2, x.shape[2:])
            return x + self.conv(f"{name}.to_out", seen)
        summary = torch.einsum("bhdn,bhen->bhde", k.softmax(dim=3), v)
        seen = torch.einsum("bhde,bhdn->bhen", summary, q.softmax(dim=2)) / width**0.5
        seen = seen.flatten(1, 2).unflatten(2, x.shape[2:])
        return x + self.rms(f"{name}.to_out.1", self.conv(f"{name}.to_out.0", seen))


def cosine_betas(T: int) -> Tensor:
    """Their schedule `cosine`, (T,) float64."""
    u = torch.arange(T + 1).double() / T
    alpha_bar = ((u + 0.008) / 1.008 * math.pi / 2).cos().square()
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999)


def loss_weight(objective: str, betas: Tensor, gamma: float) -> Tensor:
    """The weight of the squared error at each t, with their min-SNR weighting; (T,)."""
    alpha_bar = (1 - betas).cumprod(0)
    snr = alpha_bar / (1 - alpha_bar)
    over = {"pred_noise": snr, "pred_x0": torch.ones_like(snr), "pred_v": snr + 1}
    return snr.clamp(max=gamma) / over[objective]


def ddim(
    shape: Shape, weights: Weights, betas: Tensor, objective: str, x: Tensor, kept: list[int]
) -> Tensor:
    """Their ddim_sample with eta 0 from x down through the timesteps kept, in float64: x_start is
    clipped, and the noise follows from it."""
    alpha_bar = (1 - betas).cumprod(0)
    for now, then in zip(kept[::-1], [*kept[-2::-1], None], strict=True):
        a, b = alpha_bar[now].sqrt(), (1 - alpha_bar[now]).sqrt()
        made = output(shape, weights, x, torch.full((len(x),), now))
        x_start = {
            "pred_noise": (x - b * made) / a, "pred_x0": made, "pred_v": a * x - b * made,
        }[objective].clamp(-1, 1)  # fmt: skip
        if then is None:
            return x_start
        noise = (x - a * x_start) / b
        x = alpha_bar[then].sqrt() * x_start + (1 - alpha_bar[then]).sqrt() * noise
    return x


def diffusion(
    weights: Weights, betas: Tensor, objective: str | None, gamma: float = math.inf
) -> Weights:
    """The state dict of a GaussianDiffusion around the network."""
    made = {f"model.{name}": weight for name, weight in weights.items()}
    alpha_bar = (1 - betas).cumprod(0)
    made |= {"betas": betas.float(), "alphas_cumprod": alpha_bar.float()}
    if objective:
        made["loss_weight"] = loss_weight(objective, betas, gamma).float()
    return made


def trainer_file(last: Weights, average: Weights) -> dict[str, Any]:
    """What their Trainer saves, of the state dicts of two GaussianDiffusions."""
    ema = {f"ema_model.{name}": tensor for name, tensor in average.items()}
    ema |= {f"online_model.{name}": tensor for name, tensor in last.items()}
    ema |= {"initted": torch.tensor(True), "step": torch.tensor(700)}
    opt = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]}
    saved = {"step": 700, "model": last, "opt": opt, "ema": ema, "scaler": None}
    return {**saved, "version": "2.2.6"}
