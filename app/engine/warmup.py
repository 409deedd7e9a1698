"""What an engine measures when it starts: which batch sizes it may use, and how long a step takes.

Samples are the same under any load when a row's bytes depend neither on the batch size nor on the
other rows: that is measured, with the model that is served.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from app.engine.board import Board
from app.engine.engine import Engine
from app.engine.lane_threads import LaneThreads
from app.engine.latency_curve import LatencyCurve
from app.engine.runtime import Runtime
from app.wire.channel import Disconnected
from app.wire.messages import Done, Failed, Message, Starting, Submit
from diffusion.openvino.model import examples
from diffusion.parameterization import EpsModel
from diffusion.process import Process

LARGEST_STEPS = 3
"""Steps of the largest batch that are timed together. Smaller batches take as many steps as have as
many rows: then all take about as long, and a moment in which the machine is fast favours none."""
FULL_ROUNDS, AGREEING_ROUNDS = 2, 6
"""Rounds over all sizes; then rounds over the contenders, after so many of which in a row the same
sizes must be worth having."""
CONTENDER = 0.85
"""Share of the best rows a second from which on a size below the knee may turn out to be it. Those
above may always, since what else runs can only have made them look worse."""
ROUNDS_SECONDS = 4.0
"""Time after which no further round begins, whether or not they agree."""
Tell = Callable[[Starting], None]
"""Told of what the engine is doing while it starts."""


def tell_nobody(_: Starting) -> None:
    """Tell nobody what the engine is doing."""


class Timing(NamedTuple):
    """How long a step takes, and whether the rounds agreed about the sizes worth having."""

    curve: LatencyCurve
    is_settled: bool


@torch.inference_mode()
def invariant_sizes(
    runtime: Runtime, model: EpsModel, tell: Tell = tell_nobody, known: Sequence[int] = ()
) -> tuple[int, ...]:
    """The batch sizes in which a row has the same bytes, wherever it is and whatever it is beside.

    Measured: the same rows in every size and at several places, against the smallest size. Empty
    when not even that one gives a row the same bytes at every place. Of sizes `known` from an
    earlier start only these are looked at, and one batch of each but the smallest is enough.
    """
    sizes = known or runtime.batch_sizes
    largest = sizes[-1]
    inputs = [tensor.to(runtime.device) for tensor in examples(model, largest)]
    x_t, t, label = inputs[0], inputs[1], inputs[2] if len(inputs) == 3 else None
    expected: dict[int, Tensor] = {}
    agreeing = []
    for place, size in enumerate(sizes, start=1):
        tell(Starting("preparing the network, batch size", place, len(sizes)))
        agrees = True
        every = max(1, size // 2)
        for start in range(0, 1 if known and expected else largest, every):
            rows = torch.arange(start, start + size, device=x_t.device) % largest
            made = runtime(x_t[rows], t[rows], None if label is None else label[rows])
            for row, eps_hat in zip(rows.tolist(), made, strict=True):
                agrees &= torch.equal(eps_hat, expected.setdefault(row, eps_hat))
        if agrees:
            agreeing.append(size)
    return tuple(agreeing)


def step_seconds(
    process: Process,
    runner: Board[Any],
    *,
    is_conditional: bool,
    min_timestep: int = 0,
    tell: Tell = tell_nobody,
) -> Timing:
    """Seconds of one DDPM step for each of the runner's batch sizes, as the engine takes it: on all
    lanes of the runtime, with everything that it does besides.

    Each is the shortest of several rounds: what else runs on the machine only adds time, so the
    shortest is nearest to what the step itself takes, and two starts find the same. Raises
    RuntimeError when a step cannot be taken.
    """
    rehearsal = Rehearsal(
        runner.batch_sizes,
        process.num_timesteps if min_timestep == 0 else process.num_timesteps // 2,
        is_conditional=is_conditional,
        least_steps=runner.max_steps * LARGEST_STEPS,
        tell=tell,
    )
    # So short that batches have as many steps as they may: what is measured is the device
    no_size_is_better = LatencyCurve({size: 1e-6 * size for size in runner.batch_sizes})
    with contextlib.suppress(Disconnected):
        LaneThreads(rehearsal, Engine(process, runner, no_size_is_better)).serve()
    curve = rehearsal.curve()
    had_memory = runner.max_rows >= curve.max_rows
    return Timing(curve.up_to(runner.max_rows), rehearsal.is_settled and had_memory)


class Rehearsal:
    """An engine's first jobs: one at a time, of every size in turn, until it is sure which sizes
    are worth having."""

    def __init__(
        self,
        sizes: Sequence[int],
        T: int,
        *,
        is_conditional: bool,
        least_steps: int = LARGEST_STEPS,
        tell: Tell = tell_nobody,
    ) -> None:
        """`least_steps` are those of the largest batch; no chain has more than T."""
        self.seconds: dict[int, list[float]] = {size: [] for size in sizes}  # of a step, by size
        self.is_settled = False  # did the rounds agree in the end?
        self._largest = max(sizes)
        self._T = T
        self._least_steps = least_steps
        self._is_conditional = is_conditional
        self._tell = tell
        self._rounds_begun = 0
        self._jobs = self._rounds()
        self._running: Submit | None = None

    def send(self, *messages: Message) -> None:
        """Take the time of a job that is done."""
        for message in messages:
            match message:
                case Done() if self._running is not None:
                    size, steps = len(self._running.indices), self._running.steps
                    self.seconds[size].append(message.run_seconds / steps)
                case Failed():
                    raise RuntimeError(f"the model cannot be run: {message.reason}")

    def receive(self, *, wait: bool) -> Iterator[Message]:
        """Give the next job, once nothing is left of the last. Raises Disconnected in the end."""
        if wait:
            self._running = next(self._jobs, None)
            if self._running is None:
                raise Disconnected
            yield self._running

    def curve(self) -> LatencyCurve:
        """The shortest time of each size so far."""
        return LatencyCurve({size: min(taken) for size, taken in self.seconds.items()})

    def _rounds(self) -> Iterator[Submit]:
        started = time.perf_counter()
        for _ in range(FULL_ROUNDS):
            yield from self._round(self.seconds)
        chosen = [self.curve().up_to_the_knee().sizes]  # after each round
        while len(chosen) <= AGREEING_ROUNDS or len(set(chosen[-AGREEING_ROUNDS:])) > 1:
            if time.perf_counter() - started > ROUNDS_SECONDS:
                return
            yield from self._round(self._contenders())
            chosen.append(self.curve().up_to_the_knee().sizes)
        self.is_settled = True

    def _contenders(self) -> list[int]:
        curve = self.curve()
        rates = {size: size / curve.seconds(size) for size in curve.sizes}
        knee, enough = curve.up_to_the_knee().max_rows, CONTENDER * max(rates.values())
        return [size for size, rate in rates.items() if size >= knee or rate >= enough]

    def _round(self, sizes: Iterable[int]) -> Iterator[Submit]:
        self._rounds_begun += 1
        at_least = max(self._rounds_begun, FULL_ROUNDS + AGREEING_ROUNDS)
        self._tell(Starting("measuring its speed, round", self._rounds_begun, at_least))
        for size in sizes:
            yield Submit(
                id=f"warm-up {size}",
                seed=0,
                indices=tuple(range(size)),
                labels=(0,) * size if self._is_conditional else None,
                sampler="ddpm",
                steps=min(self._T, self._least_steps * self._largest // size),
            )
