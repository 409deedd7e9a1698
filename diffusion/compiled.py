"""The network compiled by OpenVINO for a CPU: the same function in float32, in less time."""

import copy
import os
import sys
import warnings
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor

from diffusion.merged import merge_norms, merge_upsamplers
from diffusion.prediction import EpsModel

LANES = 2
TOLERANCE = 1e-3
"""Of eps_hat, which is about 1: between the network as it is and with merged norms."""


class CompiledModel:
    """What an EpsModel computes: eps_hat (B,C,H,W) from x_t, t (B,) and label (B,) or None.

    Compiled anew for each B, when it is first seen. A batch is split among the threads where its
    size allows: rows of their own keep them busier than parts of the same layers, at the end of
    each of which all would wait for all.

    Two batches at once, each on half of the threads, keep them busier still: no thread waits for
    the other half's, nor for what the caller does between two batches. `start` begins one on a
    lane, one of `num_lanes`, `wait` says which is done, `result` has it.
    """

    def __init__(self, model: EpsModel, threads: int, pinned_size: int = 0) -> None:
        """The threads of batches of `pinned_size` are pinned to a processor each, where there are
        as many, which gets more done. Raises ImportError where OpenVINO is not installed."""
        # Without this module OpenVINO's converter does not report its use over the network.
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
        import openvino

        self.threads = threads
        # With fewer threads than processors, another process may pin its own to the same.
        self._can_pin = threads >= (os.cpu_count() or 1)
        self._pinned_size = pinned_size
        self.num_lanes = LANES if threads >= LANES else 1
        self._core = openvino.Core()
        self._parts: dict[int, list[Part]] = {}
        self._begun: dict[int, list[Part]] = {}  # by lane
        self._done: SimpleQueue[Part] = SimpleQueue()
        self._examples = examples(model, 2)
        self._graph = self._converted(model)
        self._merges_norms = True
        if not self._computes(model):
            self._merges_norms = False
            self._parts.clear()

    def __call__(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """On all threads; not while a lane is at work."""
        parts = self._of_size(len(x_t))
        _start(parts, [x_t, t, label])
        for _ in parts:
            self._done.get()
        return torch.cat(_outputs(parts))  # a copy: the buffers are used again

    def start(self, lane: int, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> None:
        """Begin a batch on a lane that is free."""
        # Its requests are the lane's share of those for a batch of all lanes.
        parts = self._of_size(len(x_t) * self.num_lanes)
        share = len(parts) // self.num_lanes
        self._begun[lane] = parts[lane * share : (lane + 1) * share]
        _start(self._begun[lane], [x_t, t, label])

    def wait(self) -> int:
        """The lane of a batch that is done, once there is one."""
        while True:
            part = self._done.get()
            for lane, parts in self._begun.items():
                if part in parts:
                    part.is_done = True
                    if all(other.is_done for other in parts):
                        return lane

    def result(self, lane: int) -> Tensor:
        """Of the batch that is done there; the lane is free. Good until it begins the next."""
        outputs = _outputs(self._begun.pop(lane))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def keep(self, sizes: Sequence[int]) -> None:
        """Forget how to run batches of other sizes, whose memory is freed; the largest of these is
        the one whose threads are pinned from now on."""
        largest = max(sizes)
        self._parts = {size: self._parts[size] for size in sizes if size in self._parts}
        if self._can_pin and largest != self._pinned_size:
            self._pinned_size = largest
            self._parts.pop(largest, None)
        self._of_size(largest)

    def _converted(self, model: EpsModel) -> Any:
        """OpenVINO's graph of it, for batches of any size."""
        import openvino

        model = copy.deepcopy(model)
        merge_upsamplers(model)
        batch = torch.export.Dim("batch")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch.export's, of its own parts
            exported = torch.export.export(
                model,
                tuple(self._examples),
                dynamic_shapes=tuple({0: batch} for _ in self._examples),
            )
            return openvino.convert_model(exported)

    @torch.inference_mode()
    def _computes(self, model: EpsModel) -> bool:
        """Does the graph compute what the model does, at both ends of the chain?"""
        made, expected = self(*self._examples), model(*self._examples)
        return torch.allclose(made, expected, atol=TOLERANCE, rtol=TOLERANCE)

    def _of_size(self, size: int) -> "list[Part]":
        if size not in self._parts:
            self._parts[size] = self._compile(size)
        return self._parts[size]

    def _compile(self, size: int) -> "list[Part]":
        """What runs the parts of a batch."""
        parts = parts_of(size, self.threads)
        options = {
            "INFERENCE_PRECISION_HINT": "f32",  # the default is bf16 where the CPU has it
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": parts,
            # Of one size only: each size has its own threads, all pinned to the same processors, so
            # that of lanes with batches of two sizes both might wait for one.
            "ENABLE_CPU_PINNING": self._can_pin and size == self._pinned_size,
        }
        graph = self._graph.clone()
        shapes = [(size // parts, *example.shape[1:]) for example in self._examples]
        graph.reshape(dict(zip(graph.inputs, shapes, strict=True)))
        if self._merges_norms:
            merge_norms(graph)
        compiled = self._core.compile_model(graph, "CPU", options)
        return [Part(compiled.create_infer_request(), self._done) for _ in range(parts)]


class Part:
    """One of OpenVINO's requests, and its buffers; puts itself into `done` when it is."""

    def __init__(self, request: Any, done: "SimpleQueue[Part]") -> None:
        self.request = request
        self.inputs = [tensor.data for tensor in request.input_tensors]
        self.output = torch.from_numpy(request.get_output_tensor().data)
        self.is_done = False
        request.set_callback(done.put, self)


def _start(parts: list[Part], columns: list[Tensor | None]) -> None:
    """Begin a batch, an equal share of the rows for each part."""
    given = [column.chunk(len(parts)) for column in columns if column is not None]
    for part, *inputs in zip(parts, *given, strict=True):
        for buffer, tensor in zip(part.inputs, inputs, strict=True):
            buffer[:] = tensor.numpy()
        part.is_done = False
        part.request.start_async()


def _outputs(parts: list[Part]) -> list[Tensor]:
    """The buffers of parts that are done."""
    for part in parts:
        part.request.wait()  # done, but for the end of its callback; raises what went wrong
    return [part.output for part in parts]


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
