"""An engine as the pool sees it, wherever it runs."""

from collections.abc import Mapping
from typing import Protocol

from app.pool.inflight import InFlight
from app.pool.registry import HasModels
from app.pool.tally import Tally
from app.wire.messages import Counts


class Engine(HasModels, Protocol):
    """Takes jobs in, and gives their events to whoever reads them; outlives its processes."""

    restarts: int
    hangs: int
    memory_limits: int  # times that memory ran out in a step

    @property
    def is_ready(self) -> bool:
        """Can it take steps now?"""

    @property
    def state(self) -> str:
        """What it does, for people."""

    @property
    def inflight(self) -> Mapping[str, InFlight]:
        """The jobs that are not over, by id."""

    @property
    def tally(self) -> Tally:
        """What is left to do."""

    @property
    def backlog(self) -> int:
        """Network rows still to be run."""

    @property
    def max_batch(self) -> Mapping[str, int]:
        """Rows in a step of each loaded model, at most, by the model's name."""

    @property
    def counts(self) -> Mapping[tuple[str, int], Counts]:
        """Steps taken, by the model's name and batch size."""

    def submit(self, inflight: InFlight) -> None:
        """Run a new job, now or as soon as its model is loaded."""

    def adopt(self, inflight: InFlight) -> None:
        """Run what is left of another engine's job."""

    def give_up(self, inflight: InFlight) -> None:
        """Run a job no more: another engine has it."""

    def start(self) -> None:
        """Begin to run; returns at once."""

    async def stop(self) -> None:
        """End for good."""
