"""The engine's steps against those of a bare loop."""

import statistics
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import httpx
import torch
from prometheus_client.parser import text_string_to_metric_families

from app.engine.runtime import make_runtime
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
    lines = http.get("/metrics").text.splitlines()
    text = "\n".join(line for line in lines if "ddpm_engine_steps_total" in line)
    steps: dict[int, int] = {}
    for family in text_string_to_metric_families(f"{text}\n"):
        for sample in family.samples:
            if sample.name == "ddpm_engine_steps_total":
                size = int(sample.labels["batch_size"])
                steps[size] = steps.get(size, 0) + int(sample.value)
    return Reading(time.perf_counter(), steps)


def read_at_change(url: str) -> Reading:
    """Read at the moment that an engine tells its counts: what is read is then up to date. Raises
    RuntimeError when the counts stand still."""
    with httpx.Client(base_url=url, verify=False) as http:  # certificates take 20 ms to load
        before = read(http)
        while (now := read(http)).at < before.at + PATIENCE_SECONDS:
            if now.steps != before.steps:
                return now
            time.sleep(POLL_SECONDS)
    raise RuntimeError("the engine has counted no step")


Rounds = dict[tuple[int, bool], list[float]]
"""Seconds of a step, by the rows on each lane and whether the update is included; a round each."""


@dataclass(frozen=True)
class EngineRate:
    """What the engine did in a window, and how long a step of each size takes without it: in a bare
    loop, and the network's part of that."""

    seconds: float
    steps: dict[int, int]
    bare_seconds: dict[int, float]
    network_seconds: dict[int, float]

    @classmethod
    def of(cls, seconds: float, steps: dict[int, int], *bare: "Rounds") -> "EngineRate":
        """Beside the bare loop's rounds before and after: the machine may change meanwhile."""

        def median(size: int, *, has_update: bool) -> float:
            return statistics.median(
                t for rounds in bare for t in rounds.get((size, has_update), [])
            )

        of_loop = {size: median(size, has_update=True) for size in steps}
        of_network = {size: median(size, has_update=False) for size in steps}
        return cls(seconds, steps, of_loop, of_network)

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
            self._synchronise()
            return count, time.perf_counter() - started

        steps_in(BARE_START_SECONDS)
        count, taken = steps_in(at_least)
        return count / taken

    def _synchronise(self) -> None:
        """Wait for what a GPU has been given to do."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
