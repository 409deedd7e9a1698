"""What an engine measures of a network that it loads: which batch sizes it may use, and how long a
step takes.

Samples are the same under any load when a row's bytes depend neither on the batch size nor on the
other rows: that is measured, with the model that is served.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from app.engine.board import Board
from app.engine.engine import Engine
from app.engine.lane_threads import LaneThreads
from app.engine.latency_curve import LatencyCurve
from app.engine.network import Network
from app.engine.runtime import Runtime
from app.engine.tables import sampler_tables
from app.wire.channel import Disconnected
from app.wire.messages import Done, Failed, Message, Submit
from diffusion.openvino.model import examples
from diffusion.parameterization import EpsModel
from diffusion.process import Process

LARGEST_STEPS = 3
"""Batches of the largest size that are timed together. Smaller ones take as many steps as have as
many rows: then all take about as long, and a moment in which the machine is fast favours none."""
FULL_ROUNDS, AGREEING_ROUNDS = 2, 6
"""Rounds over all sizes; then rounds over the contenders, after so many of which in a row the same
sizes must be worth having."""
CONTENDER = 0.85
"""Share of the best rows a second from which on a size below the knee may turn out to be it. Those
above may always, since what else runs can only have made them look worse."""
ROUNDS_SECONDS = 4.0
"""Time measured after which no further round begins, whether or not they agree."""
JOB_SECONDS = 0.125
"""Of the steps that are timed together, unless already one takes longer: whoever is served besides
waits for them."""
Machine = Callable[[], AbstractContextManager[object]]
"""Gives the machine to whoever enters, and keeps whatever else the engine does from it."""


class Tell(Protocol):
    """Told of what the engine is doing to load a network: the `step`, and which of how many parts
    of it begins."""

    def __call__(self, step: str, done: int = 0, total: int = 0) -> None: ...


def tell_nobody(step: str, done: int = 0, total: int = 0) -> None:
    """Tell nobody what the engine is doing."""


class Timing(NamedTuple):
    """How long a step takes, and whether the rounds agreed about the sizes worth having."""

    curve: LatencyCurve
    is_settled: bool


@torch.inference_mode()
def invariant_sizes(
    runtime: Runtime,
    model: EpsModel,
    tell: Tell = tell_nobody,
    known: Sequence[int] = (),
    machine: Machine = contextlib.nullcontext,
) -> tuple[int, ...]:
    """The batch sizes in which a row has the same bytes, wherever it is and whatever it is beside.

    Measured: the same rows in every size and at several places, against the smallest size. Empty
    when not even that one gives a row the same bytes at every place. Of sizes `known` from an
    earlier start only these are looked at, and one batch of each but the smallest is enough. On a
    GPU it is the `machine` that is asked for: what is recorded there must not be disturbed.
    """
    sizes = known or runtime.batch_sizes
    largest = sizes[-1]
    inputs = [tensor.to(runtime.device) for tensor in examples(model, largest)]
    x_t, t, label = inputs[0], inputs[1], inputs[2] if len(inputs) == 3 else None
    expected: dict[int, Tensor] = {}
    agreeing = []
    runtime.prepare(sizes)
    for place, size in enumerate(sizes, start=1):
        tell("preparing the network, batch size", place, len(sizes))
        agrees = True
        every = max(1, size // 2)
        for start in range(0, 1 if known and expected else largest, every):
            rows = torch.arange(start, start + size, device=x_t.device) % largest
            with machine() if runtime.device.type == "cuda" else contextlib.nullcontext():
                made = runtime(x_t[rows], t[rows], None if label is None else label[rows])
            for row, eps_hat in zip(rows.tolist(), made, strict=True):
                agrees &= torch.equal(eps_hat, expected.setdefault(row, eps_hat))
        if agrees:
            agreeing.append(size)
    return tuple(agreeing)


def step_seconds(
    process: Process,
    board: Board[Any],
    *,
    is_conditional: bool,
    min_timestep: int = 0,
    tell: Tell = tell_nobody,
    machine: Machine = contextlib.nullcontext,
) -> Timing:
    """Seconds of one DDPM step for each of the board's batch sizes, as the engine takes it: on all
    lanes of the board, with everything that it does besides, and the machine for itself.

    Each is the shortest of several rounds: what else runs on the machine only adds time, so the
    shortest is nearest to what the step itself takes, and two starts find the same. Raises
    RuntimeError when a step cannot be taken.
    """
    rehearsal = Rehearsal(
        board.batch_sizes,
        process.num_timesteps if min_timestep == 0 else process.num_timesteps // 2,
        is_conditional=is_conditional,
        max_steps=board.max_steps,
        tell=tell,
        machine=machine,
    )
    # So short that batches have as many steps as they may: what is measured is the device
    no_size_is_better = LatencyCurve({size: 1e-6 * size for size in board.batch_sizes})
    engine = Engine()
    engine.add(Network("", board, no_size_is_better, sampler_tables(process)))
    with contextlib.suppress(Disconnected), rehearsal:
        LaneThreads(rehearsal, engine).serve()
    curve = rehearsal.curve()
    had_memory = board.max_rows >= curve.max_rows
    return Timing(curve.up_to(board.max_rows), rehearsal.is_settled and had_memory)


class Rehearsal:
    """A network's first jobs: one at a time, of every size in turn, until it is sure which sizes
    are worth having. It has the machine for each of them, and gives it back in between."""

    def __init__(
        self,
        sizes: Sequence[int],
        T: int,
        *,
        is_conditional: bool,
        max_steps: int = 1,
        tell: Tell = tell_nobody,
        machine: Machine = contextlib.nullcontext,
    ) -> None:
        """A batch has up to `max_steps` steps; no chain has more than T."""
        self.seconds: dict[int, list[float]] = {size: [] for size in sizes}  # of a step, by size
        self.is_settled = False  # did the rounds agree in the end?
        self._largest = max(sizes)
        self._T = T
        self._max_steps = max_steps
        self._is_conditional = is_conditional
        self._tell = tell
        self._machine = machine
        self._held = ExitStack()
        self._rounds_begun = 0
        self._measured = 0.0  # seconds
        self._jobs = self._rounds()
        self._running: Submit | None = None
        self._is_next = False  # is that to be given?

    def __enter__(self) -> "Rehearsal":
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def send(self, *messages: Message) -> None:
        """Take the time of a job that is done."""
        for message in messages:
            match message:
                case Done() if self._running is not None:
                    size, steps = len(self._running.indices), self._running.steps
                    self.seconds[size].append(message.run_seconds / steps)
                    self._measured += message.run_seconds
                case Failed():
                    raise RuntimeError(f"the model cannot be run: {message.reason}")

    def wait(self) -> None:
        """Give the machine back after the last job, and get it for the next."""
        self._held.close()
        self._running = next(self._jobs, None)
        if self._running is not None:
            self._held.enter_context(self._machine())
        self._is_next = True

    def receive(self, *, wait: bool) -> Iterator[Message]:
        """Give the next job, once it was waited for. Raises Disconnected in the end."""
        if wait:
            self.wait()
        if self._is_next:
            self._is_next = False
            if self._running is None:
                raise Disconnected
            yield self._running

    def curve(self) -> LatencyCurve:
        """The shortest time of each size so far."""
        return LatencyCurve({size: min(taken) for size, taken in self.seconds.items()})

    def _rounds(self) -> Iterator[Submit]:
        for _ in range(FULL_ROUNDS):
            yield from self._round(self.seconds)
        chosen = [self.curve().up_to_the_knee().sizes]  # after each round
        while len(chosen) <= AGREEING_ROUNDS or len(set(chosen[-AGREEING_ROUNDS:])) > 1:
            if self._measured > ROUNDS_SECONDS:
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
        self._tell("measuring its speed, round", self._rounds_begun, at_least)
        for size in sizes:
            yield Submit(
                id=f"warm-up {size}",
                model="",
                seed=0,
                indices=tuple(range(size)),
                labels=(0,) * size if self._is_conditional else None,
                sampler="ddpm",
                steps=min(self._T, self._steps(size)),
            )

    def _steps(self, size: int) -> int:
        """How many steps of a size are timed together; few at first, while it is not known how long
        they take."""
        rows = self._max_steps * self._largest
        if not self.seconds[size]:
            return rows // size
        return max(1, min(LARGEST_STEPS * rows // size, int(JOB_SECONDS / min(self.seconds[size]))))
