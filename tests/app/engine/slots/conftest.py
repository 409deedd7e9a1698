"""An engine whose chains have slots, with a toy for a network: a function of a row's x_t, t and
label, so that nothing else can make bytes differ."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from app.engine.batch import RUN_SECONDS
from app.engine.beginning import beginnings
from app.engine.engine import Engine
from app.engine.latency_curve import LatencyCurve
from app.engine.network import Network
from app.engine.slots.board import SlotBoard
from app.engine.slots.buffers import Form
from app.engine.slots.kernels import Kernels, ReferenceKernels
from app.engine.slots.queue import Queue
from app.engine.tables import sampler_tables
from app.wire.messages import Finished, Frame, Submit
from diffusion.config import ProcessConfig
from diffusion.guidance import Conditioning
from diffusion.process import Process
from diffusion.reverse import sample
from diffusion.samplers import make_table
from tests.app.engine.slots.fake_queue import FakeQueue
from tests.app.engine.starts import cases, states

if not torch.cuda.is_available():  # read when Triton is first imported
    os.environ["TRITON_INTERPRET"] = "1"

SHAPE = (1, 2, 3)
NULL_LABEL = 3
CLIP = 1.0
PROCESS = Process.from_config(ProcessConfig(num_timesteps=50))


def toy(x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
    """An eps_hat that depends on all of a row's inputs."""
    given = t if label is None else t + 7 * label
    return 0.5 * x_t + 0.01 * given[:, None, None, None]


def toy_with_v(x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
    """The same, of a network that learned its variance."""
    return torch.cat([toy(x_t, t, label), 0.3 * x_t], dim=1)


class Desk:
    """An engine on a board of slots, with helpers to drive it."""

    def __init__(
        self,
        *,
        queue: Queue | None = None,
        kernels: Kernels | None = None,
        model: Any = toy,
        sizes: tuple[int, ...] = (4, 8),
        num_slots: int = 32,
        depth: int = 2,
        steps: int = 1,
        shape: tuple[int, int, int] = SHAPE,
    ) -> None:
        """A batch has up to `steps` steps."""
        self.model, self.shape = model, shape
        channels = shape[0] * (1 + (model is toy_with_v))
        self.board = SlotBoard(
            model,
            Form(shape, channels, is_conditional=True, null_label=NULL_LABEL),
            sizes,
            kernels or ReferenceKernels(CLIP),
            queue or FakeQueue(),
            num_slots=num_slots,
            depth=depth,
            max_steps=steps,
        )
        curve = LatencyCurve(dict.fromkeys(sizes, RUN_SECONDS / steps))
        self.engine = Engine(clock=lambda: 0.0)
        tables, begins = sampler_tables(PROCESS), beginnings(PROCESS, shape)
        self.network = Network("", self.board, curve, tables, begins)
        self.engine.add(self.network)

    def step(self) -> list[Any]:
        """What the lane's thread does: begin what can begin, and end the oldest."""
        engine = self.engine
        while engine.begin(0):
            pass
        call = engine.oldest(0)
        if call is not None:
            engine.run(call)
            engine.end(0)
        return engine.take_events()

    def drain(self) -> list[Any]:
        events: list[Any] = []
        while not self.engine.is_idle:
            events += self.step()
        return events

    def states(self, submit: Submit) -> dict[int, list[bytes]]:
        """Each sample's states by the plain loop, in a batch of its own."""
        table = make_table(
            PROCESS, submit.sampler, submit.steps, eta=submit.eta, variance=submit.variance
        )
        indices = torch.tensor(submit.indices)
        labels = torch.tensor(submit.labels)
        condition = Conditioning(labels, submit.guidance, NULL_LABEL, submit.guided_steps)
        seeds = torch.full_like(indices, submit.seed)
        states = list(sample(self.model, table, seeds, indices, self.shape, condition, CLIP))
        return {
            index: [state.x_t[i].numpy().tobytes() for state in states]
            for i, index in enumerate(submit.indices)
        }

    def images(self, submits: Sequence[Submit]) -> dict[tuple[str, int], bytes]:
        """Each sample's image by the plain loop."""
        return {(s.id, i): x[-1] for s in submits for i, x in self.states(s).items()}


def assert_as_the_plain_loop(desk: Desk) -> None:
    """Run a job of every kind that does not begin at noise, beside one that does: all have the
    bytes of the plain loop, also where a state is shown."""
    ordinary = Submit("ordinary", "", 1, (0, 1), (0, 1), "ddpm", 6)
    made = [
        case._replace(submit=dataclasses.replace(case.submit, shown=(0, 2)))
        for case in cases(desk.shape)
    ]
    for submit in (ordinary, *(case.submit for case in made)):
        desk.engine.submit(submit)
    events = desk.drain()
    images = {(e.id, e.index): e.x_0 for e in events if isinstance(e, Finished)}
    shown = {(e.id, e.index, e.position): e.x_t for e in events if isinstance(e, Frame)}
    for case in made:
        name = case.submit.id
        expected = states(case, PROCESS, desk.model, desk.shape, NULL_LABEL, CLIP)
        for index, of_chain in expected.items():
            assert len(of_chain) == case.submit.steps + 1
            assert images.pop((name, index)) == of_chain[-1], name
            assert [shown[name, index, k] for k in (0, 2)] == [of_chain[0], of_chain[2]], name
    assert images == desk.images([ordinary])


@pytest.fixture
def desk() -> Desk:
    return Desk()
