"""Sampling without an engine: what remains of a step when everything around it is taken away."""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch

from app.engine.runtime import make_runtime
from benchmarks.machine import synchronise
from diffusion.checkpoint import open_checkpoint
from diffusion.config import Precision
from diffusion.process import Process
from diffusion.reverse import step
from diffusion.samplers import make_table

BARE_SECONDS = 0.5
BARE_ROUNDS = 3
"""Over the bare loop and the network alone, so that neither has the better moment."""
BARE_START_SECONDS = 0.3
"""Before a measurement: threads that have just begun share a processor for a while."""
Rounds = dict[tuple[int, bool], list[float]]
"""Seconds of a step, by the rows on each lane and whether the update is included; a round each."""


class BareLoop:
    """DDIM without an engine: the runtime that the engine would make, as many batches at once, and
    for each a thread that does one network call and one update, again and again."""

    def __init__(
        self,
        checkpoint: str,
        runtime_name: str,
        device: str,
        threads: int,
        batch_sizes: Sequence[int],
        precision: Precision = "float32",
    ) -> None:
        """`batch_sizes`: of all lanes together, as `GET /model` has them."""
        torch.set_num_threads(threads)
        self._opened = open_checkpoint(checkpoint)
        self._device = torch.device(device)
        model = self._opened.eps_model()
        self._runtime = make_runtime(
            runtime_name, model, self._device, threads, max(batch_sizes), precision
        )
        self._runtime.keep(tuple(batch_sizes))
        if self._runtime.name == "openvino":
            torch.set_num_threads(1)  # as in the engine
        process = Process.from_config(self._opened.process)
        self._row = make_table(process, "ddim", process.num_timesteps).rows[0]
        lanes = self._runtime.lanes
        self.largest = max(batch_sizes) // (lanes.num_lanes if lanes is not None else 1)

    def rounds(self, sizes: Iterable[int]) -> Rounds:
        """For batches of so many rows on each lane."""
        kinds = [(size, has_update) for size in sizes for has_update in (True, False)]
        taken: Rounds = {kind: [] for kind in kinds}
        for _ in range(BARE_ROUNDS):
            for size, has_update in kinds:
                once = self.seconds(size, BARE_SECONDS, has_update=has_update)
                taken[size, has_update].append(once)
        return taken

    def seconds(self, size: int, at_least: float, *, has_update: bool) -> float:
        """Of a step of so many rows on each lane, measured for so many seconds."""

        def rate(lane: int | None) -> float:
            return self._steps_per_second(lane, size, at_least, has_update=has_update)

        lanes = self._runtime.lanes
        if lanes is None:
            return 1 / rate(None)
        with ThreadPoolExecutor(lanes.num_lanes) as pool:
            return 1 / sum(pool.map(rate, range(lanes.num_lanes)))

    @torch.inference_mode()
    def _steps_per_second(
        self, lane: int | None, size: int, at_least: float, *, has_update: bool
    ) -> float:
        """On a lane, or on all of the device."""
        generator = torch.Generator().manual_seed(0)
        x_t = torch.randn(size, *self._opened.unet.image_shape, generator=generator)
        x_t = x_t.to(self._device)
        t = torch.full((size,), self._opened.process.num_timesteps - 1, device=self._device)
        label = torch.zeros_like(t) if self._opened.unet.num_class_embeds is not None else None
        rows, clip = self._row.expand(size, -1, 1, 1, 1), self._opened.process.clip
        lanes = self._runtime.lanes
        network = self._runtime if lane is None or lanes is None else partial(lanes.run, lane)

        def take_step() -> None:
            out = network(x_t, t, label)
            if has_update:
                step(x_t, out, (), None, rows, clip)

        def steps_in(seconds: float) -> tuple[int, float]:
            started, count = time.perf_counter(), 0
            while time.perf_counter() - started < seconds or not count:
                take_step()
                count += 1
            synchronise(self._device)
            return count, time.perf_counter() - started

        steps_in(BARE_START_SECONDS)
        count, taken = steps_in(at_least)
        return count / taken
