"""How much of the machine the engine gives to the network: its steps against a bare loop's."""

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from app.engine.runtime import Runtime

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
    """What the engine did in a window, and how long a bare loop takes for a step of each size."""

    seconds: float
    steps: dict[int, int]
    bare_seconds: dict[int, float]

    @property
    def steps_per_second(self) -> float:
        """The engine's."""
        return sum(self.steps.values()) / self.seconds

    @property
    def bare_steps_per_second(self) -> float:
        """The bare loop's, for the same number of steps of each batch size."""
        needed = sum(count * self.bare_seconds[size] for size, count in self.steps.items())
        return sum(self.steps.values()) / needed

    @property
    def ratio(self) -> float:
        """The part of its time that the engine's network needs alone."""
        return self.steps_per_second / self.bare_steps_per_second


def difference(first: Reading, last: Reading) -> dict[int, int]:
    """Steps taken between two readings, by batch size."""
    taken = {size: count - first.steps.get(size, 0) for size, count in last.steps.items()}
    return {size: count for size, count in sorted(taken.items()) if count}


def bare_loop(
    checkpoint: str, runtime_name: str, threads: int, sizes: Sequence[int], seconds: float
) -> dict[int, float]:
    """Seconds of a step by batch size, each measured for so many seconds, in a loop around nothing
    but the runtime that the engine would make, with as many batches at once. The sizes must be
    among those that the engine uses."""
    import torch  # only here: the load's process does without

    from app.engine.runtime import make_runtime
    from diffusion.checkpoint import open_checkpoint

    torch.set_num_threads(threads)
    opened = open_checkpoint(checkpoint)
    device = torch.device("cpu")
    runtime = make_runtime(runtime_name, opened.eps_model(), device, threads, max(sizes))
    if runtime.name == "openvino":
        torch.set_num_threads(1)  # as in the engine
    runtime.keep(tuple(sorted(sizes)))
    generator = torch.Generator().manual_seed(0)
    taken = {}
    for size in sizes:
        x_t = torch.randn(size, *opened.unet.image_shape, generator=generator)
        t = torch.randint(0, opened.process.num_timesteps, (size,), generator=generator)
        label = torch.zeros_like(t) if opened.unet.num_class_embeds is not None else None
        with closing(_calls(runtime, x_t, t, label)) as calls:
            next(calls)
            started, count = time.perf_counter(), 0
            while (elapsed := time.perf_counter() - started) < seconds or not count:
                next(calls)
                count += 1
        taken[size] = elapsed / count
    return taken


def _calls(runtime: "Runtime", *inputs: Any) -> Generator[None, None, None]:
    """Call the network for ever, on every lane that there is; yields whenever a call is done."""
    lanes = runtime.lanes
    if lanes is None:
        while True:
            runtime(*inputs)
            yield
    for lane in range(lanes.num_lanes):
        lanes.start(lane, *inputs)
    try:
        while True:
            lane = lanes.wait()
            lanes.result(lane)
            lanes.start(lane, *inputs)
            yield
    finally:
        for _ in range(lanes.num_lanes):
            lanes.result(lanes.wait())
