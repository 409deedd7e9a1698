"""The same network in fewer passes over its images, for OpenVINO, which does not find these."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusion.unet_layers import Resnet, Upsample


def merge_upsamplers(model: nn.Module) -> None:
    """Put a MergedUpsample in the place of every Upsample."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, Upsample):
                setattr(module, name, MergedUpsample(child))


class MergedUpsample(nn.Module):
    """An Upsample as one transposed convolution: what the four copies of a pixel are multiplied
    with is added up beforehand, 16 weights instead of 4 times 9."""

    def __init__(self, upsample: Upsample) -> None:
        super().__init__()
        taps = upsample.conv.weight.detach().double().flip(2, 3).transpose(0, 1)  # (I,O,3,3)
        copies = [F.pad(taps, (i, 1 - i, j, 1 - j)) for i in (0, 1) for j in (0, 1)]
        self.weight = nn.Parameter(sum(copies, torch.zeros(())).float())  # (I,O,4,4)
        self.bias = upsample.conv.bias

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:  # noqa: ARG002 - the resamplers' signature
        return F.conv_transpose2d(x, self.weight, self.bias, stride=2, padding=1)


def merge_time_projections(model: nn.Module) -> None:
    """Compute what all resnets are told of the time in one product, instead of a small one each.

    A network without our resnets stays as it is.
    """
    resnets = [module for module in model.modules() if isinstance(module, Resnet)]
    if not resnets:
        return
    product = TimeProduct([resnet.time_emb_proj for resnet in resnets])
    for place, resnet in enumerate(resnets):
        setattr(resnet, "time_emb_proj", TimeProjection(product, place))  # noqa: B010 - no Linear


class TimeProduct(nn.Module):
    """The time projections of several resnets, which all take the same input, as one."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.cat([layer.weight for layer in layers]))
        self.bias = nn.Parameter(torch.cat([layer.bias for layer in layers]))
        self.widths = [layer.out_features for layer in layers]
        self.parts: Sequence[Tensor] = ()  # of the last product, one for each layer

    def forward(self, temb: Tensor) -> None:
        self.parts = F.linear(temb, self.weight, self.bias).split(self.widths, dim=1)


class TimeProjection(nn.Module):
    """Stands for one of a TimeProduct's layers. The first in the network computes them all, so it
    is for tracing, where the network is called once from its beginning to its end."""

    def __init__(self, product: TimeProduct, place: int) -> None:
        super().__init__()
        self.product = product
        self.place = place

    def forward(self, temb: Tensor) -> Tensor:
        if self.place == 0:
            self.product(temb)
        return self.product.parts[self.place]


def merge_norms(graph: Any) -> None:
    """Put sums over each channel, and one multiplication and addition a channel, in the place of
    every group norm of an OpenVINO graph whose shapes are fixed: these take the pixels in whatever
    order a convolution leaves them in memory; for a group norm they are reordered, and back.

    The variance is the mean square less the squared mean, which float32 cannot tell where a group's
    mean is hundreds of times its spread: compare the network's output before it is used.
    """
    import openvino

    for node in graph.get_ordered_ops():
        if node.get_type_name() == "GroupNormalization":
            openvino.utils.replace_node(node, _merged(node))


def _merged(norm: Any) -> Any:
    """What takes the place of one: of x (B,C,H,W), or of x + shift (B,C,1,1) without a pass for it,
    since what it does to the sums is known."""
    from openvino import opset15 as ops

    x, weight, bias = (norm.input_value(i) for i in range(3))
    x, shift = _unshifted(x)
    B, C, H, W = x.get_shape()
    groups, eps = (norm.get_attributes()[name] for name in ("num_groups", "epsilon"))

    def number(value: float) -> Any:
        return ops.constant(value, dtype="float32")

    def grouped(value: Any) -> Any:  # (B,C,…) to (B,G,C/G)
        return ops.reshape(value, [B, groups, C // groups], special_zero=False)

    def by_channel(value: Any) -> Any:  # to (B,C,1,1)
        return ops.reshape(value, [B, C, 1, 1], special_zero=False)

    def of_group(value: Any) -> Any:  # to (B,G,1)
        return ops.reduce_mean(value, 2, keep_dims=True)

    mean = grouped(ops.reduce_mean(x, [2, 3]))
    root = grouped(ops.reduce_l2(x, [2, 3]))
    square = root * root * number(1 / (H * W))
    zero = ops.constant(np.zeros((1, groups, C // groups), np.float32))
    offset = zero if shift is None else grouped(shift)
    group_mean = of_group(mean + offset)
    square = square + offset * (mean + mean + offset)
    variance = ops.relu(of_group(square) - group_mean * group_mean)
    scale = ops.reshape(weight, [1, groups, C // groups], special_zero=False) / ops.sqrt(
        variance + number(eps)
    )
    centred = ops.add(x, by_channel(offset - group_mean))
    return centred * by_channel(scale) + ops.reshape(bias, [1, C, 1, 1], special_zero=False)


def _unshifted(x: Any) -> tuple[Any, Any | None]:
    """x and shift, of a sum of (B,C,H,W) and (B,C,1,1); else x as it is, and None."""
    node = x.get_node()
    if node.get_type_name() == "Add":
        terms = node.input_value(0), node.input_value(1)
        for term, shift in (terms, terms[::-1]):
            is_shift = list(shift.get_shape()) == [*x.get_shape()[:2], 1, 1]
            if is_shift and not _is_constant(shift):  # that is a convolution's bias
                return term, shift
    return x, None


def _is_constant(value: Any) -> bool:
    """Does it depend on none of the graph's inputs?"""
    node = value.get_node()
    inputs = [source.get_source_output() for source in node.inputs()]
    is_made_of_constants = bool(inputs) and all(map(_is_constant, inputs))
    return is_made_of_constants or node.get_type_name() == "Constant"
