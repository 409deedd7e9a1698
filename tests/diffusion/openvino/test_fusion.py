"""The merged parts compute what those do in whose place they are."""

import warnings
from typing import Any

import numpy as np
import openvino
import pytest
import torch
from torch import Tensor, nn

from diffusion.fields import from_dict
from diffusion.openvino.fusion import merge_norms, merge_time_projections, merge_upsamplers
from diffusion.unet import UNet
from diffusion.unet_config import UNetConfig
from diffusion.unet_layers import Resnet, Upsample
from tests.unet_configs import inputs, network_fields


@pytest.mark.parametrize("seed", range(6))
def test_merged_upsamplers_compute_the_same(seed: int) -> None:
    torch.manual_seed(seed)
    config = from_dict(UNetConfig, network_fields(seed) | {"upsample_type": "conv"})
    model = UNet(config).eval()
    x_t, t, label = inputs(config)
    with torch.no_grad():
        expected = model(x_t, t, label)
        merge_upsamplers(model)
        assert not any(isinstance(module, Upsample) for module in model.modules())
        torch.testing.assert_close(model(x_t, t, label), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_one_time_product_computes_the_same(seed: int) -> None:
    torch.manual_seed(seed)
    config = from_dict(UNetConfig, network_fields(seed))
    model = UNet(config).eval()
    x_t, t, label = inputs(config)
    with torch.no_grad():
        expected = model(x_t, t, label)
        merge_time_projections(model)
        assert not any(isinstance(module, nn.Linear) for module in projections(model))
        torch.testing.assert_close(model(x_t, t, label), expected, atol=1e-5, rtol=1e-5)


def projections(model: nn.Module) -> list[nn.Module]:
    return [m.time_emb_proj for m in model.modules() if isinstance(m, Resnet)]


class Norm(nn.Module):
    """A group norm, perhaps of a sum or of a convolution's output."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.GroupNorm(4, 8, eps=1e-5)
        for parameter in self.parameters():
            nn.init.normal_(parameter)

    def forward(self, x: Tensor, shift: Tensor) -> Tensor:
        if self.source == "sum":
            x = x + shift[:, :, None, None]
        elif self.source == "sum the other way round":
            x = shift[:, :, None, None] + x
        elif self.source == "convolution":
            x = self.conv(x)
        normal: Tensor = self.norm(x)
        return normal


def merged(module: nn.Module, rows: tuple[Tensor, ...]) -> Tensor:
    """What OpenVINO makes of the rows with merged norms."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.export's, of its own parts
        graph: Any = openvino.convert_model(torch.export.export(module, rows))
    graph.reshape(dict(zip(graph.inputs, [list(column.shape) for column in rows], strict=True)))
    merge_norms(graph)
    assert "GroupNormalization" not in [node.get_type_name() for node in graph.get_ops()]
    compiled = openvino.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return torch.from_numpy(np.array(compiled([column.numpy() for column in rows])[0]))


@pytest.mark.slow
@pytest.mark.parametrize("source", ["image", "sum", "sum the other way round", "convolution"])
@pytest.mark.parametrize("size", [1, 2])
def test_merged_norms_are_group_norms(source: str, size: int) -> None:
    torch.manual_seed(0)
    module = Norm(source)
    x, shift = 2 + 3 * torch.randn(size, 8, 5, 7), torch.randn(size, 8)
    with torch.no_grad():
        made = merged(module, (x, shift))
        expected = module.double()(x.double(), shift.double())
    torch.testing.assert_close(made.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_the_norm_of_a_convolution_has_the_same_bytes_in_a_batch_of_one() -> None:
    torch.manual_seed(0)
    module = Norm("convolution")
    x, shift = torch.randn(2, 8, 5, 7), torch.randn(2, 8)
    alone, beside = merged(module, (x[:1], shift[:1])), merged(module, (x, shift))
    assert torch.equal(alone[0], beside[0])


def test_a_merged_norm_of_a_constant_image_is_its_bias() -> None:
    torch.manual_seed(0)
    module = Norm("image")
    made = merged(module, (torch.full((1, 8, 3, 3), 7.3), torch.zeros(1, 8)))
    bias = module.norm.bias.detach()[None, :, None, None]
    torch.testing.assert_close(made, bias.expand_as(made), atol=1e-3, rtol=0)
