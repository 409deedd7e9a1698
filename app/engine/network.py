"""A network that the engine has loaded, among others: what advances its chains, and how long a step
of them takes."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from app.engine.latency_curve import LatencyCurve
from app.wire.messages import Submit

if TYPE_CHECKING:  # the scheduler, which reads this, is tested without torch
    from app.engine.beginning import Begins
    from app.engine.board import Board
    from diffusion.sampler_table import SamplerTable

B = TypeVar("B", bound="Board[Any]")


def at_noise(_submit: Submit, _table: "SamplerTable") -> None:
    """Have all chains begin at noise."""


class Network(Generic[B]):
    """A network under the key that its jobs name. Its jobs share batches with each other alone."""

    def __init__(
        self,
        key: str,
        board: B,
        curve: LatencyCurve,
        table: Callable[[Submit], "SamplerTable"],
        begins: "Begins" = at_noise,
    ) -> None:
        """`curve` has the board's batch sizes, of batches that have the whole machine. `table` is
        the sampler's that a job asks for; it raises ValueError where there is none. `begins` says
        where the job's chains begin."""
        self.key = key
        self.board = board
        self.curve = curve
        self.table = table
        self.begins = begins

    def __repr__(self) -> str:
        return f"<Network {self.key}>"

    @property
    def lanes(self) -> int:
        """The lanes in use: only as many as have two rows each, since a guided chain takes two."""
        return max(1, min(self.board.num_lanes, self.curve.max_rows // 2))

    @property
    def depth(self) -> int:
        """Batches of a lane that are begun before the first is done."""
        return self.board.depth

    @property
    def places(self) -> int:
        """Batches of it that are under way at once, at most."""
        return self.lanes * self.depth

    def runs_beside(self, other: "Network[Any]") -> bool:
        """May their batches be under way at once? Only where the machine is shared out alike."""
        return self is other or (self.lanes, self.depth) == (other.lanes, other.depth)
