"""A tiny model behind an engine, and the plain Algorithm 2 loop to compare it with."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.engine.beginning import beginnings
from app.engine.board import Call
from app.engine.engine import Engine
from app.engine.latency_curve import LatencyCurve
from app.engine.network import Network
from app.engine.runner import NetworkCall, Runner
from app.engine.runtime import Runtime, make_runtime
from app.engine.tables import sampler_tables
from app.engine.warmup import invariant_sizes
from app.wire.messages import Event, Finished, Frame, Limited, Submit
from diffusion.checkpoint import Checkpoint, open_checkpoint
from diffusion.guidance import Conditioning
from diffusion.parameterization import EpsModel
from diffusion.process import Process
from diffusion.reverse import sample
from diffusion.samplers import make_table
from diffusion.spacing import Spacing
from tests.tiny import save_tiny


@dataclass(frozen=True)
class Prepared:
    """What takes long to make of a checkpoint, and what no test changes."""

    checkpoint: Checkpoint
    model: EpsModel
    runtime: Runtime
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, folder: Path, runtime_name: str = "eager") -> "Prepared":
        checkpoint = open_checkpoint(folder)
        model = checkpoint.eps_model()
        runtime = make_runtime(runtime_name, model, torch.device("cpu"), threads=2, max_batch=8)
        return cls(checkpoint, model, runtime, invariant_sizes(runtime, model))


class Bench:
    """An engine on a tiny checkpoint, with helpers to drive it."""

    def __init__(self, source: Path | Prepared) -> None:
        made = source if isinstance(source, Prepared) else Prepared.of(source)
        self.checkpoint, self.model = made.checkpoint, made.model
        self.runtime, sizes = made.runtime, made.sizes
        self.process = Process.from_config(self.checkpoint.process)
        self.shape = self.checkpoint.unet.image_shape
        self.runner = Runner(
            self.runtime,
            sizes,
            self.shape,
            self.checkpoint.process.clip,
            self.checkpoint.card.null_label,
        )
        self.time = 0.0
        curve = LatencyCurve(dict.fromkeys(sizes, 1.0))
        tables, begins = sampler_tables(self.process), beginnings(self.process, self.shape)
        self.network = Network("", self.runner, curve, tables, begins)
        self.engine = Engine(clock=lambda: self.time)
        self.engine.add(self.network)

    @torch.inference_mode()
    def step(self) -> list[Event | Limited]:
        """Do what the threads of the lanes do, in one: begin steps on every lane until it is full,
        then end the one that was begun first."""
        engine = self.engine
        lanes = range(engine.num_lanes)
        while any(engine.begin(lane) for lane in lanes):
            pass
        calls = [(call.number, lane, call) for lane in lanes if (call := engine.oldest(lane))]
        if calls:
            _, lane, call = min(calls)
            engine.run(call)
            engine.end(lane)
        return engine.take_events()

    def under_way(self) -> list[Call]:
        """The calls that have begun and not ended."""
        return [call for calls in self.engine._lanes for call in calls]

    def drain(self) -> list[Any]:
        """All events until the engine is idle; the clock ticks once a step."""
        events: list[Any] = []
        while not self.engine.is_idle:
            self.time += 1.0
            events += self.step()
        return events

    def reference(self, submit: Submit) -> dict[int, list[np.ndarray]]:
        """Per index, the bytes-exact states of the plain loop, run in one batch of its own."""
        steps = submit.steps if submit.kept is None else Spacing(submit.kept)
        table = make_table(
            self.process, submit.sampler, steps, eta=submit.eta, variance=submit.variance
        )
        extra = next(n for n in (4, 8) if n >= len(submit.indices)) - len(submit.indices)
        # eager is batch-invariant in powers of two from 4 rows up
        indices = torch.tensor(submit.indices + submit.indices[-1:] * extra)
        labels = None
        if submit.labels is not None:
            labels = torch.tensor(submit.labels + submit.labels[-1:] * extra)
        null_label, guided = self.checkpoint.card.null_label, submit.guided_steps
        condition = Conditioning(labels, submit.guidance, null_label, guided)
        seeds = torch.full_like(indices, submit.seed)
        clip = self.checkpoint.process.clip
        states = list(sample(self.runtime, table, seeds, indices, self.shape, condition, clip))
        return {
            index: [state.x_t[i].numpy() for state in states]
            for i, index in enumerate(submit.indices)
        }

    def image(self, raw: bytes) -> np.ndarray:
        return np.frombuffer(raw, "<f4").reshape(self.shape)


@pytest.fixture(scope="session")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class-conditional checkpoint of RGB images."""
    folder = tmp_path_factory.mktemp("engine") / "tiny"
    return save_tiny(folder, num_classes=3, null_label=True, channels=3)


@pytest.fixture(scope="session")
def prepared_plain(plain: Path) -> Prepared:
    return Prepared.of(plain)


@pytest.fixture(scope="session")
def prepared_colour(colour: Path) -> Prepared:
    return Prepared.of(colour)


@pytest.fixture(scope="session")
def prepared_lanes(colour: Path) -> Prepared:
    return Prepared.of(colour, "openvino")


@pytest.fixture
def unconditional(prepared_plain: Prepared) -> Bench:
    return Bench(prepared_plain)


@pytest.fixture
def conditional(prepared_colour: Prepared) -> Bench:
    return Bench(prepared_colour)


@pytest.fixture
def on_lanes(prepared_lanes: Prepared) -> Bench:
    """The conditional one, on a runtime that runs two batches at once."""
    return Bench(prepared_lanes)


def finished(events: Sequence[Event | Limited], job_id: str) -> dict[int, bytes]:
    return {e.index: e.x_0 for e in events if isinstance(e, Finished) and e.id == job_id}


def frames(events: Sequence[Event | Limited], job_id: str) -> list[Frame]:
    return [e for e in events if isinstance(e, Frame) and e.id == job_id]


def break_for(bench: Bench, index: int, how: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Damage the network's output for the chain of that index, from its third step on."""
    runner, whole = bench.runner, bench.runner._guide

    def broken(call: NetworkCall, both: torch.Tensor) -> torch.Tensor:
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
