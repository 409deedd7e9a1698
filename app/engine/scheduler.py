"""Who advances at the next step. Plain data and arithmetic: no torch, clock, thread or loop.

The unit is a chain, one image's reverse process. At every step the scheduler fills the batch anew,
by highest response ratio next with preemption: a job's ratio is

    1 + delay / solo

with `solo` the engine steps that it still needs alone on the machine and `delay` those that it has
lost so far to sharing. Every job is thus slowed by about the same factor: a short one overtakes a
long one at once, and the long one's ratio grows until its turn comes, so none starves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(eq=False)
class Chain:
    """One image in the making: sample `index` of its job, `position` steps done."""

    job: "Job"
    index: int
    label: int | None
    position: int = 0


@dataclass(eq=False)
class Job:
    """What a client asked for: chains of `num_steps` steps, each taking `rows` network rows."""

    id: str
    num_steps: int
    rows: int = 1
    chains: list[Chain] = field(default_factory=list)  # the unfinished ones, in index order
    delay: float = 0.0  # steps
    done_steps: int = 0  # over all unfinished chains

    def add_chains(self, indices: Sequence[int], labels: Sequence[int] | None) -> None:
        """Give it a chain for each index."""
        for i, index in enumerate(indices):
            self.chains.append(Chain(self, index, None if labels is None else labels[i]))

    def width(self, max_rows: int) -> int:
        """The chains that it could advance at once, were it alone."""
        return min(len(self.chains), max_rows // self.rows)

    def solo_steps(self, max_rows: int) -> float:
        """The engine steps that it still needs, were it alone."""
        left = len(self.chains) * self.num_steps - self.done_steps
        return left / self.width(max_rows)

    def response_ratio(self, max_rows: int) -> float:
        """1 + delay / solo."""
        return 1 + self.delay / self.solo_steps(max_rows)


class Scheduler:
    """Chooses batches of at most `max_rows` network rows."""

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows
        self.jobs: dict[str, Job] = {}

    def __repr__(self) -> str:
        jobs = ", ".join(f"{job.id}: {len(job.chains)}" for job in self.jobs.values())
        return f"<Scheduler [{jobs}]>"

    def add(self, job: Job) -> None:
        """Admit a job with at least one chain. Raises ValueError for one that can never run."""
        if job.rows > self.max_rows:
            raise ValueError(f"a chain needs {job.rows} rows, the batch has {self.max_rows}")
        self.jobs[job.id] = job

    def cancel(self, job_id: str) -> Job | None:
        """Remove a job; None when it is not (or no longer) here."""
        return self.jobs.pop(job_id, None)

    def schedule(self) -> list[Chain]:
        """The next batch, and every job's delay brought up to date."""
        jobs = sorted(
            self.jobs.values(),
            key=lambda job: (-job.response_ratio(self.max_rows), job.solo_steps(self.max_rows)),
        )
        free = self.max_rows
        batch: list[Chain] = []
        for job in jobs:
            chosen = job.chains[: free // job.rows]
            free -= len(chosen) * job.rows
            job.delay += 1 - len(chosen) / job.width(self.max_rows)
            batch += chosen
        return batch

    def advance(self, batch: Sequence[Chain]) -> list[Chain]:
        """Count one step of each chain; the finished ones leave, and so do jobs without others."""
        finished = []
        for chain in batch:
            job = chain.job
            chain.position += 1
            job.done_steps += 1
            if chain.position == job.num_steps:
                finished.append(chain)
                job.chains.remove(chain)
                job.done_steps -= job.num_steps
                if not job.chains:
                    del self.jobs[job.id]
        return finished
