"""What an engine measures when it starts: which batch sizes it may use, and how long a step takes.

Samples are the same under any load when a row's bytes depend neither on the batch size nor on the
other rows: that is measured, with the model that is served.
"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import torch
from torch import Tensor

from app.engine.curve import LatencyCurve
from app.engine.runner import JobData, Runner
from app.engine.runtime import Runtime
from app.engine.scheduler import Chain, Job
from diffusion.compiled import examples
from diffusion.prediction import EpsModel
from diffusion.process import Process
from diffusion.samplers import make_table

LARGEST_STEPS = 2
"""Of the largest size, timed at once; of the others as many as have as many rows, so that all take
about as long, and a moment in which the machine is fast favours none."""

MIN_ROUNDS, MAX_ROUNDS = 3, 5
ROUNDS_SECONDS = 2.0
"""Over all sizes: no round beyond the fewest begins later than that."""


@torch.inference_mode()
def invariant_sizes(runtime: Runtime, model: EpsModel) -> tuple[int, ...]:
    """The batch sizes in which a row has the same bytes, wherever it is and whatever it is beside.

    Measured: the same rows in every size and at several places, against the smallest size. Empty
    when not even that one gives a row the same bytes at every place.
    """
    largest = runtime.batch_sizes[-1]
    inputs = [tensor.to(runtime.device) for tensor in examples(model, largest)]
    x_t, t, label = inputs[0], inputs[1], inputs[2] if len(inputs) == 3 else None
    expected: dict[int, Tensor] = {}
    agreeing = []
    for size in runtime.batch_sizes:
        agrees = True
        for start in range(0, largest, max(1, size // 2)):
            rows = torch.arange(start, start + size, device=x_t.device) % largest
            made = runtime(x_t[rows], t[rows], None if label is None else label[rows])
            for row, eps_hat in zip(rows.tolist(), made, strict=True):
                agrees &= torch.equal(eps_hat, expected.setdefault(row, eps_hat))
        if agrees:
            agreeing.append(size)
    return tuple(agreeing)


@torch.inference_mode()
def step_seconds(runner: Runner, process: Process, *, is_conditional: bool) -> LatencyCurve:
    """Seconds of one DDPM step for each of the runner's batch sizes, noise and update included, on
    all lanes of the runtime where the size allows: the median of some rounds over all sizes, which
    go on for a while, so that no moment decides in which the machine is fast or slow."""
    table = make_table(process, "ddpm", process.num_timesteps)
    taken: dict[int, list[float]] = {size: [] for size in runner.batch_sizes}
    started = time.perf_counter()
    for done in range(MAX_ROUNDS):
        if done >= MIN_ROUNDS and time.perf_counter() - started > ROUNDS_SECONDS:
            break
        for size in runner.batch_sizes:
            job = Job("warm-up", num_steps=len(table))
            job.add_chains(range(size), [0] * size if is_conditional else None)
            runner.jobs[job.id] = JobData(seed=0, guidance=0.0, table=table)
            on_lanes = runner.num_lanes > 1 and size % runner.num_lanes == 0
            seconds = _on_lanes if on_lanes else _on_machine
            steps = LARGEST_STEPS * runner.max_rows // size
            taken[size].append(seconds(runner, job.chains, steps))
            runner.forget(job.chains)
            del runner.jobs[job.id]
    return LatencyCurve({size: median(seconds) for size, seconds in taken.items()})


def _on_machine(runner: Runner, chains: Sequence[Chain], steps: int) -> float:
    """Seconds of a step, over so many; the first compiles, and does not count."""
    runner.step(chains)
    started = time.perf_counter()
    for _ in range(steps):
        runner.step(chains)
    return (time.perf_counter() - started) / steps


def _on_lanes(runner: Runner, chains: Sequence[Chain], steps: int) -> float:
    """The same with a share of the chains on every lane, each driven by a thread."""
    turn = threading.Lock()

    @torch.inference_mode()
    def drive(lane: int, count: int) -> None:
        for _ in range(count):
            with turn:
                call = runner.begin(chains[lane :: runner.num_lanes], lane)
            out = runner.run(call)
            with turn:
                runner.finish(call, out)

    lanes = range(runner.num_lanes)
    with ThreadPoolExecutor(len(lanes)) as pool:
        list(pool.map(drive, lanes, [1] * len(lanes)))
        started = time.perf_counter()
        list(pool.map(drive, lanes, [steps] * len(lanes)))
    return (time.perf_counter() - started) / steps
