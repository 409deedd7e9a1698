"""What an engine measured of a network, kept for the next time that it is loaded on the same
machine with the same settings.

The times are a guide for the scheduler: a machine that has become busier or faster since changes no
image, and little of how soon they are done. The sizes are a promise, so every load looks again at
those that it will use.
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch

from app.engine.board import Board
from app.engine.latency_curve import LatencyCurve
from app.engine.runtime import Runtime
from app.engine.warmup import (
    Machine,
    Tell,
    Timing,
    invariant_sizes,
    step_seconds,
    tell_nobody,
)
from diffusion import __version__
from diffusion.checkpoint import Checkpoint
from diffusion.devices import describe_machine, describe_processor
from diffusion.fields import from_dict
from diffusion.file_cache import FileCache
from diffusion.parameterization import EpsModel
from diffusion.process import Process


@dataclass(frozen=True)
class Measured:
    """Seconds of a step, for each batch size in which a row has the same bytes. They are settled
    when the rounds of their measurement agreed which sizes are worth having."""

    step_seconds: dict[str, float]
    is_settled: bool

    @classmethod
    def of(cls, timing: Timing) -> Self:
        """Take down what was measured."""
        curve = timing.curve
        seconds = {str(size): curve.seconds(size) for size in curve.sizes}
        return cls(seconds, timing.is_settled)

    @property
    def timing(self) -> Timing:
        """What was measured. Raises ValueError where these are no times."""
        seconds = {int(size): float(taken) for size, taken in self.step_seconds.items()}
        if not seconds or min(seconds) < 1 or not min(seconds.values()) > 0:
            raise ValueError(f"step_seconds: {self.step_seconds} are no times of batch sizes")
        return Timing(LatencyCurve(seconds), self.is_settled)


class Measurements:
    """What was measured with one model, runtime and machine; in a file, if there is one."""

    def __init__(
        self, cache: str | None, checkpoint: Checkpoint, runtime: Runtime, threads: int
    ) -> None:
        """`cache` is the folder that the user names, as `FileCache.at` takes it."""
        self._files = FileCache.at(cache, "speed")
        self._name = f"{_key(checkpoint, runtime, threads)}.json"

    def read(self) -> Timing | None:
        """What earlier starts measured, if there is anything."""
        content = self._files.read(self._name)
        if content is None:
            return None
        try:
            return from_dict(Measured, json.loads(bytes(content))).timing
        except (ValueError, TypeError, AttributeError) as error:
            self._files.damaged(self._name, error)
            return None

    def write(self, timing: Timing) -> None:
        """Keep what was measured for the next start."""
        self._files.write(self._name, json.dumps(dataclasses.asdict(Measured.of(timing))).encode())


class Warm(NamedTuple):
    """An engine's board, ready to use the batch sizes worth having."""

    board: Board[Any]
    measured: LatencyCurve  # all sizes that were tried
    curve: LatencyCurve  # those worth having
    is_invariant: bool  # does a row have the same bytes in all of them?


def warm_up(
    process: Process,
    model: EpsModel,
    runtime: Runtime,
    make_board: Callable[[tuple[int, ...]], Board[Any]],
    kept: Measurements,
    tell: Tell = tell_nobody,
    machine: Machine = contextlib.nullcontext,
) -> Warm:
    """Choose the batch sizes: as an earlier start measured, if the bytes are still the same in
    them; else measure, on the whole `machine`, and keep what was found.

    Raises RuntimeError when a step cannot be taken.
    """
    before = kept.read()
    if before is not None and before.is_settled:
        used = before.curve.up_to_the_knee().sizes
        if invariant_sizes(runtime, model, tell, used, machine=machine) == used:
            return _ready(runtime, make_board(used), before.curve, is_invariant=True)
    sizes = invariant_sizes(runtime, model, tell, machine=machine)
    board = make_board(sizes or runtime.batch_sizes)
    config = model.config
    timing = step_seconds(
        process,
        board,
        is_conditional=config.num_class_embeds is not None,
        min_timestep=config.min_timestep,
        tell=tell,
        machine=machine,
    )
    if before is not None and before.curve.sizes == timing.curve.sizes:
        timing = together(before, timing)
    if sizes:
        kept.write(timing)
    return _ready(runtime, board, timing.curve, is_invariant=bool(sizes))


def together(before: Timing, now: Timing) -> Timing:
    """What two starts measured: of each size the shorter time, since what else runs on the machine
    only adds to it."""
    curves = before.curve, now.curve
    shorter = {n: min(curve.seconds(n) for curve in curves) for n in now.curve.sizes}
    return Timing(LatencyCurve(shorter), now.is_settled)


def _ready(
    runtime: Runtime, board: Board[Any], measured: LatencyCurve, *, is_invariant: bool
) -> Warm:
    curve = measured.up_to_the_knee()
    runtime.keep(curve.sizes)
    board.batch_sizes = curve.sizes
    return Warm(board, measured, curve, is_invariant)


def machine_digest(device: torch.device, threads: int, batch_sizes: Sequence[int]) -> str:
    """A digest of what an image's bytes depend on besides its model: the processor, the GPU and the
    sizes of batches there, the number of threads, and the runtimes that are installed."""
    is_gpu = device.type == "cuda"
    parts = (
        describe_processor(),
        (torch.cuda.get_device_name(device), *batch_sizes) if is_gpu else "",
        threads,
        (__version__, torch.__version__, _version("openvino")),
    )
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def _key(checkpoint: Checkpoint, of: Runtime, threads: int) -> str:
    """A hash of all that the figures depend on, but for what else the machine does."""
    parts = (
        checkpoint.sha256,
        checkpoint.fingerprint,
        (of.name, of.precision, of.batch_sizes, threads),
        describe_machine(of.device),
        describe_processor(),
        (__version__, torch.__version__, _version("openvino")),
        *(path.read_text() for path in sorted(Path(__file__).parent.rglob("*.py"))),
    )
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def _version(package: str) -> str | None:
    """The installed version of a package, which is not loaded."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
