"""The first layers stay float32 where the rest of the network is in bfloat16."""

from pathlib import Path
from typing import Any

import openvino
import pytest
from openvino import opset15 as ops

from diffusion.checkpoint import open_checkpoint
from diffusion.openvino.fusion import merge_norms
from diffusion.openvino.model import converted, examples
from diffusion.openvino.precise import keep_first_layers
from diffusion.parameterization import EpsModel
from tests.processor import needs_bfloat16
from tests.tiny import save_tiny


@pytest.fixture
def model(tmp_path: Path) -> EpsModel:
    return open_checkpoint(save_tiny(tmp_path / "tiny")).eps_model()


def merged(model: EpsModel) -> Any:
    graph = converted(model)
    shapes = [example.shape for example in examples(model, 2)]
    graph.reshape(dict(zip(graph.inputs, shapes, strict=True)))
    merge_norms(graph)
    return graph


def precisions(graph: Any) -> list[str]:
    """Of the convolutions, in order, as OpenVINO runs them: `f32` or `bf16`."""
    options = {"INFERENCE_PRECISION_HINT": "bf16"}
    compiled = openvino.Core().compile_model(graph, "CPU", options)
    kinds = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
    names = [
        str(kind["primitiveType"].astype(str))
        for kind in kinds
        if str(kind["layerType"].astype(str)) == "Convolution"
    ]
    return [name.rpartition("_")[2] for name in names]


@pytest.mark.slow
@needs_bfloat16
def test_two_convolutions_stay_float32_and_the_others_do_not(model: EpsModel) -> None:
    assert set(precisions(merged(model))) == {"bf16"}
    graph = merged(model)
    keep_first_layers(graph)
    found = precisions(graph)
    assert found[:2] == ["f32", "f32"] and set(found[2:]) == {"bf16"}


def test_a_graph_of_few_convolutions_is_left_as_it_is() -> None:
    x = ops.parameter([1, 4])
    graph = openvino.Model([ops.relu(x)], [x])
    keep_first_layers(graph)
    assert not [node for node in graph.get_ops() if node.get_rt_info()]
