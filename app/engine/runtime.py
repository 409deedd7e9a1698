"""How the network is run: the seam between the runner and PyTorch, OpenVINO, or what comes next.

A runtime is a callable (x_t (B,C,H,W) float32, t (B,) int64, label (B,) int64 or None) -> eps_hat,
for B among its `batch_sizes`. `app.engine.warmup` measures for which of these a row's bytes do not
depend on the batch. Some runtimes also run several batches at once, on `lanes`.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from diffusion.bfloat16 import in_bfloat16
from diffusion.config import Precision
from diffusion.openvino.model import CompiledModel
from diffusion.parameterization import EpsModel


class RuntimeUnavailable(RuntimeError):
    """The runtime asked for is not installed, or does not run on that device."""


class Lanes(Protocol):
    """Equal shares of a device, each with a batch of its own. A batch on a lane has the bytes of a
    part of a batch that is `num_lanes` times as large."""

    num_lanes: int

    def run(self, lane: int, x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        """Return eps_hat, which is good until the lane's next call. Each lane is called from a
        thread of its own, whatever the other lanes do."""


class Runtime(Protocol):
    """What the runner needs of a network that runs: a callable, and what is known of it."""

    name: str
    precision: Precision  # what is asked for, or float32 where that is too far from it
    device: torch.device
    batch_sizes: tuple[int, ...]  # increasing
    lanes: Lanes | None

    def __call__(self, x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor: ...

    def prepare(self, batch_sizes: Sequence[int]) -> None:
        """Begin what the first batches of these sizes would wait for, where it can be done
        beforehand."""

    def keep(self, batch_sizes: tuple[int, ...]) -> None:
        """Free what only other batch sizes need: from now on these are used alone."""


class EagerRuntime:
    """Runs the network in PyTorch as it is: the reference for all other runtimes.

    On a CPU its kernels, and how they are split among threads, change with the batch size; among
    the powers of two from 4 up most give a row the same bytes. On CUDA every batch is padded to one
    size, so that the same kernels always run.
    """

    name = "eager"
    lanes: Lanes | None = None

    def __init__(
        self,
        model: EpsModel,
        device: torch.device,
        max_batch: int,
        precision: Precision = "float32",
    ) -> None:
        self.precision = precision
        self.model = (in_bfloat16(model) if precision == "bfloat16" else model).to(device)
        self.device = device
        sizes = powers_of_two(max(4, 1 << (max_batch.bit_length() - 1)), first=4)
        self.batch_sizes = sizes if device.type == "cpu" else sizes[-1:]
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = False
            torch.backends.cudnn.deterministic = True
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cuda.matmul.allow_tf32 = False

    @torch.inference_mode()
    def __call__(self, x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        eps_hat: Tensor = self.model(x_t, t, label)
        return eps_hat

    def prepare(self, batch_sizes: Sequence[int]) -> None:
        pass

    def keep(self, batch_sizes: tuple[int, ...]) -> None:
        self.batch_sizes = batch_sizes


class SlotsRuntime(EagerRuntime):
    """The network of a board of slots (`app.engine.slots`), which records it with the rest of a
    step."""

    name = "slots"


class CUDAGraphRuntime(EagerRuntime):
    """Runs PyTorch's kernels on a GPU, recorded once and launched together: those of a small
    network take less time than PyTorch needs to launch them one by one.

    Every lane is a stream of the device with a recording of its own, for half of the rows: one
    batch is computed while what follows another is prepared.
    """

    name = "cuda-graph"
    num_lanes = 2

    def __init__(
        self,
        model: EpsModel,
        device: torch.device,
        max_batch: int,
        precision: Precision = "float32",
    ) -> None:
        super().__init__(model, device, max_batch, precision)
        self.lanes = self
        self._recordings: dict[tuple[int, int], Recording] = {}  # by lane and rows

    def __call__(self, x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        rows = torch.arange(len(x_t)).chunk(self.num_lanes)
        parts = [(x_t[part], t[part], None if label is None else label[part]) for part in rows]
        begun = [self._start(lane, *part) for lane, part in enumerate(parts)]
        return torch.cat([recording.result() for recording in begun])

    def run(self, lane: int, x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        """Return eps_hat of a batch on a lane, which is good until the lane's next."""
        return self._start(lane, x_t, t, label).result()

    @torch.inference_mode()
    def _start(self, lane: int, x_t: Tensor, t: Tensor, label: Tensor | None) -> "Recording":
        with torch.cuda.device(self.device):
            recording = self._recordings.get((lane, len(x_t)))
            if recording is None:
                recording = self._recordings[lane, len(x_t)] = Recording(self.model, x_t, t, label)
            recording.start(x_t, t, label)
        return recording


class Recording:
    """A network call as a CUDA graph, on a stream of its own; `done` is recorded behind it."""

    def __init__(self, model: EpsModel, x_t: Tensor, t: Tensor, label: Tensor | None) -> None:
        self.inputs = [column.clone() for column in (x_t, t, label) if column is not None]
        self.stream = torch.cuda.Stream()
        self.done = torch.cuda.Event()
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            model(*self.inputs)  # what is done at a first call only is not to be recorded
        self.graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(self.graph, stream=self.stream):
            self.eps_hat: Tensor = model(*self.inputs)

    def start(self, x_t: Tensor, t: Tensor, label: Tensor | None) -> None:
        """Begin to compute eps_hat of other inputs of the same shapes."""
        given = (column for column in (x_t, t, label) if column is not None)
        for place, column in zip(self.inputs, given, strict=True):
            place.copy_(column)  # on the caller's stream, whose memory these are
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            self.graph.replay()
            self.done.record()

    def result(self) -> Tensor:
        """Wait for what was started last, and return its eps_hat; the next start overwrites it."""
        self.done.synchronize()
        return self.eps_hat


class OpenVINORuntime:
    """Runs the network in OpenVINO on the CPU, compiled for each batch size."""

    name = "openvino"
    device = torch.device("cpu")

    def __init__(
        self,
        model: EpsModel,
        threads: int,
        max_batch: int,
        precision: Precision = "float32",
        cache: str | None = None,
    ) -> None:
        """`cache` is that of CompiledModel. Raises RuntimeUnavailable without OpenVINO."""
        self.batch_sizes = powers_of_two(max_batch, first=1)
        try:
            self._model = CompiledModel(model, threads, precision, cache)
        except ImportError as error:
            raise RuntimeUnavailable(
                "runtime: openvino is not installed; install the extra `openvino`, or use eager"
            ) from error
        self.precision = self._model.precision
        self.lanes: Lanes | None = self._model if self._model.num_lanes > 1 else None

    def __call__(self, x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        return self._model(x_t, t, label)

    def prepare(self, batch_sizes: Sequence[int]) -> None:
        self._model.prepare(batch_sizes)

    def keep(self, batch_sizes: tuple[int, ...]) -> None:
        self.batch_sizes = batch_sizes
        self._model.keep(batch_sizes)


def powers_of_two(largest: int, *, first: int) -> tuple[int, ...]:
    """The numbers first, 2 first, 4 first, … below `largest`, and `largest` itself."""
    sizes = []
    while first < largest:
        sizes.append(first)
        first *= 2
    return (*sizes, largest)


def make_runtime(
    name: str,
    model: EpsModel,
    device: torch.device,
    threads: int,
    max_batch: int,
    precision: Precision = "float32",
    cache: str | None = None,
) -> Runtime:
    """Make the runtime of that name. `auto` is a CUDA graph on a GPU; on a CPU it is OpenVINO where
    that is installed, else eager. `cache` is the folder for compiled networks, as CompiledModel
    takes it.

    Raises RuntimeUnavailable.
    """
    if name == "openvino" and device.type != "cpu":
        raise RuntimeUnavailable(f"runtime: openvino runs on the CPU, not on {device}")
    if name == "cuda-graph" and device.type != "cuda":
        raise RuntimeUnavailable(f"runtime: cuda-graph runs on a GPU, not on {device}")
    if name == "eager":
        return EagerRuntime(model, device, max_batch, precision)
    if name == "slots":
        return SlotsRuntime(model, device, max_batch, precision)
    if device.type == "cuda":
        return CUDAGraphRuntime(model, device, max_batch, precision)
    try:
        return OpenVINORuntime(model, threads, max_batch, precision, cache)
    except RuntimeUnavailable:
        if name == "openvino":
            raise
        return EagerRuntime(model, device, max_batch, precision)
