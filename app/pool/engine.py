"""An engine as the pool sees it, wherever it runs."""

from collections.abc import Mapping
from typing import Protocol

from app.pool.inflight import InFlight
from app.pool.loads import Loads
from app.pool.tally import Tally
from app.wire.messages import Counts, Load, Starting


class HasModels(Protocol):
    """An engine, as far as it has models."""

    loads: Loads

    @property
    def name(self) -> str:
        """What metrics and probes call it."""

    @property
    def starting(self) -> Starting | None:
        """What it does to load a model."""

    def load(self, load: Load) -> None:
        """Have a model from now on."""

    def unload(self, model: str) -> None:
        """Have a model no more, of which no job is left."""

    def fail(self, model: str, reason: str) -> None:
        """Have a model no more; its jobs end for this reason."""

    def serves(self, model: str) -> bool:
        """Can it take steps of this model now?"""

    def has_jobs(self, model: str) -> bool:
        """Are jobs of this model not over?"""


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
