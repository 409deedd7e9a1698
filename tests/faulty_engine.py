"""The real engine with a fault: `python -m tests.faulty_engine FAULT SOCKET BLACK_BOX OPTIONS`.

FAULT names what goes wrong, and with what number: `crash=SEED`, `hang=SEED`, `nan=SEED`,
`memory=ROWS`, `late=SECONDS`, `clock=SEED`. Nothing of the service knows of it.
"""

import math
import os
import sys
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from app.engine.__main__ import main
from app.engine.runner import Call, ChainStep, Runner
from app.engine.scheduler import Chain
from tests.app.server import break_clock

AT_POSITION = 3
"""Steps that a chain has taken when the fault of its seed strikes."""


class FaultyRunner(Runner):
    """Of chains with the seed `number`, something goes wrong in their fourth step."""

    fault = ""
    number = 0.0

    def hit(self, batch: Sequence[Chain]) -> list[int]:
        """The rows of chains that are where it goes wrong."""
        return [
            row
            for row, chain in enumerate(batch)
            if self.jobs[chain.job.id].seed == self.number and chain.position == AT_POSITION
        ]


class Crashing(FaultyRunner):
    """The process is gone."""

    def begin(self, batch: Sequence[Chain], lane: int | None) -> Call:
        if self.hit(batch):
            os.abort()
        return super().begin(batch, lane)


class Hanging(FaultyRunner):
    """The network's call does not return."""

    def run(self, call: Call) -> Tensor:
        if self.hit(call.batch):
            time.sleep(3600)
        return super().run(call)


class NotANumber(FaultyRunner):
    """The network gives NaN for those chains alone."""

    def finish(self, call: Call, out: Tensor) -> list[ChainStep]:
        if rows := self.hit(call.batch):
            out = out.clone()
            out[rows] = math.nan
        return super().finish(call, out)


class OutOfMemory(FaultyRunner):
    """There is memory for `number` rows once it is warm; until then every call takes as long as any
    other, so that the largest batch is the one to use."""

    def begin(self, batch: Sequence[Chain], lane: int | None) -> Call:
        if warms_up(batch):
            time.sleep(0.05)
        elif sum(chain.job.rows for chain in batch) > self.number:
            raise torch.OutOfMemoryError("injected")
        return super().begin(batch, lane)


class Late(FaultyRunner):
    """The first step comes late, that of warm-up too."""

    steps = 0
    warmed_up = False

    def begin(self, batch: Sequence[Chain], lane: int | None) -> Call:
        is_first = self.steps == 0 or (self.warmed_up and not warms_up(batch))
        self.warmed_up = warms_up(batch)
        self.steps += 1
        if is_first:
            time.sleep(self.number)
        return super().begin(batch, lane)


def warms_up(batch: Sequence[Chain]) -> bool:
    """Is this a step that the engine measures itself with, at its start?"""
    return any(chain.job.id.startswith("warm-up") for chain in batch)


FAULTS = {
    "crash": Crashing,
    "hang": Hanging,
    "nan": NotANumber,
    "memory": OutOfMemory,
    "late": Late,
    "clock": FaultyRunner,
}


if __name__ == "__main__":
    fault, _, number = sys.argv.pop(1).partition("=")
    runner = FAULTS[fault]
    runner.number = float(number)
    if fault == "clock":
        break_clock(number)
    main(runner)
