"""The ways to run a network that are compared: precisions and memory layouts, as CUDA graphs."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from benchmarks.machine import MatrixPrecision, use_tf32
from diffusion.bfloat16 import in_bfloat16
from diffusion.parameterization import EpsModel
from diffusion.unet_layers import FirstConv, GroupNorm, TimeEmbedding

Variant = Literal["f32", "tf32", "bf16", "bf16-nhwc", "served"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
PRECISION: dict[Variant, MatrixPrecision] = {
    "f32": "float32", "tf32": "tf32", "bf16": "bfloat16", "bf16-nhwc": "bfloat16",
    "served": "bfloat16",
}  # fmt: skip
"""What each is measured against."""
WARM_UP_CALLS = 3
"""Before a capture: what libraries do at their first calls is not to be recorded."""


@dataclass(frozen=True)
class Inputs:
    """What a network is called with; x_t (B,C,H,W), t (B,)."""

    x_t: Tensor
    t: Tensor

    @classmethod
    def of(cls, model: EpsModel, size: int, device: torch.device) -> "Inputs":
        """Noise, the same for a row in every size, and timesteps from 0 to T - 1."""
        generator = torch.Generator().manual_seed(0)
        x_t = torch.randn(size, *model.config.image_shape, generator=generator)
        t = torch.arange(size) * 37 % model.num_timesteps
        return cls(x_t.to(device), t.to(device))


def prepare(model: EpsModel, variant: Variant, device: torch.device) -> EpsModel:
    """Copy a network to the device, in a variant's precision and layout; `served` is what the
    engine runs in bfloat16.

    In bfloat16 the first and last convolution, the time embedding and whatever `EpsModel` does
    besides stay float32; group norms take bfloat16, and add up in float32 inside.
    """
    use_tf32(allowed=variant == "tf32")
    if variant == "served":
        return in_bfloat16(model).to(device)
    made = copy.deepcopy(model).to(device)
    if PRECISION[variant] == "bfloat16":
        _use_bfloat16(made.unet, device)
    if variant == "bf16-nhwc":
        made.unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return made


def _use_bfloat16(unet: nn.Module, device: torch.device) -> None:
    unet.to(torch.bfloat16)
    for name, layer in unet.named_modules():
        if isinstance(layer, GroupNorm) and device.type == "cpu":
            layer.float()  # it takes bfloat16 all the same
        if isinstance(layer, FirstConv | TimeEmbedding) or name == "conv_out":
            layer.float()
            layer.register_forward_pre_hook(_to_float32)
            if name != "conv_out":
                layer.register_forward_hook(_to_bfloat16)


def _to_float32(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.float() for tensor in inputs)


def _to_bfloat16(_layer: nn.Module, _inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
    return out.to(torch.bfloat16)


class Captured:
    """A network's call, recorded as a CUDA graph that is launched as a whole; on a CPU it is called
    as it is. Calling this runs it on the same inputs once more: eps_hat (B,C,H,W)."""

    def __init__(self, network: Callable[[Tensor, Tensor], Tensor], inputs: Inputs) -> None:
        # A graph reads the memory of these without holding it
        self._network, self._inputs = network, inputs
        self._graph: torch.cuda.CUDAGraph | None = None
        self._eps_hat: Tensor | None = None
        if inputs.x_t.device.type == "cuda":
            self._record()

    def __call__(self) -> Tensor:
        if self._graph is None or self._eps_hat is None:
            return self._network(self._inputs.x_t, self._inputs.t)
        self._graph.replay()
        return self._eps_hat

    def _record(self) -> None:
        x_t, t = self._inputs.x_t, self._inputs.t
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_CALLS):
                self._network(x_t, t)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._eps_hat = self._network(x_t, t)
