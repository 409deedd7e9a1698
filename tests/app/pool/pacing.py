"""Engines as far as their speed matters."""

import dataclasses
from typing import cast

from app.pool.engine import Engine
from app.pool.loads import Loads
from app.pool.tally import Tally
from app.wire.messages import Load, Loaded, Submit
from app.wire.model_info import ModelInfo
from tests.model_info import MODEL

KEY = "m#1"
GPU = dataclasses.replace(
    MODEL,
    batch_sizes=(4, 8, 16, 32),
    step_seconds={"4": 0.001, "8": 0.001, "16": 0.001, "32": 0.001},
    seconds_per_row=0.001 / 32,
)


class Fake:
    """An engine as far as its speed matters."""

    def __init__(self, info: ModelInfo, rows: int) -> None:
        self.loads = Loads()
        self.loads.want(Load(KEY, "m", "m"))
        self.loads.accept(Loaded(KEY, info, 1.0, 1000))
        self.tally = Tally()
        if rows:
            self.tally.join(asked(rows, steps=1), rows)

    def serves(self, model: str) -> bool:
        return model in self.loads.loaded and model in self.loads.wanted


def idle(info: ModelInfo = MODEL, rows: int = 0) -> Engine:
    """An engine of this speed that has so many rows to do."""
    return cast(Engine, Fake(info, rows))


def asked(
    n: int, steps: int = 10, guidance: float = 0.0, *, client: str = "", model: str = KEY
) -> Submit:
    labels = (0,) * n if guidance else None
    return Submit(
        "a", model, 1, tuple(range(n)), labels, "ddim", steps, guidance=guidance, client=client
    )
