"""What the engine needs of whatever advances chains: the seam between it and a device."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from app.engine.batch import Batch
from app.engine.job import Chain


class Shown(NamedTuple):
    """The state of a chain at a position that its job shows: x_t and x_0_hat, each (C,H,W) as
    little-endian float32."""

    chain: Chain
    position: int
    x_t: bytes
    x_0_hat: bytes


@dataclass(frozen=True, slots=True)
class Made:
    """What a batch made that leaves the engine, and which of its chains went wrong."""

    frames: Sequence[Shown]
    results: Mapping[Chain, bytes]  # x_0 of chains that took their last step, as in `Shown`
    bad: Mapping[Chain, int]  # the step, counted from 1, after which a chain is not a number


@dataclass(eq=False, slots=True)
class Call:
    """A batch that is on its way. The engine gives each call its number, and the time at which it
    began, and keeps in `error` what went wrong in it."""

    batch: Batch
    lane: int | None  # None: the whole machine
    size: int  # network rows, with the padding
    rows: int  # network rows that chains asked for
    number: int = 0
    started: float = 0.0
    error: Exception | None = None


C = TypeVar("C", bound=Call)


class Board(Protocol[C]):
    """Advances batches of chains, whose states it owns.

    `prepare`, `run` and `finish` follow each other for every batch. One thread at a time may call
    anything here; only `run` may go on beside that.
    """

    batch_sizes: tuple[int, ...]  # network rows in a call, increasing
    depth: int  # calls of a lane that are under way at once, at most; one after another
    max_steps: int  # in a call

    def __len__(self) -> int:
        """The number of chains whose states it holds."""

    @property
    def max_rows(self) -> int:
        """Network rows in one call, at most."""

    @property
    def num_lanes(self) -> int:
        """Batches side by side, at most."""

    @property
    def can_repeat(self) -> bool:
        """Are the states whole after a call that failed, so that it can be prepared again?"""

    def seat(self, chain: Chain) -> bool:
        """Keep a place for the state of a chain that is about to begin. False: there is none."""

    def prepare(self, batch: Batch, lane: int | None) -> C:
        """Get a batch under way on a lane, behind those that are on it, or, with None, on the whole
        machine."""

    def run(self, call: C) -> None:
        """Return once the network has been run for the call."""

    def finish(self, call: C) -> Made:
        """Advance the call's chains, and return what leaves the engine."""

    def forget(self, chains: Sequence[Chain]) -> None:
        """Drop the states of finished or cancelled chains."""

    def halve(self) -> bool:
        """Make batches at most half as large, after memory ran out. Returns False at one row."""
