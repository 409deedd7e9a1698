"""A tiny model behind an engine, and the plain Algorithm 2 loop to compare it with."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.engine.engine import Engine
from app.engine.latency_curve import LatencyCurve
from app.engine.runner import Call, Runner
from app.engine.runtime import make_runtime
from app.engine.warmup import invariant_sizes
from app.wire.messages import Event, Finished, Frame, Limited, Submit
from diffusion.checkpoint import Checkpoint, open_checkpoint
from diffusion.parameterization import EpsModel
from diffusion.process import Process
from diffusion.samplers import Conditioning, make_table, sample
from tests.tiny import save_tiny


class Bench:
    """An engine on a tiny checkpoint, with helpers to drive it."""

    def __init__(self, folder: Path, max_batch: int = 8, runtime: str = "eager") -> None:
        self.checkpoint: Checkpoint = open_checkpoint(folder)
        self.process = Process.from_config(self.checkpoint.process)
        self.model: EpsModel = self.checkpoint.eps_model()
        self.shape = self.checkpoint.unet.image_shape
        self.runtime = make_runtime(runtime, self.model, torch.device("cpu"), 2, max_batch)
        sizes = invariant_sizes(self.runtime, self.model)
        runner = Runner(
            self.runtime,
            sizes,
            self.shape,
            self.checkpoint.process.clip,
            self.checkpoint.card.null_label,
        )
        self.time = 0.0
        self.engine = Engine(
            self.process, runner, LatencyCurve(dict.fromkeys(sizes, 1.0)), clock=lambda: self.time
        )

    @torch.inference_mode()
    def step(self) -> list[Event | Limited]:
        """Do what the threads of the lanes do, in one: begin a step on every lane that is free,
        then end the one that was begun first."""
        for lane in range(self.engine.runner.num_lanes):
            if lane not in self.engine._running and self.engine.begin(lane) is None:
                break
        if self.engine._running:
            lane, call = next(iter(self.engine._running.items()))
            self.engine.run(call)
            self.engine.end(lane)
        return self.engine.take_events()

    def drain(self) -> list[Any]:
        """All events until the engine is idle; the clock ticks once a step."""
        events: list[Any] = []
        while not self.engine.is_idle:
            self.time += 1.0
            events += self.step()
        return events

    def reference(self, submit: Submit) -> dict[int, list[np.ndarray]]:
        """Per index, the bytes-exact states of the plain loop, run in one batch of its own."""
        table = make_table(
            self.process, submit.sampler, submit.steps, eta=submit.eta, variance=submit.variance
        )
        extra = next(n for n in (4, 8) if n >= len(submit.indices)) - len(submit.indices)
        # eager is batch-invariant in powers of two from 4 rows up
        indices = torch.tensor(submit.indices + submit.indices[-1:] * extra)
        labels = None
        if submit.labels is not None:
            labels = torch.tensor(submit.labels + submit.labels[-1:] * extra)
        condition = Conditioning(labels, submit.guidance, self.checkpoint.card.null_label)
        seeds = torch.full_like(indices, submit.seed)
        clip = self.checkpoint.process.clip
        states = list(sample(self.runtime, table, seeds, indices, self.shape, condition, clip))
        return {
            index: [state.x_t[i].numpy() for state in states]
            for i, index in enumerate(submit.indices)
        }

    def image(self, raw: bytes) -> np.ndarray:
        return np.frombuffer(raw, "<f4").reshape(self.shape)


@pytest.fixture
def unconditional(tmp_path: Path) -> Bench:
    return Bench(save_tiny(tmp_path / "tiny"))


@pytest.fixture
def conditional(tmp_path: Path) -> Bench:
    return Bench(save_tiny(tmp_path / "tiny", num_classes=3, null_label=True, channels=3))


@pytest.fixture
def on_lanes(tmp_path: Path) -> Bench:
    """The conditional one, on a runtime that runs two batches at once."""
    folder = save_tiny(tmp_path / "tiny", num_classes=3, null_label=True, channels=3)
    return Bench(folder, runtime="openvino")


def finished(events: Sequence[Event | Limited], job_id: str) -> dict[int, bytes]:
    return {e.index: e.x_0 for e in events if isinstance(e, Finished) and e.id == job_id}


def frames(events: Sequence[Event | Limited], job_id: str) -> list[Frame]:
    return [e for e in events if isinstance(e, Frame) and e.id == job_id]


def break_for(bench: Bench, index: int, how: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Damage the network's output for the chain of that index, from its third step on."""
    runner, whole = bench.engine.runner, bench.engine.runner._guide

    def broken(call: Call, both: torch.Tensor) -> torch.Tensor:
        out = whole(call, both)
        for i, chain in enumerate(call.batch):
            if chain.index == index and chain.position >= 2:
                out[i] = how(out[i])
        return out

    runner._guide = broken  # type: ignore[method-assign, assignment]


def crash(*_args: object) -> torch.Tensor:
    raise RuntimeError("no such kernel")


ROW_FAULTS = pytest.mark.parametrize(
    ("how", "reason"),
    [
        (lambda out: out * math.nan, "sample 66 is not a number after step 3 of 10"),
        (crash, "the model failed: RuntimeError('no such kernel')"),
    ],
    ids=["not a number", "exception"],
)
"""What may go wrong in a row, and what its job is told."""
