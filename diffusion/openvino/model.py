"""The network compiled by OpenVINO for a CPU: the same function in less time, in float32 or
bfloat16."""

import copy
import logging
import sys
import threading
import warnings
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.jit._trace import TracerWarning

from diffusion.config import Precision
from diffusion.devices import has_bfloat16
from diffusion.file_cache import FileCache
from diffusion.openvino.cache import Convert, NetworkCache
from diffusion.openvino.fusion import merge_norms, merge_time_projections, merge_upsamplers
from diffusion.openvino.part import Part
from diffusion.openvino.precise import keep_first_layers
from diffusion.parameterization import EpsModel

log = logging.getLogger("ddpm.openvino")

LANES = 2
TOLERANCE = 1e-3
"""How far eps_hat, which is about 1, may differ between the network as it is and with merged
norms."""
MAX_RMS = 0.02
"""How far eps_hat in bfloat16 may be from that in float32: the root of the mean square."""


class Form(NamedTuple):
    """A way to compile the network."""

    precision: Precision
    merges_norms: bool


FORMS = (Form("bfloat16", True), Form("bfloat16", False), Form("float32", True))
"""The fastest first; each is used only where it is near to what the network computes."""
PLAIN = Form("float32", False)
"""The form that needs no proof."""


class CompiledModel:
    """Computes what an EpsModel does: eps_hat (B,C,H,W) from x_t, t (B,) and label (B,) or None.

    It is compiled for each B, when that is first seen, unless it is in the cache. A batch is split
    among the threads where its size allows: with rows of its own a thread is busier than with a
    part of every layer, at whose end it would wait for the others.

    Two batches at once, each on half of the threads, keep the threads busier still: none waits for
    the other half's, nor for what the caller does between two batches. `run` computes one of them,
    on one of `num_lanes` lanes.
    """

    def __init__(
        self,
        model: EpsModel,
        threads: int,
        precision: Precision = "float32",
        cache: str | None = None,
        convert: Convert | None = None,
    ) -> None:
        """Compile in a precision; `self.precision` is that, or float32 where bfloat16 proves to be
        too far from it. `cache` is the folder for what OpenVINO makes of the network; None: in the
        user's cache folder; empty: nothing is kept. `convert` makes OpenVINO's graph of it, by
        default `converted`. Raises ImportError where OpenVINO is not installed."""
        # Without this module OpenVINO's converter does not report its use over the network.
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
        self.threads = threads
        self.num_lanes = LANES if threads >= LANES else 1
        self._model = model
        self._parts: dict[int, list[Part]] = {}
        self._compiling: dict[int, threading.Lock] = {}  # by size: others need not wait
        self._cache = NetworkCache(model, convert or converted, FileCache.at(cache, "openvino"))
        self._form = self._nearest(precision)

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

    def prepare(self, sizes: Sequence[int]) -> None:
        """Begin to compile for batches of these sizes, as many at once as there are threads.
        Whoever asks for a batch waits for its size alone."""
        pool = ThreadPoolExecutor(self.threads)
        for size in sizes:
            pool.submit(self._of_size, size)  # what fails here fails again for whoever asks
        pool.shutdown(wait=False)

    def keep(self, sizes: Sequence[int]) -> None:
        """Forget how to run batches of any size but these, and free the memory of that."""
        self._parts = {size: self._parts[size] for size in sizes if size in self._parts}
        self._cache.forget_graph()

    @property
    def precision(self) -> Precision:
        """What the network is computed in."""
        return self._form.precision

    def _nearest(self, precision: Precision) -> Form:
        """The fastest form in that precision, or else in float32, that computes what the model
        does, at both ends of the chain."""
        inputs = examples(self._model, 2)

        @torch.inference_mode()
        def expected() -> Tensor:
            eps_hat: Tensor = self._model(*inputs)
            return eps_hat

        if not has_bfloat16(torch.device("cpu")):
            precision = "float32"  # OpenVINO has the other on such processors alone
        with ThreadPoolExecutor(1) as pool:
            reference = pool.submit(expected)  # meanwhile this thread compiles
            for form in FORMS:
                if form.precision not in (precision, "float32"):
                    continue
                self._form = form
                if self._is_near(inputs, reference):
                    return form
                self._parts.clear()
            self._form = PLAIN
            if not self._is_near(inputs, reference):
                log.warning("OpenVINO's eps_hat is more than %s from PyTorch's", TOLERANCE)
        return PLAIN

    def _is_near(self, inputs: list[Tensor], reference: "Future[Tensor]") -> bool:
        """Does the network, in the form that it has now, give the eps_hat of the reference?"""
        if self._form.precision == "float32":
            made = self(*inputs)
            return torch.allclose(made, reference.result(), atol=TOLERANCE, rtol=TOLERANCE)
        try:
            made = self(*inputs)
        except RuntimeError as error:  # a network of which OpenVINO cannot mix the precisions
            log.debug("the network cannot be compiled in bfloat16", exc_info=error)
            return False
        return bool((made - reference.result()).square().mean().sqrt() <= MAX_RMS)

    def _of_size(self, size: int) -> "list[Part]":
        with self._compiling.setdefault(size, threading.Lock()):
            if size not in self._parts:
                self._parts[size] = self._compile(size)
            return self._parts[size]

    def _compile(self, size: int) -> "list[Part]":
        """What runs the parts of a batch: every lane has a network of its own, whose call, where it
        has one thread, is that of the caller: no other is woken."""
        parts = parts_of(size, self.threads)
        lanes = min(self.num_lanes, parts)
        is_half = self._form.precision == "bfloat16"
        options = {
            "INFERENCE_PRECISION_HINT": "bf16" if is_half else "f32",
            "INFERENCE_NUM_THREADS": self.threads // lanes,
            "NUM_STREAMS": parts // lanes,
            "ENABLE_CPU_PINNING": False,  # else each lane's network takes the same processor
        }
        inputs = examples(self._model, size // parts)
        networks = self._cache.compiled(
            lanes,
            inputs,
            options,
            lambda: self._graph(inputs),
            str(self._form),
        )
        return [Part(network) for network in networks for _ in range(parts // lanes)]

    def _graph(self, inputs: Sequence[Tensor]) -> Any:
        """The graph for inputs of these shapes alone."""
        graph = self._cache.graph()
        shapes = [list(tensor.shape) for tensor in inputs]
        graph.reshape(dict(zip(graph.inputs, shapes, strict=True)))
        if self._form.merges_norms:
            merge_norms(graph)
        if self._form.precision == "bfloat16":
            keep_first_layers(graph)
        return graph


def converted(model: EpsModel) -> Any:
    """OpenVINO's graph of the network, for batches of any size; takes seconds."""
    import openvino
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    model = copy.deepcopy(model)
    merge_upsamplers(model)
    merge_time_projections(model)
    inputs = tuple(examples(model, 2))
    # PyTorch would trace it again and compare the two. What is compiled of the trace is compared
    # with the network itself instead (`CompiledModel._nearest`).
    unchecked = {"check_trace": False}
    with warnings.catch_warnings(), torch.no_grad():
        # torch.jit's, of itself, and of sizes that become constants: those of a batch do not
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", TracerWarning)
        traced = TorchScriptPythonDecoder(model, example_input=inputs, trace_kwargs=unchecked)
        return openvino.convert_model(traced, example_input=inputs)


def _run(parts: list[Part], columns: list[Tensor | None]) -> None:
    """A batch, an equal share of the rows for each part."""
    given = [column for column in columns if column is not None]
    shares = [column.chunk(len(parts)) if len(parts) > 1 else (column,) for column in given]
    for part, *inputs in zip(parts, *shares, strict=True):
        part.fill(inputs)
    for part in parts[1:]:
        part.start()
    parts[0].run()
    for part in parts[1:]:
        part.wait()


def parts_of(size: int, threads: int) -> int:
    """Return how many equal parts a batch is split into: the largest power of two that divides it
    and is not above the number of threads."""
    parts = 1
    while 2 * parts <= threads and size % (2 * parts) == 0:
        parts *= 2
    return parts


def examples(model: EpsModel, size: int) -> list[Tensor]:
    """Make inputs of `size` rows for the network: noise as x_t, timesteps from the least to T-1,
    and labels where the model takes them."""
    generator = torch.Generator().manual_seed(0)
    config = model.config
    x_t = torch.randn(size, *config.image_shape, generator=generator)
    t = torch.linspace(config.min_timestep, model.num_timesteps - 1, size).long()
    if config.num_class_embeds is None:
        return [x_t, t]
    return [x_t, t, torch.arange(size) % config.num_class_embeds]
