"""The real engine with a fault: `python -m tests.faulty_engine FAULT SOCKET RECORDER OPTIONS`.

FAULT names what goes wrong, and with what number: `crash=SEED`, `hang=SEED`, `nan=SEED`,
`memory=ROWS`, `late=SECONDS`, `clock=SEED`. Nothing of the service knows of it.
"""

import math
import os
import sys
import time

import torch

from app.engine.__main__ import main
from app.engine.batch import Batch
from app.engine.board import Made
from app.engine.runner import NetworkCall, Runner
from tests.app.server import break_clock

AT_POSITION = 3
"""Steps that a chain has taken when the fault of its seed strikes."""


class FaultyRunner(Runner):
    """Of chains with the seed `number`, something goes wrong in their fourth step."""

    fault = ""
    number = 0.0

    def hit(self, batch: Batch) -> list[int]:
        """The rows of chains that are where it goes wrong."""
        return [
            row
            for row, chain in enumerate(batch)
            if chain.job.seed == self.number and chain.position == AT_POSITION
        ]


class Crashing(FaultyRunner):
    """The process is gone."""

    def prepare(self, batch: Batch, lane: int | None) -> NetworkCall:
        if self.hit(batch):
            os.abort()
        return super().prepare(batch, lane)


class Hanging(FaultyRunner):
    """The network's call does not return."""

    def run(self, call: NetworkCall) -> None:
        if self.hit(call.batch):
            time.sleep(3600)
        super().run(call)


class NotANumber(FaultyRunner):
    """The network gives NaN for those chains alone."""

    def finish(self, call: NetworkCall) -> Made:
        if rows := self.hit(call.batch):
            call.out = call.out.clone()
            call.out[rows] = math.nan
        return super().finish(call)


class OutOfMemory(FaultyRunner):
    """There is memory for `number` rows once it is warm; until then every call takes as long as any
    other, so that the largest batch is the one to use."""

    def prepare(self, batch: Batch, lane: int | None) -> NetworkCall:
        if warms_up(batch):
            time.sleep(0.01)
        elif batch.rows > self.number:
            raise torch.OutOfMemoryError("injected")
        return super().prepare(batch, lane)


class Late(FaultyRunner):
    """The first step comes late, that of warm-up too."""

    steps = 0
    warmed_up = False

    def prepare(self, batch: Batch, lane: int | None) -> NetworkCall:
        is_first = self.steps == 0 or (self.warmed_up and not warms_up(batch))
        self.warmed_up = warms_up(batch)
        self.steps += 1
        if is_first:
            time.sleep(self.number)
        return super().prepare(batch, lane)


def warms_up(batch: Batch) -> bool:
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
