"""The network compiled by OpenVINO for a CPU: the same function in float32, in less time."""

import copy
import sys
import warnings
from typing import Any

import torch
from torch import Tensor

from diffusion.prediction import EpsModel
from diffusion.unet import merge_upsamplers


class CompiledModel:
    """What an EpsModel computes: eps_hat (B,C,H,W) from x_t, t (B,) and label (B,) or None.

    Compiled anew for each B, when it is first seen. A batch is split among the threads where its
    size allows: rows of their own keep them busier than parts of the same layers, at the end of
    each of which all would wait for all.
    """

    def __init__(self, model: EpsModel, threads: int) -> None:
        """Raises ImportError where OpenVINO is not installed."""
        # Without this module OpenVINO's converter does not report its use over the network.
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
        import openvino

        self.threads = threads
        self._core = openvino.Core()
        self._requests: dict[int, list[Any]] = {}
        model = copy.deepcopy(model)
        merge_upsamplers(model)
        self._examples = examples(model, 2)
        batch = torch.export.Dim("batch")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch.export's, of its own parts
            exported = torch.export.export(
                model,
                tuple(self._examples),
                dynamic_shapes=tuple({0: batch} for _ in self._examples),
            )
            self._graph = openvino.convert_model(exported)

    def __call__(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        if len(x_t) not in self._requests:
            self._requests[len(x_t)] = self._compile(len(x_t))
        requests = self._requests[len(x_t)]
        columns = [c.chunk(len(requests)) for c in (x_t, t, label) if c is not None]
        for request, *inputs in zip(requests, *columns, strict=True):
            for i, tensor in enumerate(inputs):
                request.get_input_tensor(i).data[:] = tensor.numpy()
        for request in requests:
            request.start_async()
        for request in requests:
            request.wait()
        # cat copies: the buffers are reused by the next call.
        return torch.cat([torch.from_numpy(r.get_output_tensor().data) for r in requests])

    def _compile(self, size: int) -> list[Any]:
        """An inference request for each part of a batch."""
        parts = parts_of(size, self.threads)
        options = {
            "INFERENCE_PRECISION_HINT": "f32",  # the default is bf16 where the CPU has it
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": parts,
            "ENABLE_CPU_PINNING": False,  # others on this machine would be pinned to the same
        }
        graph = self._graph.clone()
        shapes = [(size // parts, *example.shape[1:]) for example in self._examples]
        graph.reshape(dict(zip(graph.inputs, shapes, strict=True)))
        compiled = self._core.compile_model(graph, "CPU", options)
        return [compiled.create_infer_request() for _ in range(parts)]


def parts_of(size: int, threads: int) -> int:
    """Into how many equal parts a batch is split: the largest power of two that divides it, and is
    not above the number of threads."""
    parts = 1
    while 2 * parts <= threads and size % (2 * parts) == 0:
        parts *= 2
    return parts


def examples(model: EpsModel, size: int) -> list[Tensor]:
    """Inputs of `size` rows: noise over all timesteps; two or, with labels, three tensors."""
    generator = torch.Generator().manual_seed(0)
    config = model.config
    x_t = torch.randn(size, *config.image_shape, generator=generator)
    t = torch.linspace(0, model.num_timesteps - 1, size).long()
    if config.num_class_embeds is None:
        return [x_t, t]
    return [x_t, t, torch.arange(size) % config.num_class_embeds]
