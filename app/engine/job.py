"""What the engine knows of a job, in one record, and of each image in the making, its chain."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from app.engine.latency_curve import LatencyCurve
from app.wire.messages import Submit

if TYPE_CHECKING:  # the scheduler, which imports this, is tested without torch
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


@dataclass(eq=False, slots=True)
class Job:
    """A client's request for some images: chains of `num_steps` steps, each taking `rows` network
    rows a step. Times are in seconds on the engine's clock."""

    id: str
    num_steps: int
    rows: int = 1
    client: str = ""
    is_alone: bool = False  # shares its batches with no other job
    seed: int = 0
    guidance: float = 0.0
    table: "SamplerTable" = field(kw_only=True)
    shown: frozenset[int] = frozenset()  # the positions that are sent as frames
    request_id: str = ""
    submitted: float = 0.0
    started: float | None = None  # when its first step began
    is_paused: bool = False
    chains: list[Chain] = field(default_factory=list)  # the unfinished ones, in index order
    delay: float = 0.0  # seconds lost to sharing
    steps_left: int = 0  # that have not begun, over all chains
    running: int = 0  # chains that are running
    alone_seconds: float = 0.0  # what all of it takes alone on the machine, set when admitted
    step_seconds: float = 0.0  # what one step of one of its chains takes, were it alone

    @classmethod
    def of(cls, submit: Submit, table: "SamplerTable", now: float) -> Self:
        """The record of a job that has just come, with a chain for each of its images."""
        job = cls(
            submit.id,
            len(table),
            submit.rows,
            submit.client,
            submit.is_alone,
            submit.seed,
            submit.guidance,
            table=table,
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
            self.chains.append(Chain(self, index, None if labels is None else labels[i]))
        self.steps_left += len(indices) * self.num_steps

    @property
    def slowdown(self) -> float:
        """How many times as long it takes as alone, if nothing delays it from now on."""
        return 1 + self.delay / self.alone_seconds

    @property
    def seconds_left(self) -> float:
        """What the steps still need that have not begun, were it alone."""
        return self.steps_left * self.step_seconds

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

    def width(self, max_rows: int) -> int:
        """The rows that it could advance at once, were it alone."""
        return min(len(self.chains), max_rows // self.rows) * self.rows

    def fit(self, curve: LatencyCurve) -> None:
        """Set `step_seconds` by the machine and the number of its chains: call this when either
        changes."""
        self.step_seconds = self.rows / curve.rate(self.width(curve.max_rows))
