"""The network compiled by OpenVINO for a CPU: the same function in float32, in less time."""

import copy
import sys
import threading
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from diffusion.openvino.cache import load_or_convert
from diffusion.openvino.fusion import merge_norms, merge_upsamplers
from diffusion.parameterization import EpsModel

LANES = 2
TOLERANCE = 1e-3
"""How far eps_hat, which is about 1, may differ between the network as it is and with merged
norms."""


class CompiledModel:
    """Computes what an EpsModel does: eps_hat (B,C,H,W) from x_t, t (B,) and label (B,) or None.

    It is compiled for each B, when that is first seen. A batch is split among the threads where its
    size allows: with rows of its own a thread is busier than with a part of every layer, at whose
    end it would wait for the others.

    Two batches at once, each on half of the threads, keep the threads busier still: none waits for
    the other half's, nor for what the caller does between two batches. `run` computes one of them,
    on one of `num_lanes` lanes.
    """

    def __init__(self, model: EpsModel, threads: int) -> None:
        """Raises ImportError where OpenVINO is not installed."""
        # Without this module OpenVINO's converter does not report its use over the network.
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
        import openvino

        self.threads = threads
        self.num_lanes = LANES if threads >= LANES else 1
        self._core = openvino.Core()
        self._parts: dict[int, list[Part]] = {}
        self._compiling = threading.Lock()
        self._examples = examples(model, 2)
        self._graph = load_or_convert(model, converted)
        self._merges_norms = True
        if not self._computes(model):
            self._merges_norms = False
            self._parts.clear()

    def __call__(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """Compute a batch on all threads; not while a lane is at work."""
        parts = self._of_size(x_t.shape[0])
        _run(parts, [x_t, t, label])
        return torch.cat([part.output for part in parts])  # a copy: the buffers are used again

    def run(self, lane: int, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """Compute a batch on one lane's share of the threads, as a call does on all.

        Each lane is called from a thread of its own. The result is good until the lane's next call.
        """
        # Its parts are the lane's share of those for a batch of all lanes.
        parts = self._of_size(x_t.shape[0] * self.num_lanes)
        share = len(parts) // self.num_lanes
        mine = parts[lane * share : (lane + 1) * share]
        _run(mine, [x_t, t, label])
        return mine[0].output if share == 1 else torch.cat([part.output for part in mine])

    def keep(self, sizes: Sequence[int]) -> None:
        """Forget how to run batches of any size but these, and free the memory of that."""
        self._parts = {size: self._parts[size] for size in sizes if size in self._parts}

    @torch.inference_mode()
    def _computes(self, model: EpsModel) -> bool:
        """Does the graph compute what the model does, at both ends of the chain?"""
        made, expected = self(*self._examples), model(*self._examples)
        return torch.allclose(made, expected, atol=TOLERANCE, rtol=TOLERANCE)

    def _of_size(self, size: int) -> "list[Part]":
        with self._compiling:
            if size not in self._parts:
                self._parts[size] = self._compile(size)
            return self._parts[size]

    def _compile(self, size: int) -> "list[Part]":
        """What runs the parts of a batch: every lane has a network of its own, whose call, where it
        has one thread, is that of the caller: no other is woken."""
        parts = parts_of(size, self.threads)
        lanes = min(self.num_lanes, parts)
        options = {
            "INFERENCE_PRECISION_HINT": "f32",  # the default is bf16 where the CPU has it
            "INFERENCE_NUM_THREADS": self.threads // lanes,
            "NUM_STREAMS": parts // lanes,
            "ENABLE_CPU_PINNING": False,  # else each lane's network takes the same processor
        }
        graph = self._graph.clone()
        shapes = [(size // parts, *example.shape[1:]) for example in self._examples]
        graph.reshape(dict(zip(graph.inputs, shapes, strict=True)))
        if self._merges_norms:
            merge_norms(graph)

        def compiled(_lane: int) -> list[Part]:
            network = self._core.compile_model(graph, "CPU", options)
            return [Part(network.create_infer_request()) for _ in range(parts // lanes)]

        with ThreadPoolExecutor(lanes) as pool:
            return [part for lane in pool.map(compiled, range(lanes)) for part in lane]


class Part:
    """One of OpenVINO's requests, and its buffers."""

    def __init__(self, request: Any) -> None:
        self.request = request
        self.inputs = [torch.from_numpy(tensor.data) for tensor in request.input_tensors]
        self.output = torch.from_numpy(request.get_output_tensor().data)


def converted(model: EpsModel) -> Any:
    """OpenVINO's graph of the network, for batches of any size; takes seconds."""
    import openvino

    inputs = examples(model, 2)
    model = copy.deepcopy(model)
    merge_upsamplers(model)
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.export's, of its own parts
        exported = torch.export.export(
            model, tuple(inputs), dynamic_shapes=tuple({0: batch} for _ in inputs)
        )
        return openvino.convert_model(exported)


def _run(parts: list[Part], columns: list[Tensor | None]) -> None:
    """A batch, an equal share of the rows for each part."""
    given = [column for column in columns if column is not None]
    shares = [column.chunk(len(parts)) if len(parts) > 1 else (column,) for column in given]
    for part, *inputs in zip(parts, *shares, strict=True):
        for buffer, tensor in zip(part.inputs, inputs, strict=True):
            buffer.copy_(tensor)
    for part in parts[1:]:
        part.request.start_async()
    parts[0].request.infer(share_outputs=True)
    for part in parts[1:]:
        part.request.wait()


def parts_of(size: int, threads: int) -> int:
    """Return how many equal parts a batch is split into: the largest power of two that divides it
    and is not above the number of threads."""
    parts = 1
    while 2 * parts <= threads and size % (2 * parts) == 0:
        parts *= 2
    return parts


def examples(model: EpsModel, size: int) -> list[Tensor]:
    """Make inputs of `size` rows for the network: noise as x_t, timesteps from 0 to T-1, and labels
    where the model takes them."""
    generator = torch.Generator().manual_seed(0)
    config = model.config
    x_t = torch.randn(size, *config.image_shape, generator=generator)
    t = torch.linspace(0, model.num_timesteps - 1, size).long()
    if config.num_class_embeds is None:
        return [x_t, t]
    return [x_t, t, torch.arange(size) % config.num_class_embeds]
