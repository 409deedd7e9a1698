"""OpenVINO's graph of a network whose convolutions multiply 8-bit integers, by NNCF."""

import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from diffusion.checkpoint import Checkpoint
from diffusion.guidance import Conditioning
from diffusion.openvino.cache import Convert
from diffusion.openvino.model import converted
from diffusion.parameterization import EpsModel
from diffusion.process import Process
from diffusion.reverse import sample
from diffusion.samplers import make_table

STEPS, IMAGES = 25, 8
"""Of the chains that the ranges of activations are taken from."""
QUANTISED = ("Convolution", "ConvolutionBackpropData")
"""OpenVINO's names of the operations whose factors are rounded to 8 bits."""
EXACT_FIRST, EXACT_LAST = 2, 1
"""Convolutions whose factors are not: those that are float32 beside bfloat16, and the last."""


def in_int8(checkpoint: Checkpoint) -> Convert:
    """Return what makes the graph, calibrated over all t of the checkpoint's chain: for
    CompiledModel, which runs the rest of the network in its precision.

    Raises ImportError, when it is called, where NNCF is not installed.
    """

    def quantised(model: EpsModel) -> Any:
        graph = converted(model)
        import nncf  # after OpenVINO's, and after its reports over the network were turned off

        nncf.set_log_level(logging.ERROR)
        names = [input.any_name for input in graph.inputs]
        calls = [dict(zip(names, arrays, strict=True)) for arrays in seen(model, checkpoint)]
        return nncf.quantize(
            graph,
            nncf.Dataset(calls),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(calls),
            ignored_scope=nncf.IgnoredScope(names=exact(graph)),
        )

    return quantised


def exact(graph: Any) -> list[str]:
    """Name the operations of a graph that keep their precision: all but the inner convolutions."""
    nodes = [node for node in graph.get_ordered_ops() if node.get_type_name() != "Constant"]
    convolutions = [node for node in nodes if node.get_type_name() in QUANTISED]
    inner = {
        node.get_friendly_name()
        for node in convolutions[EXACT_FIRST : len(convolutions) - EXACT_LAST]
    }
    return [node.get_friendly_name() for node in nodes if node.get_friendly_name() not in inner]


@torch.inference_mode()
def seen(model: EpsModel, checkpoint: Checkpoint) -> Iterator[list[Any]]:
    """Yield what the network is called with in DDIM's chains, a step at a time, as arrays: x_t
    (B,C,H,W), t (B,) and, where it takes them, labels (B,)."""
    indices = torch.arange(IMAGES)
    label: Tensor | None = None
    if model.config.num_class_embeds is not None:
        label = indices % model.config.num_class_embeds
    process = Process.from_config(checkpoint.process)
    table = make_table(process, "ddim", min(STEPS, process.num_timesteps))
    states = sample(
        model, table, torch.zeros_like(indices), indices, model.config.image_shape,
        Conditioning(label), checkpoint.process.clip,
    )  # fmt: skip
    for t, state in zip(table.t.tolist(), states, strict=False):  # of x_0 nothing is asked
        columns = [state.x_t, torch.full_like(indices, t), label]
        yield [column.numpy() for column in columns if column is not None]
