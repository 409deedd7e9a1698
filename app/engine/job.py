"""What the engine knows of a job, in one record, and of each image in the making, its chain."""

import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from app.engine.network import Network
from app.wire.messages import Submit

if TYPE_CHECKING:  # the scheduler, which imports this, is tested without torch
    from app.engine.beginning import Beginning
    from app.engine.terms import Terms
    from diffusion.sampler_table import SamplerTable


@dataclass(eq=False, slots=True)
class Chain:
    """The reverse process of one image: sample `index` of its job, `position` steps done and
    `launched` steps begun, which are more while it is in a batch that is not done."""

    job: "Job"
    index: int
    label: int | None
    position: int = 0
    launched: int = 0
    is_running: bool = False  # in a batch that must be done before it may join another
    place: int = 0  # among the samples that the job came with
    first: int = 0  # the row of the job's table that its first step takes

    @property
    def rows(self) -> int:
        """Network rows that the next step to begin takes."""
        job = self.job
        return job.rows_at(self.launched) if job.rows_vary else job.rows

    @property
    def row(self) -> int:
        """The row of its job's table that its next step takes."""
        return self.first + self.position

    @property
    def is_masked(self) -> bool:
        """Is a part of its image known?"""
        return self.job.begins is not None and self.job.begins.is_masked

    @property
    def noise_index(self) -> int:
        """The index by which its noise is drawn."""
        begins = self.job.begins
        return 0 if begins is not None and begins.shares_noise else self.index


@dataclass(eq=False, slots=True)
class Job:
    """A client's request for some images of a network: chains of `num_steps` steps, of which those
    at the positions `guided` take two network rows, the others one. Times are in seconds on the
    engine's clock."""

    id: str
    num_steps: int
    guided: Collection[int] = range(0)
    client: str = ""
    is_alone: bool = False  # shares its batches with no other job
    spread: int = 1  # engines that its client has jobs on
    seed: int = 0
    guidance: float = 0.0
    network: Network[Any] = field(kw_only=True)
    table: "SamplerTable" = field(kw_only=True)
    begins: "Beginning | Terms | None" = None  # None: at noise
    shown: frozenset[int] = frozenset()  # the positions that are sent as frames
    request_id: str = ""
    submitted: float = 0.0
    started: float | None = None  # when its first step began
    is_paused: bool = False
    chains: list[Chain] = field(default_factory=list)  # the unfinished ones, in index order
    delay: float = 0.0  # seconds lost to sharing
    rows_left: int = 0  # network rows of steps that have not begun, over all chains
    running: int = 0  # chains that are running
    alone_seconds: float = 0.0  # what all of it takes alone on the machine, set when admitted
    row_seconds: float = 0.0  # what one of its rows takes, were it alone
    changes: tuple[int, ...] = ()  # the positions from which steps take more rows, or fewer
    rows: int = field(init=False)  # that a chain takes in a step, at most
    rows_vary: bool = field(init=False)  # do some steps take more than others?

    def __post_init__(self) -> None:
        self.rows = 2 if self.guided else 1
        self.rows_vary = 0 < len(self.guided) < self.num_steps
        if isinstance(self.guided, range):
            self.changes = self.guided.start, self.guided.stop, sys.maxsize
        else:
            steps = range(1, self.num_steps)
            turns = [k for k in steps if (k in self.guided) != (k - 1 in self.guided)]
            self.changes = *turns, sys.maxsize

    @classmethod
    def of(cls, submit: Submit, network: Network[Any], now: float) -> Self:
        """The record of a job that has just come, with a chain for each of its images. Raises
        ValueError where the network has no such sampler."""
        table = network.table(submit)
        job = cls(
            submit.id,
            len(table) if submit.bound is None else 1,
            submit.guided_steps,
            submit.client,
            submit.is_alone,
            submit.spread,
            submit.seed,
            submit.guidance,
            network=network,
            table=table,
            begins=network.begins(submit, table),
            shown=frozenset(submit.shown),
            request_id=submit.request_id,
            submitted=now,
            delay=submit.waited,
        )
        job.add_chains(submit.indices, submit.labels)
        return job

    def add_chains(self, indices: Sequence[int], labels: Sequence[int] | None) -> None:
        """Give it a chain for each index."""
        for i, index in enumerate(indices):
            label = None if labels is None else labels[i]
            first = 0 if self.begins is None else self.begins.row(index)
            self.chains.append(Chain(self, index, label, place=i, first=first))
        self.rows_left += len(indices) * (self.num_steps + len(self.guided))

    def rows_at(self, position: int) -> int:
        """Network rows that a chain's step at a position takes: with guidance one more, without
        the label."""
        return 2 if position in self.guided else 1

    def rows_alike(self, position: int) -> int:
        """How many steps from a position on take as many rows, the end of the chain aside."""
        return min(change for change in self.changes if change > position) - position

    @property
    def rows_now(self) -> int:
        """Network rows that the next steps of all its chains take together."""
        if self.rows_vary:
            return sum(chain.rows for chain in self.chains)
        return len(self.chains) * self.rows

    @property
    def slowdown(self) -> float:
        """How many times as long it takes as alone, if nothing delays it from now on."""
        return 1 + self.delay / self.alone_seconds

    @property
    def seconds_left(self) -> float:
        """What the steps still need that have not begun, were it alone."""
        return self.rows_left * self.row_seconds

    @property
    def num_waiting(self) -> int:
        """How many of its chains could join a batch, were it not paused."""
        return len(self.chains) - self.running

    @property
    def has_waiting(self) -> bool:
        """Could a chain of it join a batch?"""
        return not self.is_paused and self.num_waiting > 0

    def waiting(self) -> Iterator[Chain]:
        """The chains that could join a batch."""
        return (chain for chain in self.chains if not chain.is_running)

    @property
    def width(self) -> int:
        """The rows that it could advance at once, were it alone."""
        return min(len(self.chains), self.network.curve.max_rows // self.rows) * self.rows

    def fit(self) -> None:
        """Set `row_seconds` by the network's curve and the number of its chains: call this when
        either changes."""
        self.row_seconds = 1 / self.network.curve.rate(self.width)
