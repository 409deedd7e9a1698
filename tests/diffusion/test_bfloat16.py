"""A network in bfloat16 for PyTorch, beside the same in float32."""

from pathlib import Path

import pytest
import torch

from diffusion.bfloat16 import in_bfloat16
from diffusion.checkpoint import open_checkpoint
from diffusion.openvino.model import examples
from diffusion.parameterization import EpsModel
from tests.tiny import save_tiny


@pytest.fixture
def model(tmp_path: Path) -> EpsModel:
    return open_checkpoint(save_tiny(tmp_path / "tiny", num_classes=3)).eps_model()


def test_it_gives_float32_that_is_near_but_not_equal(model: EpsModel) -> None:
    rows = examples(model, 8)
    half, exact = in_bfloat16(model)(*rows), model(*rows)
    assert half.dtype == torch.float32
    error = (half - exact).square().mean().sqrt()
    assert 0 < error < 0.02


def test_the_first_layers_and_the_time_embedding_stay_float32(model: EpsModel) -> None:
    weights = dict(in_bfloat16(model).unet.named_parameters())
    kept = {n.removesuffix(".weight") for n, w in weights.items() if w.dtype == torch.float32}
    first = {"conv_in", "down_blocks.0.resnets.0.conv1", "time_embedding.linear_1"}
    assert first <= kept
    assert weights["down_blocks.0.resnets.0.conv2.weight"].dtype == torch.bfloat16
    assert weights["conv_out.weight"].dtype == torch.bfloat16
    assert all(w.dtype == torch.float32 for n, w in weights.items() if "norm" in n)


def test_the_model_itself_is_left_as_it_is(model: EpsModel) -> None:
    rows = examples(model, 2)
    before = model(*rows)
    in_bfloat16(model)
    assert torch.equal(model(*rows), before)
