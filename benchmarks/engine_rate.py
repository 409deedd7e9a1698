"""The engine's steps against those of a bare loop."""

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

import httpx
import torch
from prometheus_client.parser import text_string_to_metric_families
from torch import Tensor

from app.engine.runtime import make_runtime
from diffusion.checkpoint import open_checkpoint
from diffusion.process import Process
from diffusion.samplers import make_table, step

POLL_SECONDS = 0.05
PATIENCE_SECONDS = 30.0
"""The engine tells its counts once a second, at the end of a step."""


@dataclass(frozen=True)
class Reading:
    """Steps that the engines have taken until `at` (time.perf_counter), by batch size."""

    at: float
    steps: dict[int, int]


def read(http: httpx.Client) -> Reading:
    """From GET /metrics."""
    steps: dict[int, int] = {}
    for family in text_string_to_metric_families(http.get("/metrics").text):
        for sample in family.samples:
            if sample.name == "ddpm_engine_steps_total":
                size = int(sample.labels["batch_size"])
                steps[size] = steps.get(size, 0) + int(sample.value)
    return Reading(time.perf_counter(), steps)


def read_at_change(url: str) -> Reading:
    """Read at the moment that an engine tells its counts: what is read is then up to date. Raises
    RuntimeError when the counts stand still."""
    with httpx.Client(base_url=url) as http:
        before = read(http)
        while (now := read(http)).at < before.at + PATIENCE_SECONDS:
            if now.steps != before.steps:
                return now
            time.sleep(POLL_SECONDS)
    raise RuntimeError("the engine has counted no step")


@dataclass(frozen=True)
class EngineRate:
    """What the engine did in a window, and how long a step of each size takes without it: in a bare
    loop, and the network's part of that."""

    seconds: float
    steps: dict[int, int]
    bare_seconds: dict[int, float]
    network_seconds: dict[int, float]

    @property
    def steps_per_second(self) -> float:
        """The engine's."""
        return sum(self.steps.values()) / self.seconds

    @property
    def share_of_bare(self) -> float:
        """The engine's steps a second over the bare loop's, for as many steps of each size."""
        return self._needed(self.bare_seconds) / self.seconds

    @property
    def share_of_network(self) -> float:
        """The part of its time that the engine's network needs alone."""
        return self._needed(self.network_seconds) / self.seconds

    def _needed(self, seconds: dict[int, float]) -> float:
        return sum(count * seconds[size] for size, count in self.steps.items())


def difference(first: Reading, last: Reading) -> dict[int, int]:
    """Steps taken between two readings, by batch size."""
    taken = {size: count - first.steps.get(size, 0) for size, count in last.steps.items()}
    return {size: count for size, count in sorted(taken.items()) if count}


class BareLoop:
    """DDIM without an engine: the runtime that the engine would make, as many batches at once, and
    for each again and again one network call and one update."""

    def __init__(
        self,
        checkpoint: str,
        runtime_name: str,
        device: str,
        threads: int,
        batch_sizes: Sequence[int],
    ) -> None:
        """`batch_sizes`: of all lanes together, as `GET /model` has them."""
        torch.set_num_threads(threads)
        self._opened = open_checkpoint(checkpoint)
        self._device = torch.device(device)
        model = self._opened.eps_model()
        self._runtime = make_runtime(runtime_name, model, self._device, threads, max(batch_sizes))
        self._runtime.keep(tuple(batch_sizes))
        if self._runtime.name == "openvino":
            torch.set_num_threads(1)  # as in the engine
        process = Process.from_config(self._opened.process)
        self._row = make_table(process, "ddim", process.num_timesteps).rows[0]

    def seconds(self, size: int, at_least: float, *, has_update: bool) -> float:
        """Of a step of so many rows on each lane, measured for so many seconds."""
        with torch.inference_mode(), closing(self._steps(size, has_update)) as steps:
            next(steps)
            self._synchronise()
            started, count = time.perf_counter(), 0
            while time.perf_counter() - started < at_least or not count:
                next(steps)
                count += 1
            self._synchronise()
            return (time.perf_counter() - started) / count

    def _synchronise(self) -> None:
        """Wait for what a GPU has been given to do."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _steps(self, size: int, has_update: bool) -> Generator[None, None, None]:
        """For ever, on every lane that there is; yields whenever a step is done, or on a GPU
        launched."""
        generator = torch.Generator().manual_seed(0)
        x_t = torch.randn(size, *self._opened.unet.image_shape, generator=generator)
        x_t = x_t.to(self._device)
        t = torch.full((size,), self._opened.process.num_timesteps - 1, device=self._device)
        label = torch.zeros_like(t) if self._opened.unet.num_class_embeds is not None else None
        rows = self._row.expand(size, -1)

        def update(out: Tensor) -> None:
            if has_update:
                step(x_t, out, None, None, rows, self._opened.process.clip)

        lanes = self._runtime.lanes
        if lanes is None:
            while True:
                update(self._runtime(x_t, t, label))
                yield
        for lane in range(lanes.num_lanes):
            lanes.start(lane, x_t, t, label)
        try:
            while True:
                lane = lanes.wait()
                update(lanes.result(lane))
                lanes.start(lane, x_t, t, label)
                yield
        finally:
            for _ in range(lanes.num_lanes):
                lanes.result(lanes.wait())
