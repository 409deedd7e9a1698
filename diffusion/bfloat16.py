"""A network in bfloat16 for PyTorch: the weights are rounded once, not at each call."""

import copy

import torch
from torch import Tensor, nn

from diffusion.parameterization import EpsModel


def in_bfloat16(model: EpsModel) -> EpsModel:
    """Return a copy of the model whose products are of numbers in bfloat16; it takes and gives
    float32.

    What convolutions and dense layers take is rounded; norms, sums and activations stay float32.
    So do the first two convolutions, since x_t with little noise, rounded, would lose the noise
    that is to be predicted, and the dense layers of the time embedding, which cost next to nothing.
    """
    model = copy.deepcopy(model)
    for name, module in model.unet.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and not model.unet.exact_layers.match(name):
            module.to(torch.bfloat16)
            module.register_forward_pre_hook(_round)
            module.register_forward_hook(_widen)
    return model


def _round(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    (x,) = inputs
    return (x.to(torch.bfloat16),)


def _widen(_: nn.Module, __: tuple[Tensor], out: Tensor) -> Tensor:
    return out.float()
