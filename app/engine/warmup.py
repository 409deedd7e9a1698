"""What an engine measures when it starts: which batch sizes it may use, and how long a step takes.

Samples are the same under any load when a row's bytes depend neither on the batch size nor on the
other rows: that is measured, with the model that is served.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from statistics import median

import torch
from torch import Tensor

from app.engine.engine import Engine
from app.engine.lane_threads import Disconnected, LaneThreads
from app.engine.latency_curve import LatencyCurve
from app.engine.runner import Runner
from app.engine.runtime import Runtime
from app.wire.messages import Done, Failed, Message, Submit
from diffusion.openvino.model import examples
from diffusion.parameterization import EpsModel
from diffusion.process import Process

LARGEST_STEPS = 3
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


def step_seconds(process: Process, runner: Runner, *, is_conditional: bool) -> LatencyCurve:
    """Seconds of one DDPM step for each of the runner's batch sizes, as the engine takes it: on all
    lanes of the runtime, with everything that it does besides. The median of some rounds over all
    sizes, which go on for a while, so that no moment decides in which the machine is fast or slow.

    Raises RuntimeError when a step cannot be taken.
    """
    rehearsal = Rehearsal(runner.batch_sizes, process.num_timesteps, is_conditional=is_conditional)
    no_size_is_better = LatencyCurve({size: float(size) for size in runner.batch_sizes})
    with contextlib.suppress(Disconnected):
        LaneThreads(rehearsal, Engine(process, runner, no_size_is_better)).serve()
    curve = LatencyCurve({size: median(taken) for size, taken in rehearsal.seconds.items()})
    return curve.up_to(runner.max_rows)  # memory may have run out


class Rehearsal:
    """An engine's first jobs: one at a time, of every size in turn, for some rounds."""

    def __init__(self, sizes: Sequence[int], T: int, *, is_conditional: bool) -> None:
        self.seconds: dict[int, list[float]] = {size: [] for size in sizes}  # of a step, by size
        self._largest = max(sizes)
        self._T = T
        self._is_conditional = is_conditional
        self._jobs = self._rounds()
        self._running: Submit | None = None

    def send(self, *messages: Message) -> None:
        """Takes the time of the job that is done."""
        for message in messages:
            match message:
                case Done() if self._running is not None:
                    size, steps = len(self._running.indices), self._running.steps
                    self.seconds[size].append(message.run_seconds / steps)
                case Failed():
                    raise RuntimeError(f"the model cannot be run: {message.reason}")

    def receive(self, *, wait: bool) -> Iterator[Message]:
        """The next job, once nothing is left of the last. Raises Disconnected after the last."""
        if wait:
            self._running = next(self._jobs, None)
            if self._running is None:
                raise Disconnected
            yield self._running

    def _rounds(self) -> Iterator[Submit]:
        started = time.perf_counter()
        for done in range(MAX_ROUNDS):
            if done >= MIN_ROUNDS and time.perf_counter() - started > ROUNDS_SECONDS:
                return
            for size in self.seconds:
                yield Submit(
                    id=f"warm-up {done} {size}",
                    seed=0,
                    indices=tuple(range(size)),
                    labels=(0,) * size if self._is_conditional else None,
                    sampler="ddpm",
                    steps=min(self._T, LARGEST_STEPS * self._largest // size),
                )
