"""The real engine with a fault: `python -m tests.faulty_engine FAULT SOCKET RECORDER OPTIONS`.

FAULT names what goes wrong, and with what number: `crash=SEED`, `hang=SEED`, `nan=SEED`,
`memory=ROWS`, `late=SECONDS`, `clock=SEED`. Nothing of the service knows of it.
"""

import dataclasses
import os
import sys
import time
from typing import Any

import torch

from app.engine.__main__ import main
from app.engine.batch import Batch
from app.engine.board import Board, Call, Made
from app.engine.job import Chain
from tests.app.server import break_clock

AT_POSITION = 3
"""Steps that a chain has taken when the fault of its seed strikes."""


class Fault:
    """Put around a board: of chains with the seed `number`, something goes wrong in their fourth
    step."""

    def __init__(self, board: Any, number: float) -> None:
        self.number = number
        self.prepare_whole, self.run_whole = board.prepare, board.run
        self.finish_whole = board.finish
        board.prepare, board.run, board.finish = self.prepare, self.run, self.finish

    def hit(self, batch: Batch) -> list[Chain]:
        """The chains for which a step is to go wrong that has begun."""
        return [
            chain
            for chain in batch
            if chain.job.seed == self.number and chain.position <= AT_POSITION < chain.launched
        ]

    def prepare(self, batch: Batch, lane: int | None) -> Call:
        call: Call = self.prepare_whole(batch, lane)
        return call

    def run(self, call: Call) -> None:
        self.run_whole(call)

    def finish(self, call: Call) -> Made:
        made: Made = self.finish_whole(call)
        return made


class Crashing(Fault):
    """The process is gone."""

    def prepare(self, batch: Batch, lane: int | None) -> Call:
        if self.hit(batch):
            os.abort()
        return super().prepare(batch, lane)


class Hanging(Fault):
    """The network's call does not return."""

    def run(self, call: Call) -> None:
        if self.hit(call.batch):
            time.sleep(3600)
        super().run(call)


class NotANumber(Fault):
    """The network gives NaN for those chains alone."""

    def finish(self, call: Call) -> Made:
        hit = self.hit(call.batch)
        made = super().finish(call)
        return dataclasses.replace(made, bad={**made.bad, **dict.fromkeys(hit, AT_POSITION + 1)})


class OutOfMemory(Fault):
    """There is memory for `number` rows once it is warm; until then every call takes as long as any
    other, so that the largest batch is the one to use."""

    def prepare(self, batch: Batch, lane: int | None) -> Call:
        if warms_up(batch):
            time.sleep(0.01)
        elif batch.rows > self.number:
            raise torch.OutOfMemoryError("injected")
        return super().prepare(batch, lane)


class Late(Fault):
    """The first step comes late, that of warm-up too."""

    steps = 0
    warmed_up = False

    def prepare(self, batch: Batch, lane: int | None) -> Call:
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
    "clock": Fault,
}


def run(fault: str, number: str) -> None:
    """Run the engine with that fault."""

    def wrap(board: Board[Any]) -> Board[Any]:
        FAULTS[fault](board, float(number))
        return board

    if fault == "clock":
        break_clock(number)
    main(wrap)


if __name__ == "__main__":
    name, _, with_number = sys.argv.pop(1).partition("=")
    run(name, with_number)
