"""The engine on the GPU, without HTTP: image-steps a second by the number of chains, beside the
bare loop; 1000 steps of 256 images; and how long one image takes beside many."""

import statistics
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from app.engine.runtime import EagerRuntime, make_runtime
from app.wire.options import AUTO, Options
from benchmarks.engine_client import EngineClient
from benchmarks.gpu.step import Step, main
from benchmarks.gpu.variants import Captured, Inputs
from benchmarks.machine import seconds_of
from benchmarks.networks import NETWORKS, Network
from benchmarks.percentile import percentile
from diffusion import reverse
from diffusion.config import Precision
from diffusion.cores import available_cores
from diffusion.process import Process
from diffusion.samplers import make_table

RUNTIMES: dict[str, tuple[tuple[str, Precision], ...]] = {
    "cuda": (("slots", "bfloat16"), ("slots", "float32"), ("cuda-graph", "float32")),
    "cpu": (("slots", "bfloat16"), ("eager", "float32")),
}
"""The most important first."""
NAMES = "paper", "mnist"
CHAINS = 256, 1, 16, 64, 512, 1024
AT_ONCE_SECONDS = 10.0
"""A number of chains whose images would take longer is left out."""
STEPS, LONG_STEPS = 50, 1000
MANY, ONE_IMAGES = 256, 20
"""Images of the large request, and requests for one image beside it."""
PATIENCE_SECONDS = 30.0
"""What is predicted to take longer is left out, and the prediction written instead."""


def run(step: Step) -> None:
    """Each runtime that there is, with each network."""
    names = ("tiny",) if step.tiny else NAMES
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            network = NETWORKS[name](Path(folder) / name)
            for case in RUNTIMES[step.device.type]:
                step.attempt(f"{name}, {case}", partial(measure, step, network, *case))


def measure(step: Step, network: Network, runtime: str, precision: Precision) -> None:
    """One engine. Raises LookupError where there is no such runtime yet."""
    options = Options(step.device.type, runtime, threads(step), precision)
    with EngineClient(options, network.folder, 4 if step.tiny else AUTO) as engine:
        if engine.model.runtime != runtime:
            raise LookupError(f"there is no runtime {runtime}")
        sizes = engine.model.batch_sizes
        step.write(
            "engine-start",
            {
                "network": network.name,
                "runtime": runtime,
                "batch_sizes": sizes,
                "precision": engine.model.precision,
                "batch_invariant": engine.model.batch_invariant,
            },
        )
        engine.seconds(sizes[-1], 5)  # warm
        best = 0.0
        for chains in (8, 1) if step.tiny else CHAINS:
            if chains * STEPS < best * AT_ONCE_SECONDS or not best:
                best = max(best, rate(step, engine, network, chains))
        joiners(step, engine, network)
        long = long_chains(step, engine, network, best)
    beside_bare(step, network, (runtime, precision), sizes[-1], {STEPS: best, LONG_STEPS: long})


def threads(step: Step) -> int:
    """PyTorch's, on the CPU."""
    return 1 if step.tiny else available_cores()


def rate(step: Step, engine: EngineClient, network: Network, chains: int) -> float:
    """Image-steps a second while so many chains run at once: the best of three jobs, or of one
    that takes long."""
    steps = 5 if step.tiny else STEPS
    seconds = engine.seconds(chains, steps)
    if seconds < 2:
        seconds = min(seconds, *(engine.seconds(chains, steps) for _ in range(2)))
    made = chains * steps / seconds
    step.write(
        "engine",
        {
            "network": network.name,
            "runtime": engine.model.runtime,
            "precision": engine.model.precision,
            "chains": chains,
            "steps": steps,
            "seconds": seconds,
            "image_steps_per_second": made,
            "flops_per_second": made * network.flops,
        },
    )
    return made


def joiners(step: Step, engine: EngineClient, network: Network) -> None:
    """One image at a time, alone, then beside jobs of many images of another client."""
    steps, images = (5, 2) if step.tiny else (STEPS, ONE_IMAGES)
    many = 4 if step.tiny else MANY
    alone = [engine.seconds(1, steps) for _ in range(images)]
    beside: list[float] = []
    large = engine.submit(many, steps, client="large")
    while len(beside) < images:
        if large.done is not None:
            large = engine.submit(many, steps, client="large")
        one = engine.submit(1, steps, client="one")
        engine.wait(one)
        beside.append(one.seconds)
    engine.wait(large)
    step.write(
        "joiner",
        {
            "network": network.name,
            "runtime": engine.model.runtime,
            "precision": engine.model.precision,
            "large": many,
            "alone_p50": statistics.median(alone),
            "alone_p95": percentile(alone, 95),
            "beside_p50": statistics.median(beside),
            "beside_p95": percentile(beside, 95),
        },
    )


def long_chains(step: Step, engine: EngineClient, network: Network, best: float) -> float | None:
    """The whole chain of many images; only predicted where it would take too long. Returns its
    image-steps a second, if it was measured."""
    many, steps = (4, 20) if step.tiny else (MANY, LONG_STEPS)
    predicted = many * steps / best
    is_measured = predicted < min(PATIENCE_SECONDS, step.left)
    seconds = engine.seconds(many, steps) if is_measured else predicted
    step.write(
        "long",
        {
            "network": network.name,
            "runtime": engine.model.runtime,
            "precision": engine.model.precision,
            "images": many,
            "steps": steps,
            "seconds": seconds,
            "measured": is_measured,
        },
    )
    return many * steps / seconds if is_measured else None


def beside_bare(
    step: Step,
    network: Network,
    case: tuple[str, Precision],
    size: int,
    rates: Mapping[int, float | None],
) -> None:
    """The share of a bare loop's image-steps that the engine makes, by the steps of an image."""
    runtime, precision = case
    bare = bare_rate(step, network, case, size)
    for steps, made in rates.items():
        values = {"network": network.name, "runtime": runtime, "precision": precision}
        share = None if made is None else made / bare
        rate = {"size": size, "steps": steps, "image_steps_per_second": bare, "share": share}
        step.write("bare", {**values, **rate})


@torch.inference_mode()
def bare_rate(step: Step, network: Network, case: tuple[str, Precision], size: int) -> float:
    """Image-steps a second of the runtime's network and DDIM's update, recorded as one graph, which
    is launched again and again."""
    model, device = network.model(), step.device
    name, precision = case
    runtime = make_runtime(name, model, device, threads(step), size, precision)
    assert isinstance(runtime, EagerRuntime)  # as all of a GPU's are
    process = Process.from_config(network.checkpoint.process)
    row = make_table(process, "ddim", process.num_timesteps).rows[:1]
    rows = row.expand(size, -1, 1, 1, 1).to(device)

    def advance(x_t: Tensor, t: Tensor) -> Tensor:
        return reverse.step(x_t, runtime.model(x_t, t), (), None, rows).x_prev

    call = Captured(advance, Inputs.of(model, size, device))
    return size / seconds_of(call, device, 0.05 if step.tiny else 1.0)


if __name__ == "__main__":
    main("engine", run)
