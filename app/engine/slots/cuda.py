"""The queue of a GPU: one stream, recorded steps as CUDA graphs, and pinned memory of the host."""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 2
"""Times that a step is done before it is recorded: what is done at a first call only, such as
choosing an algorithm or compiling a kernel, is not to be recorded."""


class CUDAQueue:
    """All work of an engine on a GPU, on a stream of its own."""

    runs_ahead = True

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device)
        # Steps of different sizes are never done at once, so they may share what they need besides
        self._pool = torch.cuda.graph_pool_handle()

    def on_host(self, like: Tensor) -> Tensor:
        """As in `Queue`; page-locked, so that copies need not be waited for."""
        return torch.zeros(like.shape, dtype=like.dtype, pin_memory=True)

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        """As in `Queue`. Raises torch.OutOfMemoryError where there is too little memory."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self.device):
            torch.cuda.synchronize()  # what the step reads was made on another stream
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_UP):
                    step()
            self._stream.synchronize()
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                step()

        def start() -> None:
            with torch.cuda.stream(self._stream):
                graph.replay()

        return start

    def copy(self, target: Tensor, source: Tensor) -> None:
        """As in `Queue`."""
        with torch.cuda.stream(self._stream):
            target.copy_(source, non_blocking=True)

    def mark(self) -> "CUDAMark":
        """As in `Queue`."""
        event = torch.cuda.Event(blocking=True)  # who waits leaves the processor to others
        event.record(self._stream)
        return CUDAMark(event)


class CUDAMark:
    """A place in the stream."""

    def __init__(self, event: torch.cuda.Event) -> None:
        self._event = event

    def wait(self) -> None:
        """As in `Mark`."""
        self._event.synchronize()
