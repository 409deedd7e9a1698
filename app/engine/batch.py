"""A batch of the scheduler: which chains join the ones that are in it (rules 3 to 6 there)."""

from collections.abc import Iterator, Sequence
from typing import Any, Self

from app.engine.job import Chain, Job
from app.engine.network import Network

PATIENCE = 3.0
"""The slowdown from which on a job no longer gives way to shorter ones."""
TOLERANCE = 1.6
"""How many times longer than needed a step may become for the sake of much longer jobs."""
COMPARABLE = 4.0
"""A job is much longer than another if it takes more than so many times as long, each alone."""
RUN_SECONDS = 0.004
"""Time for which several steps are begun at once: in so much the next batch of some hundred chains
can be prepared."""
IDLE = 0.05
"""Share of the rows that may idle in it, once their chains are at an end, while others wait."""
LEAVING = 4
"""States a row that may leave the engine from one batch."""


class Batch:
    """Chains of one network that take a step together, or `steps` steps. The first of them is the
    first in line's."""

    def __init__(self, network: Network[Any], spread: int, all_rows: int) -> None:
        """An empty batch for one of the network's lanes, over `spread` of which `all_rows` rows are
        spread."""
        self.network = network
        self.curve = network.curve
        self.num_lanes = network.lanes
        self.limit = min(self.curve.max_rows // self.num_lanes, -(-all_rows // spread))
        self.chains: list[Chain] = []
        self.rows = 0
        self.steps = 1
        self.has_machine = self.num_lanes == 1  # no other batch runs beside it
        self.is_only = False  # nor is another one begun before it is done
        self.is_cut_short = False  # for the sake of the first in line

    @classmethod
    def with_machine(cls, network: Network[Any], chains: Sequence[Chain]) -> Self:
        """These chains for the step that they have not done, and no other batch beside them."""
        batch = cls(network, 1, 0)
        batch.has_machine = batch.is_only = True
        batch.chains = list(chains)
        batch.rows = sum(chain.job.rows_at(chain.position) for chain in chains)
        return batch

    def __len__(self) -> int:
        return len(self.chains)

    def __iter__(self) -> Iterator[Chain]:
        return iter(self.chains)

    @property
    def seconds(self) -> float:
        """How long the batch takes where the other lanes are as busy."""
        return self.steps * self._seconds(self.rows)

    @property
    def machine_seconds(self) -> float:
        """How many seconds of the whole machine the batch takes."""
        return self.seconds / self._share

    def add(self, chain: Chain) -> bool:
        """Add a chain if there is room and the first in line allows it. Returns whether it did."""
        job, rows = chain.job, self.rows + chain.rows
        if not self.chains and job.is_alone:
            self.has_machine = self.is_only = True
            self.limit = self.curve.max_rows
        first = self.chains[0].job if self.chains else job
        if first is not job and (job.is_alone or first.is_alone):
            return False
        if self.chains and rows > self.limit:
            return False
        if self._is_in_the_way(first, job, rows):
            self.is_cut_short = True
            return False
        if not (chain.launched or self.network.board.seat(chain)):
            return False
        self.chains.append(chain)
        self.rows = rows
        return True

    def _is_in_the_way(self, first: Job, job: Job, rows: int) -> bool:
        """Does the first in line not allow that chains of a job make so many rows of the batch?"""
        is_longer = job.alone_seconds > COMPARABLE * first.alone_seconds
        if not is_longer or first.slowdown >= PATIENCE:
            return False
        needed = self.curve.seconds(first.width)
        return self._seconds(rows) > TOLERANCE * needed

    def steps_of(self, done: int, chain: Chain) -> int:
        """How many steps a chain takes in it, which had so many done before."""
        return min(self.steps, chain.job.num_steps - done)

    def lengthen(self, most: int, *, others_wait: bool) -> None:
        """Take several steps, at most so many, where one is short: as many as RUN_SECONDS have and
        as take as many rows, while few rows idle for others to wait for (IDLE), and few states
        leave (LEAVING)."""
        if most == 1:
            return
        left = [chain.job.num_steps - chain.launched for chain in self.chains]
        alike = [chain.job.rows_alike(chain.launched) for chain in self.chains]
        most = min(most, int(RUN_SECONDS / self._seconds(self.rows)), max(left), *alike)
        for steps in range(most, 1, -1):
            idle = sum(max(0, steps - n) * c.rows for c, n in zip(self.chains, left, strict=True))
            if others_wait and idle > IDLE * steps * self.rows:
                continue
            if sum(leaving(c, steps) for c in self.chains) <= LEAVING * self.rows:
                self.steps = steps
                return

    def leave_out_padding(self) -> None:
        """Drop the last chains where fewer at once get more done (rule 4)."""
        best = self.curve.best_rows(self.rows * self._share) // self._share
        while self.rows > best and len(self.chains) > 1:
            self.rows -= self.chains.pop().rows

    @property
    def _share(self) -> int:
        return 1 if self.has_machine else self.num_lanes

    def _seconds(self, rows: int) -> float:
        return self.curve.seconds(rows * self._share)


def leaving(chain: Chain, steps: int) -> int:
    """How many states of a chain leave the engine in its next steps: those that are shown, and the
    last."""
    job, start = chain.job, chain.launched
    end = min(start + steps, job.num_steps)
    shown = sum(position in job.shown for position in range(start, end)) if job.shown else 0
    return shown + (end == job.num_steps)
