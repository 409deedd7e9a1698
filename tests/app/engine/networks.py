"""Networks whose boards are numbers alone: nothing runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from app.engine.batch import Batch
from app.engine.job import Chain, Job
from app.engine.latency_curve import LatencyCurve
from app.engine.network import Network
from app.engine.scheduler import Scheduler, anywhere


@dataclass
class FakeBoard:
    """What the scheduler and `recovery` ask of a board."""

    max_rows: int
    num_lanes: int = 1
    depth: int = 1
    max_steps: int = 1
    can_repeat: bool = True
    seat: Callable[[Chain], bool] = lambda _chain: True

    def halve(self) -> bool:
        self.max_rows //= 2
        return self.max_rows > 0


def network(
    curve: LatencyCurve | None = None,
    num_lanes: int = 1,
    *,
    key: str = "",
    depth: int = 1,
    max_steps: int = 1,
    seat: Callable[[Chain], bool] = lambda _chain: True,
) -> Network[Any]:
    """One whose steps take what the curve says; without it a second."""
    curve = curve or LatencyCurve({8: 1.0})
    board = FakeBoard(curve.max_rows, num_lanes, depth, max_steps, seat=seat)
    return Network(key, board, curve, cast(Any, None))  # type: ignore[type-var]


class OneNetwork(Scheduler):
    """A scheduler to which every job belongs to one network."""

    def __init__(
        self,
        curve: LatencyCurve,
        num_lanes: int = 1,
        *,
        depth: int = 1,
        max_steps: int = 1,
        seat: Callable[[Chain], bool] = lambda _chain: True,
    ) -> None:
        super().__init__()
        self.network = network(curve, num_lanes, depth=depth, max_steps=max_steps, seat=seat)

    @property
    def curve(self) -> LatencyCurve:
        return self.network.curve

    def add(self, job: Job) -> None:
        job.network = self.network
        super().add(job)

    def schedule(self, may_begin: Callable[[Network[Any]], bool] = anywhere) -> Batch:
        """An empty batch where there is none."""
        return super().schedule(may_begin) or Batch(self.network, 1, 0)
